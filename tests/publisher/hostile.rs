//! A hundred thousand hostile requests:
//!
//! - a hundred thousand hostile requests are answered, none with 5xx and none with a panic (which would close the
//!   connection without an answer): random paths, queries, cursors, entity-tags, codings and bodies, in pipelines, and
//!   malformed heads, each on its own connection
//!
//! The seed is fixed, so that failures can be reproduced. HOSTILE_SEED sets another one.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpStream},
    thread,
    time::Duration,
};

use fastrand::Rng;

use crate::app::{App, BOARD, CURRENT, Data, FEED, TOKENS};

const PIPELINED: usize = 98_000;
const BROKEN_HEADS: usize = 2_000;
const BATCH: usize = 50;
const THREADS: usize = 4;

struct Hostile(Rng);

impl Hostile {
    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.0.usize(..of.len())]
    }

    fn bytes(&mut self, most: usize, fit: impl Fn(u8) -> bool) -> Vec<u8> {
        let length = self.0.usize(..=most);
        let mut bytes = std::iter::repeat_with(|| self.0.u8(..)).filter(|&byte| fit(byte));
        bytes.by_ref().take(length).collect()
    }

    /// Returns random bytes for a request target, percent-encoded as needed.
    fn encoded(&mut self, most: usize) -> String {
        let bytes = self.bytes(most, |_| true);
        let mut text = String::new();
        for byte in bytes {
            match byte {
                b'a'..=b'z' | b'0'..=b'9' | b'-' | b'+' | b':' | b'=' | b'&' => {
                    text.push(byte.into())
                }
                byte => text += &format!("%{byte:02x}"),
            }
        }
        text
    }

    fn value(&mut self) -> String {
        match self.0.u8(..8) {
            0 => self.encoded(40),
            1 => "9".repeat(self.0.usize(..400)),
            2 => self
                .pick(&[
                    "", "0", "-1", "1e9", "%00", "%ff%fe", "NaN", "1001", "%2", "%", "%zz", "+1",
                ])
                .to_owned(),
            3 => format!(
                "{}-{}-{}T{}:{}:{}{}",
                self.0.u32(..12_000),
                self.0.u8(..99),
                self.0.u8(..99),
                self.0.u8(..30),
                self.0.u8(..99),
                self.0.u8(..99),
                self.pick(&[
                    "",
                    "Z",
                    "+00:00",
                    "%2B99:99",
                    ".1234567890123Z",
                    "z",
                    "-23:59"
                ])
            ),
            4 => self.0.u64(..).to_string(),
            5 => "2026-06-07T00:00:00Z".to_owned(),
            6 => "x".repeat(self.0.usize(..3000)),
            _ => self.0.u8(..).to_string(),
        }
    }

    fn target(&mut self) -> String {
        let prefix = self.pick(&[
            "",
            "",
            "/api/cathedral",
            "/",
            "//",
            "/api/cathedral/",
            "/..",
        ]);
        let path = match self.0.u8(..10) {
            0..3 => FEED.to_owned(),
            3..5 => CURRENT.to_owned(),
            5 => BOARD.to_owned(),
            6 => self
                .pick(&[
                    "/health/live",
                    "/metrics",
                    "/openapi.json",
                    "/v1/admin/challenges",
                ])
                .to_owned(),
            7 => format!("/v1/admin/merkle-epochs/{}", self.value()),
            8 => format!("/v1/admin/challenges/{}", self.value()),
            _ => format!("/{}", self.encoded(30)),
        };
        let mut target = format!("{prefix}{path}");
        for at in 0..self.0.u8(..5) {
            target.push(if at == 0 { '?' } else { '&' });
            let names = [
                "since",
                "since_ran_at",
                "since_id",
                "limit",
                "tier",
                "difficulty",
                "",
            ];
            let name = self.pick(&names);
            target += &format!("{name}={}", self.value());
        }
        target.truncate(8000);
        target
    }

    fn fields(&mut self) -> Vec<u8> {
        let mut fields = Vec::new();
        for _ in 0..self.0.u8(..4) {
            let names = [
                "If-None-Match",
                "If-Match",
                "Accept-Encoding",
                "Forwarded",
                "X-Forwarded-For",
                "X-Request-Id",
                "Authorization",
                "If-Modified-Since",
                "Range",
                "Expect",
            ];
            let name = self.pick(&names);
            if name == "Expect" {
                continue;
            }
            let value = match self.0.u8(..4) {
                // Bytes that a field value may contain (RFC 9110 §5.5), including obs-text.
                0 => self.bytes(60, |byte| byte == b'\t' || (byte >= 0x20 && byte != 0x7f)),
                1 => {
                    let parts = [
                        "W/", "\"", ",", "*", "gzip", ";q=", "0.5", "1.0001", "identity", " ",
                        "\t", "\"a,b\"", "br", "for=", "[::1]", "\\",
                    ];
                    (0..self.0.u8(..20))
                        .flat_map(|_| self.pick(&parts).bytes())
                        .collect()
                }
                2 => self
                    .pick(&[
                        "*",
                        "*;q=0",
                        "identity;q=0",
                        "gzip;q=1;q=0",
                        "bytes=0-1",
                        "Bearer x",
                    ])
                    .into(),
                _ => "\"x\",".repeat(self.0.usize(..500)).into_bytes(),
            };
            fields.extend_from_slice(name.as_bytes());
            fields.extend_from_slice(b": ");
            fields.extend_from_slice(value.trim_ascii());
            fields.extend_from_slice(b"\r\n");
        }
        fields
    }

    fn body(&mut self) -> Vec<u8> {
        let row = r#"{"id":"a","ran_at":"2026-06-07T00:00:00Z","eval_output_schema_version":5}"#;
        match self.0.u8(..9) {
            0 => b"[".repeat(10_000),
            1 => [b"[".repeat(10_000), b"]".repeat(10_000)].concat(),
            2 => b"{\"a\":".repeat(5_000),
            3 => format!(
                "{{\"id\":\"a\",\"id\":\"b\",\"eval_output_schema_version\":1e{}}}",
                self.0.u32(..)
            )
            .into_bytes(),
            4 => self.bytes(300, |_| true),
            5 => b"\0\0\0".to_vec(),
            6 => format!("[{row},{},{row}]", "9".repeat(self.0.usize(..2000))).into_bytes(),
            7 => b"[\"\xff\xfe\"]".to_vec(),
            _ => {
                let mut row = row.as_bytes().to_vec();
                for _ in 0..self.0.u8(1..4) {
                    let at = self.0.usize(..row.len());
                    row[at] = self.0.u8(..);
                }
                row
            }
        }
    }

    /// Returns a request with a valid head; a HEAD request if and only if `is_head`.
    fn request(&mut self, is_head: bool) -> Vec<u8> {
        let target = self.target();
        let (method, body) = match self.0.u8(..20) {
            _ if is_head => ("HEAD", None),
            0..2 => (
                self.pick(&["DELETE", "OPTIONS", "PATCH", "TRACE", "BREW", "get"]),
                None,
            ),
            2 => (self.pick(&["PUT", "POST"]), Some(self.body())),
            _ => ("GET", None),
        };
        let target = if body.is_some() && self.0.bool() {
            "/v1/admin/eval-runs".to_owned()
        } else {
            target
        };
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: x\r\n").into_bytes();
        request.extend(self.fields());
        if let Some(body) = body {
            let head = format!(
                "Authorization: Bearer {}\r\nContent-Length: {}\r\n\r\n",
                TOKENS[0],
                body.len()
            );
            request.extend_from_slice(head.as_bytes());
            request.extend(body);
        } else {
            request.extend_from_slice(b"\r\n");
        }
        request
    }

    fn broken_head(&mut self) -> Vec<u8> {
        let good = format!("GET {BOARD} HTTP/1.1\r\nHost: x\r\nIf-None-Match: \"a\"\r\n\r\n");
        match self.0.u8(..5) {
            0 => self.bytes(300, |_| true),
            1 => {
                let mut head = good.into_bytes();
                for _ in 0..self.0.u8(1..6) {
                    let at = self.0.usize(..head.len());
                    head[at] = self.0.u8(..);
                }
                head
            }
            2 => good
                .replace("Host: x\r\n", &"X-Many: 1\r\n".repeat(200))
                .into_bytes(),
            3 => good.replace("\"a\"", &"a".repeat(200_000)).into_bytes(),
            _ => good.as_bytes()[..self.0.usize(..good.len())].to_vec(),
        }
    }
}

