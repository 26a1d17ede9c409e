//! What caches on the way are told (RFC 9111; Fetch standard, CORS protocol and HTTP caches):
//!
//! - an error that the target alone decides may be kept for a second, and every other error not at all
//! - the door's own errors may not be kept
//! - admin routes answer nothing that may be kept, on either address
//! - with `--cors` an answer does not depend on the origin that requested it first, errors included
//! - an answer to a preflight request names the fields that decide it
//! - the date never runs back, on no way that an answer takes

use std::time::{Duration, SystemTime};

use awc::http::Method;

use crate::{
    app::{App, BOARD, CURRENT, Data, FEED, Mode, TOKENS, settings},
    wire::{Client, get},
};

const KEPT_FOR_A_SECOND: &str = "public, max-age=1";

#[actix_web::test]
async fn an_error_that_the_target_decides_may_be_kept_for_a_second_and_others_not_at_all() {
    let app = App::start_with_options(Data::empty(), &["--rate-limit", "1000"]).await;
    let query = |path: &str, query: &str| format!("{path}?{query}");
    for (path, status) in [
        (CURRENT.to_owned(), 404),
        (query(CURRENT, "tier=7"), 404),
        ("/nope".to_owned(), 404),
        ("/api/cathedral/nope".to_owned(), 404),
        (query(CURRENT, "tier=x"), 400),
        (query(CURRENT, "difficulty=hard"), 400),
        (FEED.to_owned(), 400),
        (query(FEED, "since=never"), 400),
        (query(FEED, "since=2026-01-01&limit=0"), 422),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let answer = app.send(method, &path, &[]).await;
            assert_eq!(answer.status, status, "{path}");
            assert_eq!(answer.header("cache-control"), KEPT_FOR_A_SECOND, "{path}");
            assert_eq!(answer.header("vary"), "", "{path}");
        }
    }
    let token = format!("Bearer {}", TOKENS[0]);
    let plain = ("content-type", "text/plain");
    for (method, path, fields, status) in [
        (Method::POST, BOARD, vec![], 405),
        (Method::DELETE, "/health", vec![], 405),
        (Method::GET, BOARD, vec![("if-match", "\"a\"")], 412),
        (Method::GET, BOARD, vec![("accept-encoding", "*;q=0")], 406),
        (Method::GET, "/v1/admin/challenges", vec![], 401),
        (Method::GET, "/v1/admin/eval-runs", vec![], 405),
        (Method::POST, "/v1/admin/eval-runs", vec![], 401),
        (
            Method::POST,
            "/v1/admin/eval-runs",
            vec![("authorization", token.as_str()), plain],
            415,
        ),
        (
            Method::POST,
            "/v1/admin/eval-runs",
            vec![("authorization", token.as_str())],
            422,
        ),
        (Method::GET, "/health", vec![], 200),
        (Method::GET, "/health/live", vec![], 200),
        (Method::GET, "/health/ready", vec![], 200),
        (Method::GET, "/metrics", vec![], 200),
    ] {
        let body = if status == 422 { "x" } else { "" };
        let answer = app
            .send_body(method, path, &fields, body.as_bytes().to_vec())
            .await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
    }
    app.stop().await;

    let app = App::start_in(Data::sample(), Mode::Fail).await;
    let unavailable = app.get(BOARD).await;
    assert_eq!(unavailable.status, 503);
    assert_eq!(unavailable.header("cache-control"), "no-store");
    app.stop().await;

    let limit = ["--rate-limit", "1", "--rate-limit-burst", "1"];
    let app = App::start_with_options(Data::sample(), &limit).await;
    for (path, status) in [(BOARD, 200), (BOARD, 429), ("/nope", 429)] {
        let answer = app.get(path).await;
        assert_eq!(answer.status, status);
        let policy = answer.header("cache-control").to_owned();
        assert_eq!(policy == "no-store", status == 429, "{path}: {policy}");
    }
    app.stop().await;
}

/// Requests that the door refuses by itself, with their statuses.
fn refused() -> Vec<(String, u16)> {
    let long = "a".repeat(40_000);
    vec![
        ("GET / HTTP/3.7\r\n\r\n".to_owned(), 400),
        (format!("GET {BOARD} HTTP/1.1\r\n\r\n"), 400),
        (get(BOARD, "Content-Length: x\r\n"), 400),
        (get(&format!("{BOARD}?{long}"), ""), 414),
        (get(BOARD, &format!("X: {long}\r\n")), 431),
        (get(BOARD, "").trim_end().to_owned(), 408),
    ]
}

#[actix_web::test]
async fn the_doors_own_errors_may_not_be_kept() {
    let options = ["--cors", "--head-timeout-ms", "300"];
    let app = App::start_with_options(Data::sample(), &options).await;
    let address = app.address();
    actix_web::web::block(move || {
        for (request, status) in refused() {
            let answer = Client::connect(&address).ask(&request);
            answer.assert_error(status);
            for line in [
                "cache-control: no-store\r\n",
                "access-control-allow-origin: *\r\n",
            ] {
                assert!(answer.head.contains(line), "{}", answer.head);
            }
        }
    })
    .await
    .unwrap();
    app.stop().await;
}

