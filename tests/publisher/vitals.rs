//! What alarms watch:
//!
//! - series that alarms watch begin at 0
//! - the metrics tell the build, the challenges on the board, the newest eval run, and the size of database and disk
//! - with less free space than asked for, the server is not ready, and serves all the same

use std::time::Duration;

use awc::http::Method;
use serde_json::json;

use crate::{
    admin::challenge,
    app::{App, BOARD, Data, wait_until},
};

const NEWEST: &str = "publisher_newest_eval_run_timestamp_seconds";
const EVAL_RUNS: &str = "/v1/admin/eval-runs";

#[actix_web::test]
async fn series_that_alarms_watch_begin_at_0() {
    let app = App::start(Data::sample()).await;
    for route in [
        "active-challenges",
        "leaderboard",
        "health",
        "admin",
        "none",
    ] {
        for status in [200, 304, 500, 503] {
            let name = "publisher_http_requests_total";
            let series = format!("{name}{{route=\"{route}\",status=\"{status}\"}}");
            assert_eq!(app.metric(&series).await, 0, "{series}");
        }
    }
    for series in [
        r#"publisher_board_builds_total{outcome="failed"}"#,
        r#"publisher_commits_total{outcome="not_stored"}"#,
        r#"publisher_commits_total{outcome="unknown"}"#,
        r#"publisher_waits_total{outcome="refused"}"#,
        "publisher_log_lines_dropped_total",
        "publisher_committed_items_total",
    ] {
        assert_eq!(app.metric(series).await, 0, "{series}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn the_metrics_tell_the_build_the_board_the_newest_eval_run_and_the_sizes() {
    let app = App::start(Data::sample()).await;
    let (version, os) = (env!("CARGO_PKG_VERSION"), std::env::consts::OS);
    let arch = std::env::consts::ARCH;
    let build = format!(r#"publisher_build_info{{arch="{arch}",os="{os}",version="{version}"}}"#);
    assert_eq!(app.metric(&build).await, 1);
    app.get(BOARD).await;
    assert_eq!(app.metric("publisher_board_challenges").await, 51);
    let (kind, has_disk) = (app.store.kind(), app.store.kind() == "sqlite");
    let database = format!(r#"publisher_database_info{{access="read-write",kind="{kind}"}}"#);
    assert_eq!(app.metric(&database).await, 1);
    let ready = async |check: &str| {
        let name = format!("publisher_ready{{check=\"{check}\"}}");
        let metrics = app.get("/metrics").await;
        metrics.text().contains(&format!("{name} 1\n"))
    };
    for check in ["snapshot", "database", "actors", "process"] {
        wait_until(check, async || ready(check).await).await;
    }
    let newest_is = async |value: &str| {
        let metrics = app.get("/metrics").await;
        metrics.text().contains(&format!("{NEWEST} {value}\n"))
    };
    assert!(newest_is("-1").await);
    let body = challenge("one-more", "active").to_string();
    let path = "/v1/admin/challenges/one-more";
    app.admin(Method::PUT, path, body).await;
    assert_eq!(app.metric("publisher_board_challenges").await, 52);
    // The newest, not the last one that came; those that are not published do not count.
    for (id, ran_at, version) in [
        ("b", "2026-06-07T00:00:02.500Z", 5),
        ("a", "2026-06-07T02:00:01+02:00", 5),
        ("c", "2026-06-08T00:00:00Z", 4),
    ] {
        let row = json!({"id": id, "ran_at": ran_at, "eval_output_schema_version": version});
        let stored = app.admin(Method::POST, EVAL_RUNS, format!("[{row}]")).await;
        assert_eq!(stored.status, 200, "{}", stored.text());
    }
    wait_until("the newest eval run", async || {
        app.clock.advance(Duration::from_millis(500));
        newest_is("1780790402").await
    })
    .await;
    assert!(app.metric("publisher_database_bytes").await > 4096);
    let free = app.metric("publisher_disk_free_bytes").await;
    let disk = app.metric("publisher_disk_bytes").await;
    if has_disk {
        assert!(free > 0 && free <= disk, "{free} {disk}");
    } else {
        assert_eq!((free, disk), (0, 0));
    }
    app.stop().await;
}

#[actix_web::test]
async fn with_less_free_space_than_asked_for_the_server_is_not_ready_and_serves_all_the_same() {
    let all_there_is = (1_u64 << 30).to_string();
    let options = ["--min-free-space", &all_there_is];
    let app = App::start_with_options(Data::sample(), &options).await;
    let ready = app.get("/health/ready").await;
    if app.store.kind() == "sqlite" {
        assert_eq!(ready.status, 503);
        let disk = ready.json()["checks"]["disk"].as_str().unwrap().to_owned();
        assert!(
            disk.ends_with(" MiB are free, fewer than 1073741824"),
            "{disk}"
        );
    } else {
        // The disk is that of another machine.
        assert_eq!(ready.status, 200);
        assert!(ready.json()["checks"]["disk"].is_null());
    }
    assert_eq!(app.get(BOARD).await.status, 200);
    assert_eq!(app.get("/health").await.status, 200);
    app.stop().await;
    let app = App::start_with_options(Data::sample(), &["--min-free-space", "1"]).await;
    let ready = app.get("/health/ready").await;
    assert_eq!(ready.status, 200);
    if app.store.kind() == "sqlite" {
        assert_eq!(ready.json()["checks"]["disk"], "ok");
    }
    app.stop().await;
}
