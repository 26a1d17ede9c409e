//! Whether numbers may be given twice:
//!
//! - a promotion begins a new lineage, in which no number of the old one is given again, before the first write of any program
//! - a dump begins a new lineage in another database, and in the same one; the content counts as new
//! - TRUNCATE begins a new lineage, also with RESTART IDENTITY; not if it is rolled back
//! - a database that is not as far as the writer has seen it was restored
//! - at most 1000 lineages are kept

use std::sync::Arc;

use cathedral_publisher::{
    domain::{position::Position, seq_cursor::SeqCursor},
    store::{FeedStamp, postgres::PostgresStore},
};

use super::{inserted, results, runs, writer};
use crate::{
    cluster::{Cluster, Database, Replication, shared},
    store::{insert, open, soon},
};

fn stamp(store: &PostgresStore) -> FeedStamp {
    store.stamp(soon()).unwrap()
}

/// Returns first_seq and is_restore of the current lineage.
fn current(database: &Database) -> String {
    database.sql("SELECT first_seq, is_restore FROM lineages ORDER BY ordinal DESC LIMIT 1")
}

#[test]
fn a_promotion_begins_a_new_lineage_before_the_first_write_of_any_program() {
    let Some(cluster) = Cluster::start(&[]) else {
        return;
    };
    let database = Arc::new(cluster).database();
    let store = open(&database.url());
    let first: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    let first: Vec<&str> = first.iter().map(String::as_str).collect();
    assert_eq!(
        results(writer(&store).commit(&[runs(&first)])),
        [Ok(inserted(40))]
    );
    let standby = database.cluster.standby(Replication::Asynchronous);
    database.cluster.wait_for(&standby);
    let at_standby = open_read_only(&database.url_at(&standby));
    assert_eq!(stamp(&at_standby), stamp(&store));
    assert_eq!(
        standby.sql(&database.name, "SELECT publisher_mark() IS NULL"),
        "t"
    );
    // The standby is stopped: the primary goes on alone, and is lost.
    standby.shut_down();
    for group in 0..3 {
        let lost: Vec<String> = (0..40)
            .map(|number| format!("lost {group} {number}"))
            .collect();
        database.sql(&insert(
            &lost.iter().map(String::as_str).collect::<Vec<_>>(),
            1,
        ));
    }
    let lost = stamp(&store);
    assert_eq!(lost.last_seq, 160);
    database.cluster.kill();
    standby.restart();
    standby.promote();
    let promoted = |statement: &str| {
        standby
            .try_sql(crate::cluster::ROLE, &database.name, statement)
            .unwrap()
    };
    // psql is first.
    let seq: i64 = promoted(&format!("{} RETURNING seq", insert(&["new"], 2)))
        .parse()
        .unwrap();
    let lineage = "SELECT first_seq, is_restore FROM lineages ORDER BY ordinal DESC LIMIT 1";
    assert_eq!(promoted(lineage), format!("{seq}|f"));
    assert!(seq > 40);
    let store = open(&database.url_at(&standby));
    let now = stamp(&store);
    assert_ne!(now.lineage, lost.lineage);
    assert!(now.lineage.ordinal > lost.lineage.ordinal);
    assert_eq!(now.last_seq, seq);
    // A client that has seen what was lost gets the new row.
    let known = promoted(
        "SELECT ordinal, id, first_seq, shared_through, is_restore FROM lineages ORDER BY ordinal",
    );
    assert_eq!(known.lines().count(), 2);
    let limit = cathedral_publisher::domain::cursor::PageLimit::parse("9").unwrap();
    let cursor = SeqCursor::At(Position {
        lineage: lost.lineage,
        number: lost.last_seq,
    });
    let mut rows = Vec::new();
    let page = store
        .feed_page_by_seq(cursor, limit, soon(), &mut |row| rows.push(row.to_vec()))
        .unwrap();
    assert_eq!(rows, [br#"{"id":"new"}"#.to_vec()]);
    assert_eq!(page.stamp, now);
    let mut writer = writer(&store);
    assert_eq!(
        results(writer.commit(&[runs(&["written"])])),
        [Ok(inserted(1))]
    );
    assert_eq!(stamp(&store).lineage, now.lineage);
}

fn open_read_only(url: &str) -> PostgresStore {
    let mut options = crate::store::options(url);
    options.read_only = true;
    PostgresStore::open(options, soon()).unwrap()
}

#[test]
fn a_dump_begins_a_new_lineage_in_another_database_and_in_the_same_one() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = open(&database.url());
    assert_eq!(
        results(writer(&store).commit(&[runs(&["a", "b"])])),
        [Ok(inserted(2))]
    );
    let dumped = stamp(&store);
    let dump = cluster
        .program("pg_dump")
        .args([
            "-h",
            cluster.socket_folder().to_str().unwrap(),
            "-p",
            &cluster.port().to_string(),
        ])
        .args([
            "-U",
            crate::cluster::ROLE,
            "--no-owner",
            "--inserts",
            &database.name,
        ])
        .output()
        .unwrap();
    assert!(
        dump.status.success(),
        "{}",
        String::from_utf8_lossy(&dump.stderr)
    );
    // Without the commands of psql.
    let dump = String::from_utf8(dump.stdout).unwrap();
    let dump: Vec<&str> = dump
        .lines()
        .filter(|line| !line.starts_with('\\'))
        .collect();
    let dump = dump.join("\n");
    let other = cluster.database();
    other.sql_as_superuser(&format!(
        "DROP SCHEMA public; CREATE SCHEMA public AUTHORIZATION {}",
        crate::cluster::ROLE
    ));
    other.sql(&dump.replace(
        "SELECT pg_catalog.set_config('search_path', '', false);",
        "SET search_path = '';",
    ));
    let copy = open(&other.url());
    assert_eq!(
        results(writer(&copy).commit(&[runs(&["c"])])),
        [Ok(inserted(1))]
    );
    let copied = stamp(&copy);
    assert_ne!(copied.lineage, dumped.lineage);
    assert_eq!(current(&other), "3|t");
    assert_eq!(copied.last_seq, 3);
    // Into the same database, which has gone on meanwhile.
    assert_eq!(
        results(writer(&store).commit(&[runs(&["d", "e"])])),
        [Ok(inserted(2))]
    );
    let lost = stamp(&store);
    database.sql_as_superuser(&format!(
        "DROP SCHEMA public CASCADE; CREATE SCHEMA public AUTHORIZATION {}",
        crate::cluster::ROLE
    ));
    database.sql(&dump);
    assert_eq!(stamp(&store).lineage, lost.lineage);
    let board = store.board(soon()).unwrap().stamp.version;
    assert_eq!(results(writer(&store).commit(&[])), []);
    let restored = stamp(&store);
    assert_ne!(restored.lineage, lost.lineage);
    assert!(restored.lineage.ordinal > lost.lineage.ordinal);
    assert_ne!(
        store.board(soon()).unwrap().stamp.version.change_id,
        board.change_id
    );
    assert_eq!(restored.version.count, dumped.version.count);
    assert_ne!(restored.version.change_id, dumped.version.change_id);
    assert_eq!(current(&database), "3|t");
}

#[test]
fn truncate_begins_a_new_lineage_also_with_restart_identity_and_not_if_it_is_rolled_back() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = open(&database.url());
    database.sql(&insert(&["a", "b"], 0));
    let before = stamp(&store);
    database.sql("BEGIN; TRUNCATE eval_runs RESTART IDENTITY; ROLLBACK");
    assert_eq!(stamp(&store), before);
    database.sql("TRUNCATE eval_runs RESTART IDENTITY");
    let empty = stamp(&store);
    assert_ne!(empty.lineage, before.lineage);
    assert_eq!(empty.last_seq, 2);
    assert_eq!(current(&database), "3|t");
    assert_eq!(
        database.sql(&format!("{} RETURNING seq", insert(&["c"], 0))),
        "3"
    );
    assert_eq!(stamp(&store).lineage, empty.lineage);
}

