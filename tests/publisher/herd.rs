//! The thundering herd: 500 clients released by a barrier.
//!
//! - on a cold cache one build answers all clients
//! - on a warm cache nothing is built
//! - on an expired cache one rebuild runs, and no client waits for it
//! - builds are counted by outcome
//! - a herd of health checks is answered by few probes of the database

use std::{rc::Rc, time::Duration};

use futures_util::future::join_all;
use tokio::sync::Barrier;

use crate::app::{App, BOARD, Data, Mode, wait_until};

const CLIENTS: usize = 500;

/// Starts the clients; each requests `path` once, all at the same moment.
fn release(
    app: &Rc<App>,
    path: &'static str,
) -> Vec<actix_rt::task::JoinHandle<crate::app::Answer>> {
    let barrier = Rc::new(Barrier::new(CLIENTS));
    let client = |_| {
        let (app, barrier) = (Rc::clone(app), Rc::clone(&barrier));
        actix_rt::spawn(async move {
            barrier.wait().await;
            app.get(path).await
        })
    };
    (0..CLIENTS).map(client).collect()
}

async fn assert_all_200(clients: Vec<actix_rt::task::JoinHandle<crate::app::Answer>>) {
    let answers = join_all(clients).await;
    assert_eq!(answers.len(), CLIENTS);
    for answer in answers {
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["count"], 51);
    }
}

async fn stop(app: Rc<App>) {
    match Rc::try_unwrap(app) {
        Ok(app) => app.stop().await,
        Err(_) => panic!("a client is still running"),
    }
}

#[actix_web::test]
async fn on_a_cold_cache_one_build_answers_all_clients() {
    let app = Rc::new(App::start_in(Data::sample(), Mode::Fail).await);
    assert_eq!(app.gate.builds(), 1, "the first build failed");
    app.gate.set(Mode::Hold);
    app.clock.advance(Duration::from_secs(3));
    app.until("the retry", |app| app.gate.builds() == 2).await;
    let clients = release(&app, BOARD);
    app.until("all clients waiting", |app| {
        app.cache.waiting_readers() == CLIENTS
    })
    .await;
    app.gate.set(Mode::Pass);
    assert_all_200(clients).await;
    assert_eq!(app.gate.builds(), 2);
    assert_eq!(app.cache.waiting_readers(), 0);
    stop(app).await;
}

#[actix_web::test]
async fn on_a_warm_cache_nothing_is_built() {
    let app = Rc::new(App::start(Data::sample()).await);
    assert_all_200(release(&app, BOARD)).await;
    assert_eq!(app.gate.builds(), 1);
    stop(app).await;
}

#[actix_web::test]
async fn on_an_expired_cache_one_rebuild_runs_and_no_client_waits_for_it() {
    let app = Rc::new(App::start(Data::sample()).await);
    let before = app
        .cache
        .read(|published, _| published.board().identity().body())
        .await
        .unwrap();
    for _ in 0..3 {
        let builds = app.gate.builds();
        app.gate.set(Mode::Hold);
        app.clock.advance(Duration::from_secs(31));
        // All clients are answered while the rebuild is held.
        assert_all_200(release(&app, BOARD)).await;
        app.until("the rebuild", |app| app.gate.builds() > builds)
            .await;
        app.gate.set(Mode::Pass);
        // One rebuild for the expiry, and one for this invalidation.
        app.cache.invalidate_and_wait().await.unwrap();
        assert_eq!(app.gate.builds(), builds + 2);
        let after = app
            .cache
            .read(|published, _| published.board().identity().body())
            .await
            .unwrap();
        assert!(
            std::ptr::eq(before.as_ref(), after.as_ref()),
            "an unchanged board keeps its allocation"
        );
    }
    stop(app).await;
}

#[actix_web::test]
async fn builds_are_counted_by_outcome() {
    let app = App::start(Data::sample()).await;
    let counts = async |built: u64, failed: u64| {
        let metrics = app.get("/metrics").await;
        assert!(metrics.header("content-type").starts_with("text/plain"));
        [("built", built), ("failed", failed)]
            .iter()
            .all(|(outcome, count)| {
                let line = format!("publisher_board_builds_total{{outcome=\"{outcome}\"}} {count}");
                metrics.text().lines().any(|found| found == line)
            })
    };
    assert!(counts(1, 0).await);
    app.gate.set(Mode::Panic);
    app.clock.advance(Duration::from_secs(31));
    app.get(BOARD).await;
    wait_until("the count of the panic", async || counts(1, 1).await).await;
    app.stop().await;
}

#[actix_web::test]
async fn a_herd_of_health_checks_is_answered_by_few_probes_of_the_database() {
    let app = Rc::new(App::start(Data::sample()).await);
    // No probe can finish while all connections are taken, so all clients share the first two probes.
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    let pool = app.pool().clone();
    let readers = actix_web::web::block(move || {
        let size = crate::app::settings(&[]).store.pool_size;
        let readers = (0..size).map(|_| pool.reader(deadline).unwrap());
        readers.collect::<Vec<_>>()
    });
    let readers = readers.await.unwrap();
    let clients = release(&app, "/health");
    app.until("a waiting probe", |app| app.pool().usage().idle == 0)
        .await;
    drop(readers);
    for client in clients {
        assert_eq!(client.await.unwrap().status, 200);
    }
    stop(app).await;
}
