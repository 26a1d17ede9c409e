//! Where a message ends, and whether another one may follow (RFC 9112 §6, §9):
//!
//! - HEAD, GET and other methods mixed in a pipeline are framed right
//! - nothing after Connection: close is carried out
//! - an Upgrade that is not granted is ignored, and the connection stays
//! - a half-closed client gets all its answers
//! - a body whose length is ambiguous is refused, and ends the connection
//! - a malformed chunked body is refused, and ends the connection
//! - a body is asked for once, and only if it is wanted
//! - an invalid Host is 400
//! - an absolute-form target is answered, counted and logged by its path

use std::{io::Write, net::Shutdown};

use crate::{
    app::{BOARD, Data, FEED},
    process::{Service, serve},
    wire::{Client, get, post, row},
};

fn start(data: &Data) -> Service {
    Service::start(serve(&data.path(), &["--workers", "1"]))
}

/// The value of a counter.
fn metric(service: &Service, name: &str) -> u64 {
    let answer = Client::connect(&service.address).ask(get("/metrics", ""));
    let text = String::from_utf8(answer.body).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.map_or(0, |value| value.trim().parse().unwrap())
}

/// Sends a row behind `request`, which the server must not take for another request.
fn smuggled() -> String {
    let row = row("smuggled");
    post(&format!("Content-Length: {}\r\n", row.len())) + &row
}

#[track_caller]
fn assert_not_stored(service: &Service) {
    let page = format!("{FEED}?since_ran_at=2020-01-01T00:00:00Z");
    let answer = Client::connect(&service.address).ask(get(&page, ""));
    assert_eq!(answer.status, 200);
    assert!(!String::from_utf8(answer.body).unwrap().contains("smuggled"));
}

#[test]
fn head_get_and_other_methods_mixed_in_a_pipeline_are_framed_right() {
    let data = Data::sample();
    let service = start(&data);
    let row = row("a");
    let length = format!("Content-Length: {}\r\n", row.len());
    let head = |path: &str, lines: &str| get(path, lines).replacen("GET", "HEAD", 1);
    let requests = [
        (get(BOARD, ""), 200),
        (head(BOARD, ""), 200),
        (head(BOARD, "TE: trailers\r\n"), 200),
        (get(BOARD, "TE: trailers\r\n"), 200),
        (head("/nope", ""), 404),
        (get("/nope", ""), 404),
        (post(&length) + &row, 200),
        (head(BOARD, "If-None-Match: *\r\n"), 304),
        (get(BOARD, "If-None-Match: *\r\n"), 304),
        (head("/health", ""), 200),
        (get(BOARD, "").replacen("GET", "PATCH", 1), 405),
        (get(BOARD, "Content-Length: 5\r\n") + "GET /", 200),
        (
            head(BOARD, "Transfer-Encoding: chunked\r\n") + "3\r\nabc\r\n0\r\nX: y\r\n\r\n",
            200,
        ),
        (
            get("/health", "").replacen("1.1", "1.0", 1).replacen(
                "\r\n\r\n",
                "\r\nConnection: keep-alive\r\n\r\n",
                1,
            ),
            200,
        ),
    ];
    let mut client = Client::connect(&service.address);
    for _ in 0..5 {
        let all: String = requests
            .iter()
            .map(|(request, _)| request.as_str())
            .collect();
        client.send(all);
        for (request, status) in &requests {
            let answer = client.try_answer(request.starts_with("HEAD")).unwrap();
            assert_eq!(answer.status, *status, "{request}");
            assert!(!answer.closes(), "{request}");
        }
    }
}

#[test]
fn nothing_after_connection_close_is_carried_out() {
    let data = Data::sample();
    let service = start(&data);
    for lines in ["Connection: close\r\n", "Connection: x , CLOSE\r\n"] {
        for path in [BOARD, "/health"] {
            let mut client = Client::connect(&service.address);
            let answer = client.ask(get(path, lines) + &smuggled());
            assert_eq!(answer.status, 200);
            assert!(answer.closes());
            client.assert_ends();
        }
    }
    let mut client = Client::connect(&service.address);
    let old = format!("GET {BOARD} HTTP/1.0\r\n\r\n");
    assert!(client.ask(old + &smuggled()).closes());
    client.assert_ends();
    assert_not_stored(&service);
}

