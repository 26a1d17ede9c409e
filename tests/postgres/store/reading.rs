//! Reads:
//!
//! - the board is that of SQLite: order, values, version
//! - pages of the feed begin after the cursor and end at the limit or the time
//! - pages in the order of commits deliver each eval run once
//! - cursors of unknown and later lineages are refused, and cost no connection
//! - what was inserted is told, and nothing if anything else happened
//! - bodies are handed on byte for byte
//! - pages are read by an index, also behind many eval runs that are not published

use cathedral_publisher::{
    domain::{
        cursor::{Cursor, PageLimit},
        lineages::Unresolved,
        position::{Lineage, Position},
        ran_at::RanAt,
        seq_cursor::SeqCursor,
    },
    store::{PageEnd, SeqPageError, postgres::PostgresStore},
};

use super::{insert, open, put, soon};
use crate::cluster::shared;

fn limit(rows: u32) -> PageLimit {
    PageLimit::parse(&rows.to_string()).unwrap()
}

fn page(
    store: &PostgresStore,
    cursor: &Cursor,
    until: Option<&str>,
    rows: u32,
) -> (Vec<String>, PageEnd) {
    let mut bodies = Vec::new();
    let until = until.map(|until| RanAt::parse(until).unwrap());
    let end = store.feed_page(cursor, until.as_ref(), limit(rows), soon(), &mut |body| {
        bodies.push(String::from_utf8(body.to_vec()).unwrap());
    });
    (bodies, end.unwrap())
}

fn by_seq(
    store: &PostgresStore,
    cursor: SeqCursor,
    rows: u32,
) -> Result<(Vec<String>, SeqCursor), SeqPageError> {
    let mut bodies = Vec::new();
    let end = store.feed_page_by_seq(cursor, limit(rows), soon(), &mut |body| {
        bodies.push(String::from_utf8(body.to_vec()).unwrap());
    })?;
    assert_eq!(end.rows, bodies.len());
    Ok((bodies, end.next))
}

#[test]
fn the_board_is_that_of_sqlite_order_values_version() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = open(&database.url());
    let empty = store.board(soon()).unwrap();
    assert!(empty.challenges.is_empty());
    // By bytes: upper case first.
    for (id, tier) in [("b", 1), ("a", 2), ("B", 1)] {
        database.sql(&put(id, tier));
    }
    database.sql("UPDATE challenges SET status = 'retired' WHERE challenge_id = 'a'");
    let board = store.board(soon()).unwrap();
    let ids: Vec<&str> = board
        .challenges
        .iter()
        .map(|it| it.challenge_id.as_str())
        .collect();
    assert_eq!(ids, ["B", "b"]);
    assert_eq!(board.stamp.version.count - empty.stamp.version.count, 4);
    assert_ne!(board.stamp.version.change_id, empty.stamp.version.change_id);
    assert_eq!(board.stamp.lineage, empty.stamp.lineage);
    let first = &board.challenges[0];
    assert_eq!(
        (first.tier, first.score_multiplier, first.cnf_bytes),
        (1, 1.5, Some(7))
    );
    assert_eq!(first.announced_time_limit_secs, None);
}

