//! How writes behave beside readers:
//!
//! - whoever has its acknowledgement sees its write in the very next GET
//! - readers go on being answered at once while a write waits for its rebuild
//! - writes that pile up are committed together and share one rebuild; one bad one fails alone
//! - where the rebuild fails, the acknowledgement says so
//! - past the bounds of admission: 503 at once, and nothing queued
//! - eval runs do not have the board rebuilt
//! - a stop finishes what was admitted
//! - the write-ahead log stays bounded under readers that overlap without end

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use awc::http::Method;
use cathedral_publisher::demo::sample::Sample;
use futures_util::future::{join, join_all};

use crate::{
    app::{App, BOARD, Data, FEED, Mode, eventually, settings},
    client::Connection,
    crashes::{Server, bearer, row},
};

const RUNS: &str = "/v1/admin/eval-runs";

fn challenge(number: u64) -> (String, Vec<u8>) {
    let challenge = Sample::new(1000 + number).challenge(1);
    let mut body = Vec::new();
    challenge.write_item(&mut body).unwrap();
    (
        format!("/v1/admin/challenges/{}", challenge.challenge_id),
        body,
    )
}

async fn put(app: &App, number: u64) -> crate::app::Answer {
    let (path, body) = challenge(number);
    app.admin(Method::PUT, &path, body).await
}

/// Keeps every other writer waiting until it is dropped.
struct Lock(rusqlite::Connection);

impl Lock {
    fn take(app: &App) -> Self {
        let connection = rusqlite::Connection::open(app.data.path()).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        Self(connection)
    }

    fn release(self) {
        self.0.execute_batch("ROLLBACK").unwrap();
    }
}

#[actix_web::test]
async fn whoever_has_its_acknowledgement_sees_its_write_in_the_very_next_get() {
    let app = App::start(Data::empty()).await;
    for number in 0..50 {
        assert_eq!(
            put(&app, number).await.text(),
            r#"{"inserted":1,"unchanged":0}"#
        );
        assert_eq!(app.get(BOARD).await.json()["count"], number + 1);
        let id = format!("{number:02}");
        assert_eq!(app.admin(Method::POST, RUNS, row(&id)).await.status, 200);
        let page = app.get(&format!("{FEED}?since=2020-01-01T00:00:00Z")).await;
        assert!(page.text().contains(&format!("\"id\":\"{id}\"")));
    }
    app.stop().await;
}

#[actix_web::test]
async fn readers_are_answered_at_once_while_a_write_waits_for_its_rebuild() {
    let app = App::start(Data::sample()).await;
    app.gate.set(Mode::Hold);
    // A rebuild that began before the write does not count for it.
    app.clock.advance(Duration::from_secs(31));
    app.get(BOARD).await;
    app.until("the first rebuild", |app| app.gate.builds() == 2)
        .await;
    let readers = async {
        app.until("the commit", |app| {
            let connection = rusqlite::Connection::open(app.data.path()).unwrap();
            let sql = "SELECT count(*) FROM challenges";
            connection
                .query_row(sql, [], |row| row.get::<_, u64>(0))
                .unwrap()
                == 52
        })
        .await;
        for _ in 0..20 {
            assert_eq!(app.get(BOARD).await.json()["count"], 51);
        }
        assert_eq!(app.writer.in_flight(), 1, "not acknowledged yet");
        app.gate.set(Mode::Pass);
    };
    let (answer, ()) = join(put(&app, 0), readers).await;
    assert_eq!(answer.text(), r#"{"inserted":1,"unchanged":0}"#);
    assert_eq!(app.get(BOARD).await.json()["count"], 52);
    assert_eq!(app.gate.builds(), 3);
    app.stop().await;
}

#[actix_web::test]
async fn writes_that_pile_up_share_a_commit_and_a_rebuild_and_a_bad_one_fails_alone() {
    let app = App::start(Data::empty()).await;
    app.data.put(&[Sample::new(1007).challenge(1)]);
    let retired = Sample::new(1007).challenge(1);
    app.data
        .put(&[cathedral_publisher::domain::challenge::Challenge {
            status: cathedral_publisher::domain::challenge::Status::Retired,
            ..retired
        }]);
    let builds = app.gate.builds();
    let lock = Lock::take(&app);
    let writes = join_all((0..40).map(|number| put(&app, number)));
    let release = async {
        app.until("all admitted", |app| app.writer.in_flight() == 40)
            .await;
        lock.release();
    };
    let (answers, ()) = join(writes, release).await;
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(
            answer.status,
            if number == 7 { 409 } else { 200 },
            "{}",
            answer.text()
        );
    }
    assert_eq!(app.get(BOARD).await.json()["count"], 39);
    let builds = app.gate.builds() - builds;
    assert!(builds <= 3, "{builds} rebuilds for two commits");
    app.stop().await;
}