#[test]
fn an_upgrade_that_is_not_granted_is_ignored_and_the_connection_stays() {
    let data = Data::sample();
    let service = start(&data);
    let mut client = Client::connect(&service.address);
    for upgrade in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n",
    ] {
        for path in [BOARD, "/health"] {
            let answer = client.ask(get(path, upgrade));
            assert_eq!(answer.status, 200);
            assert!(!answer.closes());
        }
    }
}

#[test]
fn a_half_closed_client_gets_all_its_answers() {
    let data = Data::sample();
    let service = start(&data);
    let mut client = Client::connect_narrow(&service.address);
    let pair = get(BOARD, "") + &get(BOARD, "TE: trailers\r\n");
    client.send(pair.repeat(40));
    client.socket.shutdown(Shutdown::Write).unwrap();
    for _ in 0..80 {
        assert_eq!(client.answer().status, 200);
    }
    client.assert_ends();
}

#[test]
fn a_body_whose_length_is_ambiguous_is_refused_and_ends_the_connection() {
    let data = Data::sample();
    let service = start(&data);
    let chunked = "Transfer-Encoding: chunked\r\n";
    let mut heads = vec![
        post(&format!("Content-Length: 5\r\n{chunked}")),
        post(&format!("{chunked}Content-Length: 5\r\n")),
        post(&format!("{chunked}{chunked}")),
        post("Content-Length: 5\r\nContent-Length: 6\r\n"),
        post("Transfer-Encoding : chunked\r\n"),
        post("Transfer-Encoding:\r\n chunked\r\n"),
        post("X: y\r\n Transfer-Encoding: chunked\r\n"),
        post("X: y\rTransfer-Encoding: chunked\r\n"),
        post(": x\r\n"),
        post("X\0: y\r\n"),
        post(chunked).replacen("HTTP/1.1", "HTTP/1.0", 1),
    ];
    for coding in [
        "",
        "identity",
        "gzip, chunked",
        "chunked, chunked",
        "xchunked",
        "\"chunked\"",
        "chunked;q=1",
    ] {
        heads.push(post(&format!("Transfer-Encoding: {coding}\r\n")));
    }
    for length in [
        "",
        "+0",
        "-0",
        "0x0",
        "0,0",
        "0 0",
        "1e1",
        "18446744073709551616",
    ] {
        heads.push(post(&format!("Content-Length: {length}\r\n")));
    }
    for head in heads {
        let mut client = Client::connect(&service.address);
        let answer = client.ask(head.clone() + "0\r\n\r\n" + &smuggled());
        assert_eq!(answer.status, 400, "{head}");
        answer.assert_error(400);
        client.assert_ends();
    }
    assert_not_stored(&service);
}

#[test]
fn a_malformed_chunked_body_is_refused_and_ends_the_connection() {
    let data = Data::sample();
    let service = start(&data);
    for body in [
        "\r\n\r\n",
        ";x\r\n\r\n",
        " 0\r\n\r\n",
        "0 \r\n\r\n",
        "0x0\r\n\r\n",
        "+0\r\n\r\n",
        "2\n{}\n0\n\n",
        "2;\nxx\r\n{}\r\n0\r\n\r\n",
        "2;\rxx\r\n{}\r\n0\r\n\r\n",
        "2\r\n{}0\r\n\r\n",
        "0\r\n\n",
        "0\r\nX: y\n\r\n",
        "fffffffffffffffff\r\n",
        "2\r\n[]\r\n0\r\n\n",
        "2\r\n[]\r\n0\r\nno field\r\n\r\n",
        "2\r\n[]\r\nx\r\n\r\n",
    ] {
        for path in ["/v1/admin/eval-runs", "/nope", BOARD] {
            let mut client = Client::connect(&service.address);
            let head =
                post("Transfer-Encoding: chunked\r\n").replacen("/v1/admin/eval-runs", path, 1);
            let answer = client.ask(head + body + &smuggled());
            assert!((400..500).contains(&answer.status), "{path} {body:?}");
            assert!(answer.closes(), "{path} {body:?}");
            client.assert_ends();
        }
    }
    assert_not_stored(&service);
}

