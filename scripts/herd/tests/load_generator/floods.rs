//! Servers whose responses do not begin, however much they send:
//!
//! - the requests are malformed responses, and neither time out nor delay those to other servers
//! - what is too large is named

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
};

use herd::failures::Reason;

use super::{
    EMPTY, herd_of,
    strange::{TWO_POLLS, Then, assert_sum, serve},
};

/// Starts a server that sends the same for ever, as fast as it can; returns its URL.
fn flood(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let bytes = bytes.repeat(1000);
                let _ = socket.read(&mut [0; 4096]);
                while socket.write_all(&bytes).is_ok() {}
            });
        }
    });
    url
}

#[actix_web::test]
async fn interim_responses_without_an_end_are_malformed_and_delay_no_other_server() {
    for interim in [
        &b"HTTP/1.1 103 Early Hints\r\n\r\n"[..],
        b"HTTP/1.1 100 Continue\r\nServer: a\r\n\r\n",
    ] {
        let (endless, web) = (flood(interim), serve(vec![(EMPTY.to_vec(), Then::Stay)]));
        let options = format!(
            "--clients 4 --rate 10 --duration-secs 2 --timeout-ms 20000 --threads 1 --on-failure give-up \
             --validators 2 --feed-interval-ms 500 --feed-url {endless}"
        );
        let run = herd_of(&web, &options).await;
        // Validators read the endless ones; the pollers are not disturbed.
        assert_eq!(run.pollers.answered, run.pollers.due, "{run:?}");
        let validators = run.validators.as_ref().unwrap();
        assert_eq!(
            validators.failures.of(Reason::Malformed),
            validators.due,
            "{validators:?}"
        );
        let (_, failed) = validators.failures.iter().next().unwrap();
        assert!(failed.first.contains("interim responses"), "{failed:?}");
        assert_sum(&run, "interim");
    }
}

#[actix_web::test]
async fn a_body_without_an_end_delays_no_other_server() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut body = head.as_bytes().to_vec();
    body.extend(b"10\r\n0123456789abcdef\r\n".repeat(50_000));
    let (endless, web) = (
        serve(vec![(body, Then::Hang)]),
        serve(vec![(EMPTY.to_vec(), Then::Stay)]),
    );
    let options = format!(
        "--clients 4 --rate 10 --duration-secs 2 --timeout-ms 5000 --threads 1 --on-failure give-up \
         --validators 1 --feed-interval-ms 60000 --feed-url {endless}"
    );
    let run = herd_of(&web, &options).await;
    assert_eq!(run.pollers.answered, run.pollers.due, "{run:?}");
    let validators = run.validators.as_ref().unwrap();
    assert_eq!(
        validators.failures.of(Reason::TimedOut),
        1,
        "{validators:?}"
    );
    assert_eq!(validators.body_bytes, 800_000);
}

#[actix_web::test]
async fn a_content_length_that_is_too_large_is_named() {
    let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n{}";
    let run = herd_of(&serve(vec![(bytes.to_vec(), Then::Stay)]), TWO_POLLS).await;
    let mut failures = run.pollers.failures.iter();
    let (reason, failed) = failures.next().unwrap();
    assert_eq!(reason, Reason::TooLarge);
    assert!(failed.first.contains("Content-Length"), "{failed:?}");
}
