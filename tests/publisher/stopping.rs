//! What clients see of a stop, and of a restart:
//!
//! - unsent answers are sent completely
//! - kept and new connections are answered with Connection: close in the grace period
//! - a body that is on its way is taken, and answered
//! - incomplete heads and silent connections do not hold a stop
//! - a client that reads nothing is cut off
//! - restarts under load with an inherited socket lose no request
//! - one slow reader does not keep others waiting
//! - a write that waits for ever does not keep the process for ever

use std::{
    io::Read,
    net::TcpListener,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use tempfile::TempDir;

use crate::{
    app::{BOARD, Data, FEED, eventually},
    process::{Service, activated, serve},
    wire::{Client, get, post, row},
};

/// A stop that only what a test does can end.
const PATIENT: [&str; 6] = [
    "--workers",
    "1",
    "--shutdown-timeout-secs",
    "600",
    "--send-timeout-secs",
    "600",
];

fn start(data: &Data, options: &[&str]) -> Service {
    Service::start(serve(&data.path(), &[&PATIENT[..], options].concat()))
}

/// Long answers, more than two kernels hold.
fn long_answers(data: &Data) -> String {
    data.sample_runs(1000, "2026-06-07T00:00:00Z");
    get(
        &format!("{FEED}?since_ran_at=2020-01-01T00:00:00Z&limit=1000"),
        "",
    )
    .repeat(10)
}

/// Waits until answers announce the end of their connections.
fn stop_begins(address: &str) {
    eventually("the stop", || {
        let mut client = Client::connect(address);
        client.ask(get(BOARD, "If-None-Match: *\r\n")).closes()
    });
}

#[test]
fn unsent_answers_are_sent_completely() {
    let data = Data::sample();
    let requests = long_answers(&data);
    let service = start(&data, &["--shutdown-grace-ms", "600000"]);
    let mut client = Client::connect_narrow(&service.address);
    client.send(&requests);
    let mut first = [0; 12];
    client.socket.peek(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    service.signal("-TERM");
    stop_begins(&service.address);
    // Each one that has begun, the last of which announces the end.
    let mut lengths = Vec::new();
    loop {
        let answer = client.answer();
        lengths.push(answer.body.len());
        if answer.closes() {
            break;
        }
    }
    client.assert_ends();
    assert!(
        lengths
            .iter()
            .all(|length| *length == lengths[0] && *length > 100_000)
    );
    let (code, said) = service.ended();
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("cut off"), "{said}");
}

#[test]
fn kept_and_new_connections_are_answered_with_close_in_the_grace_period() {
    let data = Data::sample();
    let service = start(
        &data,
        &["--shutdown-grace-ms", "600000", "--keep-alive-secs", "600"],
    );
    let mut kept = Client::connect(&service.address);
    let mut general = Client::connect(&service.address);
    assert!(!kept.ask(get(BOARD, "")).closes());
    assert!(!general.ask(get("/health/live", "")).closes());
    service.signal("-TERM");
    stop_begins(&service.address);
    for path in [BOARD, "/health/live"] {
        let mut client = Client::connect(&service.address);
        let answer = client.ask(get(path, "").repeat(2));
        assert!(answer.status == 200 && answer.closes(), "{}", answer.head);
        client.assert_ends();
    }
    let answer = kept.ask(get(BOARD, ""));
    assert!(answer.status == 200 && answer.closes(), "{}", answer.head);
    kept.assert_ends();
    let answer = general.ask(get("/health/live", ""));
    assert!(answer.status == 200 && answer.closes(), "{}", answer.head);
    general.assert_ends();
    // With the last connection from before the stop the grace period ends.
    let (code, said) = service.ended();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_body_that_is_on_its_way_is_taken_and_answered() {
    let data = Data::sample();
    let service = start(
        &data,
        &["--shutdown-grace-ms", "0", "--body-timeout-ms", "600000"],
    );
    let row = row("late");
    let (beginning, end) = row.split_at(10);
    let mut client = Client::connect(&service.address);
    let head = post(&format!(
        "Expect: 100-continue\r\nContent-Length: {}\r\n",
        row.len()
    ));
    assert_eq!(client.ask(head).status, 100);
    client.send(beginning);
    service.signal("-TERM");
    stop_begins(&service.address);
    let answer = client.ask(end);
    assert!(answer.status == 200 && answer.closes(), "{}", answer.head);
    client.assert_ends();
    let (code, said) = service.ended();
    assert_eq!(code, Some(0), "{said}");
    let count: u64 = data.write(|connection| {
        let query = "SELECT count(*) FROM eval_runs";
        connection.query_row(query, [], |row| row.get(0)).unwrap()
    });
    assert_eq!(count, 1);
}

#[test]
fn incomplete_heads_and_silent_connections_do_not_hold_a_stop() {
    let data = Data::sample();
    let options = [
        "--shutdown-grace-ms",
        "0",
        "--keep-alive-secs",
        "600",
        "--head-timeout-ms",
        "2000",
    ];
    let service = start(&data, &options);
    let mut silent = Client::connect(&service.address);
    let mut partial = Client::connect(&service.address);
    let mut idle = Client::connect(&service.address);
    assert_eq!(idle.ask(get(BOARD, "")).status, 200);
    partial.send("GET / HTTP/1.1\r\nHost");
    service.signal("-TERM");
    idle.assert_ends();
    silent.assert_ends();
    partial.answer().assert_error(408);
    partial.assert_ends();
    let (code, said) = service.ended();
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("cut off"), "{said}");
}

#[test]
fn a_client_that_reads_nothing_is_cut_off() {
    let data = Data::sample();
    let requests = long_answers(&data);
    let service = start(&data, &["--shutdown-grace-ms", "0"]);
    let mut client = Client::connect_narrow(&service.address);
    client.send(&requests);
    client.socket.peek(&mut [0; 12]).unwrap();
    service.signal("-TERM");
    // No other limit ends in less than ten minutes.
    let (code, said) = service.ended();
    assert_eq!(code, Some(0), "{said}");
    // What it had got by then was not the whole.
    let mut read = Vec::new();
    let _ = client.socket.read_to_end(&mut read);
    assert!(read.starts_with(b"HTTP/1.1 200 "));
}

#[test]
fn restarts_under_load_with_an_inherited_socket_lose_no_request() {
    let folder = TempDir::new().unwrap();
    let database = folder.path().join("a.db");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let options = ["--workers", "2"];
    let mut service = Service::start(activated(&database, &listener, &options));
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let client = |keeps: bool, path: &str| {
        let mut client = None;
        while !stop.load(Ordering::SeqCst) {
            let mut open: Client = client.take().unwrap_or_else(|| Client::connect(&address));
            let answer = open.ask(get(path, ""));
            assert_eq!(answer.status, 200);
            answered.fetch_add(1, Ordering::SeqCst);
            if keeps && !answer.closes() {
                client = Some(open);
            }
        }
    };
    thread::scope(|scope| {
        for path in [BOARD, "/health/live"] {
            for keeps in [true, true, false] {
                scope.spawn(move || client(keeps, path));
            }
        }
        for _ in 0..3 {
            let so_far = answered.load(Ordering::SeqCst);
            eventually("some answers", || {
                answered.load(Ordering::SeqCst) > so_far + 100
            });
            service.signal("-TERM");
            let before = std::mem::replace(
                &mut service,
                Service::start(activated(&database, &listener, &options)),
            );
            let (code, said) = before.ended();
            assert!(code == Some(0) && !said.contains("cut off"), "{said}");
        }
        stop.store(true, Ordering::SeqCst);
    });
    service.signal("-TERM");
    assert_eq!(service.ended().0, Some(0));
}

#[test]
fn one_slow_reader_does_not_keep_others_waiting() {
    let data = Data::sample();
    let requests = long_answers(&data);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let options = [&PATIENT[..], &["--shutdown-grace-ms", "0"]].concat();
    let service = Service::start(activated(&data.path(), &listener, &options));
    let mut slow = Client::connect_narrow(&service.address);
    slow.send(&requests);
    slow.socket.peek(&mut [0; 12]).unwrap();
    service.signal("-TERM");
    stop_begins(&service.address);
    // It reads a little of its megabytes between two answers to others. If it is cut off on a busy machine,
    // nobody answers until the next process does.
    let mut next = None;
    for _ in 0..20 {
        let mut client = Client::connect(&service.address);
        client.send(get(BOARD, ""));
        if slow.socket.read(&mut [0; 1024]).is_err() {
            next.get_or_insert_with(|| {
                Service::start(activated(&data.path(), &listener, &options))
            });
        }
        assert_eq!(client.answer().status, 200);
    }
    drop(slow);
    let (code, said) = service.ended();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_write_that_waits_for_ever_does_not_keep_the_process_for_ever() {
    let data = Data::sample();
    let limits = ["--shutdown-timeout-secs", "1", "--shutdown-grace-ms", "0"];
    let waits = ["--write-busy-timeout-ms", "600000"];
    let service = Service::start(serve(&data.path(), &[&limits[..], &waits].concat()));
    let other = rusqlite::Connection::open(data.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let row = row("waits");
    let mut client = Client::connect(&service.address);
    client.send(post(&format!("Content-Length: {}\r\n", row.len())) + &row);
    let writes = "\npublisher_writes 1\n";
    eventually("the write", || {
        let mut operator = Client::connect(&service.address);
        let page = operator.ask(get("/metrics", "")).body;
        String::from_utf8(page).unwrap().contains(writes)
    });
    service.signal("-TERM");
    let (code, said) = service.ended();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the stop has not ended after 11 s"), "{said}");
}
