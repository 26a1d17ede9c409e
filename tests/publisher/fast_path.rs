//! The fast path of the board and the general one are one service:
//!
//! - every answer of one is that of the other: status, fields and body
//! - so it is whatever the fields have in them
//! - requests that are not usual leave it, and are answered all the same
//! - a board that is replaced is answered with its own head and body
//! - a client that does not read gets every byte in order when it does
//! - a client that breaks off leaves nothing behind that another one gets
//! - a quiet connection is closed, before its first request and after it
//! - a server that stops closes quiet connections at once
//! - whatever a request is cut into, its answer is the same

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

use crate::app::{App, BOARD, Data, Mode, comes_about, default_limits};

const FAST: &str = "publisher_http_fast_path_requests_total";
/// Makes any request unusual, and changes no answer.
const UNUSUAL: &str = "X-Unknown: 1\r\n";
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
    comes_about("the strong coding", settled).await;
}

#[actix_web::test]
async fn every_answer_of_one_is_that_of_the_other() {
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
            let general = answer(&address, &[format!("{line}{UNUSUAL}{fields}").as_bytes()]);
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
async fn so_it_is_whatever_the_fields_have_in_them() {
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
            let general = answer(&address, &[&ends(&format!("{UNUSUAL}\r\n"))]);
            prop_assert_eq!(fast, general);
        });
    })
    .await
    .unwrap();
    assert!(app.metric(FAST).await > before);
    app.stop().await;
}

#[actix_web::test]
async fn requests_that_are_not_usual_leave_it_and_are_answered_all_the_same() {
    let app = App::start(Data::sample()).await;
    let etag = app.get(BOARD).await.header("etag").to_owned();
    let before = app.metric(FAST).await;
    let usual = format!("GET {BOARD} HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\n\r\n");
    let unusual = [
        (
            format!("POST {BOARD} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"),
            "405",
        ),
        (
            format!("GET {BOARD} HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"),
            "200",
        ),
        (
            format!(
                "GET {BOARD} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
            "200",
        ),
        (format!("GET {BOARD}/ HTTP/1.1\r\nHost: x\r\n\r\n"), "404"),
        (
            format!("GET {BOARD}?a=\"b\" HTTP/1.1\r\nHost: x\r\n\r\n"),
            "400",
        ),
        (
            format!("GET {BOARD} HTTP/1.1\r\nHost: x\r\nIf-Match: \"other\"\r\n\r\n"),
            "412",
        ),
        (
            format!(
                "GET {BOARD} HTTP/1.1\r\nHost: x\r\nIf-None-Match: \"x\"\r\nIf-None-Match: {etag}\r\n\r\n"
            ),
            "304",
        ),
        (
            format!("GET {BOARD} HTTP/1.1\r\nHost: x\r\nX-Request-Id: abc\r\n\r\n"),
            "200",
        ),
        (
            format!(
                "GET {BOARD} HTTP/1.1\r\nHost: x\r\n{}\r\n",
                "Via: a\r\n".repeat(40)
            ),
            "200",
        ),
        (
            format!(
                "GET {BOARD} HTTP/1.1\r\nHost: x\r\nVia: {}\r\n\r\n",
                "a".repeat(20_000)
            ),
            "200",
        ),
        (format!("GET {BOARD} HTTP/1.1\r\n\r\n"), "400"),
        (
            format!("GET {BOARD} HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"),
            "400",
        ),
        (
            format!("GET http://x{BOARD} HTTP/1.1\r\nHost: x\r\n\r\n"),
            "200",
        ),
    ];
    let address = app.address();
    let count = unusual.len() as u64;
    block(move || {
        for (request, status) in unusual {
            let mut socket = connect(&address);
            // What comes before it is answered on the way.
            let all = format!("{usual}{request}{LAST}");
            socket.write_all(all.as_bytes()).unwrap();
            let read = read_to_the_end(&mut socket);
            let first = find(&read, b"\r\n\r\n").unwrap() + 4;
            assert!(read.starts_with(b"HTTP/1.1 304 "));
            let next = format!("HTTP/1.1 {status} ");
            let got = String::from_utf8_lossy(&read[first..]);
            assert!(got.starts_with(&next), "{request}: {got}");
        }
    })
    .await
    .unwrap();
    // The usual ones alone.
    assert_eq!(app.metric(FAST).await - before, count);
    app.stop().await;
}

#[actix_web::test]
async fn a_board_that_is_replaced_is_answered_with_its_own_head_and_body() {
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
        for general in ["", UNUSUAL] {
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
    // One that a read cuts in two leaves the fast path, and those behind it.
    let fast = app.metric(FAST).await - before;
    assert!((50..=requests).contains(&fast), "{fast}");
    app.stop().await;
}

#[actix_web::test]
async fn a_client_that_breaks_off_leaves_nothing_behind_that_another_one_gets() {
    let mut limits = default_limits();
    limits.workers = Some(1);
    let app = App::start_with(Data::sample(), Mode::Pass, limits).await;
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
async fn a_quiet_connection_is_closed_before_its_first_request_and_after_it() {
    let mut limits = default_limits();
    limits.head_timeout_ms = 200;
    limits.keep_alive_secs = 1;
    let app = App::start_with(Data::sample(), Mode::Pass, limits).await;
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
async fn a_server_that_stops_closes_quiet_connections_at_once() {
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
async fn whatever_a_request_is_cut_into_its_answer_is_the_same() {
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
