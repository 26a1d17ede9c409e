//! HTTP/1.1 on raw sockets:
//!
//! - a 304 has no body, and the connection stays usable
//! - pipelined requests are answered in order
//! - HEAD sends the Content-Length of GET and no body
//! - a body that does not arrive gets 408, and its admission is released
//! - malformed requests get 4xx, and the server keeps serving

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use crate::app::{App, BOARD, Data, Mode, TOKENS, settings};

/// Sends `bytes` and reads until the server closes the connection, which the last request must ask for.
async fn exchange(app: &App, bytes: impl Into<Vec<u8>>) -> String {
    let (address, bytes) = (app.address(), bytes.into());
    let read = actix_web::web::block(move || {
        let mut socket = TcpStream::connect(address).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        socket.write_all(&bytes).unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).unwrap();
        answer
    });
    String::from_utf8(read.await.unwrap()).unwrap()
}

const LAST: &str = "GET /nope HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

#[actix_web::test]
async fn a_304_has_no_body_and_the_connection_stays_usable() {
    let app = App::start(Data::sample()).await;
    let conditional = format!("GET {BOARD} HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\n\r\n");
    let answer = exchange(&app, format!("{conditional}{LAST}")).await;
    let (first, second) = answer.split_once("\r\n\r\n").unwrap();
    assert!(first.starts_with("HTTP/1.1 304 Not Modified\r\n"));
    assert!(!first.to_lowercase().contains("content-length"));
    assert!(!first.to_lowercase().contains("transfer-encoding"));
    assert!(second.starts_with("HTTP/1.1 404 Not Found\r\n"), "{second}");
    app.stop().await;
}

#[actix_web::test]
async fn pipelined_requests_are_answered_in_order() {
    let app = App::start(Data::sample()).await;
    let mut requests = String::new();
    for _ in 0..20 {
        requests += &format!("GET {BOARD} HTTP/1.1\r\nHost: x\r\n\r\n");
        requests += "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
        requests += &format!("GET {BOARD} HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\n\r\n");
    }
    let answer = exchange(&app, requests + LAST).await;
    // The JSON bodies contain no status line.
    let statuses: Vec<&str> = answer
        .match_indices("HTTP/1.1 ")
        .map(|(at, _)| &answer[at + 9..at + 12])
        .collect();
    let mut expected = ["200", "200", "304"].repeat(20);
    expected.push("404");
    assert_eq!(statuses, expected);
    assert_eq!(answer.matches(r#"{"status":"ok""#).count(), 20);
    assert_eq!(
        answer
            .matches(r#"{"family_id":"synthetic_boolean_v1","count":51"#)
            .count(),
        20
    );
    app.stop().await;
}

#[actix_web::test]
async fn head_sends_the_content_length_of_get_and_no_body() {
    let app = App::start(Data::sample()).await;
    let length = app.get(BOARD).await.body.len();
    let answer = exchange(
        &app,
        format!("HEAD {BOARD} HTTP/1.1\r\nHost: x\r\n\r\n{LAST}"),
    )
    .await;
    let (first, second) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        first.contains(&format!("content-length: {length}")),
        "{first}"
    );
    assert!(second.starts_with("HTTP/1.1 404"));
    app.stop().await;
}

#[actix_web::test]
async fn a_body_that_does_not_arrive_gets_408_and_its_admission_is_released() {
    let mut settings = settings(&[]);
    settings.http.body_timeout = Duration::from_millis(50);
    let app = App::start_with(Data::empty(), Mode::Pass, settings).await;
    let head = format!(
        "POST /v1/admin/eval-runs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: 10\r\n\r\n[",
        TOKENS[0]
    );
    let answer = exchange(&app, head).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.ends_with(r#"{"detail":"the body did not arrive in time"}"#));
    assert_eq!(app.writer.in_flight(), 0);
    app.stop().await;
}

#[actix_web::test]
async fn malformed_requests_get_4xx_and_the_server_keeps_serving() {
    let app = App::start(Data::sample()).await;
    let many = "X: y\r\n".repeat(200);
    for request in [
        "nonsense\r\n\r\n".to_owned(),
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
        format!("GET {BOARD} HTTP/1.1\r\nHost: x\r\nIf-None-Match: \u{1}\r\n\r\n"),
        format!("GET {BOARD} HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"),
        format!("GET {BOARD} HTTP/1.1\r\nHost: x\r\n{many}\r\n"),
    ] {
        let answer = exchange(&app, request.clone()).await;
        assert!(
            answer.starts_with("HTTP/1.1 4"),
            "{}: {answer}",
            &request[..40.min(request.len())]
        );
    }
    assert_eq!(app.get(BOARD).await.status, 200);
    app.stop().await;
}
