//! The newest rows of the feed are held in memory, and nobody can tell but by the time it takes:
//!
//! - a page of the tail is that of SQLite, to the byte, and costs it nothing
//! - a row is in the very next page after its acknowledgement, wherever it falls
//! - rows that are not published are not in it
//! - what other processes write joins it at the next look, and so does another file in its place
//! - a pull that begins before it reads by index
//! - a full one takes no new memory for the rows that come
//! - over arbitrary insertions it holds what a sorted list of them ends with, within its budget

use std::{collections::BTreeMap, fs, sync::Arc, time::Duration};

use awc::http::Method;
use cathedral_publisher::{
    domain::cursor::{Cursor, PageLimit},
    feed::tail::{Spares, Tail, TailRow},
    store::read::FeedStamp,
};
use proptest::prelude::*;

use crate::app::{App, Data, FEED, Mode, comes_about, default_limits};

const RUNS: &str = "/v1/admin/eval-runs";

/// A server that holds no pages, and so makes each one that it is asked for, of a tail of this size.
async fn start(data: Data, tail_mib: usize) -> App {
    let mut limits = default_limits();
    limits.feed_cache_mib = 0;
    limits.feed_tail_mib = tail_mib;
    App::start_with(data, Mode::Pass, limits).await
}

fn data(rows: u32) -> Data {
    let data = Data::sample();
    for second in 1..=rows {
        let ran_at = format!("2026-06-07T00:00:{second:02}Z");
        data.run(&format!("r{second}"), &ran_at, 5);
    }
    data
}

fn page(since: &str) -> String {
    format!("{FEED}?{since}")
}

fn since(second: u32) -> String {
    page(&format!("since_ran_at=2026-06-07T00:00:{second:02}Z"))
}

