//! `--feed-holdback-ms`, for the cursors `since_ran_at` and `since`:
//!
//! - a row is shown when its time is long enough ago, never earlier, and at the latest a second later
//! - a row that was shown stays, also when the wall clock is set back
//! - a holdback of 0 holds nothing back
//! - a row that is stored late is delivered to a client that has pulled on meanwhile
//! - a page that has not changed gets 304, also when time has passed
//! - `since_seq` shows every row at once

use std::{
    collections::BTreeMap,
    time::{Duration, UNIX_EPOCH},
};

use awc::http::Method;

use crate::app::{App, Data, FEED};

const RUNS: &str = "/v1/admin/eval-runs";
/// 2026-06-07T00:00:00Z.
const MIDNIGHT_SECS: u64 = 1_780_790_400;

async fn start(holdback_ms: &str) -> App {
    let app = App::start_with_options(Data::empty(), &["--feed-holdback-ms", holdback_ms]).await;
    set(&app, 0);
    app
}

/// Sets the wall clock to so many milliseconds after midnight.
fn set(app: &App, ms: u64) {
    app.clock
        .set_wall(UNIX_EPOCH + Duration::from_secs(MIDNIGHT_SECS) + Duration::from_millis(ms));
}

fn time(ms: u64) -> String {
    let (minutes, seconds) = (ms / 60_000, ms / 1000 % 60);
    format!("2026-06-07T00:{minutes:02}:{seconds:02}.{:03}Z", ms % 1000)
}

async fn post(app: &App, id: &str, ms: u64) {
    let row = format!(
        r#"[{{"id":"{id}","ran_at":"{}","eval_output_schema_version":5}}]"#,
        time(ms)
    );
    assert_eq!(app.admin(Method::POST, RUNS, row).await.status, 200);
}

async fn pull(app: &App, query: &str) -> Vec<(String, String)> {
    let page = app.get(&format!("{FEED}?{query}")).await.json();
    let items = page["items"].as_array().unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let rows = items
        .iter()
        .map(|row| (text(&row["ran_at"]), text(&row["id"])));
    rows.collect()
}

#[actix_web::test]
async fn a_row_is_shown_when_its_time_is_long_enough_ago_and_at_the_latest_a_second_later() {
    let app = start("10000").await;
    post(&app, "a", 1500).await;
    let queries = [
        "since=2026-06-01T00:00:00Z",
        "since_ran_at=2026-06-01T00:00:00Z",
    ];
    for (now, is_shown) in [
        (1500, 0),
        (11_499, 0),
        (11_999, 0),
        (12_000, 1),
        (60_000, 1),
    ] {
        set(&app, now);
        for query in queries {
            // From the database, then from memory.
            for _ in 0..2 {
                assert_eq!(pull(&app, query).await.len(), is_shown, "{now} {query}");
            }
        }
        assert_eq!(pull(&app, "since_seq=0").await.len(), 1, "at once");
    }
    // A row of the future is held back until then.
    set(&app, 70_000);
    post(&app, "future", 75_000).await;
    assert_eq!(pull(&app, queries[0]).await.len(), 1);
    set(&app, 85_000);
    assert_eq!(pull(&app, queries[0]).await.len(), 2);
    app.stop().await;
}

#[actix_web::test]
async fn a_row_that_was_shown_stays_also_when_the_wall_clock_is_set_back() {
    let app = start("10000").await;
    post(&app, "a", 3_000_000).await;
    let first = "since_ran_at=2026-06-01T00:00:00Z";
    assert_eq!(pull(&app, first).await, []);
    set(&app, 3_020_000);
    assert_eq!(pull(&app, first).await.len(), 1);
    set(&app, 20_000);
    for query in [first, "since=2026-06-01T00:00:00Z"] {
        assert_eq!(pull(&app, query).await.len(), 1);
    }
    post(&app, "b", 3_015_000).await;
    assert_eq!(pull(&app, first).await.len(), 1, "held back until then");
    set(&app, 3_026_000);
    assert_eq!(pull(&app, first).await.len(), 2);
    app.stop().await;
}

#[actix_web::test]
async fn a_holdback_of_0_holds_nothing_back() {
    let app = start("0").await;
    post(&app, "future", 60_000).await;
    assert_eq!(pull(&app, "since=2026-06-01T00:00:00Z").await.len(), 1);
    app.stop().await;
}

#[actix_web::test]
async fn a_row_that_is_stored_late_is_delivered_to_a_client_that_has_pulled_on() {
    // Without it the client misses the row.
    for (options, expected) in [(&["--feed-holdback-ms", "5000"][..], 1), (&[], 0)] {
        let app = App::start_with_options(Data::empty(), options).await;
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        let mut cursor = ("2026-06-01T00:00:00Z".to_owned(), String::new());
        for second in 0..60_u64 {
            set(&app, second * 1000 + 300);
            post(&app, &format!("r{second}"), second * 1000 + 200).await;
            if second % 7 == 6 {
                // Stored four seconds late.
                let id = format!("late{second}");
                post(&app, &id, second * 1000 - 4000).await;
            }
            loop {
                let (ran_at, id) = &cursor;
                let query = format!("since_ran_at={ran_at}&since_id={id}&limit=2");
                let rows = pull(&app, &query).await;
                let count = rows.len();
                for row in rows {
                    *seen.entry(row.1.clone()).or_default() += 1;
                    cursor = row;
                }
                if count < 2 {
                    break;
                }
            }
        }
        assert!(seen.values().all(|count| *count == 1), "{seen:?}");
        for second in 0..50 {
            assert!(seen.contains_key(&format!("r{second}")));
            if second % 7 == 6 {
                let late = seen.get(&format!("late{second}")).copied();
                assert_eq!(late.unwrap_or_default(), expected, "{second}");
            }
        }
        app.stop().await;
    }
}

#[actix_web::test]
async fn a_page_that_has_not_changed_gets_304_also_when_time_has_passed() {
    let app = start("1000").await;
    post(&app, "a", 0).await;
    set(&app, 2000);
    let path = format!("{FEED}?since=2026-06-01T00:00:00Z");
    let tag = app.get(&path).await.header("etag").to_owned();
    for now in [2500, 3000, 50_000] {
        set(&app, now);
        for _ in 0..2 {
            let answer = app.get_with(&path, &[("if-none-match", &tag)]).await;
            assert_eq!(answer.status, 304, "{now}");
        }
    }
    post(&app, "b", 49_500).await;
    let held = app.get_with(&path, &[("if-none-match", &tag)]).await;
    assert_eq!(held.status, 304, "held back");
    set(&app, 51_000);
    assert_eq!(
        app.get_with(&path, &[("if-none-match", &tag)]).await.status,
        200
    );
    app.stop().await;
}
