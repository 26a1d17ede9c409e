//! Other processes that use the same database file:
//!
//! - a change of the board by another process is noticed at the next poll, without a request and before the TTL;
//!   a change of the feed is served without a rebuild of the board
//! - import works while the server runs, and a read-only server shows the imported items
//! - `--read-only` changes no byte of the database and creates none

use std::{fs, time::Duration};

use cathedral_publisher::demo::sample::Sample;

use crate::{
    app::{App, BOARD, Data, FEED, eventually, wait_until},
    command_line::{get, run},
    crashes::Server,
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
