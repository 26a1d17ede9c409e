//! A small publisher of another make, which answers as WIRE.md says and knows nothing of `since_seq`, or misbehaves.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use cathedral_publisher::domain::entity_tag::EntityTag;

use crate::app::{BOARD, FEED};

/// What it does to every answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Nothing,
    /// The connection is closed at once.
    Dead,
    /// The body ends early.
    Truncated,
    /// The body has chunks, and the last one is missing.
    TruncatedChunks,
    /// A byte is another one, under the same tag.
    WrongByte,
    /// Items are in the opposite order, with a tag that fits.
    Order,
    /// The JSON has spaces, with a tag that fits.
    Spaces,
    /// 200 with the page of a captive portal.
    Html,
    /// 302.
    Redirect,
    /// 500.
    Broken,
    /// A body without end.
    Endless,
    /// A coding that was not asked for.
    Coding,
    /// A body that is no gzip.
    NoGzip,
    /// 304 to everything.
    Never,
    /// No entity-tag.
    NoTag,
}

pub struct World {
    pub board: String,
    /// By (ran_at, id).
    pub rows: BTreeMap<(String, String), String>,
    pub epoch: Option<i64>,
    pub fault: Fault,
    /// The targets that were asked for, and whether the answer was 304.
    pub asked: Vec<(String, bool)>,
    /// Bytes of bodies that were sent.
    pub bytes: usize,
}

pub struct Foreign {
    pub url: String,
    world: Arc<Mutex<World>>,
}

impl Foreign {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let world = Arc::new(Mutex::new(World {
            board: r#"{"family_id":"synthetic_boolean_v1","count":0,"items":[]}"#.to_owned(),
            rows: BTreeMap::new(),
            epoch: None,
            fault: Fault::Nothing,
            asked: Vec::new(),
            bytes: 0,
        }));
        let served = Arc::clone(&world);
        // Ends with the test process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let served = Arc::clone(&served);
                thread::spawn(move || answer(stream.unwrap(), &served));
            }
        });
        Self { url, world }
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub fn put_row(&self, row: &str) {
        let keys: serde_json::Value = serde_json::from_str(row).unwrap();
        let key = |name: &str| keys[name].as_str().unwrap().to_owned();
        let key = (key("ran_at"), key("id"));
        self.world().rows.insert(key, row.to_owned());
    }
}

