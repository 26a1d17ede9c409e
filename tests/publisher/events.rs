//! /v1/events, server-sent events (WIRE.md):
//!
//! - a client is told the state that it finds, and then each change
//! - a client that comes back with the last id is told only what it missed
//! - a stream that is quiet has comments
//! - a client that reads nothing delays nobody and takes no memory for what it missed
//! - streams count as waits, and beyond the limits there is 503 with Retry-After
//! - HEAD has the header fields only; other methods and bodies are refused
//! - after a stop has begun all streams end

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use crate::{
    app::{BOARD, Data, FEED, eventually},
    process::{Service, post, serve},
    waiting::{metric, put},
    wire::{Client, get, row},
};

pub const EVENTS: &str = "/v1/events";

/// A stream of events, and what came until now.
struct Stream {
    socket: TcpStream,
    text: String,
}

impl Stream {
    fn open(address: &str, lines: &str) -> Self {
        let mut socket = TcpStream::connect(address).unwrap();
        let timeout = Some(Duration::from_secs(60));
        socket.set_read_timeout(timeout).unwrap();
        let request = get(EVENTS, lines);
        socket.write_all(request.as_bytes()).unwrap();
        let mut stream = Self {
            socket,
            text: String::new(),
        };
        stream.take("\r\n\r\n");
        stream
    }

    /// Reads until this has come; returns what came up to its end.
    #[track_caller]
    fn take(&mut self, end: &str) -> String {
        let mut piece = [0; 4096];
        loop {
            if let Some(at) = self.text.find(end) {
                return self.text.drain(..at + end.len()).collect();
            }
            let bytes = self.socket.read(&mut piece).unwrap();
            assert_ne!(bytes, 0, "the stream ended: {}", self.text);
            self.text += std::str::from_utf8(&piece[..bytes]).unwrap();
        }
    }

    /// Returns the next event: its id, name and data.
    #[track_caller]
    fn event(&mut self) -> [String; 3] {
        loop {
            let event = self.take("\n\n");
            let field = |name| {
                let mut lines = event.lines();
                lines
                    .find_map(|line| line.strip_prefix(name))
                    .map(str::to_owned)
            };
            if let Some(data) = field("data: ") {
                return [field("id: ").unwrap(), field("event: ").unwrap(), data];
            }
        }
    }
}

fn tag(address: &str) -> String {
    let board = Client::connect(address).ask(get(BOARD, ""));
    let tag = board.head.split("\r\netag: ").nth(1).unwrap();
    tag.split("\r\n").next().unwrap().to_owned()
}

fn data_of_board(address: &str) -> String {
    serde_json::json!({ "etag": tag(address) }).to_string()
}

fn data_of_feed(address: &str) -> String {
    let page = Client::connect(address).ask(get(&format!("{FEED}?since_seq=0"), ""));
    let page: serde_json::Value = serde_json::from_slice(&page.body).unwrap();
    serde_json::json!({ "next_since_seq": page["next_since_seq"] }).to_string()
}

/// Opens a stream and reads the two events of the present state. Returns the last id, too.
fn opened(address: &str) -> (Stream, String) {
    let mut stream = Stream::open(address, "");
    let [_, [id, ..]] = [stream.event(), stream.event()];
    (stream, id)
}

#[test]
fn a_client_is_told_the_state_that_it_finds_and_then_each_change() {
    let data = Data::sample();
    let service = Service::start(serve(&data.location(), &[]));
    let address = &service.address;
    let mut stream = Stream::open(address, "");
    let [_, name, data] = stream.event();
    assert_eq!((name.as_str(), data), ("board", data_of_board(address)));
    let [mut last_id, name, data] = stream.event();
    assert_eq!((name.as_str(), data), ("feed", data_of_feed(address)));
    for number in 0..3 {
        put(address, &format!("c{number}"));
        let [id, name, data] = stream.event();
        assert_eq!((name.as_str(), data), ("board", data_of_board(address)));
        assert_ne!(id, last_id);
        post(address, &row(&format!("r{number}")));
        let [id, name, data] = stream.event();
        assert_eq!((name.as_str(), data), ("feed", data_of_feed(address)));
        assert_ne!(id, last_id);
        last_id = id;
    }
}

