//! Clients that wait (`--wait`):
//!
//! - each client gets each change of the board once, and nobody is answered at once without one
//! - each validator gets each row once, soon after it was written
//! - a client that may not wait pauses as Retry-After says
//! - addresses of their own are under a limit for each address
//! - a server that stops says so to every client that waits
//! - a server without `Link` is noticed, and asked once a second only
//! - a link to another server is named, and not followed
//! - waits that the end of the run cuts off do not lower the goodput; a first request without a response does

use std::{io::Write as _, process::Command, thread, time::Duration};

use super::{App, BOARD, FEED, herd_of, silent, stub};

#[actix_web::test]
async fn each_client_gets_each_change_once_and_nobody_is_answered_at_once() {
    let app = App::start(0, &[]);
    let url = format!("{}{BOARD}/changes", app.url);
    let change = format!("{}/v1/admin/challenges", app.url);
    let options = format!(
        "--wait --clients 20 --ramp-ms 300 --duration-secs 5 --change-at 1.5 --change-at 3 --change-url {change} --accept-encoding gzip"
    );
    let run = herd_of(&url, &options).await;
    let waits = run.pollers.waits.as_ref().unwrap();
    assert_eq!((waits.first, waits.changed), (20, 40), "{waits:?}");
    assert_eq!((waits.at_once, waits.refused), (0, 0), "{waits:?}");
    // A slot may have ended meanwhile.
    assert!((3..=4).contains(&waits.most_of_a_client), "{waits:?}");
    assert_eq!(run.pollers.statuses[&200], 60);
    assert_eq!(run.pollers.news.seen, 40);
    let last = run.pollers.news.latency.max_ms.unwrap();
    assert!(last < 2000.0, "{last} ms");
    assert!(run.is_clean(), "{run:?}");
    let table = herd::table::table(&[run]);
    assert!(table.contains("news after, p99"), "{table}");

    // The same by polling: later, and seen by all as well.
    let url = format!("{}{BOARD}", app.url);
    let options = format!(
        "--clients 20 --interval-ms 1000 --duration-secs 5 --change-at 1.5 --change-at 3 --change-url {change}"
    );
    let polls = herd_of(&url, &options).await;
    assert_eq!(polls.pollers.news.seen, 40);
    assert!(polls.pollers.waits.is_none());
}

#[actix_web::test]
async fn each_validator_gets_each_row_once_soon_after_it_was_written() {
    let app = App::start(450, &[]);
    let url = format!("{}{BOARD}/changes", app.url);
    let (feed, write) = (
        format!("{}{FEED}", app.url),
        format!("{}/v1/admin/eval-runs", app.url),
    );
    let options = format!(
        "--wait --clients 1 --ramp-ms 100 --duration-secs 5 --validators 5 --feed-url {feed} --feed-accept-encoding gzip \
         --writers 1 --write-rows 3 --write-interval-ms 900 --write-url {write}"
    );
    let run = herd_of(&url, &options).await;
    let (validators, writers) = (
        run.validators.as_ref().unwrap(),
        run.writers.as_ref().unwrap(),
    );
    assert!(writers.rows >= 12, "{writers:?}");
    assert_eq!(validators.rows, 5 * (450 + writers.rows), "{validators:?}");
    // The first post may come before a validator.
    assert!(
        validators.news.seen >= 5 * (writers.rows - 3),
        "{validators:?}"
    );
    let p50 = validators.news.latency.p50_ms.unwrap();
    assert!(p50 < 1000.0, "{p50} ms");
    let waits = validators.waits.as_ref().unwrap();
    assert_eq!((waits.refused, waits.without_next), (0, 0), "{waits:?}");
    assert!(run.is_clean(), "{run:?}");
}

#[actix_web::test]
async fn a_client_that_may_not_wait_pauses_as_retry_after_says() {
    let app = App::start(0, &["--max-waits", "6"]);
    let url = format!("{}{BOARD}/changes", app.url);
    let run = herd_of(&url, "--wait --clients 10 --ramp-ms 100 --duration-secs 4").await;
    let waits = run.pollers.waits.as_ref().unwrap();
    assert_eq!((waits.first, waits.refused), (10, 4), "{waits:?}");
    assert_eq!(waits.at_once, 0, "{waits:?}");
}

