//! `prune rows`:
//!
//! - it removes what ran before the time and nothing else, published or not, in batches of any size
//! - cursors behind what was removed go on, and pages that begin before it say from where rows are kept
//! - after the last row was removed, clients that have it wait for the next one
//! - a dry run only counts; a time in the future, a batch of 0 and a missing database are refused
//! - rows that were removed and are written again are stored again
//! - a copy of the database says the same
//! - beside clients that write and read, nothing is lost and no request fails

use std::{
    ffi::OsStr,
    process::Output,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
    time::Duration,
};

use awc::http::Method;
use serde_json::Value;

use crate::{
    app::{Answer, App, Data, FEED, wait_until},
    chaos::server::{Server, TOKEN},
    client::Connection,
    process::{get, publisher},
};

const RUNS: &str = "/v1/admin/eval-runs";
const DAY_3: &str = "2026-06-03T00:00:00Z";

/// Runs `prune rows` with these options.
fn prune(database: &OsStr, options: &[&str]) -> Output {
    publisher(&["prune", "rows"])
        .args(options)
        .arg("--database")
        .arg(database)
        .output()
        .unwrap()
}

/// Runs it and returns what it says.
#[track_caller]
fn pruned(database: &OsStr, options: &[&str]) -> String {
    let output = prune(database, options);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// Creates a database with one row on each of the days 1 to 9 of June, committed in this order.
fn data() -> Data {
    let data = Data::empty();
    for day in [1, 5, 2, 6, 3, 4, 7, 8, 9] {
        data.run(
            &format!("day-{day}"),
            &format!("2026-06-{day:02}T00:00:00Z"),
            5,
        );
    }
    data
}

async fn page(app: &App, query: &str) -> Answer {
    let page = app.get(&format!("{FEED}?{query}")).await;
    assert_eq!(page.status, 200, "{query}: {}", page.text());
    page
}

fn ids(page: &Answer) -> Vec<String> {
    let page = page.json();
    let items = page["items"].as_array().unwrap().iter();
    let id = |row: &Value| row["id"].as_str().unwrap().to_owned();
    items.map(id).collect()
}

fn next(page: &Answer) -> String {
    page.json()["next_since_seq"].as_str().unwrap().to_owned()
}

fn row(id: &str, ran_at: &str) -> String {
    format!(r#"{{"id":"{id}","ran_at":"{ran_at}","eval_output_schema_version":5}}"#)
}

/// Advances the clock until a poll has noticed that another process has written.
async fn until_rows(app: &App, count: usize) {
    wait_until("the pruned feed", async || {
        app.clock.advance(Duration::from_millis(500));
        ids(&page(app, "since_seq=0").await).len() == count
    })
    .await;
}

#[actix_web::test]
async fn it_removes_what_ran_before_the_time_and_nothing_else_published_or_not() {
    for batch in ["1", "2", "7", "500"] {
        let data = data();
        data.run("old-unpublished", "2026-06-01T00:00:00Z", 4);
        data.run("new-unpublished", DAY_3, 4);
        data.run("just-before", "2026-06-02T23:59:59.999Z", 5);
        let said = pruned(&data.location(), &["--before", DAY_3, "--batch", batch]);
        assert_eq!(
            said,
            "4 eval runs were removed that ran before 2026-06-03T00:00:00.000Z\n"
        );
        let count = |condition: &str| {
            let query = format!("SELECT count(*) FROM eval_runs WHERE {condition}");
            data.database.number(&query)
        };
        assert_eq!(count("ran_at >= '2026-06-03'"), 8);
        assert_eq!(count("ran_at < '2026-06-03'"), 0);
        assert_eq!(count("id = 'new-unpublished'"), 1);
        let again = pruned(&data.location(), &["--before", "2026-06-03"]);
        assert!(again.starts_with("0 eval runs were removed"), "{again}");
    }
}

#[actix_web::test]
async fn cursors_behind_what_was_removed_go_on_and_pages_that_begin_before_it_say_from_where_rows_are_kept()
 {
    let app = App::start(data()).await;
    let before = page(&app, "since_seq=0&limit=3").await;
    let whole = page(&app, "since_seq=0").await;
    assert_eq!(before.header("kept-from"), "");
    let (third, end) = (next(&before), next(&whole));
    assert_eq!(ids(&before), ["day-1", "day-5", "day-2"]);
    let removed = pruned(&app.data.location(), &["--before", DAY_3]);
    assert!(removed.starts_with("2 "), "{removed}");
    until_rows(&app, 7).await;
    // day-2 was the last one that went: after it everything is there.
    let kept = format!(r#""{third}";ran-at="2026-06-03T00:00:00.000Z""#);
    let after = page(&app, "since_seq=0").await;
    let rest = [
        "day-5", "day-6", "day-3", "day-4", "day-7", "day-8", "day-9",
    ];
    assert_eq!(ids(&after), rest);
    assert_eq!(after.header("kept-from"), kept);
    assert_eq!(next(&after), end, "the end has the same cursor");
    assert_eq!(after.json().as_object().unwrap().len(), 2, "no other keys");
    let tag = after.header("etag").to_owned();
    let headers = [("if-none-match", tag.as_str())];
    for path in ["since_seq=0", "since_seq=0&_=1"] {
        let same = app.get_with(&format!("{FEED}?{path}"), &headers).await;
        assert_eq!(
            (same.status.as_u16(), same.header("kept-from")),
            (304, &*kept)
        );
    }
    let second = third.replace(".3", ".2");
    let page_2 = page(&app, &format!("since_seq={second}")).await;
    assert_eq!(ids(&page_2), rest[1..]);
    assert_eq!(page_2.header("kept-from"), kept);
    for cursor in [&third, &end] {
        let page = page(&app, &format!("since_seq={cursor}")).await;
        assert_eq!(page.header("kept-from"), "", "{cursor}");
    }
    // The other cursor goes on as well, and never says it: it never promised to show every row.
    let since = "since_ran_at=2026-06-01T00:00:00Z&since_id=day-1";
    let by_time = page(&app, since).await;
    assert_eq!(ids(&by_time)[..2], ["day-3", "day-4"]);
    assert_eq!(by_time.header("kept-from"), "");
    // A later prune that removes an earlier row keeps what was said.
    app.admin(Method::POST, RUNS, row("late", "2026-05-01T00:00:00Z"))
        .await;
    let removed = pruned(&app.data.location(), &["--before", "2026-06-02"]);
    assert!(removed.starts_with("1 "), "{removed}");
    until_rows(&app, 7).await;
    let after = page(&app, "since_seq=0").await;
    let kept = after.header("kept-from");
    assert!(
        kept.ends_with(r#";ran-at="2026-06-03T00:00:00.000Z""#),
        "{kept}"
    );
    assert!(kept.contains(".10\";"), "the last row that went: {kept}");
    app.stop().await;
}

#[actix_web::test]
async fn after_the_last_row_was_removed_clients_that_have_it_wait_for_the_next_one() {
    let app = App::start(data()).await;
    let end = next(&page(&app, "since_seq=0").await);
    pruned(&app.data.location(), &["--before", "2026-07-01"]);
    until_rows(&app, 0).await;
    let first = page(&app, "since_seq=0").await;
    assert_eq!(next(&first), format!("{}.0", &end[..end.len() - 2]));
    let last = page(&app, &format!("since_seq={end}")).await;
    let link = last.header("link");
    let query = link.split(['?', '>']).nth(1).unwrap();
    assert!(query.contains("slot="), "{link}");
    let waits = page(&app, query);
    let write = async {
        let waits = async || app.metric("publisher_waiters").await == 1;
        wait_until("a client that waits", waits).await;
        app.admin(Method::POST, RUNS, row("new", "2026-07-02T00:00:00Z"))
            .await;
    };
    let (answer, ()) = futures_util::future::join(waits, write).await;
    assert_eq!(ids(&answer), ["new"]);
    app.stop().await;
}

#[test]
fn a_dry_run_only_counts_and_a_time_in_the_future_and_a_missing_database_are_refused() {
    let data = data();
    let database = data.location();
    assert_eq!(
        pruned(&database, &["--before", DAY_3, "--dry-run"]),
        "2 eval runs ran before 2026-06-03T00:00:00.000Z: nothing was removed\n"
    );
    let refused = |database: &OsStr, options: &[&str]| {
        let output = prune(database, options);
        assert!(!output.status.success(), "{options:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let future = refused(&database, &["--before", "2999-06-03"]);
    assert!(
        future.contains("2999-06-03T00:00:00.000Z is in the future"),
        "{future}"
    );
    for time in [
        "yesterday",
        "30d",
        "20260603",
        "20260603T000000Z",
        "2026-06",
        "2026-06-31",
        "2026-W23-3",
        "2026-06-03T00:00:60Z",
        "2016-12-31T23:59:60Z",
        "2026-06-03T24:00:00Z",
        "2026-06-03T00:00:00",
        "2026-06-03T00:00Z",
        "2026-06-03T00:00:00+02",
        "2026-06-03T00:00:00,5Z",
        "2026-06-03 00:00:00Z",
        "2026-06-03T00:00:00Z[UTC]",
        " 2026-06-03",
        "",
    ] {
        let said = refused(&database, &["--before", time, "--dry-run"]);
        assert!(said.contains("must be an RFC 3339 time such as"), "{said}");
    }
    for (time, stored) in [
        ("2026-06-03", "2026-06-03T00:00:00.000Z"),
        ("2026-06-03T02:00:00.5+02:00", "2026-06-03T00:00:00.500Z"),
        ("2026-06-02T23:00:00-01:00", "2026-06-03T00:00:00.000Z"),
    ] {
        let said = pruned(&database, &["--before", time, "--dry-run"]);
        assert!(said.contains(stored), "{said}");
    }
    for options in [&["--before", DAY_3, "--batch", "0"][..], &["--dry-run"]] {
        assert!(!refused(&database, options).is_empty());
    }
    let count = data.database.number("SELECT count(*) FROM eval_runs");
    assert_eq!(count, 9);
    let folder = tempfile::TempDir::new().unwrap();
    let missing = folder.path().join("missing.db");
    let said = refused(missing.as_os_str(), &["--before", DAY_3]);
    assert!(said.contains("missing.db"), "{said}");
    assert!(!missing.exists(), "nothing is created");
}

#[actix_web::test]
async fn rows_that_were_removed_and_are_written_again_are_stored_again() {
    let app = App::start(data()).await;
    pruned(&app.data.location(), &["--before", DAY_3]);
    until_rows(&app, 7).await;
    let again = row("day-1", "2026-06-01T00:00:00Z");
    let stored = app.admin(Method::POST, RUNS, again.clone()).await;
    assert_eq!(stored.text(), r#"{"inserted":1,"unchanged":0}"#);
    let page = page(&app, "since_seq=0").await;
    assert_eq!(ids(&page).last().unwrap(), "day-1", "as any new row");
    app.stop().await;
}

#[actix_web::test]
async fn a_copy_of_the_database_says_the_same() {
    let data = data();
    pruned(&data.location(), &["--before", DAY_3]);
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("backup.db");
    let file = file.to_str().unwrap();
    let run = |command: &str, database: &OsStr| {
        let mut command = publisher(&[command, file]);
        let output = command.arg("--database").arg(database).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
    };
    run("backup", &data.location());
    let copy = Data::empty();
    run("restore", &copy.location());
    let app = App::start(copy).await;
    let first = page(&app, "since_seq=0").await;
    assert_eq!(ids(&first).len(), 7);
    let kept = first.header("kept-from");
    assert!(
        kept.ends_with(r#".3";ran-at="2026-06-03T00:00:00.000Z""#),
        "{kept}"
    );
    // A backup from before has the rows, so nothing is said of them.
    let other = self::data();
    run_into(&other, &app.data.location(), file);
    until_rows(&app, 9).await;
    assert_eq!(page(&app, "since_seq=0").await.header("kept-from"), "");
    app.stop().await;
}

/// Brings a backup of `from` into the database.
fn run_into(from: &Data, database: &OsStr, file: &str) {
    for (command, database) in [("backup", &*from.location()), ("restore", database)] {
        let mut command = publisher(&[command, file]);
        if database != from.location() {
            command.arg("--database").arg(database);
        } else {
            command.args(["--overwrite", "--database"]).arg(database);
        }
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
    }
}

#[test]
fn beside_clients_that_write_and_read_nothing_is_lost_and_no_request_fails() {
    const OLD: usize = 600;
    let data = Data::empty();
    data.sample_runs(OLD, "2026-06-01T00:00:00Z");
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_cathedral-publisher"));
    let server = Server::start(program, &data.location(), &[]);
    let address = server.address.clone();
    let (done, all_written) = (AtomicBool::new(false), AtomicBool::new(false));
    let (written, walked) = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut connection = Connection::open(&address).unwrap();
            let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
            let mut written = 0;
            while !done.load(SeqCst) || written == 0 {
                let row = row(&format!("new-{written}"), "2026-06-02T00:00:00Z");
                let answer = connection.request("POST", RUNS, &bearer, row.as_bytes());
                let (status, body) = answer.unwrap();
                assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
                written += 1;
            }
            written
        });
        let reader = scope.spawn(|| {
            let (mut cursor, mut seen) = ("0".to_owned(), Vec::new());
            loop {
                let is_last = all_written.load(SeqCst);
                let path = format!("{FEED}?limit=50&since_seq={cursor}");
                let answer = get(&address, &path, "");
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                let (_, body) = answer.split_once("\r\n\r\n").unwrap();
                let page: Value = serde_json::from_str(body).unwrap();
                let items = page["items"].as_array().unwrap();
                seen.extend(items.iter().map(|row| row["id"].to_string()));
                cursor = page["next_since_seq"].as_str().unwrap().to_owned();
                if is_last && items.is_empty() {
                    return seen;
                }
            }
        });
        let options = ["--before", "2026-06-02", "--batch", "60"];
        let said = pruned(&data.location(), &options);
        assert!(said.starts_with(&format!("{OLD} ")), "{said}");
        done.store(true, SeqCst);
        let written = writer.join().unwrap();
        all_written.store(true, SeqCst);
        (written, reader.join().unwrap())
    });
    let new = walked.iter().filter(|id| id.contains("new-")).count();
    assert_eq!(new, written, "each row that was written is seen once");
    let mut unique = walked.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), walked.len());
    let left = data.database.number("SELECT count(*) FROM eval_runs");
    assert_eq!(left, i64::try_from(written).unwrap());
}