#[test]
fn a_client_that_comes_back_with_the_last_id_is_told_only_what_it_missed() {
    let data = Data::sample();
    let service = Service::start(serve(&data.location(), &[]));
    let address = &service.address;
    let (_, id) = opened(address);
    let with_id = |id: &str| Stream::open(address, &format!("Last-Event-ID: {id}\r\n"));
    let mut knows_all = with_id(&id);
    put(address, "a");
    let missed_one = with_id(&id).event();
    assert_eq!(missed_one[2], data_of_board(address));
    assert_eq!(knows_all.event(), missed_one, "and nothing before that");
    for id in ["", "x", "/", "-/-", "1-0123456789abcdef.1/", "\u{e9}"] {
        assert_eq!(with_id(id).event()[1..], missed_one[1..], "{id}");
    }
}

#[test]
fn a_stream_that_is_quiet_has_comments() {
    let data = Data::sample();
    let service = Service::start(serve(&data.location(), &["--wait-slot-secs", "1"]));
    let (mut stream, _) = opened(&service.address);
    assert_eq!(stream.take("\n\n"), ":\n\n");
    assert_eq!(stream.take("\n\n"), ":\n\n");
}

#[test]
fn a_client_that_reads_nothing_delays_nobody_and_takes_no_memory_for_what_it_missed() {
    let data = Data::sample();
    let service = Service::start(serve(&data.location(), &[]));
    let address = &service.address;
    // What it goes on sending is dropped.
    let mut silent = Client::connect_narrow(address);
    silent.send(get(EVENTS, "").repeat(2) + &"x".repeat(100_000));
    let (mut stream, _) = opened(address);
    let mut last = String::new();
    for number in 0..50 {
        put(address, &format!("n{number}"));
        [_, _, last] = stream.event();
    }
    assert_eq!(last, data_of_board(address));
    assert_eq!(metric(address, "publisher_waiters "), "2");
    drop(silent);
    eventually("one stream", || {
        metric(address, "publisher_waiters ") == "1"
    });
}

#[test]
fn streams_count_as_waits_and_beyond_the_limits_there_is_503_with_retry_after() {
    let data = Data::sample();
    for option in ["--max-waits", "--max-waits-per-address"] {
        let service = Service::start(serve(&data.location(), &[option, "2"]));
        let address = &service.address;
        let streams = [Stream::open(address, ""), Stream::open(address, "")];
        let mut client = Client::connect(address);
        let refused = client.ask(get(EVENTS, ""));
        refused.assert_error(503);
        assert!(refused.head.contains("\r\nretry-after: 5\r\n"));
        assert!(refused.closes());
        drop(streams);
        eventually("no stream", || metric(address, "publisher_waiters ") == "0");
        Stream::open(address, "").event();
    }
}

#[test]
fn head_has_the_header_fields_only_and_other_methods_and_bodies_are_refused() {
    let data = Data::sample();
    let service = Service::start(serve(&data.location(), &["--cors"]));
    let mut client = Client::connect(&service.address);
    for path in [EVENTS, "/api/cathedral/v1/events"] {
        client.send(get(path, "").replace("GET", "HEAD"));
        let head = client.try_answer(true).unwrap();
        assert_eq!(head.status, 200);
        for field in [
            "content-type: text/event-stream",
            "cache-control: no-store",
            "access-control-allow-origin: *",
        ] {
            assert!(head.head.contains(field), "{}", head.head);
        }
        let post = client.ask(get(path, "").replace("GET", "POST"));
        post.assert_error(405);
        client
            .ask(get(path, "Content-Length: 1\r\n") + "x")
            .assert_error(400);
    }
}

#[test]
fn after_a_stop_has_begun_all_streams_end() {
    let data = Data::sample();
    let service = Service::start(serve(&data.location(), &["--shutdown-grace-ms", "600000"]));
    let mut streams: Vec<_> = (0..20)
        .map(|_| Stream::open(&service.address, ""))
        .collect();
    service.signal("-TERM");
    for stream in &mut streams {
        stream.socket.read_to_string(&mut stream.text).unwrap();
    }
    assert_eq!(service.ended().0, Some(0));
}