#[actix_web::test]
async fn admin_routes_answer_nothing_that_may_be_kept_on_either_address() {
    let options = ["--admin-address", "127.0.0.1:0", "--cors"];
    let app = App::start_with(Data::sample(), Mode::Pass, settings(&options)).await;
    for path in [
        "admin:/v1/admin/eval-runs",
        "admin:/v1/admin/challenges/a",
        "admin:/metrics",
        "admin:/health",
        "/v1/admin/eval-runs",
        "/v1/admin/challenges/a",
    ] {
        let answer = app.get(path).await;
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        let is_health = path.ends_with("/health");
        let allows = !answer.header("access-control-allow-origin").is_empty();
        assert_eq!(allows, is_health, "{path}");
    }
    for path in ["/nope", "admin:/nope"] {
        let answer = app.get(path).await;
        assert_eq!(answer.header("cache-control"), KEPT_FOR_A_SECOND, "{path}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn with_cors_an_answer_does_not_depend_on_the_origin_that_requested_it_first() {
    let app = App::start_with_options(Data::sample(), &["--cors"]).await;
    let page = format!("{FEED}?since=2020-01-01");
    for (method, path, field) in [
        (Method::GET, BOARD, ("if-none-match", "\"a\"")),
        (Method::GET, BOARD, ("if-none-match", "*")),
        (Method::GET, CURRENT, ("x", "y")),
        (Method::GET, &page, ("accept-encoding", "gzip")),
        (Method::HEAD, &page, ("x", "y")),
        (Method::GET, FEED, ("x", "y")),
        (Method::GET, "/nope", ("x", "y")),
        (Method::GET, "/health", ("x", "y")),
        (Method::POST, BOARD, ("x", "y")),
        (Method::GET, BOARD, ("if-match", "\"a\"")),
        (Method::GET, BOARD, ("accept-encoding", "*;q=0")),
    ] {
        let without = app.send(method.clone(), path, &[field]).await;
        let fields = [field, ("origin", "https://page.example")];
        let with = app.send(method, path, &fields).await;
        assert_eq!(with.status, without.status, "{path}");
        for name in [
            "access-control-allow-origin",
            "access-control-expose-headers",
            "vary",
            "cache-control",
        ] {
            assert_eq!(with.header(name), without.header(name), "{path} {name}");
        }
        assert_eq!(with.header("access-control-allow-origin"), "*", "{path}");
        assert!(!with.header("vary").contains("origin"));
        let exposed = with.header("access-control-expose-headers").split(", ");
        let exposed: Vec<&str> = exposed.collect();
        for name in ["etag", "retry-after", "x-request-id", "date"] {
            assert!(exposed.contains(&name), "{exposed:?}");
        }
    }
    app.stop().await;
}

#[actix_web::test]
async fn an_answer_to_a_preflight_request_names_the_fields_that_decide_it() {
    let app = App::start_with_options(Data::sample(), &["--cors"]).await;
    let method = ("access-control-request-method", "GET");
    let fields = ("access-control-request-headers", "if-none-match");
    for (sent, status) in [
        (vec![method, fields], 204),
        (vec![method], 204),
        (vec![fields], 405),
        (vec![], 405),
    ] {
        let answer = app.send(Method::OPTIONS, BOARD, &sent).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("vary"), format!("{}, {}", method.0, fields.0));
        assert_eq!(answer.header("cache-control"), "no-store");
        let max_age = answer.header("access-control-max-age");
        assert_eq!(max_age, if status == 204 { "3600" } else { "" });
    }
    app.stop().await;
}

#[actix_web::test]
async fn the_date_never_runs_back() {
    let app = App::start(Data::sample()).await;
    let page = format!("{FEED}?since=2020-01-01");
    let at = |secs: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(secs);
    let new_year: u64 = 1_798_761_600;
    for (set, shown) in [
        (new_year, "Fri, 01 Jan 2027 00:00:00 GMT"),
        (new_year + 2, "Fri, 01 Jan 2027 00:00:02 GMT"),
        (new_year + 1, "Fri, 01 Jan 2027 00:00:02 GMT"),
        (0, "Fri, 01 Jan 2027 00:00:02 GMT"),
        (new_year + 3, "Fri, 01 Jan 2027 00:00:03 GMT"),
        // The field has room for four digits of the year.
        (300_000_000_000, "Fri, 31 Dec 9999 23:59:59 GMT"),
        (new_year, "Fri, 31 Dec 9999 23:59:59 GMT"),
    ] {
        app.clock.set_wall(at(set));
        // From memory, through actix-web, and errors; each connection may be another worker's.
        for path in [BOARD, &page, "/health/live", "/nope", FEED] {
            assert_eq!(app.get(path).await.header("date"), shown, "{path}");
        }
        let address = app.address();
        let refused = actix_web::web::block(move || Client::connect(&address).ask("x\r\n\r\n"));
        let refused = refused.await.unwrap();
        assert!(refused.head.contains(shown), "{}", refused.head);
    }
    app.stop().await;
}
