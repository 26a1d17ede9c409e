//! `backup` and `restore`:
//!
//! - a backup of a server is a file of SQLite with the same content, numbers, lineages and versions
//! - a restore into a server brings back the content as a new history, in which old cursors go on where both agree
//! - a backup of either store is restored into either store
//! - a restore that fails leaves the server as it was

use std::path::Path;

use cathedral_publisher::{
    domain::{challenge::Status, cursor::PageLimit, position::Position, seq_cursor::SeqCursor},
    store::{SeqPageError, postgres::PostgresStore, sqlite::open::open_reader},
};
use tempfile::TempDir;

use super::{
    COMMIT, LOCKS, epoch,
    importing::{EXPORT_ALL, accepts, rejects},
    inserted, put, results, runs, writer,
};
use crate::{
    cluster::{Database, shared},
    store::{open, soon},
};

const LINEAGES: &str = "SELECT ordinal, id, first_seq, coalesce(shared_through, -1), is_restore::int FROM lineages ORDER BY ordinal";

fn backup(database: &str, file: &Path) -> String {
    accepts(&["backup", file.to_str().unwrap()], database, "")
}

fn restore(database: &str, file: &Path) -> String {
    accepts(&["restore", file.to_str().unwrap()], database, "")
}

/// Returns the rows of a query in a file, as psql prints them.
fn query(file: &Path, query: &str) -> String {
    let connection = open_reader(file, COMMIT).unwrap();
    let query = query.replace("::int", "");
    let mut statement = connection.prepare(&query).unwrap();
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| {
        let value = |column| row.get_ref(column).unwrap();
        let values = (0..columns).map(|column| match value(column).as_i64() {
            Ok(number) => number.to_string(),
            Err(_) => value(column).as_str().unwrap().to_owned(),
        });
        Ok(values.collect::<Vec<_>>().join("|"))
    });
    let rows: Vec<String> = rows.unwrap().map(Result::unwrap).collect();
    rows.join("\n")
}

/// A server with content: eval runs 1, 3 and 4, and 5 that was deleted.
fn with_content(database: &Database) -> PostgresStore {
    let store = open(&database.url());
    let group = [
        runs(&["a", "b", "c", "d", "e"]),
        put("x", Status::Active, 2),
        put("y", Status::Pending, 1),
        epoch(7, "[]"),
    ];
    assert!(
        results(writer(&store).commit(&group))
            .iter()
            .all(Result::is_ok)
    );
    database
        .sql("DELETE FROM eval_runs WHERE id IN ('b', 'e'); INSERT INTO merkle_epochs VALUES (8)");
    store
}

fn end(store: &PostgresStore) -> SeqCursor {
    store.stamp(soon()).unwrap().end
}

/// Returns the ids that a client with this cursor gets.
fn after(store: &PostgresStore, cursor: SeqCursor) -> Vec<String> {
    let mut ids = Vec::new();
    let limit = PageLimit::parse("9").unwrap();
    let page = store.feed_page_by_seq(cursor, limit, soon(), &mut |row| {
        let row = String::from_utf8(row.to_vec()).unwrap();
        ids.push(row.split('"').nth(3).unwrap().to_owned());
    });
    match page {
        Ok(_) => ids,
        Err(SeqPageError::Cursor(unresolved)) => vec![format!("{unresolved:?}")],
        Err(SeqPageError::Store(error)) => panic!("{error}"),
    }
}

#[test]
fn a_backup_of_a_server_is_a_file_with_the_same_content_numbers_lineages_and_versions() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    with_content(&database);
    database.sql("TRUNCATE merkle_epochs");
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("backup.db");
    let said = backup(&database.url(), &file);
    assert!(
        said.contains("challenges: 2, eval runs: 3, epochs: 0"),
        "{said}"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let exported = accepts(&EXPORT_ALL, &database.url(), "");
    assert_eq!(accepts(&EXPORT_ALL, file.to_str().unwrap(), ""), exported);
    assert!(exported.contains("\"last_seq\":5"), "{exported}");
    for same in [
        LINEAGES,
        "SELECT version, change_id FROM feed_version",
        "SELECT version, change_id FROM board_version",
    ] {
        assert_eq!(query(&file, same), database.sql(same));
    }
    let again = rejects(&["backup", file.to_str().unwrap()], &database.url(), "");
    assert!(again.contains("exists already"), "{again}");
    // A file that is served from it knows the cursors of the server.
    let served = folder.path().join("served.db");
    restore(served.to_str().unwrap(), &file);
    let known = query(&served, LINEAGES);
    assert!(known.starts_with(&database.sql(LINEAGES)), "{known}");
}

