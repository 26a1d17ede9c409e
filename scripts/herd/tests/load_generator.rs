//! The load generator against the real server, started as a process, and against stub servers:
//!
//! - when polls are due, and which target they go to: see `load_generator/schedule.rs`
//! - plan files, conditions and options of requests: see `load_generator/plans.rs`; options without effect: see
//!   `load_generator/effect.rs`; secrets in URLs: see `load_generator/secrets.rs`
//! - what the results say of the run itself: see `load_generator/results.rs`; of each target: see `load_generator/targets.rs`;
//!   of a server that is gone for a while: see `load_generator/outage.rs`; the end of a run: see `load_generator/ends.rs`
//! - first steps: see `load_generator/newcomers.rs`; a certificate that signs itself: see `load_generator/self_signed.rs`
//! - conditional pollers get one body each, and the bytes saved by 304s are counted
//! - a timeout is followed by a retry at once, and both are counted
//! - a client in a loop skips polls while it waits, and its latency includes them; an open one does not
//! - clients that honour Retry-After wait as long as it says; the others retry at once
//! - a poll without a response counts as slower than every other poll
//! - validators read every row once, by cursor, in every encoding; the writers' rows are stored
//! - rebuilds are the server's own count
//! - several threads: see `load_generator/threads.rs`
//! - clients that wait: see `load_generator/waiting.rs`; strange servers: see `load_generator/strange.rs`
//!   and `load_generator/http2.rs`; endless responses: see `load_generator/floods.rs`; what is sent again: see
//!   `load_generator/sent_again.rs`; how far a request had come: see `load_generator/timeouts.rs`; a machine without
//!   descriptors: see `load_generator/exhausted.rs`; pages that are too long: see `load_generator/pages.rs`;
//!   how many connections, and to which address: see `load_generator/sockets.rs`; files, signals and other processes: see `load_generator/outside.rs`;
//!   TLS and HTTP/2: see `load_generator/nginx.rs`
//! - a response that is cut off counts as a lost connection, for clients of every kind; interim responses are skipped
//! - invalid or dangerous options are rejected with one clear line
//! - the program prints a table or JSON, writes self-contained reports, and compares runs

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    unreachable_pub
)]

#[path = "../../../tests/publisher/client.rs"]
mod client;
#[path = "load_generator/effect.rs"]
mod effect;
#[path = "load_generator/ends.rs"]
mod ends;
#[cfg(unix)]
#[path = "load_generator/exhausted.rs"]
mod exhausted;
#[path = "load_generator/floods.rs"]
mod floods;
#[path = "load_generator/http2.rs"]
mod http2;
#[path = "../examples/lab/mod.rs"]
#[allow(dead_code)]
mod lab;
#[path = "load_generator/newcomers.rs"]
mod newcomers;
#[path = "load_generator/nginx.rs"]
mod nginx;
#[path = "load_generator/outage.rs"]
mod outage;
#[cfg(unix)]
#[path = "load_generator/outside.rs"]
mod outside;
#[cfg(target_os = "linux")]
#[path = "load_generator/pages.rs"]
mod pages;
#[path = "load_generator/plans.rs"]
mod plans;
#[path = "load_generator/results.rs"]
mod results;
#[path = "load_generator/schedule.rs"]
mod schedule;
#[path = "load_generator/secrets.rs"]
mod secrets;
#[path = "load_generator/self_signed.rs"]
mod self_signed;
#[path = "load_generator/sent_again.rs"]
mod sent_again;
#[path = "load_generator/sockets.rs"]
mod sockets;
#[path = "load_generator/strange.rs"]
mod strange;
#[path = "load_generator/targets.rs"]
mod targets;
#[path = "load_generator/threads.rs"]
mod threads;
#[path = "load_generator/timeouts.rs"]
mod timeouts;
#[path = "load_generator/waiting.rs"]
mod waiting;

