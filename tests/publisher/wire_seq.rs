//! WIRE.md, leaderboard/recent with `since_seq`:
//!
//! - rows come in the order of their commits, whatever their times, each exactly once, with a cursor on every page
//! - `since_seq` wins over the other cursors, and invalid values get their errors
//! - rows that are not published are left out
//! - a cursor of another database gets 410, and one that is ahead of this database 503
//! - after a new lineage began, an old cursor counts up to its beginning
//! - a full page is immutable, the first page is not, and a page at the end is brief
//! - conditional requests, HEAD and content codings work as for every page
//! - five hundred clients that request a page at once cost one read
//! - a full page is not read again after a commit, and the page at the end shows the row at once
//! - a commit of another process is seen at the next poll
//! - a page for followers has numbers, lineages and the epoch as well, and links to the next one

use std::{collections::BTreeMap, time::Duration};

use awc::http::Method;
use futures_util::future::join_all;
use serde_json::Value;

use crate::app::{Answer, App, Data, FEED, wait_until};

const RUNS: &str = "/v1/admin/eval-runs";
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

fn row(id: &str, ran_at: &str) -> String {
    format!(r#"{{"id":"{id}","ran_at":"{ran_at}","eval_output_schema_version":5}}"#)
}

fn ids(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().unwrap();
    let id = |row: &Value| row["id"].as_str().unwrap().to_owned();
    items.iter().map(id).collect()
}

fn next(page: &Answer) -> String {
    page.json()["next_since_seq"].as_str().unwrap().to_owned()
}

/// Creates a database with rows `r1`, `r2`, …, each one earlier than the one before.
fn data(rows: u32) -> Data {
    let data = Data::empty();
    for number in 1..=rows {
        let second = 59 - number;
        data.run(
            &format!("r{number}"),
            &format!("2026-06-07T00:00:{second:02}Z"),
            5,
        );
    }
    data
}

async fn page(app: &App, cursor: &str, limit: u32) -> Answer {
    let answer = app
        .get(&format!("{FEED}?since_seq={cursor}&limit={limit}"))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

/// Returns the number of pages that were read from the database.
async fn reads(app: &App) -> u64 {
    app.metric("publisher_feed_pages_total{from=\"read\"}")
        .await
}

async fn post(app: &App, rows: &str) {
    let answer = app.admin(Method::POST, RUNS, rows).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[actix_web::test]
async fn rows_come_in_the_order_of_their_commits_each_exactly_once() {
    let app = App::start(data(7)).await;
    let first = page(&app, "0", 2).await;
    let cursor = next(&first);
    let lineage = cursor.strip_suffix(".2").unwrap().to_owned();
    let rows = [
        row("r1", "2026-06-07T00:00:58Z"),
        row("r2", "2026-06-07T00:00:57Z"),
    ]
    .join(",")
    .replace("\"eval", "\"weighted_score\":1.0,\"eval");
    assert_eq!(
        first.text(),
        format!(r#"{{"items":[{rows}],"next_since_seq":"{cursor}"}}"#)
    );
    for limit in [1, 2, 3, 7, 1000] {
        let (mut cursor, mut seen) = ("0".to_owned(), Vec::new());
        loop {
            let page = page(&app, &cursor, limit).await;
            let rows = ids(&page.json());
            assert_eq!(page.json().as_object().unwrap().len(), 2);
            cursor = next(&page);
            if rows.is_empty() {
                break;
            }
            seen.extend(rows);
        }
        assert_eq!(seen, ["r1", "r2", "r3", "r4", "r5", "r6", "r7"], "{limit}");
        assert_eq!(cursor, format!("{lineage}.7"));
        // At the end the cursor stays the same.
        let end = format!(r#"{{"items":[],"next_since_seq":"{cursor}"}}"#);
        assert_eq!(page(&app, &cursor, limit).await.text(), end);
    }
    let empty = App::start(Data::empty()).await;
    assert!(next(&page(&empty, "0", 5).await).ends_with(".0"));
    empty.stop().await;
    app.stop().await;
}

#[actix_web::test]
async fn since_seq_wins_over_the_other_cursors_and_invalid_values_get_their_errors() {
    let app = App::start(data(3)).await;
    let cursor = next(&page(&app, "0", 2).await);
    for query in [
        format!("since_seq={cursor}"),
        format!("since_ran_at=2030-01-01T00:00:00Z&since_seq={cursor}"),
        format!("since_seq={cursor}&since=yesterday&since_id=%ff"),
        format!("_=1&since_seq=no&since_seq={}", cursor.replace('.', "%2E")),
    ] {
        for prefix in ["", "/api/cathedral"] {
            let page = app.get(&format!("{prefix}{FEED}?{query}")).await;
            assert_eq!(ids(&page.json()), ["r3"], "{query}");
        }
    }
    let lineage = cursor.strip_suffix(".2").unwrap();
    for text in [
        "",
        "1",
        "00",
        "0.0",
        "-1",
        "null",
        "%00",
        "%ff",
        lineage,
        &format!("{lineage}."),
        &format!("{lineage}.-1"),
        &format!("{lineage}.01"),
        &format!("{lineage}.9223372036854775808"),
        &format!("{cursor}%20"),
        &cursor.to_uppercase().replace("0", "A"),
    ] {
        let query = format!("since_seq={text}&since_ran_at=2026-01-01T00:00:00Z");
        let answer = app.get(&format!("{FEED}?{query}")).await;
        answer.assert_error(400, "since_seq must be 0 or a cursor from next_since_seq");
    }
    let answer = app.get(&format!("{FEED}?since_seq=x&limit=0")).await;
    answer.assert_error(422, "limit must be an integer from 1 to 1000");
    app.stop().await;
}

#[actix_web::test]
async fn rows_that_are_not_published_are_left_out() {
    let data = Data::empty();
    for (id, version) in [("a", 4), ("b", 5), ("c", 4), ("d", 4), ("e", 6), ("f", 4)] {
        data.run(id, "2026-06-07T00:00:00Z", version);
    }
    let app = App::start(data).await;
    let first = page(&app, "0", 1).await;
    assert_eq!(ids(&first.json()), ["b"]);
    let second = page(&app, &next(&first), 1).await;
    assert_eq!(ids(&second.json()), ["e"]);
    let last = page(&app, &next(&second), 1).await;
    assert_eq!(
        (ids(&last.json()).len(), next(&last)),
        (0, next(&second)),
        "behind the last published row"
    );
    app.stop().await;
}

#[actix_web::test]
async fn a_cursor_of_another_database_gets_410_and_one_ahead_of_this_database_503() {
    let app = App::start(data(3)).await;
    let cursor = next(&page(&app, "0", 3).await);
    let (ordinal, rest) = cursor.split_once('-').unwrap();
    let (id, _) = rest.split_once('.').unwrap();
    let ordinal: u32 = ordinal.parse().unwrap();
    let other = if id.starts_with('0') { "1" } else { "0" };
    for gone in [
        format!("{ordinal}-{other}{}.3", &id[1..]),
        format!("{}-{id}.3", ordinal - 1),
    ] {
        let answer = app.get(&format!("{FEED}?since_seq={gone}")).await;
        answer.assert_error(
            410,
            "since_seq is a cursor of another database: start again with since_seq=0",
        );
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    for ahead in [
        format!("{ordinal}-{id}.4"),
        format!("{ordinal}-{id}.{}", i64::MAX),
        format!("{}-{id}.0", ordinal + 1),
    ] {
        let answer = app.get(&format!("{FEED}?since_seq={ahead}")).await;
        answer.assert_error(503, "this server is behind since_seq, try again");
        assert_eq!(answer.header("retry-after"), "1");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    app.stop().await;
}

#[actix_web::test]
async fn after_a_new_lineage_began_an_old_cursor_counts_up_to_its_beginning() {
    let data = data(3);
    let app = App::start(data).await;
    let old = next(&page(&app, "0", 3).await);
    let full = page(&app, "0", 2).await.body;
    app.data.database.begin_lineage();
    app.data.run("r4", "2026-06-07T00:00:00Z", 5);
    wait_until("the row", async || {
        app.clock.advance(Duration::from_secs(1));
        !ids(&page(&app, &old, 1).await.json()).is_empty()
    })
    .await;
    let new = next(&page(&app, &old, 1).await);
    assert!(new.ends_with(".4") && new[..10] > old[..10], "{new}");
    // The old lineage got no further than 3.
    let beyond = old.replace(".3", ".1000");
    assert_eq!(ids(&page(&app, &beyond, 5).await.json()), ["r4"]);
    // A client that begins now meets no page of before, which a cache may have kept.
    let now = page(&app, "0", 2).await;
    assert_ne!(now.body, full);
    assert_eq!(next(&now), new.replace(".4", ".2"));
    let policy = |answer: &Answer| answer.header("cache-control").to_owned();
    let polled = "public, max-age=15";
    assert_eq!(
        policy(&page(&app, &old.replace(".3", ".0"), 2).await),
        polled
    );
    let immutable = "public, max-age=31536000, immutable";
    assert_eq!(
        policy(&page(&app, &new.replace(".4", ".0"), 2).await),
        immutable
    );
    let before = new.replace(".4", ".2");
    assert_eq!(ids(&page(&app, &before, 5).await.json()), ["r3", "r4"]);
    app.stop().await;
}

#[actix_web::test]
async fn a_full_page_is_immutable_the_first_page_is_not_and_a_page_at_the_end_is_brief() {
    let app = App::start(data(5)).await;
    let cursor = next(&page(&app, "0", 2).await);
    for (cursor, limit, expected) in [
        ("0", 2, "public, max-age=15"),
        ("0", 5, "public, max-age=15"),
        ("0", 6, "public, max-age=1"),
        (cursor.as_str(), 3, IMMUTABLE),
        (cursor.as_str(), 4, "public, max-age=1"),
    ] {
        // From the database, then from memory.
        for _ in 0..2 {
            let answer = page(&app, cursor, limit).await;
            assert_eq!(answer.header("cache-control"), expected, "{cursor} {limit}");
            assert_eq!(answer.header("vary"), "accept-encoding");
            let tag = answer.header("etag");
            let path = format!("{FEED}?since_seq={cursor}&limit={limit}");
            let again = app.get_with(&path, &[("if-none-match", tag)]).await;
            assert_eq!((again.status.as_u16(), again.body.len()), (304, 0));
            assert_eq!(again.header("cache-control"), expected);
            assert_eq!(again.header("etag"), tag);
        }
    }
    app.stop().await;
}

#[actix_web::test]
async fn conditional_requests_head_and_content_codings_work_as_for_every_page() {
    let data = Data::empty();
    data.sample_runs(100, "2026-06-07T00:00:00Z");
    let app = App::start(data).await;
    let cursor = next(&page(&app, "0", 10).await);
    let mut tags = BTreeMap::new();
    for coding in ["identity", "gzip", "zstd"] {
        let accept = [("accept-encoding", coding)];
        for prefix in ["", "/api/cathedral"] {
            let path = format!("{prefix}{FEED}?since_seq={cursor}&limit=50");
            let answer = app.get_with(&path, &accept).await;
            let head = app.send(Method::HEAD, &path, &accept).await;
            assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
            for field in [
                "etag",
                "content-length",
                "content-encoding",
                "cache-control",
            ] {
                assert_eq!(head.header(field), answer.header(field), "{coding} {field}");
            }
            assert_eq!(answer.header("cache-control"), IMMUTABLE);
            let tag = answer.header("etag").to_owned();
            let earlier = tags.insert(coding, tag.clone());
            assert!(earlier.is_none_or(|earlier| earlier == tag));
            let held = [accept[0], ("if-none-match", tag.as_str())];
            for method in [Method::GET, Method::HEAD] {
                assert_eq!(app.send(method, &path, &held).await.status, 304);
            }
        }
    }
    assert_eq!(
        tags.values()
            .collect::<std::collections::BTreeSet<_>>()
            .len(),
        3
    );
    app.stop().await;
}

#[actix_web::test]
async fn five_hundred_clients_that_request_a_page_at_once_cost_one_read() {
    let app = App::start(data(9)).await;
    let cursor = next(&page(&app, "0", 2).await);
    let before = reads(&app).await;
    let answers = join_all((0..500).map(|_| page(&app, &cursor, 5))).await;
    assert!(answers.iter().all(|answer| answer.body == answers[0].body));
    assert_eq!(reads(&app).await, before + 1);
    assert_eq!(answers[0].header("cache-control"), IMMUTABLE);
    app.stop().await;
}

#[actix_web::test]
async fn a_full_page_is_not_read_again_after_a_commit_and_the_last_page_shows_the_row_at_once() {
    let app = App::start(data(5)).await;
    let first = next(&page(&app, "0", 2).await);
    let full = page(&app, &first, 2).await.body;
    let end = next(&page(&app, &first, 3).await);
    assert!(ids(&page(&app, &end, 2).await.json()).is_empty());
    for number in 6..20 {
        let before = reads(&app).await;
        // Its time is earlier than all others.
        let row = row(&format!("r{number}"), "2026-01-01T00:00:00Z");
        post(&app, &format!("[{row}]")).await;
        assert_eq!(page(&app, &first, 2).await.body, full);
        assert_eq!(reads(&app).await, before, "the full page");
        let last = ids(&page(&app, &end, 1000).await.json());
        assert_eq!(last.last(), Some(&format!("r{number}")));
        assert_eq!(reads(&app).await, before + 1);
    }
    // The same rows again, and rows that are not published, change no page.
    let before = reads(&app).await;
    post(&app, &format!("[{}]", row("r6", "2026-01-01T00:00:00Z"))).await;
    let unpublished = row("x", "2026-01-01T00:00:00Z").replace(":5}", ":4}");
    post(&app, &format!("[{unpublished}]")).await;
    assert_eq!(ids(&page(&app, &end, 1000).await.json()).len(), 14);
    assert_eq!(reads(&app).await, before);
    app.stop().await;
}

#[actix_web::test]
async fn a_commit_of_another_process_is_seen_at_the_next_poll() {
    let app = App::start(data(2)).await;
    let end = next(&page(&app, "0", 5).await);
    assert!(ids(&page(&app, &end, 5).await.json()).is_empty());
    app.data.run("late", "2020-01-01T00:00:00Z", 5);
    wait_until("the row", async || {
        app.clock.advance(Duration::from_secs(1));
        ids(&page(&app, &end, 5).await.json()) == ["late"]
    })
    .await;
    app.stop().await;
}

#[actix_web::test]
async fn a_page_for_followers_has_numbers_lineages_and_the_epoch_as_well() {
    let app = App::start(data(3)).await;
    let plain = page(&app, "0", 2).await;
    let detailed = app
        .get(&format!("{FEED}?since_seq=0&limit=2&detail=1"))
        .await;
    let cursor = next(&plain);
    let lineage = cursor.strip_suffix(".2").unwrap();
    let rows = plain.text().split_once(",\"next_since_seq\"").unwrap().0;
    assert_eq!(
        detailed.text(),
        format!(
            r#"{rows},"next_since_seq":"{cursor}","seqs":[1,2],"lineages":[{{"lineage":"{lineage}","first_seq":1,"shared_through":null,"is_restore":true}}],"merkle_epoch_latest":null}}"#
        )
    );
    assert_eq!(detailed.header("cache-control"), "public, max-age=1");
    let link = format!("<?since_seq={cursor}&limit=2&detail=1>; rel=\"next\"");
    assert_eq!(detailed.header("link"), link);
    for value in ["0", "", "2", "%ff"] {
        let target = format!("{FEED}?since_seq=0&limit=2&detail={value}");
        assert_eq!(app.get(&target).await.text(), plain.text(), "{value}");
    }
    let target = format!("{FEED}?since_ran_at=2000-01-01T00:00:00Z&detail=1");
    assert!(!app.get(&target).await.text().contains("seqs"));
    // What it says beside the rows changes without them.
    let epoch = app
        .admin(Method::PUT, "/v1/admin/merkle-epochs/7", "{}")
        .await;
    assert_eq!(epoch.status, 200);
    let detailed = app
        .get(&format!("{FEED}?since_seq=0&limit=2&detail=1"))
        .await;
    let json = detailed.json();
    assert_eq!(json["merkle_epoch_latest"], 7);
    assert!(!json["lineages"].as_array().unwrap().is_empty());
    app.stop().await;
}
