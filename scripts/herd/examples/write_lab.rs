//! Measures the write side on this machine.
//!
//!     cargo run --release -p herd --example write_lab -- all
//!
//! | experiment | shows |
//! |---|---|
//! | `group-commit` | rows/s of 64 writers, compared with one commit per row on one bare connection |
//! | `readers` | latency of board and feed with idle and saturated writers; the same with the example `before` |
//! | `freshness` | time from a write to its visibility, in process and from another process |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub
)]

#[path = "../../../tests/publisher/chaos/mod.rs"]
mod chaos;
#[path = "../../../tests/publisher/client.rs"]
mod client;
#[allow(dead_code)]
mod lab;

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use cathedral_publisher::{
    demo::{sample::Sample, simulation::populate},
    domain::{challenge::Challenge, eval_run::EvalRun},
    store::sqlite::{
        open::open_writer,
        write::{insert_eval_run, put_challenge},
    },
};
use chaos::server::{Server, TOKEN, bearer, row};
use client::Connection;

const WRITERS: usize = 64;
const BOARD: &str = "/v1/synthetic-boolean/active-challenges";
const BUSY: Duration = Duration::from_secs(30);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let experiment = arguments.first().map_or("all", String::as_str);
    let publisher = lab::publisher();
    let all = experiment == "all";
    assert!(
        all || ["group-commit", "readers", "freshness"].contains(&experiment),
        "experiments: group-commit, readers, freshness, all"
    );
    println!("on {}\n", lab::ran_on());
    if all || experiment == "group-commit" {
        group_commit(&publisher);
    }
    if all || experiment == "readers" {
        readers(&publisher);
    }
    if all || experiment == "freshness" {
        freshness(&publisher);
    }
}

/// Makes a database with the demo's data.
fn data(folder: &Path) -> PathBuf {
    let path = folder.join("lab.db");
    populate(&mut open_writer(&path, BUSY).unwrap(), 5000, None).unwrap();
    path
}

/// The load of 64 writers.
#[derive(Clone, Copy)]
struct Load {
    rows_a_request: u64,
    /// Whether requests have the token. Without it nothing is written.
    authorized: bool,
}

/// Runs 64 writers without pauses; returns the number of acknowledged rows.
fn saturate(address: &str, prefix: &str, load: Load, stop: &AtomicBool) -> u64 {
    let headers = if load.authorized {
        bearer()
    } else {
        String::new()
    };
    let rows = AtomicU64::new(0);
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (rows, headers) = (&rows, &headers);
            scope.spawn(move || {
                let mut connection = Connection::open(address).unwrap();
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let body: Vec<String> = (0..load.rows_a_request)
                        .map(|at| row(&format!("{prefix}-{writer}-{number}-{at}")))
                        .collect();
                    let body = body.join("\n");
                    let path = "/v1/admin/eval-runs";
                    match connection.request("POST", path, headers, body.as_bytes()) {
                        Ok((200, _)) => {
                            rows.fetch_add(load.rows_a_request, Ordering::Relaxed);
                        }
                        // The server `before` may close connections under load: continue with a new one.
                        Ok(_) => {}
                        Err(_) => connection = Connection::open(address).unwrap(),
                    }
                }
            });
        }
    });
    rows.into_inner()
}

