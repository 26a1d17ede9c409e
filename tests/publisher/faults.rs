//! What clients see while the database or the rebuild of the board fails, and that the server recovers:
//!
//! - a failing, panicking or hanging rebuild leaves the stale board in service; the rebuild is not repeated for every
//!   request
//! - without a snapshot, clients get 503 with Retry-After: at once if no build runs, otherwise when its timeout expires
//! - a database lock of another process delays no client
//! - a file replaced by garbage fails uncached pages only, until it is put back
//! - feed reads beyond their limit get 503, and the board is not affected
//! - expensive work is shed first: scans and writes get 503, the board and cached pages do not

use std::{
    cell::Cell,
    fs,
    io::Write,
    net::TcpStream,
    time::{Duration, Instant},
};

use awc::http::Method;
use cathedral_publisher::{
    demo::sample::Sample, domain::challenge::Challenge, store::sqlite::pool::Reader,
};
use futures_util::future::{join, join_all};

use crate::app::{App, BOARD, Data, FEED, Mode, TOKENS, settings, wait_until};

fn page() -> String {
    format!("{FEED}?since=2020-01-01T00:00:00Z")
}

fn extra() -> [Challenge; 1] {
    [Sample::new(99).challenge(1)]
}

async fn assert_stale_board_is_served(app: &App) {
    for _ in 0..50 {
        let answer = app.get(BOARD).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["count"], 51);
    }
}

/// Asserts that the stale board stays in service while rebuilds behave as in `mode`, and that it recovers.
async fn stays_in_service_and_recovers(mode: Mode) {
    let app = App::start(Data::sample()).await;
    app.data.put(&extra());
    app.gate.set(mode);
    app.clock.advance(Duration::from_secs(31));
    assert_stale_board_is_served(&app).await;
    app.until("the failing build", |app| app.gate.builds() == 2)
        .await;
    assert_stale_board_is_served(&app).await;
    assert_eq!(
        app.gate.builds(),
        2,
        "requests must not start further builds"
    );
    app.gate.set(Mode::Pass);
    app.recovers_to(52).await;
    app.stop().await;
}

#[actix_web::test]
async fn a_failing_rebuild_leaves_the_stale_board_in_service() {
    stays_in_service_and_recovers(Mode::Fail).await;
}

#[actix_web::test]
async fn a_panicking_rebuild_leaves_the_stale_board_in_service() {
    stays_in_service_and_recovers(Mode::Panic).await;
}

#[actix_web::test]
async fn a_hanging_rebuild_leaves_the_stale_board_in_service_and_no_second_one_starts() {
    let app = App::start(Data::sample()).await;
    app.data.put(&extra());
    app.gate.set(Mode::Hold);
    app.clock.advance(Duration::from_secs(31));
    assert_stale_board_is_served(&app).await;
    app.until("the hanging build", |app| app.gate.builds() == 2)
        .await;
    for _ in 0..5 {
        app.clock.advance(Duration::from_secs(60));
        assert_stale_board_is_served(&app).await;
    }
    assert_eq!(app.gate.builds(), 2, "a second build would hang as well");
    app.gate.set(Mode::Pass);
    app.until_count(52).await;
    app.stop().await;
}

#[actix_web::test]
async fn without_a_snapshot_clients_get_503_at_once_if_no_build_runs() {
    let app = App::start_in(Data::sample(), Mode::Fail).await;
    for _ in 0..20 {
        let answer = app.get(BOARD).await;
        answer.assert_error(503, "temporarily unavailable, try again");
        let retry_after: u64 = answer.header("retry-after").parse().unwrap();
        assert!((1..=10).contains(&retry_after));
    }
    assert_eq!(app.gate.builds(), 1);
    assert_eq!(
        app.get(&page()).await.status,
        200,
        "the feed does not need the board"
    );
    app.gate.set(Mode::Pass);
    app.clock.advance(Duration::from_secs(3));
    app.until("the retry", |app| app.gate.builds() == 2).await;
    assert_eq!(app.get(BOARD).await.status, 200);
    app.stop().await;
}