use std::{
    io::{self, BufRead, BufReader, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::PathBuf,
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

use cathedral_publisher::{
    demo::simulation::populate,
    store::sqlite::open::{open_reader, open_writer},
};
use clap::Parser;
use client::Connection;
use fastrand::Rng;
use herd::{
    config::{Cli, OnFailure},
    one_line::one_line,
    plan::Plan,
    retry::{Failure, RetryPolicy},
    run::Run,
};
use lab::{Process, TOKEN, serve_at};
use proptest::prelude::*;
use tempfile::TempDir;

const BOARD: &str = "/v1/synthetic-boolean/active-challenges";
const FEED: &str = "/v1/leaderboard/recent";
const BUSY: Duration = Duration::from_secs(20);

/// A whole response.
const EMPTY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// Says that a test was skipped, although the test harness hides what passing tests print.
fn skipped(reason: &str) {
    let line = format!("SKIPPED: {reason}\n");
    io::stderr().write_all(line.as_bytes()).unwrap();
}

/// The server as a process of its own, with a database of sample data.
struct App {
    folder: TempDir,
    process: Process,
    address: String,
    url: String,
}

impl App {
    /// Starts a server with the sample board and `rows` eval runs.
    fn start(rows: u32, options: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let database = folder.path().join("publisher.db");
        populate(&mut open_writer(&database, BUSY).unwrap(), rows, None).unwrap();
        let (process, address) = serve_at("127.0.0.1:0", &database, options);
        Self {
            folder,
            process,
            url: format!("http://{address}"),
            address,
        }
    }

    fn database(&self) -> PathBuf {
        self.folder.path().join("publisher.db")
    }

    fn get(&self, path: &str) -> Vec<u8> {
        let mut connection = Connection::open(&self.address).unwrap();
        let (status, body) = connection.request("GET", path, "", b"").unwrap();
        assert_eq!(status, 200, "{path}");
        body
    }

    /// Returns how many builds of the board the server has counted.
    fn builds(&self) -> u64 {
        let metrics = String::from_utf8(self.get("/metrics")).unwrap();
        let counts = metrics
            .lines()
            .filter(|line| line.starts_with("publisher_board_builds_total"))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap());
        counts.sum()
    }

    fn board(&self) -> String {
        format!("{}{BOARD}", self.url)
    }
}

/// Starts a server that calls `respond` for each request, until the test process ends; returns its URL.
fn stub(respond: fn(&mut TcpStream) -> io::Result<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || respond_to_all(socket, respond));
        }
    });
    url
}

fn respond_to_all(
    mut socket: TcpStream,
    respond: fn(&mut TcpStream) -> io::Result<()>,
) -> io::Result<()> {
    for line in BufReader::new(socket.try_clone()?).lines() {
        if line?.is_empty() {
            respond(&mut socket)?;
        }
    }
    Ok(())
}

/// Starts a server that reads requests and sends no response.
fn silent() -> String {
    stub(|_| Ok(()))
}

/// Makes a plan of these options, with a token for writers.
fn plan(arguments: &[&str]) -> Result<Plan, String> {
    let cli = Cli::try_parse_from(std::iter::once(&"herd").chain(arguments));
    let cli = cli.map_err(|error| one_line(&error))?;
    let environment = |name: &str| match name {
        "PUBLISHER_ADMIN_TOKEN" => Some(TOKEN.to_owned()),
        "BROKEN" => Some("two\nlines".to_owned()),
        _ => None,
    };
    Plan::new(&cli.run, &environment).map_err(|error| error.to_string())
}

async fn run(arguments: &[&str]) -> Run {
    let plan = plan(arguments).unwrap();
    herd::run(plan, std::future::pending()).await.unwrap()
}

/// Runs these options, separated by spaces, against the URL.
async fn herd_of(url: &str, options: &str) -> Run {
    let arguments: Vec<&str> = std::iter::once(url)
        .chain(options.split_whitespace())
        .collect();
    run(&arguments).await
}

/// Runs the program.
fn program(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
    command.args(arguments).stdin(Stdio::null());
    command.output().unwrap()
}

proptest! {
    #[test]
    fn a_wait_is_never_longer_than_the_manners_say(retries in 0_u32..100, seed: u64) {
        let rng = &mut Rng::with_seed(seed);
        let policy = |on_failure| RetryPolicy { on_failure, honour_retry_after: true, max_retries: Some(50), least: Duration::ZERO };
        let told = Failure::Refused { retry_after: Some(Duration::from_secs(60)) };
        let at_once = policy(OnFailure::Retry);
        let back_off = policy(OnFailure::BackOff);
        if retries >= 50 {
            prop_assert_eq!(at_once.wait(Failure::TimedOut, retries, rng), None);
            return Ok(());
        }
        prop_assert_eq!(at_once.wait(Failure::TimedOut, retries, rng), Some(Duration::ZERO));
        prop_assert_eq!(at_once.wait(told, retries, rng), Some(Duration::from_secs(60)));
        prop_assert_eq!(policy(OnFailure::GiveUp).wait(told, retries, rng), None);
        let longest = Duration::from_millis(500).saturating_mul(2_u32.saturating_pow(retries));
        let wait = back_off.wait(Failure::Broken, retries, rng).unwrap();
        prop_assert!(wait <= longest.min(Duration::from_secs(30)));
    }
}

