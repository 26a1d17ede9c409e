//! Other programs that write:
//!
//! - every change of any program is counted, once for an inserted row and twice for a changed one; a rolled back one is not
//! - a row gets its seq under the lock, also by COPY and with ON CONFLICT; seq never changes and never goes back
//! - a statement that takes long is not overtaken
//! - values that SQLite refuses are refused
//! - a writer that looked before another program wrote looks again
//! - schemas are apart, and the search_path of the other program does not matter
//! - what is stored of a challenge that was replaced meanwhile is not overwritten

use std::thread;

use cathedral_publisher::{domain::challenge::Status, store::FeedStamp};

use super::{LOCKS, challenge, epoch, inserted, put, results, run, runs, unchanged, writer};
use crate::{
    cluster::{Database, ROLE, shared},
    store::{eventually, insert, open, put as put_sql, soon},
};
use cathedral_publisher::store::operation::Operation;

fn refuses(database: &Database, statement: &str) -> String {
    let refused = database.cluster.try_sql(ROLE, &database.name, statement);
    refused.expect_err(statement)
}

#[test]
fn every_change_of_any_program_is_counted_and_a_rolled_back_one_is_not() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = open(&database.url());
    let stamp = || store.stamp(soon()).unwrap();
    let board = || store.board(soon()).unwrap().stamp.version;
    let copy = "COPY eval_runs (id, ran_at, schema_version, body) FROM PROGRAM 'printf ''d\\t2026-06-07T00:00:00.000Z\\t5\\t{}\\n'''";
    for (statement, changes) in [
        (insert(&["a", "b", "c"], 0), 3),
        (
            "UPDATE eval_runs SET body = '{ }' WHERE id <> 'c'".to_owned(),
            4,
        ),
        ("DELETE FROM eval_runs WHERE id = 'a'".to_owned(), 1),
        ("DELETE FROM eval_runs WHERE id = 'a'".to_owned(), 0),
        (format!("{} ON CONFLICT DO NOTHING", insert(&["b"], 0)), 0),
        (
            format!(
                "{} ON CONFLICT (id) DO UPDATE SET body = excluded.body",
                insert(&["b", "e"], 0)
            ),
            3,
        ),
        (format!("BEGIN; {}; ROLLBACK", insert(&["f"], 0)), 0),
        ("INSERT INTO merkle_epochs VALUES (7), (8)".to_owned(), 2),
        ("UPDATE merkle_epochs SET body = '{}'".to_owned(), 4),
        ("DELETE FROM merkle_epochs".to_owned(), 2),
    ] {
        let (before, board_before) = (stamp(), board());
        database.sql(&statement);
        let after = stamp();
        assert_eq!(
            after.version.count - before.version.count,
            changes,
            "{statement}"
        );
        assert_eq!(
            after.version.change_id == before.version.change_id,
            changes == 0,
            "{statement}"
        );
        assert_eq!(after.lineage, before.lineage);
        assert_eq!(board(), board_before);
    }
    let before = stamp();
    database.sql_as_superuser(copy);
    assert_eq!(stamp().version.count, before.version.count + 1);
    for (statement, changes) in [
        (put_sql("x", 1), 1),
        ("UPDATE challenges SET tier = 2".to_owned(), 1),
        ("UPDATE challenges SET tier = 2 WHERE false".to_owned(), 0),
        (format!("BEGIN; {}; ROLLBACK", put_sql("y", 1)), 0),
        ("DELETE FROM challenges".to_owned(), 1),
        ("TRUNCATE challenges".to_owned(), 1),
    ] {
        let (before, feed_before) = (board(), stamp());
        database.sql(&statement);
        assert_eq!(board().count - before.count, changes, "{statement}");
        assert_eq!(
            board().change_id == before.change_id,
            changes == 0,
            "{statement}"
        );
        assert_eq!(stamp(), feed_before);
    }
}

#[test]
fn seq_never_changes_and_never_goes_back() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = open(&database.url());
    database.sql(&insert(&["a", "b"], 0));
    assert!(refuses(&database, "UPDATE eval_runs SET seq = seq + 10").contains("must not change"));
    let with_seq = |seq: i64, id: &str| {
        format!(
            "INSERT INTO eval_runs VALUES ({seq}, '{id}', '2026-06-07T00:00:00.000Z', 5, '{{}}')"
        )
    };
    database.sql("DELETE FROM eval_runs WHERE id = 'b'");
    assert!(refuses(&database, &with_seq(2, "c")).contains("not after the last one"));
    assert!(refuses(&database, &with_seq(-1, "c")).contains("not after the last one"));
    database.sql(&with_seq(100, "c"));
    // Somebody sets the sequence back.
    for set in [
        "ALTER SEQUENCE eval_runs_seq_seq RESTART",
        "SELECT setval('eval_runs_seq_seq', 1, false)",
    ] {
        database.sql(set);
        let last: i64 = database
            .sql("SELECT max(seq) FROM eval_runs")
            .parse()
            .unwrap();
        let next = format!("{} RETURNING seq", insert(&[&format!("after {last}")], 0));
        assert_eq!(database.sql(&next), (last + 1).to_string());
    }
    let results_of = results(writer(&store).commit(&[runs(&["z"])]));
    assert_eq!(results_of, [Ok(inserted(1))]);
    assert_eq!(
        database.sql("SELECT seq FROM eval_runs WHERE id = 'z'"),
        "103"
    );
    assert_eq!(store.stamp(soon()).unwrap().last_seq, 103);
}