#[test]
fn a_restore_brings_back_the_content_as_a_new_history_in_which_old_cursors_go_on() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = with_content(&database);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("backup.db");
    backup(&database.url(), &file);
    let backed_up = accepts(&EXPORT_ALL, &database.url(), "");
    let (board, cursor) = (store.board(soon()).unwrap(), end(&store));
    // The server goes on, and a client sees it.
    assert_eq!(
        results(writer(&store).commit(&[runs(&["f", "g"]), put("x", Status::Retired, 2)])),
        [Ok(inserted(2)), Ok(inserted(1))]
    );
    let lost = end(&store);
    let said = restore(&database.url(), &file);
    assert!(
        said.contains("replaced: challenges: 2, eval runs: 5, epochs: 2"),
        "{said}"
    );
    assert!(
        said.contains("restored: challenges: 2, eval runs: 3, epochs: 2"),
        "{said}"
    );
    // The numbers that were given meanwhile count as given.
    let backed_up = backed_up.replace("\"last_seq\":5", "\"last_seq\":7");
    assert_eq!(accepts(&EXPORT_ALL, &database.url(), ""), backed_up);
    let restored = store.board(soon()).unwrap();
    assert_eq!(restored.challenges, board.challenges);
    assert_ne!(
        restored.stamp.version.change_id,
        board.stamp.version.change_id
    );
    assert_ne!(restored.stamp.lineage, board.stamp.lineage);
    let current =
        "SELECT is_restore, shared_through IS NULL FROM lineages ORDER BY ordinal DESC LIMIT 1";
    assert_eq!(database.sql(current), "t|t");
    // No number is given again, and no client misses a row.
    let mut writer = writer(&store);
    assert_eq!(results(writer.commit(&[runs(&["h"])])), [Ok(inserted(1))]);
    assert_eq!(
        database.sql("SELECT seq FROM eval_runs WHERE id = 'h'"),
        "8"
    );
    assert_eq!(after(&store, cursor), ["h"]);
    assert_eq!(after(&store, lost), ["h"]);
    assert_eq!(after(&store, SeqCursor::Start), ["a", "c", "d", "h"]);
    let SeqCursor::At(Position { lineage, .. }) = lost else {
        panic!()
    };
    let early = SeqCursor::At(Position { lineage, number: 1 });
    assert_eq!(after(&store, early), ["c", "d", "h"]);
}

#[test]
fn a_backup_of_either_store_is_restored_into_either_store() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = with_content(&database);
    let cursor = end(&store);
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    // From a server to a file, from that to another server.
    backup(&database.url(), &path("1"));
    restore(path("2").to_str().unwrap(), &path("1"));
    backup(path("2").to_str().unwrap(), &path("3"));
    let other = cluster.database();
    restore(&other.url(), &path("3"));
    assert_eq!(
        accepts(&EXPORT_ALL, &other.url(), ""),
        accepts(&EXPORT_ALL, &database.url(), "")
    );
    let moved = open(&other.url());
    assert_eq!(
        results(writer(&moved).commit(&[runs(&["h"])])),
        [Ok(inserted(1))]
    );
    assert_eq!(after(&moved, cursor), ["h"]);
    // Those of the server and of two restores.
    assert_eq!(other.sql("SELECT count(*) FROM lineages"), "3");
}

#[test]
fn a_restore_that_fails_leaves_the_server_as_it_was() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = with_content(&database);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("backup.db");
    backup(&database.url(), &file);
    // SQLite stores it, and PostgreSQL does not.
    let connection = rusqlite::Connection::open(&file).unwrap();
    connection
        .execute_batch("UPDATE challenges SET kind = 'a' || char(0) || 'b'")
        .unwrap();
    connection.close().unwrap();
    let before = (
        store.stamp(soon()).unwrap(),
        store.board(soon()).unwrap().stamp,
    );
    let refused = rejects(&["restore", file.to_str().unwrap()], &database.url(), "");
    assert!(refused.contains("0x00"), "{refused}");
    std::fs::write(&file, "no database").unwrap();
    rejects(&["restore", file.to_str().unwrap()], &database.url(), "");
    assert_eq!(
        (
            store.stamp(soon()).unwrap(),
            store.board(soon()).unwrap().stamp
        ),
        before
    );
    assert_eq!(database.sql(LOCKS), "0");
}
