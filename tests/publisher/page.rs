//! The page for browsers at `/` (WIRE.md), over HTTP:
//!
//! - clients that name HTML get the page, and all others 404 as before
//! - the policy names the hashes of the style and the script, and nothing else may run
//! - the document loads nothing, and nothing in it points to another origin
//! - it has entity-tags, 304 and codings like every other answer
//! - other methods get 405, and the prefix has no page
//! - it is on the admin address, or on the public one if that is the only one, unless an option says otherwise
//! - the admin address serves the reads too, without a rate limit

use std::{io::Read, time::Duration};

use awc::http::Method;
use base64::{Engine, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};

use crate::app::{Answer, App, BOARD, Data, FEED};

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

async fn open(app: &App, path: &str) -> Answer {
    app.get_with(path, &[("accept", BROWSER)]).await
}

fn is_page(answer: &Answer) -> bool {
    answer.status == 200 && answer.header("content-type") == "text/html; charset=utf-8"
}

/// Returns what is between two texts, which must be there once.
fn between<'t>(text: &'t str, begin: &str, end: &str) -> &'t str {
    assert_eq!(text.matches(begin).count(), 1, "{begin}");
    let (_, rest) = text.split_once(begin).unwrap();
    rest.split_once(end).unwrap().0
}

#[actix_web::test]
async fn clients_that_name_html_get_the_page_and_all_others_404_as_before() {
    let app = App::start(Data::sample()).await;
    for (accept, gets_page) in [
        (BROWSER, true),
        ("text/html", true),
        ("text/*;q=0.1", true),
        ("application/json;q=1, text/html;q=0.001", true),
        ("*/*", false),
        ("application/json", false),
        ("text/html;q=0, */*", false),
        ("text/html;q=0, text/*", false),
        ("image/avif,image/webp,*/*;q=0.8", false),
        ("", false),
    ] {
        for path in ["/", "/?", "/?_=1"] {
            for method in [Method::GET, Method::HEAD] {
                let is_head = method == Method::HEAD;
                let answer = app.send(method, path, &[("accept", accept)]).await;
                assert_eq!(is_page(&answer), gets_page, "{accept}");
                let vary = if gets_page {
                    "accept, accept-encoding"
                } else {
                    "accept"
                };
                assert_eq!(answer.header("vary"), vary, "{accept}");
                if !gets_page && !is_head {
                    answer.assert_error(404, "not found");
                }
                assert_eq!(answer.body.is_empty(), is_head);
            }
        }
    }
    // awc sends no `Accept` of its own.
    app.get("/").await.assert_error(404, "not found");
    let lines = [("accept", "application/json"), ("accept", "text/html")];
    assert!(is_page(&app.get_with("/", &lines).await));
    let counted = r#"publisher_http_requests_total{route="page",status="404"}"#;
    assert!(app.metric(counted).await > 10);
    app.stop().await;
}

#[actix_web::test]
async fn the_policy_names_the_hashes_of_the_style_and_the_script() {
    let app = App::start(Data::empty()).await;
    let page = open(&app, "/").await;
    let hash = |text: &str| BASE64_STANDARD.encode(Sha256::digest(text));
    let style = hash(between(page.text(), "<style>", "</style>"));
    let script = between(page.text(), "<script type=\"module\">", "</script>");
    assert!(script.contains("EventSource"));
    let script = hash(script);
    assert_eq!(
        page.header("content-security-policy"),
        format!(
            "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; \
             connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'"
        )
    );
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    assert_eq!(page.header("cache-control"), "public, max-age=15");
    app.stop().await;
}