#[test]
fn values_that_sqlite_refuses_are_refused() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let _store = open(&database.url());
    let run = |id: &str, ran_at: &str| {
        format!(
            "INSERT INTO eval_runs (id, ran_at, schema_version, body) VALUES ({id}, '{ran_at}', 5, '{{}}')"
        )
    };
    for statement in [
        run("''", "2026-06-07T00:00:00.000Z"),
        run("repeat('é', 129)", "2026-06-07T00:00:00.000Z"),
        run("'a'", "2026-06-07T00:00:00Z"),
        run("'a'", "2026-06-07 00:00:00.000Z"),
        run("'a'", "2026-06-31T00:00:00.000Z"),
        run("'a'", "2026-06-07T24:00:00.000Z"),
        run("'a'", "2026-06-07T23:59:60.000Z"),
        run("'a'", "infinity"),
        "INSERT INTO merkle_epochs VALUES (-1)".to_owned(),
        "INSERT INTO merkle_epochs VALUES (9223372036854775808)".to_owned(),
        put_sql("x", 1).replace("1.5", "'NaN'"),
        put_sql("x", 1).replace("1.5", "'Infinity'"),
        put_sql("x", 1).replace("active", "gone"),
        put_sql("x", 1).replace("file", "disk"),
        put_sql("x", 1).replace("64)", "63)"),
        put_sql("x", 1).replace("1, NULL", "-1, NULL"),
        put_sql("x", 1).replace("8, 9", "-8, 9"),
    ] {
        refuses(&database, &statement);
    }
    database.sql(&run("repeat('é', 128)", "2000-02-29T23:59:59.999Z"));
}

#[test]
fn a_writer_that_looked_before_another_program_wrote_looks_again() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = open(&database.url());
    let mut writer = writer(&store);
    let first = [runs(&["a"]), put("x", Status::Active, 1), epoch(1, "{}")];
    assert_eq!(
        results(writer.commit(&first)),
        [Ok(inserted(1)), Ok(inserted(1)), Ok(inserted(1))]
    );
    // The commit looks, and waits for this transaction.
    let other = format!(
        "BEGIN; {}; UPDATE challenges SET status = 'locked'; INSERT INTO merkle_epochs VALUES (2, '[]');
         DELETE FROM eval_runs WHERE id = 'a'; SELECT pg_sleep(1); COMMIT",
        insert(&["b"], 0)
    );
    let group = [
        runs(&["b", "c"]),
        runs(&["d"]),
        put("x", Status::Active, 2),
        put("x", Status::Retired, 2),
        epoch(2, "{}"),
        runs(&["a"]),
    ];
    let outcome = thread::scope(|scope| {
        scope.spawn(|| database.sql(&other));
        eventually(|| database.sql(LOCKS) != "0");
        results(writer.commit(&group))
    });
    let reason = |index: usize| outcome[index].clone().unwrap_err();
    assert!(
        reason(0).contains("\"b\" is already stored with different bytes"),
        "{outcome:?}"
    );
    assert_eq!(outcome[1], Ok(inserted(1)));
    assert!(
        reason(2).contains("is locked and cannot become active"),
        "{outcome:?}"
    );
    assert_eq!(outcome[3], Ok(inserted(1)));
    assert!(
        reason(4).contains("\"2\" is already stored with different bytes"),
        "{outcome:?}"
    );
    assert_eq!(outcome[5], Ok(inserted(1)));
    assert_eq!(
        database.sql("SELECT id FROM eval_runs ORDER BY seq"),
        "b\nd\na"
    );
    assert_eq!(
        database.sql("SELECT status, tier FROM challenges"),
        "retired|2"
    );
    assert_eq!(
        database.sql("SELECT body FROM merkle_epochs WHERE epoch = 2"),
        "[]"
    );
}