fn group_commit(publisher: &Path) {
    const ROUND: Duration = Duration::from_secs(4);
    println!("group-commit: rows/s, three interleaved rounds, medians");
    let mut found: Vec<Vec<f64>> = vec![Vec::new(); 3];
    for _ in 0..3 {
        let folder = tempfile::TempDir::new().unwrap();
        let bare = open_writer(&folder.path().join("bare.db"), BUSY).unwrap();
        let begun = Instant::now();
        let mut singly = 0;
        while begun.elapsed() < ROUND {
            let run = EvalRun::from_json(&row(&format!("{singly}"))).unwrap();
            insert_eval_run(&bare, &run).unwrap();
            singly += 1;
        }
        found[0].push(f64::from(singly) / begun.elapsed().as_secs_f64());
        let server = Server::start(publisher, &data(folder.path()), &[]);
        for (index, rows_a_request) in [(1, 1), (2, 100)] {
            let load = Load {
                rows_a_request,
                authorized: true,
            };
            let stop = AtomicBool::new(false);
            let begun = Instant::now();
            let rows = thread::scope(|scope| {
                let writers =
                    scope.spawn(|| saturate(&server.address, &index.to_string(), load, &stop));
                thread::sleep(ROUND);
                stop.store(true, Ordering::Relaxed);
                writers.join().unwrap()
            });
            found[index].push(rows as f64 / begun.elapsed().as_secs_f64());
        }
    }
    for rates in &mut found {
        rates.sort_by(f64::total_cmp);
    }
    let singly = found[0][1];
    println!("  a bare connection, a commit a row          {singly:>8.0}");
    for (rates, rows) in found[1..].iter().zip([1, 100]) {
        println!(
            "  {WRITERS} writers over HTTP, {rows:>3} rows a request {:>8.0}, {:.1} times",
            rates[1],
            rates[1] / singly
        );
    }
}

/// What pollers measured.
#[derive(Default)]
struct Seen {
    latencies: Vec<Duration>,
    not_200: u64,
    errors: u64,
}

impl Seen {
    fn line(mut self) -> String {
        self.latencies.sort();
        let at = |share: f64| {
            let index =
                ((self.latencies.len() as f64 * share) as usize).min(self.latencies.len() - 1);
            self.latencies[index].as_secs_f64() * 1e3
        };
        if self.latencies.is_empty() {
            return format!("no answer, {} failed or timed out", self.errors);
        }
        format!(
            "{:>6} answers, p50 {:>8.2} ms, p99 {:>8.2} ms, {} not 200, {} failed or timed out",
            self.latencies.len(),
            at(0.5),
            at(0.99),
            self.not_200,
            self.errors
        )
    }
}

/// Polls from `clients` threads, each every 20 ms. Latency is measured from the time at which a poll is due,
/// so that a slow response also counts for the polls that wait for it.
fn poll(address: &str, path: &str, clients: u32, time: Duration) -> Seen {
    const INTERVAL: Duration = Duration::from_millis(20);
    let seen = Mutex::new(Seen::default());
    thread::scope(|scope| {
        for client in 0..clients {
            let seen = &seen;
            scope.spawn(move || {
                let mut connection = Connection::open(address).unwrap();
                let mut due = Instant::now() + INTERVAL * client / clients;
                let end = Instant::now() + time;
                while due < end {
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    let answer = connection.request("GET", path, "", b"");
                    let latency = due.elapsed();
                    due += INTERVAL;
                    let mut seen = seen.lock().unwrap();
                    match answer {
                        Ok((status, _)) => {
                            seen.latencies.push(latency);
                            seen.not_200 += u64::from(status != 200);
                        }
                        Err(_) => {
                            seen.errors += 1;
                            connection = Connection::open(address).unwrap();
                        }
                    }
                }
            });
        }
    });
    seen.into_inner().unwrap()
}

fn readers(publisher: &Path) {
    const ROUND: Duration = Duration::from_secs(8);
    println!("\nreaders: 4 board pollers and 4 feed pollers, 50 requests/s each");
    let page = "/v1/leaderboard/recent?since_ran_at=2026-06-07T00:10:00Z&limit=200";
    for mode in ["publisher", "before"] {
        let folder = tempfile::TempDir::new().unwrap();
        let database = data(folder.path());
        let (_server, address) = if mode == "before" {
            let mut before = Command::new(lab::example("before"));
            before.arg(&database).env("PUBLISHER_ADMIN_TOKEN", TOKEN);
            lab::start(&mut before, lab::bare_address)
        } else {
            let mut serve = Command::new(publisher);
            serve
                .args(["serve", "--log-level", "info", "--address", "127.0.0.1:0"])
                .arg("--database")
                .arg(&database)
                .env("PUBLISHER_ADMIN_TOKEN", TOKEN);
            lab::start(&mut serve, |line| Some(line.split_once("on http://")?.1))
        };
        let address = address.as_str();
        for (name, authorized) in [
            ("writers idle", None),
            (
                "writers refused: the same requests, nothing written",
                Some(false),
            ),
            ("writers saturated", Some(true)),
        ] {
            let stop = AtomicBool::new(false);
            let load = authorized.map(|authorized| Load {
                rows_a_request: 1,
                authorized,
            });
            let (board, feed, rows) = thread::scope(|scope| {
                let writers = load.map(|load| {
                    scope.spawn({
                        let stop = &stop;
                        move || saturate(address, mode, load, stop)
                    })
                });
                let feed = scope.spawn(|| poll(address, page, 4, ROUND));
                let board = poll(address, BOARD, 4, ROUND);
                let feed = feed.join().unwrap();
                stop.store(true, Ordering::Relaxed);
                let rows = writers.map_or(0, |writers| writers.join().unwrap());
                (board, feed, rows)
            });
            let rate = rows as f64 / ROUND.as_secs_f64();
            println!("  {mode}, {name} ({rate:.0} rows/s)");
            println!("    board {}", board.line());
            println!("    feed  {}", feed.line());
        }
    }
}

