//! Random requests at the door, for seconds, or as long as DOOR_FUZZ_SECS says:
//!
//! - memory and actix-web give the same answer to random targets and fields
//! - random cuts of a pipeline change no answer
//! - random interleavings of fifty connections change no answer
//!
//! The seed is random and is in the message of a failure; DOOR_FUZZ_SEED sets it.

use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::{
    app::{BOARD, CURRENT, Data, FEED, eventually},
    process::{Service, serve},
    wire::{self, Answer, Client},
};

/// Sends a request through actix-web, and changes no answer.
const GENERAL: &str = "TE: trailers\r\n";

/// The seed, and until when to go on.
fn setting() -> (u64, Instant) {
    let read = |name: &str| std::env::var(name).ok().map(|value| value.parse().unwrap());
    let seed = read("DOOR_FUZZ_SEED").unwrap_or_else(|| fastrand::u64(..));
    (
        seed,
        Instant::now() + Duration::from_secs(read("DOOR_FUZZ_SECS").unwrap_or(3)),
    )
}

/// Prints the seed if a test fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = std::io::Write::write_all(
                &mut std::io::stderr(),
                format!("DOOR_FUZZ_SEED={}\n", self.0).as_bytes(),
            );
        }
    }
}

fn start(data: &Data) -> Service {
    data.sample_runs(30, "2026-06-07T00:00:00Z");
    // A stale board would be rebuilt, and encoded anew, between two answers.
    // Each chunked body takes room for the longest one.
    let options = [
        "--workers",
        "2",
        "--ttl-secs",
        "3600",
        "--max-write-mib",
        "1024",
        "--max-writes",
        "1000",
    ];
    Service::start(serve(&data.path(), &options))
}

/// A request that is one for every parser: what it asks for, and how, is random.
#[derive(Debug, Clone)]
struct Request {
    method: &'static str,
    target: String,
    version: &'static str,
    lines: String,
}

impl Request {
    fn bytes(&self, further: &str) -> Vec<u8> {
        let Self {
            method,
            target,
            version,
            lines,
        } = self;
        format!("{method} {target} HTTP/{version}\r\nHost: x\r\n{lines}{further}\r\n").into_bytes()
    }

    fn is_head(&self) -> bool {
        self.method == "HEAD"
    }
}

fn pick<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.usize(..of.len())]
}

/// Text of these pieces.
fn text(rng: &mut Rng, most: usize, pieces: &[&str]) -> String {
    (0..rng.usize(..=most)).map(|_| pick(rng, pieces)).collect()
}

fn target(rng: &mut Rng) -> String {
    let prefix = pick(
        rng,
        &[
            "",
            "",
            "",
            "/api/cathedral",
            "/api/cathedral/api/cathedral",
            "/",
            "http://y",
            "/api",
        ],
    );
    let path = pick(
        rng,
        &[
            BOARD,
            CURRENT,
            FEED,
            FEED,
            "/v1/leaderboard/recen%74",
            "/health/live",
            "/nope",
            "/",
            "*",
        ],
    );
    let suffix = match rng.u8(..20) {
        0 => pick(rng, &["/", ";x", "%00", "#", "%2f", "//", ".", "?"]),
        _ => "",
    };
    let mut target = format!("{prefix}{path}{suffix}");
    for number in 0..rng.u8(..4) {
        target.push_str(match number {
            0 => "?",
            _ => pick(rng, &["&", "&", "&&", ";", "?", "%26"]),
        });
        let names = [
            "since",
            "since_ran_at",
            "since_id",
            "limit",
            "tier",
            "difficulty",
            "_",
            "t%69er",
            "since%5fid",
            "",
        ];
        target.push_str(pick(rng, &names));
        target.push_str(pick(rng, &["=", "=", "=", "", "=="]));
        target += &match rng.u8(..4) {
            0 => text(
                rng,
                6,
                &[
                    "a", "0", "9", "%", "%2", "%41", "%ff", "+", ":", "/", "~", "|", "^", "{",
                    "\"", "<", "`", "\\", "'", "#", "[", "é", "@", "!", "$", "%00", "%25",
                ],
            ),
            1 => pick(
                rng,
                &[
                    "1", "2", "3", "5", "200", "1000", "0", "1001", "01", "+1", "%31", "",
                ],
            )
            .to_owned(),
            _ => pick(
                rng,
                &[
                    "2020-01-01T00:00:00Z",
                    "2020-01-01T00:00:00%2B00:00",
                    "2020-01-01T00:00:00+00:00",
                    "2026-06-07T00:00:00.000Z",
                    "2020-01-01",
                    "20200101T000000Z",
                ],
            )
            .to_owned(),
        };
    }
    target
}