#[test]
fn the_result_of_a_commit_tells_the_feed_before_and_after() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = open(&database.url());
    let mut writer = writer(&store);
    database.sql(&insert(&["a"], 0));
    let known: FeedStamp = store.stamp(soon()).unwrap();
    let group = [
        Operation::InsertEvalRuns(vec![run("b", 0), run("c", 0), run("b", 0)]),
        Operation::PutChallenges(vec![
            challenge("x", Status::Pending, 1),
            challenge("x", Status::Active, 1),
        ]),
        epoch(3, "{}"),
    ];
    let committed = writer.commit(&group).unwrap();
    assert_eq!(committed.before, known);
    assert_eq!(committed.after, store.stamp(soon()).unwrap());
    assert_eq!(committed.after.version.count, known.version.count + 3);
    assert_eq!(committed.after.merkle_epoch_latest, Some(3));
    assert_eq!(committed.after.last_seq, 3);
    assert_eq!(
        store.board(soon()).unwrap().challenges,
        [challenge("x", Status::Active, 1)]
    );
    let again = writer.commit(&group).unwrap();
    assert_eq!(again.before, committed.after);
    assert_eq!(again.after, committed.after);
    // The challenge would go back.
    let again = results(Ok(again));
    assert_eq!(again[0], Ok(unchanged(3)));
    assert!(
        again[1]
            .clone()
            .unwrap_err()
            .contains("is active and cannot become pending")
    );
    assert_eq!(again[2], Ok(unchanged(1)));
    // Only the number of the epoch is known: it gets its body.
    database.sql("INSERT INTO merkle_epochs VALUES (4)");
    assert_eq!(results(writer.commit(&[epoch(4, "{}")])), [Ok(inserted(1))]);
}

#[test]
fn schemas_are_apart_and_the_search_path_of_the_other_program_does_not_matter() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store_in = |schema: &str, path: &str| {
        database.sql_as_superuser(&format!("CREATE SCHEMA {schema} AUTHORIZATION {ROLE}"));
        open(&format!(
            "{}?options=-c%20search_path%3D{path}",
            database.url()
        ))
    };
    let one = store_in("one", "one");
    let mut one_writer = writer(&one);
    assert_eq!(
        results(one_writer.commit(&[runs(&["a"])])),
        [Ok(inserted(1))]
    );
    let two = store_in("\"Two, \"\"x\"", "%22Two,%5C%20%22%22x%22");
    assert_eq!(
        results(writer(&two).commit(&[runs(&["a", "b"])])),
        [Ok(inserted(2))]
    );
    let last = |store: &cathedral_publisher::store::postgres::PostgresStore| {
        store.stamp(soon()).unwrap().last_seq
    };
    assert_eq!((last(&one), last(&two)), (1, 2));
    // Nothing but the name of the table says which schema it is; a temporary table has the name of another one.
    let elsewhere = insert(&["c"], 0).replace("eval_runs", "one.eval_runs");
    database.sql(&format!(
        "SET search_path = ''; CREATE TEMPORARY TABLE feed_version (version bigint, change_id bigint, last_seq bigint);
         {elsewhere}"
    ));
    database.sql(&put_sql("x", 1).replace("challenges", "one.challenges"));
    assert_eq!((last(&one), last(&two)), (2, 2));
    assert_eq!(database.sql("SELECT version FROM one.board_version"), "1");
    // One waits for its own writers only.
    let wait = "BEGIN; SET search_path = \"Two, \"\"x\"; SELECT publisher_lineage(); SELECT pg_sleep(2); COMMIT";
    thread::scope(|scope| {
        let holder = scope.spawn(|| database.sql(wait));
        let is_waiting = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(2)%' AND datname = current_database()
                          AND pid <> pg_backend_pid() AND wait_event = 'PgSleep'";
        eventually(|| database.sql(is_waiting) == "1");
        assert_eq!(
            results(one_writer.commit(&[runs(&["d"])])),
            [Ok(inserted(1))]
        );
        assert!(!holder.is_finished());
    });
}

#[test]
fn a_statement_that_takes_long_is_not_overtaken() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = open(&database.url());
    let slow = "INSERT INTO eval_runs (id, ran_at, schema_version, body)
                SELECT 'slow ' || i, '2026-06-07T00:00:00.000Z', 5, '{}'
                FROM generate_series(1, 4) AS i, LATERAL (SELECT pg_sleep(0.3 + 0 * i)) AS slept";
    thread::scope(|scope| {
        scope.spawn(|| database.sql(slow));
        let is_under_way = "SELECT last_value > 1 FROM eval_runs_seq_seq";
        eventually(|| database.sql(is_under_way) == "t");
        assert_eq!(
            results(writer(&store).commit(&[runs(&["next"])])),
            [Ok(inserted(1))]
        );
        // Every row with a smaller number is visible.
        let order = database.sql("SELECT seq, id FROM eval_runs ORDER BY seq");
        assert_eq!(order, "1|slow 1\n2|slow 2\n3|slow 3\n4|slow 4\n5|next");
    });
}
