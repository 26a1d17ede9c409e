//! Other processes that use the same database file:
//!
//! - a change of the board by another process is noticed at the next poll, without a request and before the TTL;
//!   a change of the feed is served without a rebuild of the board
//! - every kind of change by another process is served after the next poll: deleted, changed, replaced and published
//!   rows, a table that is emptied and filled again, and a backup that is restored with the same counts; VACUUM
//!   changes nothing
//! - pages of before and after a change by another process are never cached together
//! - import works while the server runs, and a read-only server shows the imported items
//! - a file that replaces the database is read at the next poll
//! - `--read-only` changes no byte of the database and creates none

use std::{fs, time::Duration};

use cathedral_publisher::demo::sample::Sample;

use crate::{
    app::{App, BOARD, Data, FEED, eventually, wait_until},
    chaos::server::Server,
    process::{get, run},
};

#[actix_web::test]
async fn a_change_of_the_board_by_another_process_is_noticed_at_the_next_poll() {
    let app = App::start(Data::sample()).await;
    app.data.put(&[Sample::new(99).challenge(1)]);
    assert_eq!(
        app.get(BOARD).await.json()["count"],
        51,
        "the database has not been polled, and the board is still fresh"
    );
    // Advances by less than the TTL in total.
    for _ in 0..20_000 {
        app.clock.advance(Duration::from_millis(1));
        if app.gate.builds() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    app.until_count(52).await;
    assert_eq!(app.gate.builds(), 2);
    // A change of the feed, or no change, causes no rebuild.
    app.data.run("a", "2026-06-07T00:00:00Z", 5);
    wait_until("the row", async || {
        app.clock.advance(Duration::from_millis(500));
        let page = app.get(&format!("{FEED}?since=2020-01-01T00:00:00Z")).await;
        page.text().contains("\"id\":\"a\"")
    })
    .await;
    for _ in 0..20 {
        app.clock.advance(Duration::from_millis(500));
        tokio::task::yield_now().await;
        app.get("/health").await;
    }
    assert_eq!(app.gate.builds(), 2);
    app.stop().await;
}

#[test]
fn import_works_while_the_server_runs_and_a_read_only_server_shows_it() {
    let data = Data::sample();
    let publisher = std::path::Path::new(env!("CARGO_BIN_EXE_cathedral-publisher"));
    let server = Server::start(publisher, &data.path(), &["--change-poll-ms", "50"]);
    let reader = Server::start(
        publisher,
        &data.path(),
        &["--read-only", "--change-poll-ms", "50"],
    );
    let spare = Data::empty();
    spare.put(&[Sample::new(99).challenge(1)]);
    let file = spare.path().with_extension("json");
    let exported = run(&[
        "export",
        "board",
        "--database",
        spare.path().to_str().unwrap(),
    ]);
    fs::write(&file, exported.stdout).unwrap();
    let imported = run(&[
        "import",
        "board",
        file.to_str().unwrap(),
        "--database",
        data.path().to_str().unwrap(),
    ]);
    assert_eq!(imported.stdout, b"1 inserted, 0 unchanged\n");
    for address in [&server.address, &reader.address] {
        eventually("the import on the board", || {
            get(address, BOARD, "").contains("\"count\":52")
        });
    }
}

#[test]
fn read_only_changes_no_byte_and_creates_no_database() {
    let data = Data::sample();
    data.run("a", "2026-06-07T00:00:00Z", 5);
    let before = fs::read(data.path()).unwrap();
    let publisher = std::path::Path::new(env!("CARGO_BIN_EXE_cathedral-publisher"));
    let server = Server::start(publisher, &data.path(), &["--read-only"]);
    assert!(get(&server.address, BOARD, "").contains("\"count\":51"));
    assert!(
        get(
            &server.address,
            &format!("{FEED}?since=2020-01-01T00:00:00Z"),
            ""
        )
        .contains("\"id\":\"a\"")
    );
    assert!(get(&server.address, "/health", "").starts_with("HTTP/1.1 200"));
    drop(server);
    assert!(fs::read(data.path()).unwrap() == before);
    let missing = data.path().with_file_name("missing.db");
    let output = run(&[
        "serve",
        "--read-only",
        "--database",
        missing.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!missing.exists());
}

/// Waits for polls until the page has the text, or has it no more.
async fn until_page(app: &App, text: &str, is_there: bool) {
    wait_until(text, async || {
        app.clock.advance(Duration::from_millis(500));
        let page = app.get(&format!("{FEED}?since=2020-01-01T00:00:00Z")).await;
        assert_eq!(page.status, 200);
        page.text().contains(text) == is_there
    })
    .await;
}

#[actix_web::test]
async fn every_kind_of_change_by_another_process_is_served_after_the_next_poll() {
    let data = Data::sample();
    for id in ["a", "b", "c"] {
        data.run(id, "2026-06-07T00:00:00Z", 5);
    }
    data.run("hidden", "2026-06-07T00:00:00Z", 4);
    let app = App::start(data).await;
    until_page(&app, r#""id":"c""#, true).await;
    let other = rusqlite::Connection::open(app.data.path()).unwrap();
    let backup = |from: &rusqlite::Connection, to: &mut rusqlite::Connection| {
        let copy = rusqlite::backup::Backup::new(from, to).unwrap();
        assert_eq!(copy.step(-1).unwrap(), rusqlite::backup::StepResult::Done);
    };
    for (change, text, is_there) in [
        ("DELETE FROM eval_runs WHERE id = 'a'", r#""id":"a""#, false),
        // The greatest rowid and the count stay the same.
        (
            "DELETE FROM eval_runs WHERE id = 'b';
             UPDATE eval_runs SET schema_version = 5 WHERE id = 'hidden'",
            r#""id":"hidden""#,
            true,
        ),
        (
            "UPDATE eval_runs SET body = '{\"id\":\"c\",\"changed\":1}' WHERE id = 'c'",
            "changed",
            true,
        ),
        (
            "INSERT OR REPLACE INTO eval_runs (seq, id, ran_at, schema_version, body)
             SELECT seq, id, ran_at, 5, '{\"id\":\"c\",\"replaced\":1}' FROM eval_runs WHERE id = 'c'",
            "replaced",
            true,
        ),
        ("INSERT INTO merkle_epochs VALUES (7, NULL)", r#""merkle_epoch_latest":7"#, true),
        ("UPDATE merkle_epochs SET epoch = 6", r#""merkle_epoch_latest":6"#, true),
        (
            "CREATE TEMP TABLE kept AS SELECT * FROM eval_runs;
             DELETE FROM eval_runs;
             INSERT INTO eval_runs SELECT seq, id, ran_at, schema_version, '{\"refilled\":1}' FROM kept",
            "refilled",
            true,
        ),
    ] {
        other.execute_batch(change).unwrap();
        until_page(&app, text, is_there).await;
    }
    let builds = app.gate.builds();
    other.execute_batch("VACUUM").unwrap();
    for _ in 0..20 {
        app.clock.advance(Duration::from_millis(500));
        tokio::task::yield_now().await;
        app.get("/health").await;
    }
    assert_eq!(app.gate.builds(), builds, "VACUUM changes nothing");

    // A backup is restored through SQLite; then as many changes follow as there were after the backup.
    let folder = tempfile::TempDir::new().unwrap();
    let mut saved = rusqlite::Connection::open(folder.path().join("backup.db")).unwrap();
    backup(&other, &mut saved);
    let retire = |id: i64| {
        let retire = "UPDATE challenges SET status = 'retired' WHERE rowid = ?1";
        assert_eq!(other.execute(retire, [id]), Ok(1));
    };
    app.data.run("x", "2026-06-07T00:00:00Z", 5);
    retire(1);
    until_page(&app, r#""id":"x""#, true).await;
    app.until_count(50).await;
    let first = app.get(BOARD).await.text().to_owned();
    let mut live = rusqlite::Connection::open(app.data.path()).unwrap();
    backup(&saved, &mut live);
    app.data.run("y", "2026-06-07T00:00:00Z", 5);
    retire(2);
    until_page(&app, r#""id":"y""#, true).await;
    until_page(&app, r#""id":"x""#, false).await;
    wait_until("the restored board", async || {
        app.clock.advance(Duration::from_millis(500));
        let board = app.get(BOARD).await;
        board.json()["count"] == 50 && board.text() != first
    })
    .await;
    app.stop().await;
}

#[actix_web::test]
async fn pages_of_before_and_after_a_change_by_another_process_are_never_cached_together() {
    let data = Data::sample();
    for id in ["a", "b", "c"] {
        data.run(id, "2026-06-07T00:00:00Z", 5);
    }
    let app = App::start(data).await;
    let page = |limit: u32| format!("{FEED}?since=2020-01-01T00:00:00Z&limit={limit}");
    until_page(&app, r#""id":"c""#, true).await;
    assert!(app.get(&page(1)).await.text().contains(r#""id":"a""#));
    let other = rusqlite::Connection::open(app.data.path()).unwrap();
    other
        .execute_batch("DELETE FROM eval_runs WHERE id IN ('a', 'c')")
        .unwrap();
    // The clock stands still: there is no poll.
    assert!(app.get(&page(1)).await.text().contains(r#""id":"a""#));
    assert!(app.get(&page(2)).await.text().contains(r#""id":"b""#));
    assert!(!app.get(&page(1)).await.text().contains(r#""id":"a""#));
    app.stop().await;
}

#[actix_web::test]
async fn a_file_that_replaces_the_database_is_read_at_the_next_poll() {
    let data = Data::sample();
    data.run("r1", "2026-06-07T00:00:01Z", 5);
    data.run("r2", "2026-06-07T00:00:02Z", 5);
    let app = App::start(data).await;
    let page = format!("{FEED}?since_ran_at=2026-06-07T00:00:00Z&limit=50");
    assert!(app.get(&page).await.text().contains("r2"));
    // The same number of rows, but other ones.
    let other = Data::sample();
    other.run("s1", "2026-06-07T00:00:01Z", 5);
    other.run("s2", "2026-06-07T00:00:02Z", 5);
    let path = app.data.path();
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(path.with_file_name(format!("publisher.db{suffix}")));
    }
    let beside = path.with_file_name("other.db");
    fs::copy(other.path(), &beside).unwrap();
    fs::rename(&beside, &path).unwrap();
    wait_until("the other file's rows", async || {
        app.clock.advance(Duration::from_millis(500));
        app.get(&page).await.text().contains("s2")
    })
    .await;
    app.stop().await;
}