fn lines(rng: &mut Rng, tags: &[String]) -> String {
    let mut lines = String::new();
    for _ in 0..rng.u8(..5) {
        let name = pick(
            rng,
            &[
                "If-None-Match",
                "if-none-match",
                "Accept-Encoding",
                "ACCEPT-ENCODING",
                "If-Modified-Since",
                "If-Unmodified-Since",
                "If-Range",
                "Cookie",
                "X-Request-Id",
                "Accept",
                "Cache-Control",
                "Content-Length",
                "Origin",
                "X-Forwarded-For",
            ],
        );
        let value = match name {
            "Content-Length" => "0".to_owned(),
            name if name.eq_ignore_ascii_case("if-none-match") && rng.bool() => {
                let tag = tags
                    .get(rng.usize(..tags.len().max(1)))
                    .cloned()
                    .unwrap_or_default();
                let before = text(
                    rng,
                    3,
                    &["W/", "\"x\"", ", ", ",", "\"a,b\", ", " ", "nonsense, "],
                );
                format!("{before}{tag}")
            }
            "If-Modified-Since" | "If-Unmodified-Since" => {
                "Tue, 01 Jan 2030 00:00:00 GMT".to_owned()
            }
            _ => text(
                rng,
                6,
                &[
                    "gzip", "br", "zstd", "identity", "*", ";q=0", ";q=1", ";q=0.5", ";q=1.001",
                    ", ", ",", " ", "\t", "x-gzip", "W/", "\"", "a", "é", "=",
                ],
            ),
        };
        lines += &format!("{name}: {value}\r\n");
    }
    lines
}

fn request(rng: &mut Rng, tags: &[String]) -> Request {
    Request {
        method: pick(rng, &["GET", "GET", "GET", "HEAD", "OPTIONS", "DELETE"]),
        target: target(rng),
        version: "1.1",
        lines: lines(rng, tags),
    }
}

/// The parts of an answer that do not depend on the time or on the way of the request.
fn comparable(answer: &Answer) -> (u16, Vec<String>, Vec<u8>) {
    let varies = |line: &str| {
        ["date: ", "age: ", "x-request-id: "]
            .iter()
            .any(|name| line.starts_with(name))
    };
    let mut lines: Vec<String> = answer.head.split("\r\n").map(str::to_owned).collect();
    lines.retain(|line| !varies(line));
    lines.sort_unstable();
    (answer.status, lines, answer.body.clone())
}

/// The entity-tags that the server has now.
fn tags(client: &mut Client) -> Vec<String> {
    let mut tags = Vec::new();
    for target in [
        BOARD.to_owned(),
        CURRENT.to_owned(),
        format!("{FEED}?since=2020-01-01T00:00:00Z"),
    ] {
        for coding in ["gzip", "br", "identity"] {
            let answer = client.ask(wire::get(
                &target,
                &format!("Accept-Encoding: {coding}\r\n"),
            ));
            let tag = answer.head.split("\r\netag: ").nth(1).unwrap();
            tags.push(tag.split("\r\n").next().unwrap().to_owned());
        }
    }
    tags
}

/// Waits until the strong encodings are there, which replace the fast ones.
fn settles(service: &Service) {
    let mut client = Client::connect(&service.address);
    eventually("the strong coding", || {
        let answer = client.ask(wire::get(BOARD, "Accept-Encoding: br\r\n"));
        answer.head.contains("\r\ncontent-encoding: br")
    });
}

/// Sends a request, and reads its answer; afterwards the connection is a new one if it was closed.
fn ask(client: &mut Client, service: &Service, request: &Request, further: &str) -> Answer {
    client.send(request.bytes(further));
    let answer = client.try_answer(request.is_head());
    let answer = answer.unwrap_or_else(|error| panic!("{error}: {request:?}"));
    if answer.closes() {
        client.assert_ends();
        *client = Client::connect(&service.address);
    }
    answer
}

#[test]
fn memory_and_actix_web_give_the_same_answer_to_random_targets_and_fields() {
    let (seed, until) = setting();
    let _seed = Seed(seed);
    let mut rng = Rng::with_seed(seed);
    let data = Data::sample();
    let service = start(&data);
    settles(&service);
    let mut client = Client::connect(&service.address);
    let tags = tags(&mut client);
    while Instant::now() < until {
        let request = request(&mut rng, &tags);
        // Before they are compared, a page is cached, and the coding that is asked for is made.
        ask(&mut client, &service, &request, GENERAL);
        let direct = ask(&mut client, &service, &request, "");
        let general = ask(&mut client, &service, &request, GENERAL);
        assert_eq!(comparable(&direct), comparable(&general), "{request:?}");
    }
    let metrics = client.ask(wire::get("/metrics", ""));
    let metrics = String::from_utf8(metrics.body).unwrap();
    let name = "publisher_http_fast_path_requests_total ";
    let answered = metrics.lines().find_map(|line| line.strip_prefix(name));
    assert_ne!(answered.unwrap(), "0");
}