#[test]
fn pages_of_the_feed_begin_after_the_cursor_and_end_at_the_limit_or_the_time() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = open(&database.url());
    database.sql(&insert(&["b", "a", "B"], 1));
    database.sql(&insert(&["c"], 2));
    database.sql("INSERT INTO eval_runs (id, ran_at, schema_version, body) VALUES ('x', '2026-06-07T00:00:01.000Z', 4, 'x')");
    let start = Cursor::tuple("2026-06-07T00:00:01Z", None).unwrap();
    let (bodies, end) = page(&store, &start, None, 2);
    assert_eq!(bodies, [r#"{"id":"B"}"#, r#"{"id":"a"}"#]);
    let next = end.next.unwrap();
    assert_eq!(
        (next.ran_at.as_str(), next.id.as_str()),
        ("2026-06-07T00:00:01.000Z", "a")
    );
    let after = Cursor::of_row(&next.ran_at, next.id).unwrap();
    let (bodies, end) = page(&store, &after, None, 9);
    assert_eq!((bodies.len(), end.rows, end.next), (2, 2, None));
    let legacy = Cursor::legacy("2026-06-07T00:00:01Z", None).unwrap();
    assert_eq!(page(&store, &legacy, None, 9).0, [r#"{"id":"c"}"#]);
    assert_eq!(
        page(&store, &start, Some("2026-06-07T00:00:01Z"), 9)
            .0
            .len(),
        3
    );
    assert_eq!(
        page(&store, &legacy, Some("2026-06-07T00:00:01Z"), 9)
            .0
            .len(),
        0
    );
    // A NUL in a client's cursor is no error: the ids after it are those after its start.
    let with_nul = Cursor::tuple("2026-06-07T00:00:01Z", Some("a\0z")).unwrap();
    assert_eq!(page(&store, &with_nul, None, 1).0, [r#"{"id":"b"}"#]);
}

#[test]
fn pages_in_the_order_of_commits_deliver_each_eval_run_once() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = open(&database.url());
    let mut cursor = SeqCursor::Start;
    let mut seen = Vec::new();
    for (round, id) in ["c", "a", "b"].into_iter().enumerate() {
        database.sql(&insert(
            &[id, &format!("{id}{id}")],
            9 - u32::try_from(round).unwrap(),
        ));
        loop {
            let (bodies, next) = by_seq(&store, cursor, 1).unwrap();
            if bodies.is_empty() {
                assert_eq!(next.to_string(), cursor.to_string());
                break;
            }
            (seen, cursor) = ([seen, bodies].concat(), next);
        }
    }
    let ids: Vec<&str> = seen.iter().map(|body| &body[7..body.len() - 2]).collect();
    assert_eq!(ids, ["c", "cc", "a", "aa", "b", "bb"]);
    assert_eq!(store.stamp(soon()).unwrap().end, cursor);
}

#[test]
fn cursors_of_unknown_and_later_lineages_are_refused_and_cost_no_connection() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = open(&database.url());
    let current = store.stamp(soon()).unwrap().lineage;
    let at = |ordinal, id, number| {
        let lineage = Lineage { ordinal, id };
        SeqCursor::At(Position { lineage, number })
    };
    let connections = || {
        database.sql(
            "SELECT string_agg(pid::text, ',') FROM pg_stat_activity
        WHERE application_name = 'cathedral-publisher' AND datname = current_database()",
        )
    };
    // The one that has checked the schema may still be ending.
    crate::store::eventually(|| !connections().contains(','));
    let before = connections();
    for (cursor, expected) in [
        (at(7, 7, 0), Unresolved::Unknown),
        (at(current.ordinal + 1, 7, 0), Unresolved::Ahead),
        (at(current.ordinal, current.id, 1), Unresolved::Ahead),
    ] {
        let error = by_seq(&store, cursor, 9).unwrap_err();
        assert!(
            matches!(error, SeqPageError::Cursor(why) if why == expected),
            "{error:?}"
        );
    }
    assert_eq!(connections(), before);
    let idle = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%' AND datname = current_database()";
    assert_eq!(database.sql(idle), "0");
}

#[test]
fn what_was_inserted_is_told_and_nothing_if_anything_else_happened() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = open(&database.url());
    database.sql(&insert(&["a"], 1));
    let known = store.stamp(soon()).unwrap();
    let since = || store.inserted_since(&known, soon()).unwrap();
    assert_eq!(since().inserted.unwrap().len(), 0);
    database.sql(&insert(&["c", "b"], 2));
    database.sql("INSERT INTO eval_runs (id, ran_at, schema_version, body) VALUES ('x', '2026-06-07T00:00:01.000Z', 4, 'x')");
    let told = since();
    let ids: Vec<String> = told
        .inserted
        .unwrap()
        .iter()
        .map(|key| key.id().unwrap().to_owned())
        .collect();
    assert_eq!(ids, ["c", "b"]);
    assert_eq!(told.stamp, store.stamp(soon()).unwrap());
    database.sql("DELETE FROM eval_runs WHERE id = 'a'");
    assert!(since().inserted.is_none());
    let known = store.stamp(soon()).unwrap();
    database.sql("UPDATE eval_runs SET body = 'y' WHERE id = 'b'");
    database.sql(&insert(&["d"], 3));
    assert!(
        store
            .inserted_since(&known, soon())
            .unwrap()
            .inserted
            .is_none()
    );
    let known = store.stamp(soon()).unwrap();
    database.sql("INSERT INTO merkle_epochs VALUES (3, NULL)");
    let told = store.inserted_since(&known, soon()).unwrap();
    assert!(told.inserted.is_none());
    assert_eq!(told.stamp.merkle_epoch_latest, Some(3));
    let known = told.stamp;
    database.sql(
        "INSERT INTO eval_runs (id, ran_at, schema_version, body)
        SELECT 'm' || n, '2026-06-07T00:00:01.000Z', 5, 'x' FROM generate_series(1, 10001) AS n",
    );
    assert!(
        store
            .inserted_since(&known, soon())
            .unwrap()
            .inserted
            .is_none()
    );
}

#[test]
fn bodies_are_handed_on_byte_for_byte() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = open(&database.url());
    let body = r#"{"a":"\u0000 ü 🦀  ", "a" : 1.0e0}"#;
    database.sql(&format!(
        "INSERT INTO eval_runs (id, ran_at, schema_version, body)
        VALUES ('a', '2026-06-07T00:00:01.000Z', 5, $${body}$$)"
    ));
    assert_eq!(by_seq(&store, SeqCursor::Start, 9).unwrap().0, [body]);
}

#[test]
fn pages_are_read_by_an_index_also_behind_many_eval_runs_that_are_not_published() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = open(&database.url());
    database.sql(
        "INSERT INTO eval_runs (id, ran_at, schema_version, body)
        SELECT 'm' || n, '2026-06-07T00:00:01.000Z', 4, 'x' FROM generate_series(1, 200000) AS n",
    );
    database.sql(&insert(&["a"], 1));
    database.sql("ANALYZE");
    let read = "SELECT sum(seq_tup_read) + coalesce((SELECT sum(idx_tup_read) FROM pg_stat_user_indexes), 0)
        FROM pg_stat_user_tables WHERE relname = 'eval_runs'";
    let rows_read = || {
        database.sql("SELECT pg_stat_clear_snapshot()");
        database.sql(read).parse::<u64>().unwrap()
    };
    let before = rows_read();
    let start = Cursor::tuple("2026-06-07T00:00:00Z", None).unwrap();
    assert_eq!(page(&store, &start, None, 200).0.len(), 1);
    assert_eq!(by_seq(&store, SeqCursor::Start, 200).unwrap().0.len(), 1);
    store.stamp(soon()).unwrap();
    // Counted when the session ends.
    drop(store);
    crate::store::eventually(|| rows_read() > before);
    assert!(rows_read() - before < 100, "{} rows", rows_read() - before);
}
