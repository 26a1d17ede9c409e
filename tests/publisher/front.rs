//! Observability, and the limits and options of the HTTP server:
//!
//! - requests are counted by route and status, with their duration, bytes sent and bytes saved
//! - the gauges of `/metrics` show the state of the server
//! - ready means a recent board, a database that answers and running actors; an idle server stays ready; readiness is
//!   503 before the server stops
//! - an actor that stops ends the server with a clear error
//! - with an admin address, the public address has neither admin routes nor metrics
//! - metrics are gathered a bounded number of times per second
//! - with `--cors`, other origins may read answers and their ETag
//! - with `--cache-status` and `--server-timing`, answers have these fields
//! - answers have no banner and forbid content sniffing; a request id is returned if it is valid
//! - a target that is too long gets 414, a header section that is too long 431
//! - a head that does not end and a client that does not read are cut off

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use awc::http::Method;
use serde_json::json;

use crate::{
    app::{Answer, App, BOARD, CURRENT, Data, FEED, Mode, settings, wait_until},
    fragile::{self, FragileClock},
};

const READY: &str = "/health/ready";

fn requests(route: &str, status: u16) -> String {
    format!(r#"publisher_http_requests_total{{route="{route}",status="{status}"}}"#)
}

#[actix_web::test]
async fn requests_are_counted_by_route_and_status() {
    let app = App::start(Data::sample()).await;
    let board = app.get(BOARD).await;
    let etag = board.header("etag").to_owned();
    for path in [BOARD, &format!("/api/cathedral{BOARD}")] {
        let answer = app.get_with(path, &[("if-none-match", &etag)]).await;
        assert_eq!(answer.status, 304);
    }
    let coded = app.get_with(BOARD, &[("accept-encoding", "gzip")]).await;
    app.send(Method::HEAD, BOARD, &[]).await;
    app.get(FEED).await.assert_error(
        400,
        "missing cursor: pass since_ran_at (v1.1.0) or since (v1.0.x)",
    );
    app.get("/nope").await;
    app.send(Method::POST, BOARD, &[]).await;
    app.get(CURRENT).await;
    for (route, status, count) in [
        ("active-challenges", 200, 3),
        ("active-challenges", 304, 2),
        ("active-challenges", 405, 1),
        ("leaderboard", 400, 1),
        ("current-challenge", 200, 1),
        ("none", 404, 1),
    ] {
        assert_eq!(
            app.metric(&requests(route, status)).await,
            count,
            "{route} {status}"
        );
    }
    let route = r#"{route="active-challenges"}"#;
    let took = format!("publisher_http_request_duration_seconds_count{route}");
    assert_eq!(app.metric(&took).await, 6);
    let error = br#"{"detail":"method not allowed"}"#.len();
    let sent = format!("publisher_http_response_body_bytes_total{route}");
    let bodies = board.body.len() + coded.body.len() + error;
    assert_eq!(
        app.metric(&sent).await,
        bodies as u64,
        "an answer to HEAD has no body"
    );
    let saved = r#"publisher_http_saved_bytes_total{by="304"}"#;
    assert_eq!(app.metric(saved).await, 2 * board.body.len() as u64);
    let saved = r#"publisher_http_saved_bytes_total{by="coding"}"#;
    assert_eq!(
        app.metric(saved).await,
        (board.body.len() - coded.body.len()) as u64
    );
    app.stop().await;
}

#[actix_web::test]
async fn the_gauges_show_the_state_of_the_server() {
    let app = App::start(Data::sample()).await;
    assert_eq!(app.metric("publisher_board_age_seconds").await, 0);
    app.clock.advance(Duration::from_secs(31));
    assert_eq!(app.metric("publisher_board_age_seconds").await, 31);
    app.gate.set(Mode::Hold);
    for stale in 1..4 {
        app.get(BOARD).await;
        assert_eq!(
            app.metric("publisher_board_stale_answers_total").await,
            stale
        );
    }
    app.gate.set(Mode::Pass);
    let rows =
        b"{\"id\":\"a\",\"ran_at\":\"2026-06-07T00:00:00Z\",\"eval_output_schema_version\":5}"
            .to_vec();
    let wrote = app.admin(Method::POST, "/v1/admin/eval-runs", rows).await;
    assert_eq!(wrote.status, 200, "{}", wrote.text());
    assert_eq!(app.metric("publisher_feed_page_bytes").await, 0);
    let page = app.get(&format!("{FEED}?since=2026-06-06")).await;
    assert!(page.text().contains(r#"{"id":"a","#));
    for (name, least) in [
        ("publisher_committed_items_total", 1),
        ("publisher_commit_seconds_count", 1),
        ("publisher_wal_bytes", 1),
        ("publisher_feed_page_bytes", 1),
        ("publisher_http_connections", 1),
        ("publisher_http_connections_accepted_total", 1),
        ("publisher_pool_connections", 1),
    ] {
        assert!(app.metric(name).await >= least, "{name}");
    }
    if cfg!(target_os = "linux") {
        assert!(app.metric("process_resident_memory_bytes").await > 1 << 20);
        assert!(app.metric("process_open_fds").await > 10);
        let metrics = app.get("/metrics").await;
        let kind = "# TYPE process_cpu_seconds_total counter";
        assert!(metrics.text().lines().any(|line| line == kind));
    }
    let open = app.metric("publisher_http_connections").await;
    let socket = TcpStream::connect(app.address()).unwrap();
    let connections = async || app.metric("publisher_http_connections").await;
    wait_until("one more connection", async || {
        connections().await == open + 1
    })
    .await;
    drop(socket);
    wait_until("its close", async || connections().await == open).await;
    app.stop().await;
}

fn assert_not_ready(answer: &Answer, check: &str, says: &str) {
    assert_eq!(answer.status, 503);
    let body = answer.json();
    assert_eq!(
        (&body["status"], &body["checks"][check]),
        (&json!("not ready"), &json!(says)),
        "{body}"
    );
    let others = body["checks"].as_object().unwrap().iter();
    assert!(
        others
            .filter(|(name, _)| *name != check)
            .all(|(_, said)| said == "ok"),
        "{body}"
    );
}

#[actix_web::test]
async fn ready_means_a_recent_board_a_database_and_running_actors() {
    let app = App::start_in(Data::sample(), Mode::Fail).await;
    assert_not_ready(&app.get(READY).await, "snapshot", "none yet");
    assert_eq!(app.get("/health/live").await.status, 200);
    app.gate.set(Mode::Pass);
    app.recovers_to(51).await;
    let ready = app.get(READY).await;
    assert_eq!(ready.status, 200);
    let ok = json!({"snapshot": "ok", "database": "ok", "actors": "ok", "process": "ok"});
    assert_eq!(ready.json(), json!({"status": "ready", "checks": ok}));
    assert_eq!(ready.header("cache-control"), "no-store");
    // Without polls the board has become too old: the readiness check rebuilds it.
    app.clock.advance(Duration::from_secs(601));
    assert_eq!(
        app.get(READY).await.status,
        200,
        "an idle server stays ready"
    );
    app.gate.set(Mode::Fail);
    app.clock.advance(Duration::from_secs(601));
    assert_not_ready(&app.get(READY).await, "snapshot", "too old");
    assert_eq!(
        app.get(BOARD).await.status,
        200,
        "the old board is still served"
    );
    app.gate.set(Mode::Pass);
    wait_until("readiness", async || {
        app.clock.advance(Duration::from_secs(1));
        app.get(READY).await.status == 200
    })
    .await;
    let path = app.data.path();
    std::fs::rename(&path, path.with_extension("gone")).unwrap();
    let deleted = "publisher.db: does not exist any more";
    assert_not_ready(&app.get(READY).await, "database", deleted);
    std::fs::rename(path.with_extension("gone"), &path).unwrap();
    wait_until("readiness", async || app.get(READY).await.status == 200).await;
    app.server.announce();
    assert_not_ready(&app.get(READY).await, "process", "stopping");
    assert_eq!(app.get("/health").await.status, 200);
    app.stop().await;
}

#[actix_web::test]
async fn an_actor_that_stops_ends_the_server_with_a_clear_error() {
    let data = Data::sample();
    let clock = FragileClock::on_this_thread();
    let running = fragile::start(&data, settings(&[]), &clock).await;
    let cache = running.cache.clone();
    let stopper = running.stopper();
    let serving = actix_web::rt::spawn(running.serve());
    assert!(cache.is_alive());
    cache.invalidate_and_wait().await.unwrap();
    clock.arm(true);
    cache.invalidate();
    let ended = serving.await.unwrap().unwrap_err();
    assert!(
        ended.to_string().starts_with("the cache has stopped"),
        "{ended}"
    );
    assert!(!cache.is_alive());
    stopper.stop(false).await;
}

#[actix_web::test]
async fn with_an_admin_address_the_public_address_has_neither_admin_routes_nor_metrics() {
    let app = App::start_with_options(Data::sample(), &["--admin-address", "127.0.0.1:0"]).await;
    assert_eq!(app.get(BOARD).await.status, 200);
    assert_eq!(app.get("/health").await.status, 200);
    assert_eq!(app.get("/metrics").await.status, 404);
    let put = app
        .admin(Method::PUT, "/v1/admin/merkle-epochs/1", "{}")
        .await;
    assert_eq!(put.status, 404);
    let put = app
        .admin(Method::PUT, "admin:/v1/admin/merkle-epochs/1", "{}")
        .await;
    assert_eq!(put.status, 200, "{}", put.text());
    assert_eq!(app.get(&format!("admin:{BOARD}")).await.status, 200);
    assert_eq!(app.get("admin:/health/ready").await.status, 200);
    let metrics = app.get("admin:/metrics").await;
    assert!(
        metrics
            .text()
            .contains(&format!("{} 2", requests("active-challenges", 200)))
    );
    app.stop().await;
}

#[actix_web::test]
async fn metrics_are_gathered_a_bounded_number_of_times_per_second() {
    let app = App::start(Data::sample()).await;
    let begun = std::time::Instant::now();
    let mut texts = std::collections::BTreeSet::new();
    // Each newly gathered text counts the requests before it, so that it differs from the others.
    let requests = 400;
    for _ in 0..requests {
        let answer = app.get("/metrics").await;
        assert_eq!(answer.status, 200);
        texts.insert(answer.body);
    }
    let allowed = 50 + 10 * (1 + begun.elapsed().as_secs() as usize);
    assert!(texts.len() <= allowed, "{} of {allowed}", texts.len());
    assert!(texts.len() >= 50);
    app.stop().await;
}

#[actix_web::test]
async fn with_cors_other_origins_may_read_answers_and_their_etag() {
    let origin = ("origin", "https://board.example");
    let preflight = [
        origin,
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "if-none-match"),
    ];
    let app = App::start_with_options(Data::sample(), &["--cors"]).await;
    let answer = app.get_with(BOARD, &[origin]).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert!(
        answer
            .header("access-control-expose-headers")
            .starts_with("etag")
    );
    assert_eq!(answer.header("vary"), "accept-encoding");
    let etag = answer.header("etag").to_owned();
    let answer = app
        .get_with(BOARD, &[origin, ("if-none-match", &etag)])
        .await;
    assert_eq!(
        (
            answer.status.as_u16(),
            answer.header("access-control-allow-origin")
        ),
        (304, "*")
    );
    let answer = app.send(Method::OPTIONS, BOARD, &preflight).await;
    assert!(answer.status.is_success(), "{answer:?}");
    assert!(
        answer
            .header("access-control-allow-methods")
            .contains("GET")
    );
    assert!(
        answer
            .header("access-control-allow-headers")
            .to_lowercase()
            .contains("if-none-match")
    );
    let admin = app
        .send(Method::OPTIONS, "/v1/admin/challenges", &preflight)
        .await;
    assert_eq!(
        (
            admin.status.as_u16(),
            admin.header("access-control-allow-origin")
        ),
        (405, "")
    );
    app.stop().await;
    let app = App::start(Data::sample()).await;
    let answer = app.get_with(BOARD, &[origin]).await;
    assert_eq!(answer.header("access-control-allow-origin"), "");
    assert_eq!(
        app.send(Method::OPTIONS, BOARD, &preflight).await.status,
        405
    );
    app.stop().await;
}

#[actix_web::test]
async fn with_cache_status_and_server_timing_answers_have_these_fields() {
    let app = App::start_with_options(Data::sample(), &["--cache-status", "--server-timing"]).await;
    app.clock.advance(Duration::from_secs(10));
    for path in [BOARD, CURRENT] {
        let answer = app.get(path).await;
        assert_eq!(answer.header("cache-status"), "publisher; hit; ttl=20");
        assert_eq!(answer.header("age"), "10");
        assert!(answer.header("server-timing").starts_with("app;dur="));
    }
    app.data.sample_runs(300, "2026-06-07T00:00:00Z");
    let page = format!("{FEED}?since_ran_at=2026-06-06T00:00:00Z&limit=300");
    for status in ["publisher; fwd=uri-miss; stored", "publisher; hit"] {
        assert_eq!(app.get(&page).await.header("cache-status"), status);
    }
    app.gate.set(Mode::Hold);
    app.clock.advance(Duration::from_secs(25));
    let answer = app.get_with(BOARD, &[("if-none-match", "*")]).await;
    assert_eq!(answer.status, 304);
    let stale = "publisher; hit; ttl=-5; detail=stale-while-revalidate";
    assert_eq!(
        (answer.header("cache-status"), answer.header("age")),
        (stale, "35")
    );
    app.stop().await;
}

#[actix_web::test]
async fn answers_have_no_banner_and_a_valid_request_id_is_returned() {
    let app = App::start(Data::sample()).await;
    for path in [
        BOARD,
        "/nope",
        "/health",
        "/health/ready",
        "/metrics",
        "/openapi.json",
        FEED,
    ] {
        let answer = app.get_with(path, &[("x-request-id", "a-1")]).await;
        for banner in [
            "server",
            "x-powered-by",
            "via",
            "cache-status",
            "age",
            "server-timing",
        ] {
            assert_eq!(answer.header(banner), "", "{path}: {banner}");
        }
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("x-request-id"), "a-1", "{path}");
    }
    for invalid in ["", "a b", "a\"b", "é", &"x".repeat(129)] {
        let answer = app.get_with(BOARD, &[("x-request-id", invalid)]).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("x-request-id")),
            (200, "")
        );
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_target_that_is_too_long_gets_414_and_a_header_section_431() {
    let app = App::start(Data::sample()).await;
    let filled = |bytes: usize| format!("{BOARD}?{}", "x".repeat(bytes - BOARD.len() - 1));
    assert_eq!(app.get(&filled(8192)).await.status, 200);
    app.get(&filled(8193))
        .await
        .assert_error(414, "the request target is too long");
    let lines = |bytes: usize| "x".repeat(bytes / 8);
    let ask = async |bytes: usize| {
        let value = lines(bytes);
        app.get_with(BOARD, &[("x-long", value.as_str()); 8]).await
    };
    assert_eq!(ask(30_000).await.status, 200);
    ask(33_000)
        .await
        .assert_error(431, "the header section is too long");
    app.stop().await;
}

#[actix_web::test]
async fn a_head_that_does_not_end_and_a_client_that_does_not_read_are_cut_off() {
    let mut settings = settings(&[]);
    settings.http.head_timeout = Duration::from_millis(300);
    let app = App::start_with(Data::empty(), Mode::Pass, settings).await;
    let address = app.address();
    let answer = actix_web::web::block(move || {
        let mut socket = TcpStream::connect(address).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        write!(socket, "GET {BOARD} HTTP/1.1\r\nHost: x\r\nX-Slow: ").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    })
    .await
    .unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    app.stop().await;
    if cfg!(not(target_os = "linux")) {
        return;
    }
    let data = Data::empty();
    data.sample_runs(1000, "2026-06-07T00:00:00Z");
    let app = App::start_with_options(data, &["--send-timeout-secs", "1"]).await;
    let open = app.metric("publisher_http_connections").await;
    // More bytes than the socket buffers of both sides hold, and the client does not read.
    let mut socket = TcpStream::connect(app.address()).unwrap();
    let page = format!("{FEED}?since_ran_at=2026-06-06T00:00:00Z&limit=1000");
    for _ in 0..40 {
        write!(socket, "GET {page} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    }
    let connections = async || app.metric("publisher_http_connections").await;
    wait_until("the connection", async || connections().await == open + 1).await;
    wait_until("its close", async || connections().await == open).await;
    drop(socket);
    app.stop().await;
}