#[actix_web::test]
async fn conditional_pollers_get_one_body_each_and_what_304s_save_is_counted() {
    let app = App::start(0, &[]);
    let body = app.get(BOARD).len() as u64;
    let run = herd_of(
        &app.board(),
        "--clients 5 --interval-ms 100 --duration-secs 1 --ramp-ms 50",
    )
    .await;
    let seen = &run.pollers;
    assert_eq!((seen.due, seen.answered, seen.failed), (50, 50, 0));
    assert_eq!(seen.attempts, 50);
    let not_modified = seen.statuses[&304];
    let whole = seen.statuses[&200];
    assert_eq!(whole + not_modified, 50);
    // Polls of a client that overlap, on a busy machine, all lack the tag.
    assert!((5..50).contains(&whole), "{whole}");
    assert_eq!(seen.body_bytes, whole * body);
    assert_eq!(seen.saved_bytes, not_modified * body);
    assert!(run.is_clean());
    assert_eq!(run.slices.iter().map(|slice| slice.due).sum::<u64>(), 50);
    let last = seen.distribution.last().unwrap();
    assert!((last.share - 1.0).abs() < 1e-9, "{last:?}");

    let run = herd_of(
        &app.board(),
        "--clients 5 --interval-ms 100 --duration-secs 1 --unconditional",
    )
    .await;
    assert_eq!(run.pollers.statuses.get(&304), None);
    assert_eq!(run.pollers.saved_bytes, 0);
}

#[actix_web::test]
async fn a_time_out_is_followed_by_a_retry_at_once_and_each_is_counted() {
    let url = silent();
    // One poll of each client, all at the same moment; three requests each.
    let options = "--clients 8 --interval-ms 60000 --ramp-ms 0 --timeout-ms 50 --duration-secs 20";
    let run = herd_of(
        &url,
        &format!("{options} --on-failure retry --max-retries 2"),
    )
    .await;
    let seen = &run.pollers;
    assert_eq!((seen.due, seen.answered, seen.failed), (8, 0, 8));
    assert_eq!((seen.attempts, seen.timeouts()), (24, 24));
    assert_eq!(
        (seen.retries_after_timeout, seen.retries_after_other),
        (16, 0)
    );
    assert!(!run.is_clean());
    assert!((seen.amplification() - 3.0).abs() < 1e-9);
    let never = Some(f64::INFINITY);
    assert_eq!((seen.latency.p50_ms, seen.latency.max_ms), (never, never));

    let run = herd_of(&url, &format!("{options} --on-failure give-up")).await;
    assert_eq!((run.pollers.attempts, run.pollers.failed), (8, 8));
}

#[actix_web::test]
async fn a_loop_that_waits_misses_its_turns_and_an_open_arrival_does_not() {
    let url = silent();
    // The first poll of a client waits until after the last one was due.
    let options = "--clients 3 --interval-ms 100 --ramp-ms 0 --jitter-percent 0 --duration-secs 1 --timeout-ms 2000 --on-failure give-up";
    let looping = herd_of(&url, &format!("{options} --arrival loop")).await;
    let seen = &looping.pollers;
    assert_eq!((seen.due, seen.failed, seen.missed), (30, 3, 27));
    assert_eq!(
        (seen.answered, seen.latency.p50_ms),
        (0, Some(f64::INFINITY))
    );
    assert_eq!(
        (looping.pollers.attempts, looping.pollers.timeouts()),
        (3, 3)
    );
    let open = herd_of(&url, options).await;
    assert_eq!((open.pollers.due, open.pollers.attempts), (30, 30));
    assert!(open.slices.iter().any(|slice| slice.in_flight > 3));
}

#[actix_web::test]
async fn the_latency_of_missed_turns_is_that_of_the_answer_they_waited_for() {
    let url = stub(|socket| {
        thread::sleep(Duration::from_millis(1500));
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    });
    // One response takes 1.5 s; without the nine skipped polls p50 would be small.
    let options = "--clients 1 --interval-ms 100 --ramp-ms 0 --jitter-percent 0 --duration-secs 1 --timeout-ms 20000 --arrival loop";
    let run = herd_of(&url, options).await;
    let seen = &run.pollers;
    assert_eq!((seen.due, seen.answered, seen.missed), (10, 1, 9));
    assert_eq!(seen.attempts, 1);
    let (p50, max) = (seen.latency.p50_ms.unwrap(), seen.latency.max_ms.unwrap());
    assert!((900.0..=max - 400.0).contains(&p50), "{p50} of {max}");
}