/// Answers one request of a connection, and closes it.
fn answer(mut stream: TcpStream, world: &Mutex<World>) {
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.split(' ').nth(1).unwrap().to_owned();
    let tag = head
        .lines()
        .find_map(|line| line.strip_prefix("if-none-match: "));
    let mut world = world.lock().unwrap();
    let fault = world.fault;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let (status, mut body) = match path {
        BOARD => ("200 OK", world.board.clone()),
        FEED => feed(&world, query),
        _ => ("404 Not Found", r#"{"detail":"not found"}"#.to_owned()),
    };
    let opposite = |body: &str| {
        let end = body.rfind("}]").unwrap_or(0) + 1;
        let begin = body.find("[{").map_or(0, |begin| begin + 1);
        let mut items: Vec<&str> = body.get(begin..end).unwrap_or("").split("},{").collect();
        items.reverse();
        let items = items.join("},{").replace("{{", "{").replace("}}", "}");
        let items = format!(
            "{{{}}}",
            items.trim_start_matches('{').trim_end_matches('}')
        );
        format!("{}{items}{}", &body[..begin], &body[end..])
    };
    match fault {
        Fault::Order if body.contains("[{") => body = opposite(&body),
        Fault::Spaces => body = body.replace("\":", "\": "),
        _ => {}
    }
    let own_tag = EntityTag::of(body.as_bytes()).to_string();
    let is_same = tag == Some(own_tag.as_str()) || fault == Fault::Never;
    world.asked.push((target.clone(), is_same));
    let head = |status: &str, fields: &str| {
        format!("HTTP/1.1 {status}\r\nconnection: close\r\n{fields}\r\n")
    };
    let whole = |body: &str, fields: &str| {
        let length = body.len();
        head(
            status,
            &format!("etag: {own_tag}\r\ncontent-length: {length}\r\n{fields}"),
        ) + body
    };
    let sent = match fault {
        Fault::Dead => return,
        Fault::Html => {
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 6\r\n\r\n<html>".to_owned()
        }
        Fault::Redirect => head(
            "302 Found",
            "location: http://127.0.0.1:1/\r\ncontent-length: 0\r\n",
        ),
        Fault::Broken => head("500 Internal Server Error", "content-length: 0\r\n"),
        Fault::Endless => {
            drop(world);
            let _ = stream.write_all(head("200 OK", "transfer-encoding: chunked\r\n").as_bytes());
            let chunk = format!("10000\r\n{}\r\n", "[".repeat(0x10000));
            while stream.write_all(chunk.as_bytes()).is_ok() {}
            return;
        }
        _ if is_same && status.starts_with("200") => {
            head("304 Not Modified", &format!("etag: {own_tag}\r\n"))
        }
        Fault::Truncated => {
            let whole = whole(&body, "");
            whole[..whole.len() - 1].to_owned()
        }
        Fault::TruncatedChunks => {
            let length = body.len();
            head(
                status,
                &format!("etag: {own_tag}\r\ntransfer-encoding: chunked\r\n"),
            ) + &format!("{length:x}\r\n{body}\r\n")
        }
        Fault::NoTag => {
            let length = body.len();
            head(status, &format!("content-length: {length}\r\n")) + &body
        }
        Fault::WrongByte => whole(&body.replacen(":1", ":7", 1).replacen(":0", ":7", 1), ""),
        Fault::Coding => whole(&body, "content-encoding: deflate\r\n"),
        Fault::NoGzip => whole(&body, "content-encoding: gzip\r\n"),
        _ => whole(&body, ""),
    };
    world.bytes += body.len();
    drop(world);
    let _ = stream.write_all(sent.as_bytes());
}

/// A page in the order of (ran_at, id).
fn feed(world: &World, query: &str) -> (&'static str, String) {
    let parameter = |name: &str| {
        let found = query.split('&').find_map(|it| it.strip_prefix(name));
        found.map(|value| {
            percent_encoding::percent_decode_str(value)
                .decode_utf8()
                .unwrap()
                .into_owned()
        })
    };
    let limit: usize = parameter("limit=").map_or(200, |limit| limit.parse().unwrap());
    let (time, id) = match (parameter("since_ran_at="), parameter("since=")) {
        (Some(time), _) => (time, parameter("since_id=").unwrap_or_default()),
        (None, Some(time)) => (time, "\u{10ffff}".to_owned()),
        (None, None) => {
            return (
                "400 Bad Request",
                r#"{"detail":"missing cursor"}"#.to_owned(),
            );
        }
    };
    let after = (time, id);
    let rows: Vec<_> = world
        .rows
        .iter()
        .filter(|(key, _)| **key > after)
        .take(limit)
        .collect();
    let quoted = |text: &str| format!("\"{text}\"");
    let (time, id) = match rows.last() {
        Some(((time, id), _)) if rows.len() == limit => (quoted(time), quoted(id)),
        _ => ("null".to_owned(), "null".to_owned()),
    };
    let items: Vec<&str> = rows.iter().map(|(_, row)| row.as_str()).collect();
    let epoch = world
        .epoch
        .map_or("null".to_owned(), |epoch| epoch.to_string());
    let items = items.join(",");
    let body = format!(
        r#"{{"items":[{items}],"next_since":{time},"next_since_ran_at":{time},"next_since_id":{id},"merkle_epoch_latest":{epoch}}}"#
    );
    ("200 OK", body)
}