/// Makes a challenge whose `num_vars` is the number of the write, so that a response shows which write it has.
fn counting(number: u64) -> Challenge {
    Challenge {
        challenge_id: "counter".to_owned(),
        num_vars: number,
        ..Sample::new(1).challenge(0)
    }
}

fn shown(connection: &mut Connection) -> u64 {
    let path = "/v1/synthetic-boolean/current-challenge?tier=0";
    let (status, body) = connection.request("GET", path, "", b"").unwrap();
    if status != 200 {
        return 0;
    }
    let item: serde_json::Value = serde_json::from_slice(&body).unwrap();
    item["num_vars"].as_u64().unwrap()
}

fn freshness(publisher: &Path) {
    const WRITES: u64 = 1000;
    let folder = tempfile::TempDir::new().unwrap();
    let path = data(folder.path());
    let server = Server::start(publisher, &path, &[]);
    let (mut writer, mut reader) = (
        Connection::open(&server.address).unwrap(),
        Connection::open(&server.address).unwrap(),
    );
    println!("\nfreshness: {WRITES} writes each");
    let (mut acknowledged, mut visible, mut late) = (Vec::new(), Vec::new(), 0);
    for number in 1..=WRITES {
        let mut body = Vec::new();
        counting(number).write_item(&mut body).unwrap();
        let begun = Instant::now();
        let (status, _) = writer
            .request("PUT", "/v1/admin/challenges/counter", &bearer(), &body)
            .unwrap();
        assert_eq!(status, 200);
        acknowledged.push(begun.elapsed());
        let begun = Instant::now();
        late += u64::from(shown(&mut reader) != number);
        visible.push(begun.elapsed());
    }
    println!(
        "  in process: sent to acknowledged     {}",
        spread(acknowledged)
    );
    println!(
        "  in process: acknowledged to visible  {} ({late} not in the very next GET)",
        spread(visible)
    );

    let committed = Mutex::new(Vec::new());
    let seen = thread::scope(|scope| {
        scope.spawn(|| {
            let other = open_writer(&path, BUSY).unwrap();
            for number in 1..=WRITES {
                put_challenge(&other, &counting(WRITES + number)).unwrap();
                committed.lock().unwrap().push(Instant::now());
                thread::sleep(Duration::from_millis(15));
            }
        });
        let mut seen: Vec<Instant> = Vec::new();
        while (seen.len() as u64) < WRITES {
            let now_shown = shown(&mut reader).saturating_sub(WRITES);
            let now = Instant::now();
            seen.resize((now_shown as usize).max(seen.len()), now);
            thread::sleep(Duration::from_millis(2));
        }
        seen
    });
    let committed = committed.into_inner().unwrap();
    let waits = committed
        .iter()
        .zip(seen)
        .map(|(committed, seen)| seen - *committed);
    println!(
        "  other process: committed to visible  {}",
        spread(waits.collect())
    );
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    let ms = |index: usize| times[index.min(times.len() - 1)].as_secs_f64() * 1e3;
    format!(
        "p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
        ms(times.len() / 2),
        ms(times.len() * 99 / 100),
        ms(times.len())
    )
}
