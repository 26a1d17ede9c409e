//! What goes onto the wire counts as sent, and takes its place in `--max-rate`:
//!
//! - a refused stream is a failure, subject to `--on-failure`
//! - a request that is sent again, as the server has not processed it, is counted each time
//! - a connection that is refused is an attempt, and nothing is sent, also in each slice of the run

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use herd::{
    failures::Reason,
    run::{Run, Slice},
};

use super::{
    EMPTY, herd_of,
    http2::{REFUSED_STREAM, go_away, reset, serve_counting},
    strange::{Then, assert_sum},
};

/// Forty polls.
const FORTY: &str = "--clients 2 --rate 20 --duration-secs 2 --timeout-ms 20000 --threads 1";
/// Sixty requests at most: those of a second at once, and those of two seconds.
const SLOWLY: &str = "--max-rate 20";
const MOST: u64 = 60;

/// Checks that herd says what the server has seen, apart from `unread` requests that the server may have left unread.
fn assert_counted(run: &Run, seen: &AtomicU32, unread: u64, name: &str) {
    let role = &run.pollers;
    let seen = || u64::from(seen.load(Ordering::SeqCst));
    // The server may still have to read the last ones.
    for _ in 0..1000 {
        if seen() < role.sent() - unread {
            thread::sleep(Duration::from_millis(10));
        }
    }
    let expected = role.sent() - unread..=role.sent();
    assert!(expected.contains(&seen()), "{name}: {} {role:?}", seen());
    assert!(role.sent() >= 40, "{name}: {role:?}");
    assert_sum(run, name);
    let in_slices: u64 = run.slices.iter().map(Slice::sent).sum();
    // One may have been sent just after the last slice.
    assert!(in_slices <= role.sent(), "{name}: {in_slices}");
}

#[actix_web::test]
async fn a_refused_stream_is_a_failure_and_is_not_repeated_in_secret() {
    let refuse = |stream, _| reset(stream, REFUSED_STREAM);
    let (url, seen) = serve_counting(refuse, Then::Stay, None);
    let options = format!("{FORTY} {SLOWLY} --http2 --on-failure give-up");
    let run = herd_of(&url, &options).await;
    let role = &run.pollers;
    assert_eq!((role.attempts, role.sent_again), (40, 0), "{role:?}");
    assert_eq!(role.failures.of(Reason::RefusedStream), 40, "{role:?}");
    assert_counted(&run, &seen, 0, "give-up");

    let (url, seen) = serve_counting(refuse, Then::Stay, None);
    let options = format!("{FORTY} {SLOWLY} --http2 --on-failure retry --max-retries 1");
    let run = herd_of(&url, &options).await;
    let role = &run.pollers;
    assert!(role.retries_after_other > 0, "{role:?}");
    assert!(role.amplification() > 1.1, "{role:?}");
    assert!(role.attempts <= MOST, "{role:?}");
    assert_counted(&run, &seen, 0, "retry");
}

#[actix_web::test]
async fn requests_to_a_server_of_http_2_that_goes_away_count_each_time() {
    // Answers no request: each poll is sent nine times.
    let (url, seen) = serve_counting(|_, _| go_away(0), Then::Stay, None);
    let options = format!("{FORTY} {SLOWLY} --http2 --on-failure give-up");
    let run = herd_of(&url, &options).await;
    let role = &run.pollers;
    assert!(role.attempts <= MOST, "{role:?}");
    assert!(role.sent_again > 0, "{role:?}");
    assert!(role.held_back_by.max_rate > 0, "{role:?}");
    // Some may be on their way when the server goes away, and never be read.
    assert_counted(&run, &seen, 4, "goes away");
    let table = herd::table::table(&[run]);
    let row = table.lines().find(|line| line.starts_with("sent again"));
    assert!(row.is_some_and(|row| !row.ends_with(" 0")), "{table}");
}

/// Starts a server that answers the first request of each connection, and closes it when the second one has come; returns
/// its URL and the number of requests so far.
fn closing() -> (String, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let requests = Arc::<AtomicU32>::default();
    let counted = Arc::clone(&requests);
    thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let requests = Arc::clone(&requests);
            thread::spawn(move || {
                let lines = BufReader::new(socket.try_clone().unwrap()).lines();
                let ends = lines.map_while(Result::ok).filter(String::is_empty);
                for number in ends.take(2).enumerate().map(|(number, _)| number) {
                    requests.fetch_add(1, Ordering::SeqCst);
                    if number == 0 {
                        socket.write_all(EMPTY).unwrap();
                    }
                }
            });
        }
    });
    (url, counted)
}

#[actix_web::test]
async fn requests_on_connections_that_the_server_closes_then_count_each_time() {
    let (url, seen) = closing();
    let run = herd_of(&url, &format!("{FORTY} --on-failure give-up")).await;
    let role = &run.pollers;
    assert!(role.sent_again > 0, "{role:?}");
    assert_eq!(role.failures.count(|reason| reason != Reason::NotSent), 0);
    assert_counted(&run, &seen, 0, "closing");
}

#[actix_web::test]
async fn an_attempt_that_is_refused_a_connection_sends_nothing() {
    // A server that accepts one connection, with which the run looks whether it is there.
    let once = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", once.local_addr().unwrap());
    thread::spawn(move || once.accept());
    let options = "--clients 2 --rate 20 --duration-secs 1 --on-failure retry --max-retries 1";
    let run = herd_of(&url, options).await;
    let role = &run.pollers;
    assert_eq!((role.due, role.sent()), (20, 0), "{role:?}");
    // A poll that is late, on a busy machine, has no time left for its retry.
    assert!(role.retries_after_other >= 10, "{role:?}");
    assert_eq!(role.attempts, 20 + role.retries_after_other, "{role:?}");
    let in_slices = |of: fn(&Slice) -> u64| run.slices.iter().map(of).sum::<u64>();
    assert!(in_slices(|slice| slice.attempts) > 0, "{run:?}");
    assert_eq!(in_slices(Slice::sent), 0, "{run:?}");
    assert_sum(&run, "refused");
    let table = herd::table::table(&[run]);
    for row in ["requests sent", "attempts with nothing sent"] {
        assert!(table.lines().any(|line| line.starts_with(row)), "{table}");
    }
}