#[actix_web::test]
async fn addresses_of_their_own_are_under_a_limit_for_each_address() {
    let app = App::start(0, &["--max-waits-per-address", "2"]);
    let url = format!("{}{BOARD}/changes", app.url);
    let options = "--wait --clients 10 --ramp-ms 100 --duration-secs 2";
    let one = herd_of(&url, options).await.pollers.waits.unwrap();
    assert_eq!(one.refused, 8, "{one:?}");
    let many = herd_of(&url, &format!("{options} --from-addresses 5")).await;
    assert_eq!(many.pollers.waits.unwrap().refused, 0);
}

#[actix_web::test]
async fn a_server_that_stops_says_so_to_every_client_that_waits() {
    let app = App::start(0, &[]);
    let url = format!("{}{BOARD}/changes", app.url);
    let pid = app.process.0.id().to_string();
    let stop = thread::spawn(move || {
        thread::sleep(Duration::from_millis(2000));
        Command::new("kill").arg(pid).status().unwrap()
    });
    let run = herd_of(&url, "--wait --clients 30 --ramp-ms 100 --duration-secs 5").await;
    assert!(stop.join().unwrap().success());
    let waits = run.pollers.waits.as_ref().unwrap();
    assert_eq!(waits.closing, 30, "{waits:?}");
    let (first, last) = (
        waits.first_closing_at.unwrap(),
        waits.last_closing_at.unwrap(),
    );
    assert!(last - first < 1.0, "{waits:?}");
}

#[actix_web::test]
async fn a_server_without_the_link_is_noticed_and_asked_once_a_second_only() {
    let url = stub(|socket| {
        socket.write_all(b"HTTP/1.1 200 OK\r\nETag: \"a\"\r\nContent-Length: 2\r\n\r\n{}")
    });
    let run = herd_of(&url, "--wait --clients 2 --ramp-ms 0 --duration-secs 3").await;
    let waits = run.pollers.waits.as_ref().unwrap();
    // The first one, and after a pause of a second each: three more at most.
    assert!((4..=8).contains(&run.pollers.attempts), "{run:?}");
    assert_eq!(waits.without_next, run.pollers.answered);
    // The first wait may have begun in the middle of a slot; each one after it is answered at once.
    assert_eq!((waits.first, waits.unchanged), (2, 2), "{waits:?}");
    assert_eq!(waits.at_once, run.pollers.answered - 4, "{waits:?}");
    assert!(!run.is_clean());
}

#[actix_web::test]
async fn a_link_to_another_server_is_named_and_not_followed() {
    let url = stub(|socket| {
        socket.write_all(
            b"HTTP/1.1 200 OK\r\nLink: <http://127.0.0.2:1/a>; rel=\"next\"\r\nContent-Length: 2\r\n\r\n{}",
        )
    });
    let run = herd_of(&url, "--wait --clients 1 --ramp-ms 0 --duration-secs 1").await;
    assert!(!run.is_clean());
    let table = herd::table::table(&[run]);
    let reason = "the next Link leads to another server, http://127.0.0.2:1: it is not followed";
    assert!(table.contains(reason), "{table}");
}

#[actix_web::test]
async fn only_a_first_request_without_a_response_counts_at_the_end_of_the_run() {
    let app = App::start(0, &[]);
    let url = format!("{}{BOARD}/changes", app.url);
    let run = herd_of(&url, "--wait --clients 20 --ramp-ms 0 --duration-secs 1").await;
    let seen = &run.pollers;
    let waits = seen.waits.as_ref().unwrap();
    assert_eq!(
        (seen.due, seen.failed, waits.cut_off),
        (seen.answered, 0, 20)
    );
    assert_eq!(seen.attempts, seen.due + 20);
    assert!((seen.amplification() - 1.0).abs() < 1e-9, "{run:?}");
    assert!(run.is_clean(), "{run:?}");

    let url = silent();
    let run = herd_of(&url, "--wait --clients 3 --ramp-ms 0 --duration-secs 1").await;
    let seen = &run.pollers;
    assert_eq!((seen.due, seen.answered, seen.failed), (3, 0, 3));
    assert!(!run.is_clean());
}
