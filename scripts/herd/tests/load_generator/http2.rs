//! Strange servers of HTTP/2, frame by frame:
//!
//! - a response counts as answered if and only if it is whole: END_STREAM has come, and Content-Length fits
//! - requests that a server says not to have processed as it goes away are sent again, whatever the method, but not for
//!   ever; a stream that it refuses is a failure

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use super::{
    herd_of,
    strange::{TWO_POLLS, Then, assert_sum, says},
};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
pub const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;
const PREFACE: usize = 24;
/// `:status: 200` (RFC 7541 appendix A).
const OK: &[u8] = b"\x88";

/// Makes a frame (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

fn head(stream: u32, flags: u8, more: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, stream, &[OK, more].concat())
}

/// A field, literal without indexing (RFC 7541 §6.2.2).
fn length(value: &str) -> Vec<u8> {
    let size = |text: &str| u8::try_from(text.len()).unwrap();
    let name = "content-length";
    let name = [&[0, size(name)], name.as_bytes()].concat();
    [&name, &[size(value)][..], value.as_bytes()].concat()
}

pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

pub fn go_away(last: u32) -> Vec<u8> {
    go_away_for(last, NO_ERROR)
}

fn go_away_for(last: u32, code: u32) -> Vec<u8> {
    let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
    frame(GOAWAY, 0, 0, &payload)
}

pub fn whole(stream: u32) -> Vec<u8> {
    [head(stream, 0, b""), frame(DATA, END_STREAM, stream, b"ok")].concat()
}

/// What a server sends to a request: by its stream, and by the number of requests of all connections before it.
pub type Respond = fn(u32, u32) -> Vec<u8>;

/// Starts a server, until the test process ends; returns its URL.
fn serve(respond: Respond) -> String {
    serve_then(respond, Then::Stay)
}

/// Starts a server that answers each request; returns its URL.
pub fn answering() -> String {
    serve(|stream, _| whole(stream))
}

/// The same, and what it does after a response.
fn serve_then(respond: Respond, then: Then) -> String {
    serve_counting(respond, then, None).0
}

/// The same, and how many streams a connection may have; also returns the number of requests so far.
pub fn serve_counting(
    respond: Respond,
    then: Then,
    streams: Option<u32>,
) -> (String, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let requests = Arc::<AtomicU32>::default();
    let counted = Arc::clone(&requests);
    thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let requests = Arc::clone(&requests);
            let next = move || requests.fetch_add(1, Ordering::SeqCst);
            thread::spawn(move || answer(socket, respond, then, streams, next));
        }
    });
    (url, counted)
}

fn answer(
    mut socket: TcpStream,
    respond: Respond,
    then: Then,
    streams: Option<u32>,
    next: impl Fn() -> u32,
) -> io::Result<()> {
    socket.read_exact(&mut [0; PREFACE])?;
    let streams = streams.map(|most| {
        let name = MAX_CONCURRENT_STREAMS.to_be_bytes();
        [&name[..], &most.to_be_bytes()].concat()
    });
    socket.write_all(&frame(SETTINGS, 0, 0, &streams.unwrap_or_default()))?;
    loop {
        let mut head = [0; 9];
        socket.read_exact(&mut head)?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        socket.read_exact(&mut payload)?;
        match kind {
            SETTINGS if flags & ACK == 0 => socket.write_all(&frame(SETTINGS, ACK, 0, b""))?,
            HEADERS => {
                socket.write_all(&respond(u32::from_be_bytes(stream), next()))?;
                // The client must have read the rest.
                thread::sleep(Duration::from_millis(50));
                match then {
                    Then::Close => return socket.shutdown(Shutdown::Both),
                    Then::Reset => {
                        return socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO));
                    }
                    Then::Stay | Then::CloseLater | Then::CloseNext | Then::Hang => {}
                }
            }
            _ => {}
        }
    }
}

#[actix_web::test]
async fn a_response_of_http_2_counts_if_it_is_whole() {
    let servers: &[(&str, Respond, &str)] = &[
        ("a body", |stream, _| whole(stream), "2 bytes"),
        (
            "no body",
            |stream, _| head(stream, END_STREAM, b""),
            "0 bytes",
        ),
        (
            "trailers",
            |stream, _| {
                let data = frame(DATA, 0, stream, b"ok");
                let trailers = frame(HEADERS, END_HEADERS | END_STREAM, stream, b"\x00\x01a\x01b");
                [head(stream, 0, b""), data, trailers].concat()
            },
            "2 bytes",
        ),
        (
            "a whole body and a reset",
            |stream, _| [whole(stream), reset(stream, NO_ERROR)].concat(),
            "2 bytes",
        ),
        (
            "all of its length and a reset",
            |stream, _| {
                let data = frame(DATA, 0, stream, b"ok");
                [head(stream, 0, &length("2")), data, reset(stream, NO_ERROR)].concat()
            },
            "truncated",
        ),
        (
            "a reset in a body",
            |stream, _| {
                let data = frame(DATA, 0, stream, b"ok");
                [head(stream, 0, b""), data, reset(stream, NO_ERROR)].concat()
            },
            "truncated",
        ),
        (
            "a reset before a body",
            |stream, _| [head(stream, 0, b""), reset(stream, NO_ERROR)].concat(),
            "truncated",
        ),
        (
            "a reset in a body with a length",
            |stream, _| {
                let data = frame(DATA, 0, stream, b"ok");
                [head(stream, 0, &length("9")), data, reset(stream, NO_ERROR)].concat()
            },
            "truncated",
        ),
        (
            "a body shorter than its length",
            |stream, _| {
                let data = frame(DATA, END_STREAM, stream, b"ok");
                [head(stream, 0, &length("9")), data].concat()
            },
            "truncated",
        ),
        (
            "a body longer than its length",
            |stream, _| {
                let data = frame(DATA, END_STREAM, stream, b"ok");
                [head(stream, 0, &length("1")), data].concat()
            },
            "truncated",
        ),
        (
            "a length without a body",
            |stream, _| head(stream, END_STREAM, &length("9")),
            "malformed",
        ),
    ];
    for (name, respond, says_this) in servers {
        let run = herd_of(&serve(*respond), &format!("{TWO_POLLS} --http2")).await;
        let role = &run.pollers;
        assert_eq!(says(role), *says_this, "{name}: {:?}", role.failures);
        assert_sum(&run, name);
    }
}

