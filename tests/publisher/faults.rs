//! What clients see when the database or the rebuild misbehaves, and that it passes:
//!
//! - a rebuild that fails, panics or hangs leaves the stale board in service, and is not repeated
//!   with every request
//! - without any snapshot, readers get 503 with Retry-After, at the latest after the timeout
//! - a lock held by another process keeps no reader waiting
//! - a file replaced by garbage costs the feed, not the board; put back, all recovers
//! - feed reads past their bound get 503, and the board does not notice
//! - expensive work is shed first: scans and writes, never the board

use std::{
    cell::Cell,
    fs,
    io::Write,
    net::TcpStream,
    time::{Duration, Instant},
};

use awc::http::Method;
use cathedral_publisher::{
    demo::sample::Sample, domain::challenge::Challenge, store::pool::Reader,
};
use futures_util::future::{join, join_all};

use crate::app::{App, BOARD, Data, FEED, Mode, TOKENS, comes_about, settings};

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

/// The board fails to be rebuilt in `mode`; it stays in service, and recovers.
async fn stays_in_service_and_recovers(mode: Mode) {
    let app = App::start(Data::sample()).await;
    app.data.put(&extra());
    app.gate.set(mode);
    app.clock.advance(Duration::from_secs(31));
    assert_stale_board_is_served(&app).await;
    app.until("the failing build", |app| app.gate.builds() == 2)
        .await;
    assert_stale_board_is_served(&app).await;
    assert_eq!(app.gate.builds(), 2, "not one build a request");
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
async fn a_hanging_rebuild_leaves_the_stale_board_in_service_and_stays_alone() {
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
    assert_eq!(
        app.gate.builds(),
        2,
        "a second one beside it would hang as well"
    );
    app.gate.set(Mode::Pass);
    app.until_count(52).await;
    app.stop().await;
}

#[actix_web::test]
async fn without_a_snapshot_readers_get_503_at_once_while_no_build_runs() {
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
async fn without_a_snapshot_readers_wait_for_the_build_up_to_its_timeout() {
    let app = App::start_in(Data::sample(), Mode::Fail).await;
    app.gate.set(Mode::Hold);
    app.clock.advance(Duration::from_secs(3));
    app.until("the hanging build", |app| app.gate.builds() == 2)
        .await;
    let readers = join_all((0..10).map(|_| app.get(BOARD)));
    let time_passes = async {
        app.until("readers waiting", |app| app.cache.waiting_readers() == 10)
            .await;
        app.clock.advance(Duration::from_secs(5));
    };
    let (answers, ()) = join(readers, time_passes).await;
    for answer in answers {
        answer.assert_error(503, "temporarily unavailable, try again");
        assert!(!answer.header("retry-after").is_empty());
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_lock_held_by_another_process_keeps_no_reader_waiting() {
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
async fn a_file_replaced_by_garbage_costs_the_feed_and_not_the_board_until_it_is_put_back() {
    let data = Data::sample();
    data.sample_runs(3, "2026-06-07T00:00:00Z");
    let app = App::start(data).await;
    assert_eq!(app.get(&page()).await.status, 200);
    let path = app.data.path();
    let beside = |suffix: &str| path.with_file_name(format!("publisher.db{suffix}"));
    let replace = |from: &std::path::Path| {
        // With its log, as one must: a log left behind would be applied to the new file.
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
    let answer = app.get(&page()).await;
    answer.assert_error(503, "temporarily unavailable, try again");
    assert_eq!(answer.header("retry-after"), "1");
    let health = app.get("/health").await;
    assert_eq!(health.status, 503);
    assert_eq!(health.json()["checks"]["db"], "no answer");
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

/// All connections to the database that the server has: as if each were at work.
async fn three_connections(app: &App) -> [Reader; 3] {
    let deadline = Instant::now() + Duration::from_secs(60);
    let pool = app.pool.clone();
    let take = move || [(); 3].map(|()| pool.reader(deadline).unwrap());
    actix_web::web::block(take).await.unwrap()
}

#[actix_web::test]
async fn feed_reads_past_their_bound_get_503_and_the_board_does_not_notice() {
    let mut settings = settings(&[]);
    settings.store.pool_size = 3;
    settings.feed.queue_timeout = Duration::from_millis(10);
    settings.feed.read_timeout = Duration::from_secs(60);
    let app = App::start_with(Data::sample(), Mode::Pass, settings).await;
    // The one read that may run waits for one.
    let taken = three_connections(&app).await;
    let (path, answered) = (page(), Cell::new(0));
    let (app_of, count) = (&app, &answered);
    // Each another page, or they would share one read.
    let reads = join_all((1..=11).map(|limit| async move {
        let answer = app_of.get(&format!("{}&limit={limit}", page())).await;
        count.set(count.get() + 1);
        answer
    }));
    let release = async {
        app.until("ten turned away", |_| answered.get() == 10).await;
        assert_eq!(app.get(BOARD).await.status, 200);
        drop(taken);
    };
    let (mut answers, ()) = join(reads, release).await;
    answers.retain(|answer| answer.status != 200);
    assert_eq!(answers.len(), 10, "one had its turn");
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
    // Somebody has pulled this page before.
    assert_eq!(app.get(&page()).await.status, 200);
    let etag = app.get(BOARD).await.header("etag").to_owned();
    // The only write that is admitted is in flight, and every connection to the database is at work.
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
    app.until("the write", |app| app.writer.in_flight() == 1)
        .await;
    let taken = three_connections(&app).await;
    let scan = format!("{}&limit=7", page());
    let waits = app.get(&scan);
    let shed = async {
        let row = r#"{"id":"a","ran_at":"2026-06-07T00:00:00Z","eval_output_schema_version":5}"#;
        let reads = async || app.metric("publisher_feed_reads").await == 1;
        comes_about("the only read that may run", reads).await;
        for _ in 0..20 {
            let another = format!("{}&limit=8", page());
            for refused in [
                app.admin(Method::POST, "/v1/admin/eval-runs", row).await,
                app.get(&another).await,
            ] {
                refused.assert_error(503, "temporarily unavailable, try again");
                assert_eq!(refused.header("retry-after"), "1");
            }
            // Cached answers cost little.
            assert_eq!(app.get(&page()).await.status, 200);
            assert_eq!(app.get(BOARD).await.status, 200);
            let tag = [("if-none-match", etag.as_str())];
            assert_eq!(app.get_with(BOARD, &tag).await.status, 304);
        }
        drop(taken);
    };
    let (_, ()) = join(waits, shed).await;
    drop(unfinished);
    app.until("room again", |app| app.writer.in_flight() == 0)
        .await;
    assert_eq!(app.get(&scan).await.status, 200);
    app.stop().await;
}