/// The bytes of a request, whether it is a HEAD, and its answer: status, fields, body.
type Asked = (Vec<u8>, bool, (u16, Vec<String>, Vec<u8>));

/// Valid requests whose answers do not change, and those answers.
fn script(rng: &mut Rng, client: &mut Client, service: &Service) -> Vec<Asked> {
    let tags = tags(client);
    let mut script = Vec::new();
    while script.len() < 30 {
        let request = request(rng, &tags);
        let further = pick(rng, &["", "", GENERAL]);
        // A body that nobody reads may end the connection if it is chunked; one with a length does not.
        let (lines, body) = match rng.u8(..6) {
            0 if !request.lines.contains("Content-Length") => {
                ("Content-Length: 9\r\n", "GET / HTT")
            }
            _ => ("", ""),
        };
        let further = format!("{further}{lines}");
        ask(client, service, &request, "");
        let mut bytes = request.bytes(&further);
        bytes.extend_from_slice(body.as_bytes());
        client.send(&bytes);
        let answer = client.try_answer(request.is_head()).unwrap();
        if answer.closes() {
            *client = Client::connect(&service.address);
            continue;
        }
        script.push((bytes, request.is_head(), comparable(&answer)));
        if rng.u8(..10) == 0 {
            let mut bytes = wire::post("Transfer-Encoding: chunked\r\n").into_bytes();
            bytes.extend_from_slice(b"1;a=b\r\n[\r\n1\r\n]\r\n0\r\nX: y\r\n\r\n");
            client.send(&bytes);
            script.push((bytes, false, comparable(&client.answer())));
        }
    }
    script
}

/// Returns the bytes of all requests, one after the other.
fn requests(script: &[Asked]) -> Vec<u8> {
    let requests = script.iter().map(|(bytes, ..)| bytes.as_slice());
    requests.collect::<Vec<_>>().concat()
}

#[test]
fn random_cuts_of_a_pipeline_change_no_answer() {
    let (seed, until) = setting();
    let _seed = Seed(seed);
    let mut rng = Rng::with_seed(seed);
    let data = Data::sample();
    let service = start(&data);
    settles(&service);
    let mut client = Client::connect(&service.address);
    while Instant::now() < until {
        let script = script(&mut rng, &mut client, &service);
        let all = requests(&script);
        for _ in 0..5 {
            let mut rest = all.as_slice();
            let most = pick(&mut rng, &[1, 3, 50, 1000, 10_000]);
            let mut cut = Client::connect(&service.address);
            while !rest.is_empty() {
                let (piece, left) = rest.split_at(rng.usize(1..=most).min(rest.len()));
                cut.send(piece);
                rest = left;
                if rng.u8(..50) == 0 {
                    // Lets the server read what was sent so far by itself.
                    std::thread::yield_now();
                }
            }
            for (bytes, is_head, expected) in &script {
                let answer = cut.try_answer(*is_head).unwrap();
                assert_eq!(
                    &comparable(&answer),
                    expected,
                    "{}",
                    String::from_utf8_lossy(bytes)
                );
            }
        }
    }
}

#[test]
fn random_interleavings_of_fifty_connections_change_no_answer() {
    let (seed, until) = setting();
    let _seed = Seed(seed);
    let mut rng = Rng::with_seed(seed);
    let data = Data::sample();
    let service = start(&data);
    settles(&service);
    let mut first = Client::connect(&service.address);
    while Instant::now() < until {
        let script = script(&mut rng, &mut first, &service);
        let all = requests(&script);
        // Each connection: how many bytes were sent, and how many answers were read.
        let connect = |_| (Client::connect(&service.address), 0, 0);
        let mut clients: Vec<(Client, usize, usize)> = (0..50).map(connect).collect();
        let ends: Vec<usize> = script
            .iter()
            .scan(0, |end, (bytes, ..)| {
                *end += bytes.len();
                Some(*end)
            })
            .collect();
        while !clients.is_empty() {
            let at = rng.usize(..clients.len());
            let (client, sent, read) = &mut clients[at];
            let most = pick(&mut rng, &[1, 100, 3000]);
            if *sent < all.len() && rng.bool() {
                let piece = &all[*sent..(*sent + rng.usize(1..=most)).min(all.len())];
                client.send(piece);
                *sent += piece.len();
            } else if *read < script.len() && ends[*read] <= *sent {
                let (bytes, is_head, expected) = &script[*read];
                let answer = client.try_answer(*is_head).unwrap();
                assert_eq!(
                    &comparable(&answer),
                    expected,
                    "{}",
                    String::from_utf8_lossy(bytes)
                );
                *read += 1;
            } else if *read == script.len() || rng.u8(..100) == 0 {
                // Some leave in the middle.
                clients.swap_remove(at);
            }
        }
    }
}
