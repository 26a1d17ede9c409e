//! Outgoing HTTP against a server that misbehaves.
//!
//! - a whole answer has its status, fields and body, in its coding
//! - a truncated answer is an error, and so is one that is longer than allowed or too slow
//! - a redirect is not followed
//! - a URL that names no host, another scheme or a user is refused

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
    time::Duration,
};

use cathedral_publisher::fetch::{self, Ask, FetchError, Fetcher};

/// Serves these bytes to one client, and keeps the connection open if they end with nothing more to come.
fn server(answer: &'static [u8], closes: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).unwrap();
        stream.write_all(answer).unwrap();
        if !closes {
            // Until the client gives up.
            let _ = stream.read(&mut request);
        }
    });
    url
}

fn ask(url: &str) -> Result<fetch::Fetched, FetchError> {
    Fetcher::new("--ca-file", None, false).unwrap().ask(Ask {
        method: "GET",
        url,
        fields: &[],
        timeout: Duration::from_secs(1),
        max_body_bytes: 5,
    })
}

#[test]
fn a_whole_answer_has_its_status_fields_and_body_in_its_coding() {
    let answer = b"HTTP/1.1 503 x\r\ncontent-length: 5\r\ncontent-encoding: gzip\r\nvary: a\r\nvary: b\r\n\r\n\x1f\x8b\0\0\0";
    let answer = ask(&server(answer, true)).unwrap();
    assert_eq!(answer.status, 503);
    assert_eq!(answer.field("content-encoding"), Some("gzip"));
    assert_eq!(answer.values("vary"), ["a", "b"]);
    assert_eq!(answer.body, b"\x1f\x8b\0\0\0");
    let until_close = ask(&server(b"HTTP/1.1 200 x\r\n\r\nhello", true)).unwrap();
    assert_eq!(until_close.body, b"hello");
}

#[test]
fn a_truncated_a_long_and_a_slow_answer_are_errors() {
    let head = b"HTTP/1.1 200 x\r\ncontent-length: 5\r\n\r\nhell";
    assert!(matches!(
        ask(&server(head, true)),
        Err(FetchError::Connection(_) | FetchError::Protocol(_))
    ));
    assert!(matches!(
        ask(&server(head, false)),
        Err(FetchError::TimedOut(_))
    ));
    for long in [
        &b"HTTP/1.1 200 x\r\ncontent-length: 6\r\n\r\nhello!"[..],
        b"HTTP/1.1 200 x\r\n\r\nhello!",
    ] {
        assert!(matches!(
            ask(&server(long, true)),
            Err(FetchError::TooLong(5))
        ));
    }
}

#[test]
fn a_redirect_is_not_followed() {
    let answer = b"HTTP/1.1 302 x\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(ask(&server(answer, true)).unwrap().status, 302);
}

#[test]
fn a_url_that_names_no_host_another_scheme_or_a_user_is_refused() {
    for url in [
        "",
        "x",
        "/x",
        "ftp://a/",
        "http://",
        "http://a@b/",
        "http:/x",
    ] {
        assert!(matches!(ask(url), Err(FetchError::Invalid(_))), "{url}");
    }
    assert!(matches!(
        ask("http://127.0.0.1:1/"),
        Err(FetchError::Connection(_))
    ));
}
