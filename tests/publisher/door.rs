//! What the door answers from memory and what actix-web answers are one service:
//!
//! - memory and actix-web give the same status, fields and body
//! - they do so for arbitrary field values
//! - requests that memory cannot answer go through actix-web, and the connection returns to the door
//! - options do not change the way a request takes
//! - memory answers whatever else a head has
//! - cached feed pages are answered from memory until they change
//! - a replaced board is answered with its own head and body
//! - a client that does not read gets every byte in order when it does
//! - a connection that breaks leaves nothing behind for another one
//! - an idle connection is closed, before its first request and after it
//! - a stopping server closes idle connections
//! - a request is answered the same however it is cut

use std::{
    collections::BTreeSet,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::Duration,
};

use actix_web::web::block;
use cathedral_publisher::demo::sample::Sample;
use proptest::prelude::*;
use socket2::SockRef;

use crate::app::{App, BOARD, CURRENT, Data, FEED, Mode, settings, wait_until};

const FAST: &str = "publisher_http_fast_path_requests_total";
/// Sends a request through actix-web, and changes no answer.
const FALLBACK: &str = "TE: trailers\r\n";
const LAST: &str = "GET /nope HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// An answer as it came: its status line, its fields in any order, its body.
#[derive(Debug, PartialEq, Eq)]
struct Raw {
    status: String,
    fields: BTreeSet<String>,
    body: Vec<u8>,
}

fn connect(address: &str) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    let limit = Some(Duration::from_secs(30));
    socket.set_read_timeout(limit).unwrap();
    socket
}

/// The first answer to these bytes, which are sent piece by piece; the connection is closed by a request
/// after them.
fn answer(address: &str, pieces: &[&[u8]]) -> Raw {
    let mut socket = connect(address);
    socket.set_nodelay(true).unwrap();
    let (last, before) = pieces.split_last().unwrap();
    for piece in before {
        socket.write_all(piece).unwrap();
    }
    socket.write_all(&[last, LAST.as_bytes()].concat()).unwrap();
    let read = read_to_the_end(&mut socket);
    let end = find(&read, b"\r\n\r\n").unwrap();
    let head = std::str::from_utf8(&read[..end]).unwrap();
    let (status, fields) = head.split_once("\r\n").unwrap();
    let fields = fields
        .split("\r\n")
        .filter(|line| !line.starts_with("date: "));
    // After a malformed one the server closes.
    let next = find(&read[end + 4..], b"HTTP/1.1 404 ").unwrap_or(read.len() - end - 4);
    assert!(head.contains("\r\ndate: "), "{head}");
    Raw {
        status: status.to_owned(),
        fields: fields.map(str::to_owned).collect(),
        body: read[end + 4..][..next].to_vec(),
    }
}