#[actix_web::test]
async fn where_the_rebuild_fails_the_acknowledgement_says_so() {
    let app = App::start(Data::sample()).await;
    app.gate.set(Mode::Fail);
    for number in 0..3 {
        let answer = put(&app, number).await;
        assert_eq!(
            answer.text(),
            r#"{"inserted":1,"unchanged":0,"published":false}"#
        );
        assert_eq!(app.get(BOARD).await.json()["count"], 51);
    }
    app.gate.set(Mode::Pass);
    app.recovers_to(54).await;
    app.stop().await;
}

#[actix_web::test]
async fn past_the_bounds_of_admission_the_answer_is_503_at_once() {
    let mut settings = settings(&[]);
    settings.writer.max_writes = 4;
    settings.writer.max_write_bytes = 16 << 20;
    let app = App::start_with(Data::empty(), Mode::Pass, settings).await;
    let lock = Lock::take(&app);
    let admitted = join_all((0..4).map(|number| {
        let app = &app;
        async move {
            app.admin(Method::POST, RUNS, row(&format!("in-{number}")))
                .await
        }
    }));
    let turned_away = async {
        app.until("all admitted", |app| app.writer.in_flight() == 4)
            .await;
        for number in 0..20 {
            let answer = app
                .admin(Method::POST, RUNS, row(&format!("out-{number}")))
                .await;
            answer.assert_error(503, "temporarily unavailable, try again");
            assert_eq!(answer.header("retry-after"), "1");
        }
        lock.release();
    };
    let (answers, ()) = join(admitted, turned_away).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    let page = app.get(&format!("{FEED}?since=2020-01-01T00:00:00Z")).await;
    assert_eq!(page.text().matches("\"id\":\"in-").count(), 4);
    assert!(!page.text().contains("out-"), "nothing was queued");
    // The bytes are bounded apart from the operations.
    let room = app.writer.admit(16 << 20).unwrap();
    assert_eq!(app.admin(Method::POST, RUNS, row("x")).await.status, 503);
    drop(room);
    assert_eq!(app.admin(Method::POST, RUNS, row("x")).await.status, 200);
    app.stop().await;
}

#[actix_web::test]
async fn a_database_kept_locked_is_503_and_nothing_is_stored() {
    let mut settings = settings(&[]);
    settings.writer.busy_timeout = Duration::from_millis(20);
    let app = App::start_with(Data::empty(), Mode::Pass, settings).await;
    // The connection is opened at the first write.
    assert_eq!(
        app.admin(Method::POST, RUNS, row("first")).await.status,
        200
    );
    let lock = Lock::take(&app);
    let answer = app.admin(Method::POST, RUNS, row("second")).await;
    answer.assert_error(503, "temporarily unavailable, try again");
    lock.release();
    let page = app.get(&format!("{FEED}?since=2020-01-01T00:00:00Z")).await;
    assert!(!page.text().contains("second"));
    assert_eq!(
        app.admin(Method::POST, RUNS, row("second")).await.status,
        200
    );
    app.stop().await;
}

#[actix_web::test]
async fn eval_runs_do_not_have_the_board_rebuilt() {
    let app = App::start(Data::sample()).await;
    for number in 0..20 {
        app.admin(Method::POST, RUNS, row(&format!("{number}")))
            .await;
        // The watch for other processes looks, and finds the board's version unchanged.
        app.clock.advance(Duration::from_millis(600));
    }
    assert_eq!(app.get(BOARD).await.status, 200);
    assert_eq!(app.gate.builds(), 1);
    app.stop().await;
}