#[actix_web::test]
async fn clients_that_honour_retry_after_wait_and_the_others_retry_at_once() {
    let url = stub(|socket| {
        socket.write_all(
            b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
        )
    });
    let options =
        "--clients 2 --interval-ms 60000 --ramp-ms 0 --duration-secs 1 --on-failure retry";
    let polite = herd_of(&url, &format!("{options} --honour-retry-after")).await;
    // After a second or more the run has ended.
    assert_eq!(
        (polite.pollers.attempts, polite.pollers.of_class(5)),
        (2, 2)
    );
    // The run ends after the last retry.
    let options = options.replace("--duration-secs 1", "--duration-secs 30");
    let rude = herd_of(&url, &format!("{options} --max-retries 20")).await;
    assert_eq!(
        (rude.pollers.attempts, rude.pollers.retries_after_other),
        (42, 40)
    );
}

#[actix_web::test]
async fn a_poll_without_an_answer_is_slower_than_every_other_one() {
    let app = App::start(0, &[]);
    let options = "--clients 4 --interval-ms 50 --duration-secs 1";
    let mut run = herd_of(&app.board(), options).await;
    assert!(run.pollers.latency.max_ms.is_some());
    // A 404 is a response, but not a success.
    let url = format!("{}/nowhere", app.url);
    let lost = herd::run(
        plan(&[&url, "--clients", "4", "--duration-secs", "1"]).unwrap(),
        std::future::pending(),
    );
    let lost = lost.await.unwrap();
    assert_eq!(lost.pollers.of_class(4), lost.pollers.due);
    assert_eq!(
        (lost.pollers.answered, lost.pollers.latency.p50_ms),
        (0, Some(f64::INFINITY))
    );
    assert!(!lost.is_clean());
    assert!(
        lost.pollers
            .distribution
            .iter()
            .all(|point| point.share == 0.0)
    );
    run.name = "after".to_owned();
    let table = herd::table::table(&[lost, run]);
    let goodput = table
        .lines()
        .find(|line| line.starts_with("goodput"))
        .unwrap();
    assert!(
        goodput.contains("0.0/s (0.0 %)") && goodput.contains("(100.0 %)"),
        "{table}"
    );
}

#[actix_web::test]
async fn a_response_that_is_cut_off_counts_as_a_lost_connection_for_clients_of_every_kind() {
    let by_length = stub(|socket| {
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}")?;
        socket.shutdown(Shutdown::Both)
    });
    // A whole chunk, and no last one.
    let chunked = stub(|socket| {
        socket.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n")?;
        socket.shutdown(Shutdown::Both)
    });
    for url in [by_length, chunked] {
        for options in [
            "--on-failure give-up --interval-ms 300 --feed-interval-ms 300",
            "--wait",
        ] {
            let options = format!(
                "--clients 2 --ramp-ms 0 --duration-secs 1 --validators 2 --feed-url {url} {options}"
            );
            let run = herd_of(&url, &options).await;
            for role in [Some(&run.pollers), run.validators.as_ref()] {
                let role = role.unwrap();
                assert_eq!((role.answered, role.of_class(2)), (0, 0), "{role:?}");
                assert!(role.due >= 1 && role.failed == role.due, "{role:?}");
                // The end of the run may cut off the last attempt of each client.
                let cut_off = role.attempts - role.lost();
                assert!(role.lost() >= 1 && cut_off <= 2, "{role:?}");
            }
            assert!(!run.is_clean());
        }
    }
}