fn connect(address: &str) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    socket
}

/// Reads the next response and returns its status; `None` if the connection was closed.
fn read_answer(socket: &mut impl BufRead, has_body: bool) -> Option<u16> {
    let mut line = String::new();
    if socket.read_line(&mut line).unwrap() == 0 {
        return None;
    }
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let status: u16 = status.unwrap_or_else(|| panic!("no status line: {line:?}"));
    let mut length = 0;
    loop {
        line.clear();
        socket.read_line(&mut line).unwrap();
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
    }
    if has_body && status != 304 {
        socket.read_exact(&mut vec![0; length]).unwrap();
    }
    Some(status)
}

/// Sends `count` requests in pipelines, and asserts that each one is answered without a 5xx.
fn pipelines(address: &str, seed: u64, count: usize) {
    let mut hostile = Hostile(Rng::with_seed(seed));
    let mut left = count;
    while left > 0 {
        // HEAD is not mixed with other methods: actix-http frames queued answers by the method of the request that it
        // read last.
        let is_head = hostile.0.u8(..20) == 0;
        let requests: Vec<_> = (0..BATCH.min(left))
            .map(|_| hostile.request(is_head))
            .collect();
        left -= requests.len();
        let all = requests.concat();
        let socket = connect(address);
        // Sends and reads at the same time: otherwise both sides could block on full buffers.
        let mut sending = socket.try_clone().unwrap();
        let sender = thread::spawn(move || sending.write_all(&all));
        let mut reading = BufReader::new(socket);
        for request in &requests {
            let shown =
                || String::from_utf8_lossy(&request[..request.len().min(2000)]).into_owned();
            match read_answer(&mut reading, !is_head) {
                Some(status) => assert!(status < 500, "{status}: {}", shown()),
                None => panic!("not answered: {}", shown()),
            }
        }
        sender.join().unwrap().unwrap();
    }
}