#[actix_web::test]
async fn a_stop_finishes_what_was_admitted() {
    let app = App::start(Data::empty()).await;
    assert_eq!(
        app.admin(Method::POST, RUNS, row("first")).await.status,
        200
    );
    let path = app.data.path();
    let lock = Lock::take(&app);
    let admission = app.writer.admit(0).unwrap();
    let run = cathedral_publisher::domain::eval_run::EvalRun::from_json(&row("last")).unwrap();
    let operation = cathedral_publisher::writer::operation::Operation::InsertEvalRuns(vec![run]);
    // A caller that stops waiting does not take its write back.
    let writer = app.writer.clone();
    let abandoned = tokio::time::timeout(Duration::ZERO, writer.write(admission, operation)).await;
    assert!(abandoned.is_err());
    assert_eq!(writer.in_flight(), 1);
    join(writer.idle(), async { lock.release() }).await;
    let connection = rusqlite::Connection::open(path).unwrap();
    let sql = "SELECT count(*) FROM eval_runs WHERE id = 'last'";
    assert_eq!(
        connection
            .query_row(sql, [], |row| row.get::<_, u64>(0))
            .unwrap(),
        1
    );
    drop(connection);
    app.stop().await;
}

#[test]
fn sigterm_finishes_what_was_admitted_and_exits_0() {
    let data = Data::empty();
    let publisher = std::path::Path::new(env!("CARGO_BIN_EXE_cathedral-publisher"));
    let mut server = Server::start(publisher, &data.path(), &["--max-writes", "1"]);
    let other = rusqlite::Connection::open(data.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut probe = Connection::open(&server.address).unwrap();
    assert_eq!(probe.request("GET", "/health", "", b"").unwrap().0, 200);
    let address = server.address.clone();
    // There is room for one operation, and the probe below takes it too, for a moment: try again.
    let written = thread::spawn(move || {
        loop {
            // A refusal leaves the body unread, and so ends its connection.
            let mut writer = Connection::open(&address).unwrap();
            let body = row("admitted");
            match writer.request("POST", RUNS, &bearer(), body.as_bytes()) {
                Ok((503, _)) => thread::sleep(Duration::from_millis(1)),
                answer => return answer,
            }
        }
    });
    // Once the probe is turned away, the write has been admitted.
    eventually("another turned away", || {
        let sent = probe.request("POST", RUNS, &bearer(), b"no row");
        sent.unwrap().0 == 503
    });
    server.terminate();
    // New clients are still answered, and told that the server stops.
    eventually("stopping", || {
        let mut late = Connection::open(&server.address).unwrap();
        late.request("GET", "/health/ready", "", b"").unwrap().0 == 503
    });
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(written.join().unwrap().unwrap().0, 200);
    assert!(server.wait().success());
    let sql = "SELECT count(*) FROM eval_runs WHERE id = 'admitted'";
    assert_eq!(
        other
            .query_row(sql, [], |row| row.get::<_, u64>(0))
            .unwrap(),
        1
    );
}

#[actix_web::test]
async fn the_write_ahead_log_stays_bounded_under_readers_that_overlap_without_end() {
    let mut settings = settings(&[]);
    settings.writer.wal_soft_bytes = 1 << 20;
    settings.writer.wal_hard_bytes = 4 << 20;
    let app = App::start_with(Data::empty(), Mode::Pass, settings).await;
    let log = app.data.path().with_extension("db-wal");
    // Readers that take turns: at no moment does none of them hold a snapshot of the log.
    let path = app.data.path();
    let reader = move || {
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection
            .execute_batch("BEGIN; SELECT count(*) FROM eval_runs;")
            .unwrap();
        connection
    };
    let done = Arc::new(AtomicBool::new(false));
    let readers = thread::spawn({
        let done = Arc::clone(&done);
        move || {
            let mut held = reader();
            while !done.load(Ordering::Relaxed) {
                let next = reader();
                thread::sleep(Duration::from_millis(20));
                held = next;
            }
            drop(held);
        }
    });
    let mut largest = 0;
    let filler = "x".repeat(2_000);
    for round in 0..60 {
        let rows: Vec<String> = (0..100)
            .map(|number| {
                row(&format!("{round}-{number}"))
                    .replace("1.0,", &format!("1.0,\"f\":\"{filler}\","))
            })
            .collect();
        assert_eq!(
            app.admin(Method::POST, RUNS, rows.join("\n")).await.status,
            200
        );
        largest = largest.max(std::fs::metadata(&log).unwrap().len());
    }
    done.store(true, Ordering::Relaxed);
    readers.join().unwrap();
    // 60 rounds write over 12 MiB of rows, and more of pages.
    assert!(largest > 1 << 20, "{largest}");
    assert!(largest < 8 << 20, "{largest}");
    app.stop().await;
}
