//! What shared caches are told by `--edge-cache`:
//!
//! - the board, current-challenge and the feed carry its directives, on 200, 304 and HEAD, from memory or not
//! - waits, pages of since_seq, errors and documents do not
//! - with a field of its own, Cache-Control stays as it is
//! - invalid directives and fields are refused at the start

use awc::http::Method;

use crate::{
    app::{App, BOARD, CURRENT, Data, FEED},
    process::{publisher, run},
    waiting::CHANGES,
};

const DIRECTIVES: &str = "S-MaxAge=60,stale-while-revalidate=30, stale-if-error=900";
const EXPECTED: &str =
    "public, max-age=15, s-maxage=60, stale-while-revalidate=30, stale-if-error=900";
const PLAIN: &str = "public, max-age=15";

fn polled() -> [String; 4] {
    let page = format!("{FEED}?since_ran_at=2020-01-01T00:00:00Z&since_id=&limit=3");
    [
        BOARD.into(),
        format!("/api/cathedral{CURRENT}?tier=2"),
        page,
        format!("{FEED}?since=2020-01-01T00:00:00Z"),
    ]
}

async fn start(options: &[&str]) -> App {
    let data = Data::sample();
    data.sample_runs(7, "2026-06-07T00:00:00Z");
    App::start_with_options(data, options).await
}

#[actix_web::test]
async fn the_board_current_challenge_and_the_feed_carry_its_directives() {
    let app = start(&["--edge-cache", DIRECTIVES]).await;
    for path in polled() {
        // The first request is not answered from memory, the second one is; one with If-Match never is.
        for fields in [vec![], vec![], vec![("if-match", "*")]] {
            let answer = app.get_with(&path, &fields).await;
            assert_eq!(answer.status, 200, "{path}");
            assert_eq!(answer.header("cache-control"), EXPECTED, "{path}");
        }
        let tag = app.get(&path).await.header("etag").to_owned();
        for fields in [
            vec![("if-none-match", tag.as_str())],
            vec![("if-none-match", tag.as_str()), ("if-match", "*")],
        ] {
            let answer = app.get_with(&path, &fields).await;
            assert_eq!(answer.status, 304, "{path}");
            assert_eq!(answer.header("cache-control"), EXPECTED, "{path}");
        }
        let head = app.send(Method::HEAD, &path, &[]).await;
        assert_eq!(head.header("cache-control"), EXPECTED, "{path}");
        assert_eq!(head.header("vary"), "accept-encoding", "{path}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn waits_pages_of_since_seq_errors_and_documents_do_not() {
    let app = start(&["--edge-cache", DIRECTIVES, "--wait-slot-secs", "1"]).await;
    let now = app.get(CHANGES).await;
    let link = now.header("link").to_owned();
    let link = link.strip_prefix('<').unwrap().split('>').next().unwrap();
    // It waits for the end of its slot.
    let waited = app.get(&format!("{CHANGES}{link}")).await;
    assert_eq!(waited.header("cache-control"), PLAIN);
    assert_eq!(now.header("cache-control"), "public, max-age=1");
    for (path, accept, status, expected) in [
        (
            format!("{FEED}?since_seq=0"),
            "*/*",
            200,
            "public, max-age=1",
        ),
        (format!("{FEED}?limit=x"), "*/*", 422, "public, max-age=1"),
        (
            format!("{CURRENT}?tier=99"),
            "*/*",
            404,
            "public, max-age=1",
        ),
        ("/nope".into(), "*/*", 404, "public, max-age=1"),
        ("/".into(), "text/html", 200, PLAIN),
        ("/health/ready".into(), "*/*", 200, "no-store"),
        ("/openapi.json".into(), "*/*", 200, "public, max-age=3600"),
    ] {
        let answer = app.get_with(&path, &[("accept", accept)]).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("cache-control"), expected, "{path}");
    }
    let full = app.get(&format!("{FEED}?since_seq=0&limit=3")).await;
    let control = full.header("cache-control");
    assert!(!control.contains("stale-"), "{control}");
    app.stop().await;
}

#[actix_web::test]
async fn with_a_field_of_its_own_cache_control_stays_as_it_is() {
    let field = ["--edge-cache-field", "CDN-Cache-Control"];
    let app = start(&[&["--edge-cache", DIRECTIVES], &field[..]].concat()).await;
    for path in polled() {
        for fields in [
            vec![],
            vec![],
            vec![("if-match", "*")],
            vec![("if-none-match", "*")],
        ] {
            let answer = app.get_with(&path, &fields).await;
            assert_eq!(answer.header("cache-control"), PLAIN, "{path}");
            assert_eq!(answer.header("cdn-cache-control"), EXPECTED, "{path}");
        }
    }
    let now = app.get(CHANGES).await;
    assert_eq!(now.header("cdn-cache-control"), "");
    app.stop().await;
    // Without the option no such field is sent.
    let app = start(&[]).await;
    let board = app.get(BOARD).await;
    assert_eq!(board.header("cache-control"), PLAIN);
    assert_eq!(board.header("cdn-cache-control"), "");
    app.stop().await;
}

#[test]
fn invalid_directives_and_fields_are_refused_at_the_start() {
    for (options, reason) in [
        (vec!["--edge-cache", "max-age=60"], "cannot be chosen"),
        (
            vec!["--edge-cache", "s-maxage=1, s-maxage=2"],
            "is there twice",
        ),
        (vec!["--edge-cache", "s-maxage=soon"], "number of seconds"),
        (vec!["--edge-cache", ""], "no directive"),
        (
            vec!["--edge-cache-field", "CDN-Cache-Control"],
            "--edge-cache <DIRECTIVES>",
        ),
        (
            vec![
                "--edge-cache",
                "s-maxage=1",
                "--edge-cache-field",
                "Cache-Control",
            ],
            "ends in -Cache-Control",
        ),
    ] {
        let output = run(&[&["serve"], &options[..]].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{options:?}: {said}");
        assert!(said.contains(reason), "{options:?}: {said}");
    }
    let variable = publisher(&["serve"])
        .env("PUBLISHER_EDGE_CACHE", "stale-if-error=900, no-store")
        .output()
        .unwrap();
    assert_eq!(variable.status.code(), Some(2));
}
