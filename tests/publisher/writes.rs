//! Writes next to concurrent reads:
//!
//! - an acknowledged write is visible in the next GET
//! - clients are answered at once while a write waits for its rebuild
//! - a rebuild that has read the board before a write does not acknowledge it
//! - concurrent writes share a commit and a rebuild, and an invalid one fails alone
//! - if the rebuild fails, the acknowledgement says so
//! - writes beyond the admission limits get 503 at once, and none of them is queued
//! - while another process keeps the database locked, writes get 503 and nothing is stored
//! - eval runs cause no rebuild of the board
//! - a stop finishes admitted writes, and SIGTERM then exits with 0

use std::{thread, time::Duration};

use awc::http::Method;
use cathedral_publisher::demo::sample::Sample;
use futures_util::future::{join, join_all};

use crate::{
    app::{App, BOARD, Data, FEED, Mode, eventually, settings},
    chaos::server::{Server, bearer, row},
    client::Connection,
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

#[actix_web::test]
async fn an_acknowledged_write_is_visible_in_the_next_get() {
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
async fn clients_are_answered_at_once_while_a_write_waits_for_its_rebuild() {
    let app = App::start(Data::sample()).await;
    app.gate.set(Mode::Hold);
    // Starts a rebuild before the write, which reads the database after it.
    app.clock.advance(Duration::from_secs(31));
    app.get(BOARD).await;
    app.until("the first rebuild", |app| app.gate.builds() == 2)
        .await;
    let polls = async {
        app.until("the commit", |app| {
            let count = "SELECT count(*) FROM challenges";
            app.data.database.number(count) == 52
        })
        .await;
        for _ in 0..20 {
            assert_eq!(app.get(BOARD).await.json()["count"], 51);
        }
        assert_eq!(
            app.writer.in_flight(),
            1,
            "the write is not acknowledged yet"
        );
        app.gate.set(Mode::Pass);
    };
    let (answer, ()) = join(put(&app, 0), polls).await;
    assert_eq!(answer.text(), r#"{"inserted":1,"unchanged":0}"#);
    assert_eq!(app.get(BOARD).await.json()["count"], 52);
    assert_eq!(app.gate.builds(), 2);
    app.stop().await;
}

#[actix_web::test]
async fn a_rebuild_that_has_read_the_board_before_a_write_does_not_acknowledge_it() {
    let app = App::start(Data::sample()).await;
    app.gate.set(Mode::HoldRead);
    app.clock.advance(Duration::from_secs(31));
    app.get(BOARD).await;
    app.until("the first rebuild", |app| app.gate.held() == 1)
        .await;
    let release = async {
        app.until("the commit", |app| {
            let count = "SELECT count(*) FROM challenges";
            app.data.database.number(count) == 52
        })
        .await;
        app.gate.set(Mode::Pass);
    };
    let (answer, ()) = join(put(&app, 0), release).await;
    assert_eq!(answer.text(), r#"{"inserted":1,"unchanged":0}"#);
    assert_eq!(app.get(BOARD).await.json()["count"], 52);
    assert_eq!(app.gate.builds(), 3);
    app.stop().await;
}

#[actix_web::test]
async fn concurrent_writes_share_a_commit_and_a_rebuild_and_an_invalid_one_fails_alone() {
    let app = App::start(Data::empty()).await;
    app.data.put(&[Sample::new(1007).challenge(1)]);
    let retired = Sample::new(1007).challenge(1);
    app.data
        .put(&[cathedral_publisher::domain::challenge::Challenge {
            status: cathedral_publisher::domain::challenge::Status::Retired,
            ..retired
        }]);
    let builds = app.gate.builds();
    let lock = app.data.database.lock();
    let writes = join_all((0..40).map(|number| put(&app, number)));
    let release = async {
        app.until("all writes admitted", |app| app.writer.in_flight() == 40)
            .await;
        drop(lock);
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
async fn if_the_rebuild_fails_the_acknowledgement_says_so() {
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
async fn writes_beyond_the_admission_limits_get_503_at_once() {
    let mut settings = settings(&[]);
    // Of two tokens each may have three quarters, which is four writes.
    settings.writer.max_writes = 5;
    settings.writer.max_write_bytes = 16 << 20;
    let app = App::start_with(Data::empty(), Mode::Pass, settings).await;
    let lock = app.data.database.lock();
    let admitted = join_all((0..4).map(|number| {
        let app = &app;
        async move {
            app.admin(Method::POST, RUNS, row(&format!("in-{number}")))
                .await
        }
    }));
    let rejected = async {
        app.until("all writes admitted", |app| app.writer.in_flight() == 4)
            .await;
        for number in 0..20 {
            let answer = app
                .admin(Method::POST, RUNS, row(&format!("out-{number}")))
                .await;
            answer.assert_error(503, "temporarily unavailable, try again");
            assert_eq!(answer.header("retry-after"), "1");
        }
        drop(lock);
    };
    let (answers, ()) = join(admitted, rejected).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    let page = app.get(&format!("{FEED}?since=2020-01-01T00:00:00Z")).await;
    assert_eq!(page.text().matches("\"id\":\"in-").count(), 4);
    assert!(!page.text().contains("out-"), "a rejected write was stored");
    // Bytes have a limit of their own.
    let longest = app.writer.max_bytes() as usize;
    let mut all = vec![app.writer.admit(longest).unwrap()];
    // The rest is for short bodies.
    for _ in 0..4 {
        all.push(app.writer.admit(64 << 10).unwrap());
    }
    assert!(app.writer.admit(0).is_err());
    all.pop();
    assert!(app.writer.admit(1 << 20).is_err());
    drop(all.split_off(1));
    assert_eq!(app.admin(Method::POST, RUNS, row("x")).await.status, 200);
    let too_long = format!("{}{}", row("y"), " ".repeat(1 << 20));
    assert_eq!(app.admin(Method::POST, RUNS, too_long).await.status, 503);
    drop(all);
    assert_eq!(app.admin(Method::POST, RUNS, row("x")).await.status, 200);
    app.stop().await;
}

#[actix_web::test]
async fn while_the_database_is_locked_writes_get_503_and_nothing_is_stored() {
    let mut settings = settings(&[]);
    settings.writer.busy_timeout = Duration::from_millis(20);
    let app = App::start_with(Data::empty(), Mode::Pass, settings).await;
    // The first write opens the connection.
    assert_eq!(
        app.admin(Method::POST, RUNS, row("first")).await.status,
        200
    );
    let lock = app.data.database.lock();
    let answer = app.admin(Method::POST, RUNS, row("second")).await;
    answer.assert_error(503, "temporarily unavailable, try again");
    drop(lock);
    let page = app.get(&format!("{FEED}?since=2020-01-01T00:00:00Z")).await;
    assert!(!page.text().contains("second"));
    assert_eq!(
        app.admin(Method::POST, RUNS, row("second")).await.status,
        200
    );
    app.stop().await;
}

#[actix_web::test]
async fn eval_runs_cause_no_rebuild_of_the_board() {
    let app = App::start(Data::sample()).await;
    for number in 0..20 {
        app.admin(Method::POST, RUNS, row(&format!("{number}")))
            .await;
        // Lets the poll for writes of other processes run; the version of the board is unchanged.
        app.clock.advance(Duration::from_millis(600));
    }
    assert_eq!(app.get(BOARD).await.status, 200);
    assert_eq!(app.gate.builds(), 1);
    app.stop().await;
}

#[actix_web::test]
async fn a_stop_finishes_admitted_writes() {
    let app = App::start(Data::empty()).await;
    assert_eq!(
        app.admin(Method::POST, RUNS, row("first")).await.status,
        200
    );
    let lock = app.data.database.lock();
    let admission = app.writer.admit(0).unwrap();
    let run = cathedral_publisher::domain::eval_run::EvalRun::from_json(&row("last")).unwrap();
    let operation = cathedral_publisher::store::operation::Operation::InsertEvalRuns(vec![run]);
    // A caller that stops waiting does not cancel its write.
    let writer = app.writer.clone();
    let abandoned = tokio::time::timeout(Duration::ZERO, writer.write(admission, operation)).await;
    assert!(abandoned.is_err());
    assert_eq!(writer.in_flight(), 1);
    join(writer.idle(), async { drop(lock) }).await;
    let stored = "SELECT count(*) FROM eval_runs WHERE id = 'last'";
    assert_eq!(app.data.database.number(stored), 1);
    app.stop().await;
}

#[test]
fn sigterm_finishes_admitted_writes_and_exits_with_0() {
    let data = Data::empty();
    let publisher = std::path::Path::new(env!("CARGO_BIN_EXE_cathedral-publisher"));
    let mut server = Server::start(publisher, &data.location(), &["--max-writes", "1"]);
    let lock = data.database.lock();
    let mut probe = Connection::open(&server.address).unwrap();
    assert_eq!(probe.request("GET", "/health", "", b"").unwrap().0, 200);
    let address = server.address.clone();
    // Only one operation is admitted at a time, and the probe below can be that one for a moment: retries.
    let written = thread::spawn(move || {
        loop {
            // A rejected request leaves its body unread, so the server closes the connection.
            let mut writer = Connection::open(&address).unwrap();
            let body = row("admitted");
            match writer.request("POST", RUNS, &bearer(), body.as_bytes()) {
                Ok((503, _)) => thread::sleep(Duration::from_millis(1)),
                answer => return answer,
            }
        }
    });
    // If the probe gets 503, the write has been admitted.
    eventually("a rejected probe", || {
        let sent = probe.request("POST", RUNS, &bearer(), b"invalid");
        sent.unwrap().0 == 503
    });
    server.terminate();
    // New clients are still answered, and readiness is 503.
    eventually("readiness off", || {
        let mut late = Connection::open(&server.address).unwrap();
        late.request("GET", "/health/ready", "", b"").unwrap().0 == 503
    });
    drop(lock);
    assert_eq!(written.join().unwrap().unwrap().0, 200);
    assert!(server.wait().success());
    let stored = "SELECT count(*) FROM eval_runs WHERE id = 'admitted'";
    assert_eq!(data.database.number(stored), 1);
}