fn broken_heads(address: &str, seed: u64, count: usize) {
    let mut hostile = Hostile(Rng::with_seed(seed));
    for _ in 0..count {
        let head = hostile.broken_head();
        let mut socket = connect(address);
        // The server may answer and close before it has read everything.
        let _ = socket.write_all(&head);
        let _ = socket.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        let status = answer.strip_prefix(b"HTTP/1.1 ").map(|rest| rest[0]);
        assert_ne!(status, Some(b'5'), "{}", String::from_utf8_lossy(&head));
    }
}

#[actix_web::test]
async fn a_hundred_thousand_hostile_requests_are_answered() {
    let data = Data::empty();
    data.put(&small_board());
    data.sample_runs(20, "2026-06-07T00:00:00Z");
    let app = App::start(data).await;
    let seed = std::env::var("HOSTILE_SEED").map_or(1, |seed| seed.parse().unwrap());
    let address = app.address();
    let done = actix_web::web::block(move || {
        let threads: Vec<_> = (0..THREADS as u64)
            .map(|at| {
                let address = address.clone();
                thread::spawn(move || {
                    pipelines(&address, seed * 100 + at, PIPELINED / THREADS);
                    broken_heads(&address, seed * 100 + 50 + at, BROKEN_HEADS / THREADS);
                })
            })
            .collect();
        threads.into_iter().all(|thread| thread.join().is_ok())
    });
    assert!(done.await.unwrap(), "HOSTILE_SEED={seed}");
    assert_eq!(app.get(BOARD).await.status, 200);
    let metrics = app.get("/metrics").await;
    let failed = metrics
        .text()
        .lines()
        .find(|line| line.contains("status=\"5") && !line.ends_with(" 0"));
    assert_eq!(failed, None);
    app.stop().await;
}

/// Returns a board of three challenges.
fn small_board() -> Vec<cathedral_publisher::domain::challenge::Challenge> {
    cathedral_publisher::demo::sample::Sample::new(1)
        .board()
        .into_iter()
        .take(3)
        .collect()
}