#[actix_web::test]
async fn a_body_may_end_with_the_connection_and_interim_responses_are_skipped() {
    let old = stub(|socket| {
        socket.write_all(b"HTTP/1.0 200 OK\r\n\r\n{}")?;
        socket.shutdown(Shutdown::Both)
    });
    let unframed = stub(|socket| {
        socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n{}")?;
        socket.shutdown(Shutdown::Both)
    });
    let interim = stub(|socket| {
        socket.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 1")?;
        thread::sleep(Duration::from_millis(20));
        socket.write_all(
            b"00 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        )
    });
    for url in [old, unframed, interim] {
        let run = herd_of(&url, "--clients 2 --interval-ms 200 --duration-secs 1").await;
        assert_eq!(run.pollers.answered, run.pollers.due, "{run:?}");
        assert_eq!(run.pollers.body_bytes, 2 * run.pollers.due, "{run:?}");
        assert!(run.is_clean(), "{run:?}");
    }
}

#[actix_web::test]
async fn validators_read_every_row_once_and_writers_rows_are_stored() {
    let app = App::start(2500, &[]);
    let (feed, write) = (
        format!("{}{FEED}", app.url),
        format!("{}/v1/admin/eval-runs", app.url),
    );
    let board = format!("{}{BOARD}", app.url);
    let reading = format!(
        "--clients 1 --duration-secs 1 --validators 3 --feed-interval-ms 300 --feed-limit 1000 --feed-url {feed}"
    );
    let mut as_they_are = None;
    for coding in ["", "gzip", "zstd", "br"] {
        let mut arguments: Vec<&str> = std::iter::once(board.as_str())
            .chain(reading.split(' '))
            .collect();
        if !coding.is_empty() {
            arguments.extend(["--feed-accept-encoding", coding]);
        }
        let only_read = run(&arguments).await;
        let validators = only_read.validators.as_ref().unwrap();
        assert_eq!(validators.rows, 3 * 2500, "{coding}: {validators:?}");
        assert_eq!(validators.failed, 0);
        let bytes = validators.body_bytes;
        let most = *as_they_are.get_or_insert(bytes + 1);
        assert!(bytes < most, "{coding}: {bytes} of {most} bytes");
    }
    let wrote = run(&[
        &board,
        "--clients",
        "1",
        "--duration-secs",
        "1",
        "--writers",
        "2",
        "--write-url",
        &write,
        "--write-interval-ms",
        "250",
        "--write-rows",
        "30",
    ])
    .await;
    let writers = wrote.writers.as_ref().unwrap();
    assert_eq!((writers.failed, writers.rows), (0, 30 * writers.due));
    assert!(writers.rows > 0);
    let connection = open_reader(&app.database(), BUSY).unwrap();
    let count = "SELECT count(*) FROM eval_runs";
    let stored: u64 = connection.query_row(count, [], |row| row.get(0)).unwrap();
    assert_eq!(stored, 2500 + writers.rows);
}

#[actix_web::test]
async fn rebuilds_are_the_servers_own_count() {
    let app = App::start(0, &["--ttl-secs", "1"]);
    let before = app.builds();
    let metrics = format!("{}/metrics", app.url);
    // The board expires during the run.
    let options =
        format!("--clients 20 --interval-ms 50 --duration-secs 2 --metrics-url {metrics}");
    let run = herd_of(&app.board(), &options).await;
    let rebuilds = run.rebuilds.as_ref().unwrap();
    assert_eq!(rebuilds.total, app.builds() - before);
    // Eight hundred polls cost a build each second.
    assert!((1..=20).contains(&rebuilds.total), "{rebuilds:?}");
    assert!(!rebuilds.seen.is_empty());
    assert!(run.is_clean());
}

#[test]
fn invalid_or_dangerous_options_are_rejected() {
    let here = "http://127.0.0.1:9/x";
    for (arguments, reason) in [
        (
            vec!["http://192.0.2.1/x"],
            "192.0.2.1:80 is not this machine",
        ),
        (
            vec!["ftp://127.0.0.1/x"],
            "the scheme must be http or https",
        ),
        (vec!["nonsense"], "invalid URL"),
        (vec![here, "--clients", "2000"], "raise --max-connections"),
        (vec![here, "--rate=-1"], "from 0.001 to 1000000"),
        (vec![here, "--rate", "inf"], "from 0.001 to 1000000"),
        (vec![here, "--burst-at", "31"], "--burst-at must be"),
        (
            vec![here, "--burst-at", "NaN"],
            "expected a second of the run",
        ),
        (
            vec![here, "--metrics-url", "http://192.0.2.1/m"],
            "is not this machine",
        ),
        (
            vec![here, "--writers", "1", "--write-url", "http://192.0.2.1/w"],
            "is not this machine",
        ),
        (
            vec![
                here,
                "--validators",
                "1",
                "--feed-url",
                here,
                "--feed-since",
                "soon",
            ],
            "must be an ISO-8601 time",
        ),
        (
            vec![
                here,
                "--wait",
                "--validators",
                "1",
                "--feed-url",
                here,
                "--feed-since",
                "1-a.2&x",
            ],
            "must be a cursor of since_seq",
        ),
        (
            vec![here, "--change-url", here, "--change-at", "30"],
            "--change-at must be a second of the run",
        ),
        (
            vec![
                here,
                "--change-url",
                "http://192.0.2.1/c",
                "--change-at",
                "3",
            ],
            "is not this machine",
        ),
        (
            vec!["http://[::1]:9/x", "--from-addresses", "2"],
            "needs targets at addresses such as 127.0.0.1",
        ),
    ] {
        let refused = plan(&arguments).unwrap_err();
        assert!(refused.contains(reason), "{arguments:?}: {refused}");
    }
    assert!(plan(&["http://192.0.2.1/x", "--i-own-this-server"]).is_ok());
    assert!(plan(&["http://localhost:9/x"]).is_ok());
    assert!(plan(&["http://[::1]:9/x"]).is_ok());
}

#[test]
fn a_run_that_cannot_start_is_one_clear_line() {
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x", port.local_addr().unwrap());
    drop(port);
    let output = program(&[&url]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("nothing answers at 127.0.0.1:"), "{text}");
    for name in ["run.png", "run"] {
        // The server is not there, so that a run would fail with another error.
        let output = program(&[&url, "--report", name]);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("must end in .html or .svg"), "{text}");
    }
    for arguments in [&[][..], &["compare"], &["--clients", "2"]] {
        assert_eq!(program(arguments).status.code(), Some(2), "{arguments:?}");
    }
    let output = program(&[&url, "--report", "no/such/folder/run.svg"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("no such folder"), "{text}");
}

#[test]
fn the_program_prints_json_writes_reports_and_compares_runs() {
    let app = App::start(0, &[]);
    let folder = TempDir::new().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let board = format!("{}{BOARD}", app.url);
    let herd = |name: &str, url: &str, more: &[&str]| {
        let options = "--clients 4 --interval-ms 100 --duration-secs 1 --strict";
        let mut arguments = vec![url, "--name", name];
        arguments.extend(options.split(' '));
        arguments.extend(more);
        program(&arguments)
    };
    let pid = app.process.0.id().to_string();
    let good = herd("good", &board, &["--json", "--server-pid", &pid]);
    assert!(good.status.success(), "{good:?}");
    let run: Run = serde_json::from_slice(&good.stdout).unwrap();
    assert_eq!((run.name.as_str(), run.pollers.failed), ("good", 0));
    if cfg!(target_os = "linux") {
        let used = run.server.as_ref().unwrap();
        assert!(used.cpu_secs > 0.0 && used.pss_bytes > 1 << 20, "{used:?}");
    }
    // Markup in a name is escaped.
    let missing = format!("{}/<missing>", app.url)
        .replace('<', "%3C")
        .replace('>', "%3E");
    let svg = file("run.svg");
    let bad = herd("<b>bad</b>", &missing, &["--json", "--report", &svg]);
    assert_eq!(bad.status.code(), Some(1), "--strict");
    assert!(String::from_utf8(bad.stderr).unwrap().contains("--strict"));
    for (name, output) in [("good.json", &good.stdout), ("bad.json", &bad.stdout)] {
        std::fs::write(file(name), output).unwrap();
    }
    let html = file("both.html");
    let (first, second) = (file("good.json"), file("bad.json"));
    let compared = program(&["compare", &first, &second, "--report", &html]);
    let table = String::from_utf8(compared.stdout).unwrap();
    assert!(compared.status.success());
    let head = table.lines().next().unwrap();
    assert_eq!(
        head.split_whitespace().collect::<Vec<_>>(),
        ["good", "<b>bad</b>"]
    );

    let svg = std::fs::read_to_string(svg).unwrap();
    assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
    for page in [svg, std::fs::read_to_string(html).unwrap()] {
        assert!(page.contains("prefers-color-scheme:dark"));
        assert!(page.contains("&lt;b&gt;bad") && !page.contains("<b>bad"));
        // No external resources: the only URLs are the namespace and the text of the target.
        for fetching in ["src=", "href", "url(", "@import", "<script"] {
            assert!(!page.contains(fetching), "{fetching}");
        }
    }
    std::fs::write(file("not.json"), "{}").unwrap();
    let wrong = program(&["compare", &file("not.json")]);
    assert_eq!(wrong.status.code(), Some(1));
}