#[actix_web::test]
async fn without_a_snapshot_clients_wait_for_a_running_build_until_its_timeout() {
    let app = App::start_in(Data::sample(), Mode::Fail).await;
    app.gate.set(Mode::Hold);
    app.clock.advance(Duration::from_secs(3));
    app.until("the hanging build", |app| app.gate.builds() == 2)
        .await;
    let clients = join_all((0..10).map(|_| app.get(BOARD)));
    let time_passes = async {
        app.until("ten waiting clients", |app| {
            app.cache.waiting_readers() == 10
        })
        .await;
        app.clock.advance(Duration::from_secs(5));
    };
    let (answers, ()) = join(clients, time_passes).await;
    for answer in answers {
        answer.assert_error(503, "temporarily unavailable, try again");
        assert!(!answer.header("retry-after").is_empty());
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_database_lock_of_another_process_delays_no_client() {
    let app = App::start(Data::sample()).await;
    let other = rusqlite::Connection::open(app.data.path()).unwrap();
    other
        .execute_batch("BEGIN EXCLUSIVE; DELETE FROM challenges;")
        .unwrap();
    app.clock.advance(Duration::from_secs(31));
    assert_stale_board_is_served(&app).await;
    app.cache.invalidate_and_wait().await.unwrap();
    assert_stale_board_is_served(&app).await;
    assert_eq!(app.get(&page()).await.status, 200);
    other.execute_batch("COMMIT").unwrap();
    app.cache.invalidate_and_wait().await.unwrap();
    assert_eq!(app.get(BOARD).await.json()["count"], 0);
    app.stop().await;
}

#[actix_web::test]
async fn a_file_replaced_by_garbage_fails_uncached_pages_only_until_it_is_put_back() {
    let data = Data::sample();
    data.sample_runs(3, "2026-06-07T00:00:00Z");
    let app = App::start(data).await;
    assert_eq!(app.get(&page()).await.status, 200);
    let path = app.data.path();
    let beside = |suffix: &str| path.with_file_name(format!("publisher.db{suffix}"));
    let replace = |from: &std::path::Path| {
        // Deletes the write-ahead log as well: SQLite would apply it to the new file.
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(beside(suffix));
        }
        fs::rename(from, &path).unwrap();
    };
    let spare = Data::sample();
    spare.put(&extra());
    fs::write(beside(".garbage"), "this is no database".repeat(1000)).unwrap();
    fs::copy(spare.path(), beside(".good")).unwrap();

    replace(&beside(".garbage"));
    app.clock.advance(Duration::from_secs(31));
    assert_stale_board_is_served(&app).await;
    assert_eq!(app.get(&page()).await.status, 200, "a cached page");
    let answer = app.get(&format!("{}&limit=7", page())).await;
    answer.assert_error(503, "temporarily unavailable, try again");
    assert_eq!(answer.header("retry-after"), "1");
    let health = app.get("/health").await;
    assert_eq!(health.status, 503);
    let reason = "publisher.db: is incomplete or no database";
    assert_eq!(health.json()["checks"]["db"], reason);
    assert!(
        app.cache.invalidate_and_wait().await.is_err(),
        "the rebuild fails"
    );
    assert_stale_board_is_served(&app).await;

    replace(&beside(".good"));
    app.recovers_to(52).await;
    assert_eq!(app.get(&page()).await.status, 200);
    assert_eq!(app.get("/health").await.status, 200);
    app.stop().await;
}

/// Takes all database connections of the server, as if each one were in use.
async fn three_connections(app: &App) -> [Reader; 3] {
    let deadline = Instant::now() + Duration::from_secs(60);
    let pool = app.pool().clone();
    let take = move || [(); 3].map(|()| pool.reader(deadline).unwrap());
    actix_web::web::block(take).await.unwrap()
}

#[actix_web::test]
async fn feed_reads_beyond_their_limit_get_503_and_the_board_is_not_affected() {
    let mut settings = settings(&[]);
    settings.store.pool_size = 3;
    settings.feed.queue_timeout = Duration::from_millis(10);
    settings.feed.read_timeout = Duration::from_secs(60);
    let app = App::start_with(Data::sample(), Mode::Pass, settings).await;
    // The only feed read that may run waits for a connection.
    let taken = three_connections(&app).await;
    let (path, answered) = (page(), Cell::new(0));
    let (app_of, count) = (&app, &answered);
    // Each request is for a different page: otherwise they would share one read.
    let reads = join_all((1..=11).map(|limit| async move {
        let answer = app_of.get(&format!("{}&limit={limit}", page())).await;
        count.set(count.get() + 1);
        answer
    }));
    let release = async {
        app.until("ten rejected reads", |_| answered.get() == 10)
            .await;
        assert_eq!(app.get(BOARD).await.status, 200);
        drop(taken);
    };
    let (mut answers, ()) = join(reads, release).await;
    answers.retain(|answer| answer.status != 200);
    assert_eq!(answers.len(), 10, "exactly one read succeeds");
    for answer in answers {
        answer.assert_error(503, "temporarily unavailable, try again");
        assert_eq!(answer.header("retry-after"), "1");
    }
    assert_eq!(app.get(&path).await.status, 200);
    app.stop().await;
}

#[actix_web::test]
async fn expensive_work_is_shed_first() {
    let mut settings = settings(&[]);
    settings.store.pool_size = 3;
    settings.writer.max_writes = 1;
    settings.feed.queue_timeout = Duration::from_millis(10);
    settings.feed.read_timeout = Duration::from_secs(60);
    let app = App::start_with(Data::sample(), Mode::Pass, settings).await;
    // This page is cached.
    assert_eq!(app.get(&page()).await.status, 200);
    let etag = app.get(BOARD).await.header("etag").to_owned();
    // The only write that may be in flight is, and every database connection is in use.
    let address = app.address();
    let write = format!(
        "POST /v1/admin/eval-runs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: 99\r\n\r\n[",
        TOKENS[0]
    );
    let unfinished = actix_web::web::block(move || {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.write_all(write.as_bytes()).unwrap();
        socket
    });
    let unfinished = unfinished.await.unwrap();
    app.until("the write in flight", |app| app.writer.in_flight() == 1)
        .await;
    let taken = three_connections(&app).await;
    let scan = format!("{}&limit=7", page());
    let waits = app.get(&scan);
    let shed = async {
        let row = r#"{"id":"a","ran_at":"2026-06-07T00:00:00Z","eval_output_schema_version":5}"#;
        let reads = async || app.metric("publisher_feed_reads").await == 1;
        wait_until("the only read that may run", reads).await;
        for _ in 0..20 {
            let another = format!("{}&limit=8", page());
            for rejected in [
                app.admin(Method::POST, "/v1/admin/eval-runs", row).await,
                app.get(&another).await,
            ] {
                rejected.assert_error(503, "temporarily unavailable, try again");
                assert_eq!(rejected.header("retry-after"), "1");
            }
            // Cached answers are not shed.
            assert_eq!(app.get(&page()).await.status, 200);
            assert_eq!(app.get(BOARD).await.status, 200);
            let tag = [("if-none-match", etag.as_str())];
            assert_eq!(app.get_with(BOARD, &tag).await.status, 304);
        }
        drop(taken);
    };
    let (_, ()) = join(waits, shed).await;
    drop(unfinished);
    app.until("the end of the write", |app| app.writer.in_flight() == 0)
        .await;
    assert_eq!(app.get(&scan).await.status, 200);
    app.stop().await;
}