/// Each of these faults has the reason that it has in HTTP/1.1: see the strange servers there.
#[actix_web::test]
async fn a_fault_has_the_same_reason_as_in_http_1_and_the_first_one_says_the_code() {
    fn half(stream: u32) -> Vec<u8> {
        [head(stream, 0, &length("9")), frame(DATA, 0, stream, b"ok")].concat()
    }
    let servers: &[(&str, Respond, Then, &str, &str)] = &[
        (
            "the end before the head",
            |_, _| Vec::new(),
            Then::Close,
            "closed",
            "",
        ),
        (
            "a reset before the head",
            |_, _| Vec::new(),
            Then::Reset,
            "reset",
            "",
        ),
        (
            "the end in a body",
            |stream, _| half(stream),
            Then::Close,
            "truncated",
            "",
        ),
        (
            "the end in a body without a length",
            |stream, _| [head(stream, 0, b""), frame(DATA, 0, stream, b"ok")].concat(),
            Then::Close,
            "truncated",
            "",
        ),
        (
            "a reset in a body",
            |stream, _| half(stream),
            Then::Reset,
            "truncated",
            "",
        ),
        (
            "a stream that is reset in a body",
            |stream, _| [half(stream), reset(stream, INTERNAL_ERROR)].concat(),
            Then::Stay,
            "truncated",
            "INTERNAL_ERROR",
        ),
        (
            "a stream that is reset before the head",
            |stream, _| reset(stream, INTERNAL_ERROR),
            Then::Stay,
            "reset",
            "INTERNAL_ERROR",
        ),
        (
            "a connection that is given up before the head",
            |_, _| go_away_for(0, ENHANCE_YOUR_CALM),
            Then::Close,
            "reset",
            "ENHANCE_YOUR_CALM",
        ),
        (
            "a connection that is given up in a body",
            |stream, _| [half(stream), go_away_for(0, INTERNAL_ERROR)].concat(),
            Then::Close,
            "truncated",
            "INTERNAL_ERROR",
        ),
        (
            "a length without a body",
            |stream, _| head(stream, END_STREAM, &length("9")),
            Then::Stay,
            "malformed",
            "or a Content-Length without a body",
        ),
    ];
    for (name, respond, then, says_this, first) in servers {
        let url = serve_then(*respond, *then);
        let run = herd_of(&url, &format!("{TWO_POLLS} --http2 -X POST")).await;
        let role = &run.pollers;
        // The second request may find the connection closed, and open another one.
        let said = says(role).replace(", opened again", "");
        assert_eq!(said, *says_this, "{name}: {:?}", role.failures);
        let (_, failed) = role.failures.iter().next().unwrap();
        assert!(failed.first.contains(first), "{name}: {failed:?}");
        assert_sum(&run, name);
    }
}

#[actix_web::test]
async fn what_a_server_that_goes_away_has_not_processed_is_sent_again_but_not_for_ever() {
    let servers: &[(&str, Respond, &str)] = &[
        (
            "refuses every other one",
            |stream, number| match number % 2 {
                0 => reset(stream, REFUSED_STREAM),
                _ => whole(stream),
            },
            "refused stream, 2 bytes",
        ),
        (
            "one request per connection",
            |stream, _| match stream {
                1 => whole(stream),
                _ => go_away(1),
            },
            "2 bytes, opened again",
        ),
        (
            "goes away before every other one",
            |stream, number| match number % 2 {
                0 => go_away(0),
                _ => whole(stream),
            },
            "2 bytes, opened again",
        ),
        (
            "refuses all",
            |stream, _| reset(stream, REFUSED_STREAM),
            "refused stream",
        ),
        (
            "goes away at once",
            |_, _| go_away(0),
            "closed, opened again",
        ),
    ];
    for (name, respond, says_this) in servers {
        for method in ["GET", "POST"] {
            let options = format!("{TWO_POLLS} --http2 -X {method}");
            let run = herd_of(&serve(*respond), &options).await;
            let role = &run.pollers;
            assert_eq!(says(role), *says_this, "{name}: {:?}", role.failures);
            let requests = role.attempts - role.sent_again;
            assert_eq!(requests + role.missed, 2, "{name}");
            assert!(role.reopened <= 16, "{name}: {}", role.reopened);
            assert_sum(&run, name);
        }
    }
}