#[test]
fn a_database_that_is_not_as_far_as_the_writer_has_seen_it_was_restored() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = open(&database.url());
    let mut writer = writer(&store);
    database.sql(&insert(&["a"], 0));
    let early = database.sql("SELECT version, change_id, last_seq FROM feed_version");
    assert_eq!(results(writer.commit(&[runs(&["b"])])), [Ok(inserted(1))]);
    let before = stamp(&store);
    // What a snapshot of the volume brings back: all is as it was, without a trace.
    let [version, change_id, last_seq] = early.split('|').collect::<Vec<_>>()[..] else {
        panic!()
    };
    database.sql_as_superuser(&format!(
        "SET session_replication_role = 'replica'; DELETE FROM eval_runs WHERE id = 'b';
         UPDATE feed_version SET version = {version}, change_id = {change_id}, last_seq = {last_seq};
         SELECT setval('eval_runs_seq_seq', 1)"
    ));
    assert_eq!(results(writer.commit(&[runs(&["c"])])), [Ok(inserted(1))]);
    let after = stamp(&store);
    assert_ne!(after.lineage, before.lineage);
    assert_eq!(current(&database), "2|t");
    assert_eq!(results(writer.commit(&[runs(&["d"])])), [Ok(inserted(1))]);
    assert_eq!(stamp(&store).lineage, after.lineage);
}

#[test]
fn at_most_1000_lineages_are_kept() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = open(&database.url());
    database.sql(
        "DO $$ BEGIN FOR i IN 1..1010 LOOP PERFORM publisher_lineage((SELECT max(ordinal) FROM lineages), 1000000); END LOOP; END $$",
    );
    assert_eq!(
        database.sql("SELECT count(*), count(DISTINCT id) FROM lineages"),
        "1000|1000"
    );
    assert_eq!(
        results(writer(&store).commit(&[runs(&["a"])])),
        [Ok(inserted(1))]
    );
    assert_eq!(stamp(&store).last_seq, 1);
}
