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
    app::{BOARD, Data, eventually},
    service::{Service, serve},
    waiting::{metric, put},
    wire::{Client, get},
};

const EVENTS: &str = "/v1/events";

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

#[test]
fn a_client_is_told_the_state_that_it_finds_and_then_each_change() {
    let data = Data::sample();
    let service = Service::start(serve(&data.path(), &[]));
    let address = &service.address;
    let mut stream = Stream::open(address, "");
    let [first_id, name, data] = stream.event();
    assert_eq!((name.as_str(), data), ("board", data_of_board(address)));
    for id in ["a", "b"] {
        put(address, id);
        let [id, name, data] = stream.event();
        assert_eq!((name.as_str(), data), ("board", data_of_board(address)));
        assert_ne!(id, first_id);
    }
}