/// Reads until the server closes. After a request that it refuses it leaves unread what follows that: then
/// the end is a reset, behind all that it sent.
fn read_to_the_end(socket: &mut TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    if let Err(error) = socket.read_to_end(&mut read) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    read
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

/// Waits for the strong coding: it must not join between two answers that are compared.
async fn settles(app: &App) {
    let brotli = [("accept-encoding", "br")];
    let settled = async || {
        app.clock.advance(Duration::from_secs(1));
        app.get_with(BOARD, &brotli)
            .await
            .header("content-encoding")
            == "br"
    };
    wait_until("the strong coding", settled).await;
}

#[actix_web::test]
async fn memory_and_actix_web_give_the_same_status_fields_and_body() {
    let app = App::start(Data::sample()).await;
    settles(&app).await;
    let etag = app.get(BOARD).await.header("etag").to_owned();
    let gzip = format!("{}-gzip\"", etag.trim_end_matches('"'));
    let mut tags = vec![
        String::new(),
        "If-None-Match: *\r\n".to_owned(),
        "If-None-Match: \"other\"\r\n".to_owned(),
        "If-None-Match:\r\n".to_owned(),
        "If-None-Match: \"a,b\", , nonsense\r\n".to_owned(),
    ];
    for tag in [&etag, &gzip] {
        tags.push(format!("If-None-Match: {tag}\r\n"));
        tags.push(format!("if-none-match: \"x\", W/{tag}\r\n"));
    }
    let codings = [
        "",
        "gzip",
        "br",
        "zstd",
        "gzip, deflate, br, zstd",
        "identity;q=0",
        "*;q=0",
        "br;q=0.1, *",
        "gzip;q=2",
    ];
    let mut requests = Vec::new();
    for method in ["GET", "HEAD"] {
        for target in [
            BOARD.to_owned(),
            format!("/api/cathedral{BOARD}?_=1718000000"),
        ] {
            for tags in &tags {
                for coding in codings {
                    let coding = match coding {
                        "" => String::new(),
                        coding => format!("Accept-Encoding: {coding}\r\n"),
                    };
                    requests.push((
                        format!("{method} {target} HTTP/1.1\r\nHost: x\r\n"),
                        format!("{tags}{coding}\r\n"),
                    ));
                }
            }
        }
    }
    let before = app.metric(FAST).await;
    let (address, count) = (app.address(), requests.len() as u64);
    let refused = block(move || {
        let mut refused = 0;
        for (line, fields) in requests {
            let fast = answer(&address, &[format!("{line}{fields}").as_bytes()]);
            let general = answer(&address, &[format!("{line}{FALLBACK}{fields}").as_bytes()]);
            assert_eq!(fast, general, "{line}{fields}");
            refused += u64::from(fast.status.contains(" 406 "));
        }
        refused
    })
    .await
    .unwrap();
    assert!(refused > 0);
    assert_eq!(app.metric(FAST).await - before, count - refused);
    app.stop().await;
}

/// A field's value: what it may hold, and what it may not.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        "[ -~]{0,12}".prop_map(String::into_bytes),
        prop::sample::select(vec![
            "\"",
            "W/",
            "*",
            ",",
            "gzip",
            "br",
            ";q=0",
            "b8bcfa528230c672",
            "-gzip"
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        prop::collection::vec(
            any::<u8>().prop_filter("a line has no end", |byte| *byte != b'\n' && *byte != b'\r'),
            0..3
        ),
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

#[actix_web::test]
async fn they_do_so_for_arbitrary_field_values() {
    let app = App::start(Data::sample()).await;
    settles(&app).await;
    let before = app.metric(FAST).await;
    let address = app.address();
    block(move || {
        let names = ["If-None-Match", "Accept-Encoding", "Connection", "Content-Length", "Host", "Via", "X"];
        let field = (prop::sample::select(names.to_vec()), value());
        let config = ProptestConfig::with_cases(400);
        proptest!(config, |(fields in prop::collection::vec(field, 0..4), query in "(\\?[!-~]{0,10})?")| {
            let mut request = format!("GET {BOARD}{query} HTTP/1.1\r\nHost: x\r\n").into_bytes();
            for (name, value) in fields {
                // A body that is announced is not sent here, and a connection is not ended.
                let (name, value) = match name {
                    "Content-Length" => (name, b"0".to_vec()),
                    "Connection" => (name, b"Keep-Alive".to_vec()),
                    _ => (name, value),
                };
                request.extend_from_slice(&[name.as_bytes(), b": ", &value, b"\r\n"].concat());
            }
            let ends = |end: &str| [request.as_slice(), end.as_bytes()].concat();
            let fast = answer(&address, &[&ends("\r\n")]);
            let general = answer(&address, &[&ends(&format!("{FALLBACK}\r\n"))]);
            prop_assert_eq!(fast, general);
        });
    })
    .await
    .unwrap();
    assert!(app.metric(FAST).await > before);
    app.stop().await;
}

#[actix_web::test]
async fn requests_that_memory_cannot_answer_go_through_actix_web_and_the_connection_returns() {
    let app = App::start(Data::sample()).await;
    let before = app.metric(FAST).await;
    let direct = format!("GET {BOARD} HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\n\r\n");
    let line = format!("GET {BOARD} HTTP/1.1\r\nHost: x\r\n");
    let others = [
        (
            format!("POST {BOARD} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"),
            "405",
        ),
        (format!("{line}Content-Length: 3\r\n\r\nabc"), "200"),
        (
            format!("{line}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            "200",
        ),
        (format!("GET {BOARD}// HTTP/1.1\r\nHost: x\r\n\r\n"), "404"),
        (format!("{line}If-Match: \"other\"\r\n\r\n"), "412"),
        (format!("{line}Range: bytes=0-1\r\n\r\n"), "200"),
        (
            format!("{line}Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"),
            "200",
        ),
        (
            format!("{line}Expect: 100-continue\r\nContent-Length: 0\r\n\r\n"),
            "200",
        ),
        (
            format!("GET http://x{BOARD} HTTP/1.1\r\nHost: x\r\n\r\n"),
            "200",
        ),
        ("GET /health HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "200"),
    ];
    let address = app.address();
    let count = 2 * others.len() as u64;
    block(move || {
        for (request, status) in others {
            let mut socket = connect(&address);
            let all = format!("{direct}{request}{direct}{LAST}");
            socket.write_all(all.as_bytes()).unwrap();
            let read = read_to_the_end(&mut socket);
            let read = String::from_utf8_lossy(&read);
            let statuses: Vec<&str> = read
                .match_indices("HTTP/1.1 ")
                .map(|(at, _)| &read[at + 9..at + 12])
                .collect();
            assert_eq!(statuses, ["304", status, "304", "404"], "{request}");
        }
    })
    .await
    .unwrap();
    assert_eq!(app.metric(FAST).await - before, count);
    app.stop().await;
}

#[actix_web::test]
async fn memory_answers_whatever_else_a_head_has() {
    let app = App::start(Data::sample()).await;
    let etag = app.get(BOARD).await.header("etag").to_owned();
    let before = app.metric(FAST).await;
    let line = format!("GET {BOARD} HTTP/1.1\r\nHost: x\r\n");
    let requests = [
        format!("{line}X-Unknown: 1\r\nX-Request-Id: abc\r\n\r\n"),
        format!("{line}If-None-Match: \"x\"\r\nIf-None-Match: {etag}\r\n\r\n"),
        format!("{line}Accept-Encoding: gzip\r\nAccept-Encoding: br;q=0\r\n\r\n"),
        format!("{line}{}\r\n", "Via: a\r\n".repeat(90)),
        format!("{line}Via: {}\r\n\r\n", "a".repeat(20_000)),
        format!("\r\n{line}Content-Length: 0\r\n\r\n"),
        format!("GET {BOARD} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
        format!("GET /api/cathedral{BOARD}?_=1:2,3/? HTTP/1.1\r\nHost: x\r\n\r\n"),
    ];
    let address = app.address();
    let count = requests.len() as u64;
    block(move || {
        for request in requests {
            let answer = answer(&address, &[request.as_bytes()]);
            let expected = if request.contains(&etag) {
                "304"
            } else {
                "200"
            };
            assert!(answer.status.contains(expected), "{request}");
            let echoed = answer.fields.contains("x-request-id: abc");
            assert_eq!(echoed, request.contains("abc"));
        }
    })
    .await
    .unwrap();
    assert_eq!(app.metric(FAST).await - before, count);
    app.stop().await;
}

#[actix_web::test]
async fn options_do_not_change_the_way_a_request_takes() {
    let options = [
        "--access-log",
        "all",
        "--cors",
        "--rate-limit",
        "100000",
        "--cache-status",
        "--server-timing",
    ];
    let app = App::start_with_options(Data::sample(), &options).await;
    let page = format!("{FEED}?since_ran_at=2020-01-01T00:00:00Z&limit=3");
    app.get(&page).await;
    let before = app.metric(FAST).await;
    for path in [BOARD, CURRENT, &page] {
        let answer = app.get(path).await;
        assert_eq!(answer.status, 200);
        assert!(answer.header("cache-status").starts_with("publisher; hit"));
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        assert!(answer.header("server-timing").starts_with("app;dur="));
        assert_eq!(answer.header("x-request-id").len(), 16);
        assert_eq!(answer.header("age"), if path == page { "" } else { "0" });
    }
    assert_eq!(app.metric(FAST).await - before, 3);
    app.stop().await;
}

#[actix_web::test]
async fn cached_feed_pages_are_answered_from_memory_until_they_change() {
    let app = App::start(Data::sample()).await;
    let page = format!("{FEED}?since_ran_at=2020-01-01T00:00:00Z&limit=3");
    let gzip = [("accept-encoding", "gzip")];
    let first = app.get(&page).await;
    let encoded = app.get_with(&page, &gzip).await;
    let before = app.metric(FAST).await;
    let cached = app.get(&page).await;
    assert_eq!(
        (cached.body.clone(), cached.header("etag")),
        (first.body.clone(), first.header("etag"))
    );
    assert_eq!(app.get_with(&page, &gzip).await.body, encoded.body);
    let conditional = [("if-none-match", first.header("etag"))];
    assert_eq!(app.get_with(&page, &conditional).await.status, 304);
    let twin =
        format!("/api/cathedral{FEED}?limit=3&since_ran_at=2020-01-01T01%3A00:00%2B01:00&_=1");
    assert_eq!(app.get(&twin).await.body, first.body);
    assert_eq!(app.metric(FAST).await - before, 4);
    app.stop().await;
}

#[actix_web::test]
async fn a_replaced_board_is_answered_with_its_own_head_and_body() {
    let app = App::start(Data::sample()).await;
    let mut seen = Vec::new();
    for count in 52..56 {
        app.data.put(&[Sample::new(count).challenge(count)]);
        app.cache.invalidate_and_wait().await.unwrap();
        for coding in ["gzip", "identity"] {
            let answer = app.get_with(BOARD, &[("accept-encoding", coding)]).await;
            let length: usize = answer.header("content-length").parse().unwrap();
            assert_eq!(answer.body.len(), length);
            seen.push(answer.header("etag").to_owned());
        }
        assert_eq!(app.get(BOARD).await.json()["count"], count);
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 8);
    app.stop().await;
}

#[actix_web::test]
async fn a_client_that_does_not_read_gets_every_byte_in_order_when_it_does() {
    let app = App::start(Data::sample()).await;
    let board = app.get(BOARD).await.body;
    let before = app.metric(FAST).await;
    let address = app.address();
    let requests: u64 = 600;
    block(move || {
        for general in ["", FALLBACK] {
            let mut asked = String::new();
            for number in 0..requests {
                let tag = match number % 3 {
                    0 => "If-None-Match: *\r\n",
                    _ => "",
                };
                asked += &format!("GET {BOARD} HTTP/1.1\r\nHost: x\r\n{tag}{general}\r\n");
            }
            let mut socket = connect(&address);
            socket.write_all((asked + LAST).as_bytes()).unwrap();
            // By now both kernels hold what they take, and the server waits for the reader.
            let mut read = Vec::new();
            socket.read_to_end(&mut read).unwrap();
            let mut rest = read.as_slice();
            for number in 0..requests {
                let end = find(rest, b"\r\n\r\n").unwrap() + 4;
                let (status, body) = match number % 3 {
                    0 => ("304", &b""[..]),
                    _ => ("200", board.as_slice()),
                };
                assert!(
                    rest.starts_with(format!("HTTP/1.1 {status} ").as_bytes()),
                    "{number}"
                );
                assert!(rest[end..].starts_with(body), "{number}");
                rest = &rest[end + body.len()..];
            }
            assert!(rest.starts_with(b"HTTP/1.1 404 "));
        }
    })
    .await
    .unwrap();
    assert_eq!(app.metric(FAST).await - before, requests);
    app.stop().await;
}

#[actix_web::test]
async fn a_connection_that_breaks_leaves_nothing_behind_for_another_one() {
    let mut settings = settings(&[]);
    settings.workers = Some(1);
    let app = App::start_with(Data::sample(), Mode::Pass, settings).await;
    settles(&app).await;
    let address = app.address();
    block(move || {
        let line = format!("GET {BOARD} HTTP/1.1\r\nHost: x\r\n");
        let usual = format!("{line}If-None-Match: *\r\n\r\n");
        let expected = answer(&address, &[usual.as_bytes()]);
        for round in 0..300 {
            let mut asked = format!("{line}Accept-Encoding: br\r\n\r\n").repeat(1 + round % 60);
            asked += &format!("{line}\r\n").repeat(round % 3);
            let mut socket = connect(&address);
            socket.write_all(asked.as_bytes()).unwrap();
            // Not an orderly end: what the server sends from now on is an error to it.
            SockRef::from(&socket)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
            drop(socket);
            assert_eq!(answer(&address, &[usual.as_bytes()]), expected, "{round}");
        }
    })
    .await
    .unwrap();
    app.stop().await;
}

#[actix_web::test]
async fn an_idle_connection_is_closed_before_its_first_request_and_after_it() {
    let mut settings = settings(&[]);
    settings.http.head_timeout = Duration::from_millis(200);
    settings.http.keep_alive = Duration::from_secs(1);
    let app = App::start_with(Data::sample(), Mode::Pass, settings).await;
    let address = app.address();
    block(move || {
        let mut silent = connect(&address);
        let mut quiet = connect(&address);
        write!(
            quiet,
            "GET {BOARD} HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\n\r\n"
        )
        .unwrap();
        let mut read = Vec::new();
        silent.read_to_end(&mut read).unwrap();
        assert!(read.is_empty());
        quiet.read_to_end(&mut read).unwrap();
        assert!(read.starts_with(b"HTTP/1.1 304 "));
        assert!(read.ends_with(b"\r\n\r\n"));
    })
    .await
    .unwrap();
    app.stop().await;
}

#[actix_web::test]
async fn a_stopping_server_closes_idle_connections() {
    let app = App::start(Data::sample()).await;
    let address = app.address();
    let mut socket = block(move || {
        let mut socket = connect(&address);
        write!(
            socket,
            "GET {BOARD} HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\n\r\n"
        )
        .unwrap();
        let mut first = [0; 12];
        socket.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.1 304");
        socket
    })
    .await
    .unwrap();
    // Gracefully: it would wait for the connection for thirty seconds.
    let stopped = tokio::time::timeout(Duration::from_secs(20), app.server.stop(true)).await;
    stopped.unwrap();
    let read = block(move || socket.read_to_end(&mut Vec::new())).await;
    read.unwrap().unwrap();
    app.stop().await;
}

#[actix_web::test]
async fn a_request_is_answered_the_same_however_it_is_cut() {
    let app = App::start(Data::sample()).await;
    let address = app.address();
    let request = format!("GET {BOARD} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n");
    block(move || {
        let whole = answer(&address, &[request.as_bytes()]);
        let config = ProptestConfig::with_cases(64);
        proptest!(config, |(mut cuts in prop::collection::vec(0..request.len(), 0..4))| {
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([request.len()]) {
                pieces.push(&request.as_bytes()[from..cut]);
                from = cut;
            }
            prop_assert_eq!(&answer(&address, &pieces), &whole);
        });
    })
    .await
    .unwrap();
    app.stop().await;
}
