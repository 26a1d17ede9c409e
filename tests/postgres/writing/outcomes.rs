//! What is said of a commit is true:
//!
//! - without an answer in time a commit fails by its deadline, and is repeated safely
//! - while another program has the lock, nothing is stored and the commit says so by its deadline
//! - a session that was ended between two commits is replaced
//! - a session that is ended during a commit leaves an unknown outcome
//! - behind a standby that was stopped the outcome is unknown, the lock is freed, and a repeated write is not acknowledged
//!   before the standby is back; also if the role hides warnings, and hides that it commits asynchronously
//! - a warning of a trigger is no doubt
//! - a server that became read-only stores nothing

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use cathedral_publisher::{domain::challenge::Status, store::CommitError};

use super::{COMMIT, LOCKS, inserted, put, results, runs, unchanged, writer};
use crate::{
    cluster::{Cluster, ROLE, Replication, shared},
    store::{eventually, open},
};

/// A busy machine may be late by so much.
const LATE: Duration = Duration::from_secs(20);

#[track_caller]
fn is_unknown(committed: Result<cathedral_publisher::store::Committed, CommitError>) -> String {
    match committed {
        Err(CommitError::Unknown(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn is_not_stored(committed: Result<cathedral_publisher::store::Committed, CommitError>) -> String {
    match committed {
        Err(CommitError::NotStored(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_an_answer_in_time_a_commit_fails_by_its_deadline_and_is_repeated_safely() {
    let Some(cluster) = Cluster::start(&[]) else {
        return;
    };
    let database = Arc::new(cluster).database();
    let store = open(&database.url());
    let mut writer = writer(&store);
    assert_eq!(results(writer.commit(&[runs(&["a"])])), [Ok(inserted(1))]);
    database.cluster.pause();
    let begun = Instant::now();
    // The look has no answer: nothing was sent that could be stored.
    is_not_stored(writer.commit(&[runs(&["b"])]));
    // There is no session now.
    is_not_stored(writer.commit(&[runs(&["b"])]));
    assert!(begun.elapsed() < 2 * COMMIT + LATE);
    database.cluster.resume();
    eventually(|| writer.commit(&[runs(&["a"]), runs(&["b"])]).is_ok());
    assert_eq!(
        database.sql("SELECT id FROM eval_runs ORDER BY seq"),
        "a\nb"
    );
}

#[test]
fn while_another_program_has_the_lock_nothing_is_stored_and_the_commit_says_so_by_its_deadline() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = open(&database.url());
    let mut writer = writer(&store);
    assert_eq!(results(writer.commit(&[runs(&["a"])])), [Ok(inserted(1))]);
    thread::scope(|scope| {
        scope.spawn(|| {
            database.sql("BEGIN; SELECT publisher_lineage(); SELECT pg_sleep(6); COMMIT")
        });
        eventually(|| database.sql(LOCKS) != "0");
        let begun = Instant::now();
        let reason = is_not_stored(writer.commit(&[runs(&["b"])]));
        assert!(reason.contains("lock timeout"), "{reason}");
        assert!(begun.elapsed() < COMMIT + LATE);
        // Unchanged content is not acknowledged either: it may be on its way to the standby.
        is_not_stored(writer.commit(&[runs(&["a"])]));
    });
    assert_eq!(database.sql("SELECT id FROM eval_runs"), "a");
    assert_eq!(results(writer.commit(&[runs(&["b"])])), [Ok(inserted(1))]);
}

fn end_sessions(database: &crate::cluster::Database, condition: &str) -> String {
    database.sql(&format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND {condition}"
    ))
}

#[test]
fn a_session_that_was_ended_between_two_commits_is_replaced() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = open(&database.url());
    let mut writer = writer(&store);
    for id in ["a", "b", "c"] {
        assert_eq!(results(writer.commit(&[runs(&[id])])), [Ok(inserted(1))]);
        assert_eq!(
            end_sessions(&database, "query LIKE '%publisher_commit%'"),
            "1"
        );
    }
}

#[test]
fn a_session_that_is_ended_during_a_commit_leaves_an_unknown_outcome() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = open(&database.url());
    let mut writer = writer(&store);
    thread::scope(|scope| {
        scope.spawn(|| {
            database.sql("BEGIN; SELECT publisher_lineage(); SELECT pg_sleep(2); COMMIT")
        });
        eventually(|| database.sql(LOCKS) != "0");
        scope.spawn(|| {
            let is_waiting = "wait_event_type = 'Lock' AND query LIKE '%publisher_commit%'";
            eventually(|| end_sessions(&database, is_waiting) == "1");
        });
        is_unknown(writer.commit(&[runs(&["a"])]));
    });
    assert_eq!(results(writer.commit(&[runs(&["a"])])), [Ok(inserted(1))]);
}

#[test]
fn behind_a_standby_that_was_stopped_the_outcome_is_unknown_and_a_repeated_write_waits_for_it() {
    let Some(cluster) = Cluster::start(&[]) else {
        return;
    };
    let standby = cluster.standby(Replication::Synchronous);
    let database = Arc::new(cluster).database();
    database.sql_as_superuser(&format!(
        "ALTER ROLE {ROLE} SET client_min_messages = 'error'; ALTER ROLE {ROLE} SET synchronous_commit = 'off'"
    ));
    let store = open(&database.url());
    let mut writer = writer(&store);
    assert_eq!(results(writer.commit(&[runs(&["a"])])), [Ok(inserted(1))]);
    standby.shut_down();
    for _ in 0..2 {
        let begun = Instant::now();
        let reason = is_unknown(writer.commit(&[runs(&["b"]), put("c", Status::Active, 1)]));
        assert!(reason.contains("standby"), "{reason}");
        assert!(begun.elapsed() < COMMIT + LATE);
        // It is visible here, and the lock is free.
        assert_eq!(
            database.sql("SELECT id FROM eval_runs ORDER BY seq"),
            "a\nb"
        );
        eventually(|| database.sql(LOCKS) == "0");
    }
    // A replica that has just started knows no more.
    let other = open_again(&database.url());
    is_unknown(super::writer(&other).commit(&[runs(&["b"])]));
    standby.restart();
    eventually(|| writer.commit(&[runs(&["b"])]).is_ok());
    let again = [runs(&["b"]), put("c", Status::Active, 1)];
    assert_eq!(
        results(writer.commit(&again)),
        [Ok(unchanged(1)), Ok(unchanged(1))]
    );
    database.cluster.wait_for(&standby);
    assert_eq!(
        standby.sql(&database.name, "SELECT count(*) FROM eval_runs"),
        "2"
    );
}

fn open_again(url: &str) -> cathedral_publisher::store::postgres::PostgresStore {
    open(url)
}

#[test]
fn a_warning_of_a_trigger_is_no_doubt() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = open(&database.url());
    database.sql(
        "CREATE FUNCTION warns() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'look'; RETURN NULL; END $$;
         CREATE TRIGGER warns AFTER INSERT ON eval_runs EXECUTE FUNCTION warns()",
    );
    assert_eq!(
        results(writer(&store).commit(&[runs(&["a"])])),
        [Ok(inserted(1))]
    );
}

#[test]
fn a_server_that_became_read_only_stores_nothing() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = open(&database.url());
    let mut writer = writer(&store);
    assert_eq!(results(writer.commit(&[runs(&["a"])])), [Ok(inserted(1))]);
    let name = &database.name;
    let read_only = |on| format!("ALTER DATABASE {name} SET default_transaction_read_only = {on}");
    cluster.sql("postgres", &read_only("on"));
    end_sessions(&database, "true");
    is_not_stored(writer.commit(&[runs(&["b"])]));
    cluster.sql("postgres", &read_only("off"));
    eventually(|| writer.commit(&[runs(&["b"])]).is_ok());
    assert_eq!(database.sql("SELECT count(*) FROM eval_runs"), "2");
}