/// How many pages came from the tail, and how many from SQLite.
async fn counts(app: &App) -> (u64, u64) {
    (
        app.metric(r#"publisher_feed_pages_total{from="tail"}"#)
            .await,
        app.metric(r#"publisher_feed_pages_total{from="read"}"#)
            .await,
    )
}

#[actix_web::test]
async fn a_page_of_the_tail_is_that_of_sqlite_to_the_byte() {
    let data = data(9);
    // Of one instant, of many pages, of bytes that only a copy keeps as they are.
    data.sample_runs(300, "2026-06-07T00:00:05Z");
    let others = Data::sample();
    fs::copy(data.path(), others.path()).unwrap();
    let (tail, sqlite) = (start(data, 32).await, start(others, 0).await);
    let asked = [
        page("since=2026-06-07T00:00:05Z"),
        page("since=2026-06-07T00:00:05Z&limit=2"),
        page("since_ran_at=2026-06-07T00:00:04Z&since_id=r4&limit=1"),
        page("since_ran_at=2026-06-07T00:00:05Z&since_id=r5&limit=1000"),
        page("since_ran_at=2026-06-07T00:00:05Z&since_id=&limit=301"),
        page("since_ran_at=2026-06-07T00:00:09Z&since_id=r9"),
        page("since_ran_at=2030-01-01"),
        page("since_ran_at=0001-01-01&limit=1000"),
    ];
    for path in &asked {
        let (made, read) = (tail.get(path).await, sqlite.get(path).await);
        assert_eq!(made.text(), read.text(), "{path}");
        assert_eq!(made.header("etag"), read.header("etag"));
    }
    assert_eq!(counts(&tail).await, (asked.len() as u64, 0));
    assert_eq!(counts(&sqlite).await, (0, asked.len() as u64));
    tail.stop().await;
    sqlite.stop().await;
}

#[actix_web::test]
async fn a_row_is_in_the_very_next_page_after_its_acknowledgement() {
    let app = start(data(3), 32).await;
    for number in 0..60 {
        // At the end, in the middle, before all, and again.
        let second = [30 + number / 2, 2, 0][number % 3];
        let row = format!(
            r#"{{"id":"n{number}","ran_at":"2026-06-07T00:00:{second:02}.500Z","eval_output_schema_version":5}}"#
        );
        for _ in 0..2 {
            let answer = app.admin(Method::POST, RUNS, row.as_str()).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let items = app.get(&since(0)).await.json();
            let items = items["items"].as_array().unwrap().clone();
            assert_eq!(items.len(), 4 + number);
            assert!(items.iter().any(|item| item["id"] == format!("n{number}")));
        }
    }
    assert_eq!(counts(&app).await, (120, 0));
    let put = app
        .admin(Method::PUT, "/v1/admin/merkle-epochs/7", "{}")
        .await;
    assert_eq!(put.status, 200);
    assert_eq!(app.get(&since(0)).await.json()["merkle_epoch_latest"], 7);
    assert_eq!(counts(&app).await, (121, 0));
    app.stop().await;
}

#[actix_web::test]
async fn rows_that_are_not_published_are_not_in_it() {
    let data = data(1);
    data.run("old-there", "2026-06-07T00:00:02Z", 4);
    let app = start(data, 32).await;
    let row = r#"{"id":"old-new","ran_at":"2026-06-07T00:00:03Z","eval_output_schema_version":4}"#;
    assert_eq!(app.admin(Method::POST, RUNS, row).await.status, 200);
    assert!(!app.get(&since(0)).await.text().contains("old"));
    assert_eq!(counts(&app).await, (1, 0));
    app.stop().await;
}

#[actix_web::test]
async fn what_other_processes_write_joins_it_at_the_next_look() {
    let app = start(data(2), 32).await;
    app.data.run("stranger", "2026-06-07T00:00:30Z", 5);
    app.data.run("earlier", "2026-06-07T00:00:01.5Z", 5);
    shows(&app, "stranger").await;
    assert!(app.get(&since(0)).await.text().contains("earlier"));
    let (_, read) = counts(&app).await;
    assert_eq!(read, 0);
    // Together with a row of one's own: neither is ever missing.
    app.data.run("another", "2026-06-07T00:00:31Z", 5);
    let row = r#"{"id":"own","ran_at":"2026-06-07T00:00:32Z","eval_output_schema_version":5}"#;
    assert_eq!(app.admin(Method::POST, RUNS, row).await.status, 200);
    let text = app.get(&since(0)).await.text().to_owned();
    assert!(text.contains("another") && text.contains("own"));
    is_in_use(&app).await;

    // As many rows, and others.
    let other = data(1);
    let path = app.data.path();
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(path.with_file_name(format!("publisher.db{suffix}")));
    }
    let beside = path.with_file_name("other.db");
    other.run("substitute", "2026-06-07T00:00:33Z", 5);
    fs::copy(other.path(), &beside).unwrap();
    fs::rename(&beside, &path).unwrap();
    shows(&app, "substitute").await;
    assert!(!app.get(&since(0)).await.text().contains("stranger"));
    is_in_use(&app).await;
    app.stop().await;
}

async fn shows(app: &App, id: &str) {
    comes_about(id, async || {
        app.clock.advance(Duration::from_millis(500));
        app.get(&since(0)).await.text().contains(id)
    })
    .await;
}

async fn is_in_use(app: &App) {
    comes_about("pages of the tail again", async || {
        app.clock.advance(Duration::from_millis(500));
        let (before, _) = counts(app).await;
        app.get(&since(0)).await;
        counts(app).await.0 > before
    })
    .await;
}

#[actix_web::test]
async fn a_pull_that_begins_before_it_reads_by_index() {
    let data = data(9);
    data.sample_runs(4000, "2026-06-07T00:00:05Z");
    let app = start(data, 1).await;
    app.get(&since(0)).await;
    assert_eq!(counts(&app).await, (0, 1));
    app.get(&since(6)).await;
    assert_eq!(counts(&app).await, (1, 1));
    // The walk from the one into the other misses nothing.
    let (mut at, mut seen) = (page("since_ran_at=2026-06-07&limit=1000"), 0);
    loop {
        let answer = app.get(&at).await.json();
        seen += answer["items"].as_array().unwrap().len();
        let (Some(ran_at), Some(id)) = (
            answer["next_since_ran_at"].as_str(),
            answer["next_since_id"].as_str(),
        ) else {
            break;
        };
        at = page(&format!("since_ran_at={ran_at}&since_id={id}&limit=1000"));
    }
    assert_eq!(seen, 4009);
    let (tail, read) = counts(&app).await;
    assert!(tail > 1 && read > 1, "{tail} of the tail, {read} read");
    app.stop().await;
}

fn stamp(rows: usize) -> FeedStamp {
    FeedStamp {
        last_row: Some(rows as i64),
        merkle_epoch_latest: None,
    }
}

fn place(at: u16) -> Cursor {
    let ran_at = format!("2026-06-07T00:00:{:02}Z", at / 100 % 60);
    Cursor::tuple(&ran_at, Some(&format!("{:02}", at % 100))).unwrap()
}

#[test]
fn a_full_tail_takes_no_new_memory_for_the_rows_that_come() {
    let mut tail = Arc::new(Tail::empty(None, stamp(0)));
    let mut spares = Spares::default();
    let (budget, rows_each, mut number) = (1 << 20, 20, 0);
    let mut commit = || {
        let rows = (0..rows_each).map(|_| {
            number += 1;
            let id = format!("{number:08}");
            TailRow {
                place: Cursor::tuple("2026-06-07T00:00:00Z", Some(&id)).unwrap(),
                body: vec![b'x'; 1000 + number % 300].into(),
            }
        });
        let more = tail.with(rows.collect(), stamp(number), budget, &mut spares);
        spares.reclaim(std::mem::replace(&mut tail, Arc::new(more)));
        (spares.made(), tail.weight_bytes())
    };
    while commit().1 < budget - 64 * 1024 {}
    // A few until it is full, and none from then on.
    let (before, _) = (0..10).map(|_| commit()).last().unwrap();
    let (after, _) = (0..500).map(|_| commit()).last().unwrap();
    assert_eq!(after, before);
}

proptest! {
    #[test]
    fn over_arbitrary_insertions_it_holds_what_a_sorted_list_ends_with(
        commits in prop::collection::vec(prop::collection::vec((0..6000u16, 0..9000usize), 0..30), 0..12),
        budget in 1_000..400_000usize,
        asked in prop::collection::vec((0..6000u16, 1..40u16), 1..20),
    ) {
        let mut model = BTreeMap::new();
        let mut tail = Arc::new(Tail::empty(None, stamp(0)));
        let mut spares = Spares::default();
        for commit in commits {
            let mut rows = Vec::new();
            for (at, length) in commit {
                // A row that is there keeps its bytes.
                let body = model.entry(place(at)).or_insert_with(|| format!("{at}{}", "x".repeat(length)));
                rows.push(TailRow { place: place(at), body: body.as_bytes().into() });
            }
            let more = Arc::new(tail.with(rows, stamp(model.len()), budget, &mut spares));
            spares.reclaim(std::mem::replace(&mut tail, more));
            prop_assert!(tail.weight_bytes() <= budget);
            prop_assert_eq!(tail.stamp(), stamp(model.len()));
        }
        let weight: usize = model.values().map(|body| body.len() + 200).sum();
        for (at, rows) in asked {
            let (cursor, limit) = (place(at), PageLimit::new(rows).unwrap());
            let after: Vec<_> = model.range(cursor.clone()..).filter(|(row, _)| **row > cursor).take(limit.rows()).collect();
            let Some(span) = tail.page(&cursor, limit) else {
                prop_assert!(weight > budget, "all of it fits");
                continue;
            };
            let made = span.slices.iter().map(|slice| String::from_utf8(slice.to_vec()).unwrap()).collect::<Vec<_>>().join(",");
            let wanted = after.iter().map(|(_, body)| body.as_str()).collect::<Vec<_>>().join(",");
            prop_assert_eq!(made, wanted);
            let full = after.len() == limit.rows();
            prop_assert_eq!(span.last, full.then(|| after[after.len() - 1].0));
        }
    }
}