#[actix_web::test]
async fn the_document_loads_nothing_and_nothing_in_it_points_to_another_origin() {
    let app = App::start(Data::empty()).await;
    let page = open(&app, "/").await;
    let text = page.text();
    for absent in [
        "http:",
        "https:",
        "ws:",
        "wss:",
        "//www",
        "src=",
        "style=",
        "@import",
        "url(",
        "<iframe",
        "<form",
        "<base",
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "javascript:",
    ] {
        assert!(!text.contains(absent), "{absent}");
    }
    let handler = regex::Regex::new(r#"<[^>]* on[a-z]+="#).unwrap();
    assert!(!handler.is_match(text));
    let link = regex::Regex::new(r#"href="([^"]*)""#).unwrap();
    let mut links = 0;
    for found in link.captures_iter(text) {
        let to = &found[1];
        links += 1;
        if to.starts_with("data:image/png;base64,") || to.starts_with('#') {
            continue;
        }
        // Relative, so that a proxy may serve it below a path of its own.
        assert!(!to.starts_with('/'), "{to}");
        assert_eq!(app.get(&format!("/{to}")).await.status, 200, "{to}");
    }
    assert!(links > 4, "{links}");
    app.stop().await;
}

#[actix_web::test]
async fn it_has_entity_tags_304_and_codings_like_every_other_answer() {
    let app = App::start_with_options(Data::empty(), &["--cache-status"]).await;
    let identity = open(&app, "/").await;
    assert_eq!(identity.header("content-encoding"), "");
    assert_eq!(identity.header("cache-status"), "publisher; hit");
    let digits = identity.header("etag").trim_matches('"').to_owned();
    for (codings, coding, tag) in [
        ("gzip, deflate, br, zstd", "br", format!("\"{digits}-br2\"")),
        ("br", "br", format!("\"{digits}-br2\"")),
        ("zstd", "zstd", format!("\"{digits}-zstd\"")),
        ("gzip", "gzip", format!("\"{digits}-gzip\"")),
        ("identity", "", format!("\"{digits}\"")),
    ] {
        let fields = [("accept", BROWSER), ("accept-encoding", codings)];
        let answer = app.get_with("/", &fields).await;
        assert!(is_page(&answer));
        assert_eq!(answer.header("content-encoding"), coding);
        assert_eq!(answer.header("etag"), tag);
        let mut decoded = Vec::new();
        let coded = answer.body.as_slice();
        match coding {
            "br" => brotli::BrotliDecompress(&mut &*coded, &mut decoded).unwrap(),
            "zstd" => decoded = zstd::decode_all(coded).unwrap(),
            "gzip" => drop(
                flate2::read::GzDecoder::new(coded)
                    .read_to_end(&mut decoded)
                    .unwrap(),
            ),
            _ => decoded = coded.to_vec(),
        }
        assert_eq!(decoded, identity.body);
        let fields = [fields[0], fields[1], ("if-none-match", tag.as_str())];
        let answer = app.get_with("/", &fields).await;
        assert_eq!(answer.status, 304);
        assert!(answer.body.is_empty());
        assert_eq!(answer.header("etag"), tag);
        assert_eq!(answer.header("vary"), "accept, accept-encoding");
        assert_eq!(answer.header("cache-control"), "public, max-age=15");
        assert_eq!(answer.header("content-security-policy"), "");
    }
    // A client that does not name HTML does not learn that there is a page.
    let fields = [("if-none-match", "*")];
    app.get_with("/", &fields)
        .await
        .assert_error(404, "not found");
    let fields = [("accept", BROWSER), ("accept-encoding", "*;q=0")];
    assert_eq!(app.get_with("/", &fields).await.status, 406);
    let fields = [("accept", BROWSER), ("if-match", "\"other\"")];
    assert_eq!(app.get_with("/", &fields).await.status, 412);
    app.stop().await;
}

#[actix_web::test]
async fn other_methods_get_405_and_the_prefix_has_no_page() {
    let app = App::start_with_options(Data::empty(), &["--cors"]).await;
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let answer = app.send(method, "/", &[("accept", BROWSER)]).await;
        answer.assert_error(405, "method not allowed");
        assert_eq!(answer.header("allow"), "GET, HEAD");
    }
    for path in ["/api/cathedral", "/api/cathedral/", "//", "/index.html"] {
        open(&app, path).await.assert_error(404, "not found");
    }
    app.stop().await;
}

#[actix_web::test]
async fn it_is_on_the_admin_address_or_on_the_only_one_unless_an_option_says_otherwise() {
    let admin = ["--admin-address", "127.0.0.1:0"];
    for (page, is_on_only, is_on_public, is_on_admin) in [
        ("auto", true, false, true),
        ("on", true, true, true),
        ("off", false, false, false),
    ] {
        let option = ["--page", page];
        let app = App::start_with_options(Data::empty(), &option).await;
        assert_eq!(is_page(&open(&app, "/").await), is_on_only, "{page}");
        if !is_on_only {
            let answer = open(&app, "/").await;
            answer.assert_error(404, "not found");
            assert_eq!(answer.header("vary"), "");
            let post = app.send(Method::POST, "/", &[]).await;
            post.assert_error(404, "not found");
        }
        app.stop().await;
        let options = [option, admin].concat();
        let app = App::start_with_options(Data::empty(), &options).await;
        assert_eq!(is_page(&open(&app, "/").await), is_on_public, "{page}");
        assert_eq!(is_page(&open(&app, "admin:/").await), is_on_admin, "{page}");
        app.stop().await;
    }
}

#[actix_web::test]
async fn the_admin_address_serves_the_reads_too_without_a_rate_limit() {
    let options = [
        "--admin-address",
        "127.0.0.1:0",
        "--rate-limit",
        "1",
        "--rate-limit-burst",
        "1",
    ];
    let app = App::start_with_options(Data::sample(), &options).await;
    let feed = format!("{FEED}?since=2020-01-01");
    let public = app.get(BOARD).await;
    assert_eq!(app.get(BOARD).await.status, 429);
    for path in [BOARD, &feed, "/health/ready", "/openapi.json", "/metrics"] {
        for _ in 0..3 {
            let answer = app.get(&format!("admin:{path}")).await;
            assert_eq!(answer.status, 200, "{path}");
        }
    }
    let admin = app.get(&format!("admin:{BOARD}")).await;
    assert_eq!(admin.body, public.body);
    for name in ["etag", "cache-control", "vary", "content-type"] {
        assert_eq!(admin.header(name), public.header(name), "{name}");
    }
    app.clock.advance(Duration::from_secs(60));
    assert_eq!(app.get(BOARD).await.status, 200);
    app.stop().await;
}