#[test]
fn a_body_is_asked_for_once_and_only_if_it_is_wanted() {
    let data = Data::sample();
    let service = start(&data);
    let row = row("a");
    let framing = [
        (format!("Content-Length: {}\r\n", row.len()), row.clone()),
        (
            "Transfer-Encoding: chunked\r\n".to_owned(),
            format!("{:x}\r\n{row}\r\n0\r\n\r\n", row.len()),
        ),
    ];
    let expect = "Expect: 100-Continue\r\n";
    for (lines, body) in framing {
        // A client that waits, one that does not, and HTTP/1.0, which has no such answer.
        let mut client = Client::connect(&service.address);
        assert_eq!(client.ask(post(&format!("{expect}{lines}"))).status, 100);
        assert_eq!(client.ask(&body).status, 200);
        let all = post(&format!("{expect}{lines}")) + &body + &get(BOARD, "");
        assert_eq!(client.ask(all).status, 200);
        assert_eq!(client.answer().status, 200);
        let refused = post(&format!("{expect}{lines}")).replacen("Bearer", "Basic", 1);
        let answer = client.ask(refused);
        answer.assert_error(401);
        assert!(answer.closes(), "the body may come or not");
        client.assert_ends();
    }
    let mut client = Client::connect(&service.address);
    let old = post(&format!("{expect}Content-Length: {}\r\n", row.len()));
    assert_eq!(client.ask(old.replacen("1.1", "1.0", 1) + &row).status, 200);
    // No body, nothing to ask for.
    let mut client = Client::connect(&service.address);
    for path in [BOARD, "/health"] {
        assert_eq!(client.ask(get(path, expect)).status, 200);
    }
}

#[test]
fn an_invalid_host_is_400() {
    let data = Data::sample();
    let service = start(&data);
    for lines in [
        "",
        "Host: x\r\nHost: x\r\n",
        "Host: x y\r\n",
        "Host: x/y\r\n",
        "Host: u@x\r\n",
        "Host: x:y\r\n",
        "Host: [::1\r\n",
        "Host: [::1]x\r\n",
        "Host: http://x\r\n",
    ] {
        for path in [BOARD, "/health"] {
            let mut client = Client::connect(&service.address);
            let answer = client.ask(format!("GET {path} HTTP/1.1\r\n{lines}\r\n"));
            answer.assert_error(400);
            assert!(answer.closes());
            client.assert_ends();
        }
    }
    let mut client = Client::connect(&service.address);
    for host in [
        "",
        "x",
        "x:",
        "x:80",
        "[::1]",
        "[::1]:80",
        "127.0.0.1",
        "%c3%bc.example",
    ] {
        for path in [BOARD, "/health"] {
            let answer = client.ask(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            assert_eq!(answer.status, 200, "{host}");
        }
    }
}

#[test]
fn an_absolute_form_target_is_answered_counted_and_logged_by_its_path() {
    let data = Data::sample();
    let service = Service::start(serve(&data.path(), &["--cors", "--access-log", "all"]));
    let mut client = Client::connect(&service.address);
    let plain = client.ask(get(BOARD, ""));
    for authority in ["x", "other.example:8080", "[::1]"] {
        let answer = client.ask(get(&format!("http://{authority}{BOARD}?secret"), ""));
        assert_eq!(answer.body, plain.body);
        assert!(answer.head.contains("access-control-allow-origin: *"));
    }
    let counted = metric(
        &service,
        r#"publisher_http_requests_total{route="active-challenges",status="200"}"#,
    );
    assert_eq!(counted, 4);
    // CONNECT and OPTIONS * have targets without a path (RFC 9112 §3.2.3, §3.2.4).
    for line in [
        "CONNECT x:80",
        "CONNECT [::1]:80",
        "OPTIONS *",
        "GET *",
        "GET x:80",
    ] {
        client
            .ask(format!("{line} HTTP/1.1\r\nHost: x\r\n\r\n"))
            .assert_error(404);
    }
    client.socket.flush().unwrap();
    drop(client);
    service.signal("-TERM");
    let (code, said) = service.ended();
    assert_eq!(code, Some(0), "{said}");
    assert!(
        !said.contains("other.example") && !said.contains("secret"),
        "{said}"
    );
}
