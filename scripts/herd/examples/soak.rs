//! A soak test that fails on growth or loss.
//!
//!     cargo run --release -p herd --example soak -- [SECONDS]
//!
//! Two hundred miners send 100 polls per second, validators read the feed, and writers post eval runs. An
//! operator changes a challenge every five seconds and checks that the next response shows it. Slow
//! readers read the board one kilobyte at a time, slow senders never end their header section. The server
//! is stopped by SIGTERM after a third of the time and by kill -9 after two thirds, and restarted at once.
//!
//! The test fails if
//! - an acknowledged row is missing, or the feed lacks a row,
//! - an acknowledged challenge is not in the next response, or the database is damaged,
//! - a client gets a 5xx or a timeout, or connections are lost except at the two stops,
//! - memory or file descriptors of a server process grow,
//! - the WAL exceeds its limit,
//! - the board is rebuilt more often than it expires or changes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub
)]

#[path = "../../../tests/publisher/client.rs"]
mod client;
#[allow(dead_code)]
mod lab;

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use cathedral_publisher::{
    demo::{sample::Sample, simulation::populate},
    domain::challenge::Challenge,
    store::sqlite::open::{open_reader, open_writer},
};
use client::Connection;
use herd::{
    processes,
    run::Run,
    table::{bytes, count, table},
};
use lab::{Process, TOKEN, free_address, herd, listens, median, ran_on, serve_at};

const BOARD: &str = "/v1/synthetic-boolean/active-challenges";
const FEED: &str = "/v1/leaderboard/recent";
const BUSY: Duration = Duration::from_secs(30);
const TTL_SECS: f64 = 30.0;
const ROWS_A_POST: u64 = 20;
const LOG_LIMIT: u64 = 32 << 20;
/// 16 MiB of cached pages, and the overhead of the allocator.
const MEMORY_LIMIT: u64 = 100_000_000;
const SLOW_READERS: usize = 8;
const SLOW_SENDERS: usize = 8;

/// One sample of a running server.
#[derive(Debug, Clone, Copy)]
struct Sampled {
    at: f64,
    instance: usize,
    pss: u64,
    files: u64,
    log: u64,
    builds: u64,
}

/// Counters of the clients that are not part of the load generator.
#[derive(Default)]
struct Others {
    stop: AtomicBool,
    /// Set during a restart, when failures are expected.
    away: AtomicBool,
    changes: AtomicU64,
    unseen: AtomicU64,
    unanswered: AtomicU64,
    slow_answers: AtomicU64,
    cut_off: AtomicU64,
}

impl Others {
    fn go_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }
}

fn main() {
    let seconds = std::env::args()
        .nth(1)
        .map_or(600, |text| text.parse().unwrap());
    assert!(seconds >= 30, "a soak takes at least 30 seconds");
    let folder = tempfile::TempDir::new().unwrap();
    let database = folder.path().join("soak.db");
    populate(&mut open_writer(&database, BUSY).unwrap(), 5000, None).unwrap();
    let address = free_address();
    println!("{seconds} s on {}\n", ran_on());

    let (mut server, _) = serve_at(&address, &database, &[]);
    let others = Arc::new(Others::default());
    let threads = begin_others(&address, &others);
    let running = {
        let address = address.clone();
        thread::spawn(move || {
            herd(
                &format!("http://{address}{BOARD}"),
                &options(&address, seconds),
            )
        })
    };
    let begun = Instant::now();
    let mut samples: Vec<Sampled> = Vec::new();
    let mut instance = 0;
    println!(
        "{:>6} {:>5} {:>10} {:>6} {:>10} {:>8} {:>8}",
        "s", "inst", "PSS", "files", "log", "builds", "changes"
    );
    while !running.is_finished() {
        thread::sleep(Duration::from_secs(1));
        let elapsed = begun.elapsed().as_secs_f64();
        if instance < 2 && elapsed > (instance + 1) as f64 * seconds as f64 / 3.0 {
            others.away.store(true, Ordering::SeqCst);
            end(&mut server, if instance == 0 { "-TERM" } else { "-KILL" });
            server = serve_at(&address, &database, &[]).0;
            listens(&address);
            others.away.store(false, Ordering::SeqCst);
            instance += 1;
            continue;
        }
        let sample = sample(&server, &database, &address, elapsed, instance);
        let every = (seconds / 15).max(1);
        if samples
            .last()
            .is_none_or(|last| last.at as u64 / every != sample.at as u64 / every)
        {
            println!(
                "{:>6.0} {:>5} {:>10} {:>6} {:>10} {:>8} {:>8}",
                sample.at,
                sample.instance + 1,
                bytes(sample.pss),
                sample.files,
                bytes(sample.log),
                sample.builds,
                others.changes.load(Ordering::Relaxed)
            );
        }
        samples.push(sample);
    }
    let run = running.join().unwrap();
    others.stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
    println!("\n{}", table(std::slice::from_ref(&run)));
    let mut faults = growth(&samples);
    faults.extend(loss(&run, &others, &address, &database));
    faults.extend(rebuilds(&samples, &others));
    end(&mut server, "-TERM");
    for fault in &faults {
        println!("FAULT: {fault}");
    }
    if !faults.is_empty() {
        std::process::exit(1);
    }
    println!("no growth, no loss");
}

fn options(address: &str, seconds: u64) -> String {
    format!(
        "--name soak --duration-secs {seconds} --clients 200 --interval-ms 2000 \
         --validators 8 --feed-url http://{address}{FEED} --feed-interval-ms 2000 \
         --writers 4 --write-url http://{address}/v1/admin/eval-runs --write-interval-ms 500 \
         --write-rows {ROWS_A_POST} --honour-retry-after"
    )
}

fn end(server: &mut Process, signal: &str) {
    lab::signal(server.0.id(), signal);
    let status = server.0.wait().unwrap();
    assert_eq!(
        status.success(),
        signal == "-TERM",
        "it ended with {status}"
    );
}

fn sample(server: &Process, database: &Path, address: &str, at: f64, instance: usize) -> Sampled {
    let pid = server.0.id();
    let files = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let log = PathBuf::from(format!("{}-wal", database.display()));
    let metrics = Connection::open(address).and_then(|mut c| c.request("GET", "/metrics", "", b""));
    let metrics = String::from_utf8(metrics.unwrap().1).unwrap();
    let counted = metrics
        .lines()
        .filter(|line| line.starts_with("publisher_board_builds_total"));
    let counts = counted.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap());
    Sampled {
        at,
        instance,
        pss: processes::used(&[i32::try_from(pid).unwrap()]).pss_bytes,
        files: files as u64,
        log: fs::metadata(log).map_or(0, |log| log.len()),
        builds: counts.sum(),
    }
}

fn begin_others(address: &str, others: &Arc<Others>) -> Vec<thread::JoinHandle<()>> {
    let mut threads = Vec::new();
    let mut begin = |work: fn(&str, &Others)| {
        let (address, others) = (address.to_owned(), Arc::clone(others));
        threads.push(thread::spawn(move || {
            while others.go_on() {
                work(&address, &others);
            }
        }));
    };
    begin(operator);
    (0..SLOW_READERS).for_each(|_| begin(slow_reader));
    (0..SLOW_SENDERS).for_each(|_| begin(slow_sender));
    threads
}

/// Changes a challenge and checks that the next response shows it.
fn operator(address: &str, others: &Others) {
    let number = others.changes.load(Ordering::Relaxed) + 1;
    match change(address, number) {
        Ok(shown) => {
            others.changes.store(number, Ordering::Relaxed);
            others
                .unseen
                .fetch_add(u64::from(!shown), Ordering::Relaxed);
        }
        Err(_) if others.away.load(Ordering::SeqCst) => {
            thread::sleep(Duration::from_millis(100));
            return;
        }
        Err(_) => {
            others.unanswered.fetch_add(1, Ordering::Relaxed);
        }
    }
    for _ in 0..50 {
        if others.go_on() {
            thread::sleep(Duration::from_millis(100));
        }
    }
}

fn change(address: &str, number: u64) -> std::io::Result<bool> {
    let challenge = Challenge {
        challenge_id: "soak".to_owned(),
        num_vars: number,
        ..Sample::new(1).challenge(0)
    };
    let mut body = Vec::new();
    challenge.write_item(&mut body)?;
    let bearer = format!("Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n");
    let mut connection = Connection::open(address)?;
    let (status, _) = connection.request("PUT", "/v1/admin/challenges/soak", &bearer, &body)?;
    if status != 200 {
        return Err(std::io::ErrorKind::Other.into());
    }
    let current = "/v1/synthetic-boolean/current-challenge?tier=0";
    let (_, item) = connection.request("GET", current, "", b"")?;
    let shown = format!("\"num_vars\":{number},");
    Ok(String::from_utf8_lossy(&item).contains(&shown))
}

/// Reads the board one kilobyte at a time.
fn slow_reader(address: &str, others: &Others) {
    let Ok(mut socket) = TcpStream::connect(address) else {
        return thread::sleep(Duration::from_millis(100));
    };
    let asked = write!(
        socket,
        "GET {BOARD} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    );
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    while asked.is_ok() && others.go_on() {
        match socket.read(&mut buffer) {
            Ok(0) => {
                // A restart may truncate the response.
                let whole = answer.ends_with(b"]}");
                others
                    .slow_answers
                    .fetch_add(u64::from(whole), Ordering::Relaxed);
                return;
            }
            Ok(read) => answer.extend_from_slice(&buffer[..read]),
            Err(_) => return,
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// Sends a header section without an end until the server closes the connection.
fn slow_sender(address: &str, others: &Others) {
    let Ok(mut socket) = TcpStream::connect(address) else {
        return thread::sleep(Duration::from_millis(100));
    };
    let _ = write!(socket, "GET {BOARD} HTTP/1.1\r\nHost: x\r\nX-Slow: ");
    while others.go_on() {
        thread::sleep(Duration::from_millis(500));
        if socket.write_all(b"x").is_err() {
            others.cut_off.fetch_add(1, Ordering::Relaxed);
            return;
        }
    }
}

/// Compares the last quarter of each server process with the third, when caches are full.
fn growth(samples: &[Sampled]) -> Vec<String> {
    let mut faults = Vec::new();
    for instance in 0..=samples.last().map_or(0, |sample| sample.instance) {
        let of_process: Vec<Sampled> = samples
            .iter()
            .copied()
            .filter(|sample| sample.instance == instance)
            .collect();
        let quarter = of_process.len() / 4;
        if quarter == 0 {
            continue;
        }
        let middle = |samples: &[Sampled], of: fn(&Sampled) -> u64| {
            median(samples.iter().map(|sample| of(sample) as f64).collect())
        };
        let (early, late) = (
            &of_process[2 * quarter..3 * quarter],
            &of_process[3 * quarter..],
        );
        let pss = (
            middle(early, |sample| sample.pss),
            middle(late, |sample| sample.pss),
        );
        let files = (
            middle(early, |sample| sample.files),
            middle(late, |sample| sample.files),
        );
        println!(
            "instance {}: memory {} then {}, file descriptors {} then {}",
            instance + 1,
            bytes(pss.0 as u64),
            bytes(pss.1 as u64),
            files.0,
            files.1
        );
        if pss.1 > 1.1 * pss.0 + 2e6 {
            faults.push(format!("memory of instance {} grew", instance + 1));
        }
        // The number of slow clients varies.
        if files.1 > files.0 + 10.0 {
            faults.push(format!(
                "file descriptors of instance {} grew",
                instance + 1
            ));
        }
    }
    let most = |of: fn(&Sampled) -> u64| samples.iter().map(of).max().unwrap_or(0);
    let (pss, log) = (most(|sample| sample.pss), most(|sample| sample.log));
    println!(
        "memory: {} at most, write-ahead log: {}",
        bytes(pss),
        bytes(log)
    );
    if pss > MEMORY_LIMIT {
        faults.push("memory exceeded its limit".to_owned());
    }
    if log > LOG_LIMIT {
        faults.push("the WAL exceeded its limit".to_owned());
    }
    faults
}

fn loss(run: &Run, others: &Others, address: &str, database: &Path) -> Vec<String> {
    let mut faults = Vec::new();
    let mut expect = |holds: bool, fault: String| {
        if !holds {
            faults.push(fault);
        }
    };
    let writers = run.writers.as_ref().unwrap();
    let validators = run.validators.as_ref().unwrap();
    let connection = open_reader(database, BUSY).unwrap();
    let number =
        |query: &str| -> u64 { connection.query_row(query, [], |row| row.get(0)).unwrap() };
    let stored = number("SELECT count(*) FROM eval_runs") - 5000;
    let unsure = writers.failed * ROWS_A_POST;
    println!(
        "rows: {} acknowledged, {} stored, {} without an answer",
        count(writers.rows),
        count(stored),
        count(unsure)
    );
    expect(
        (writers.rows..=writers.rows + unsure).contains(&stored),
        "acknowledged rows are missing, or there are too many".to_owned(),
    );
    let check: String = connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    expect(check == "ok", format!("the database is damaged: {check}"));
    let walk = herd(
        &format!("http://{address}{BOARD}"),
        &format!(
            "--clients 1 --duration-secs 20 --validators 1 --feed-interval-ms 60000 --feed-limit 1000 --feed-url http://{address}{FEED}"
        ),
    );
    let walked = walk.validators.unwrap().rows;
    println!("a walk over the feed: {} rows", count(walked));
    expect(
        walked == stored + 5000,
        "the feed does not show every row".to_owned(),
    );
    for (who, role) in [
        ("miners", &run.pollers),
        ("validators", validators),
        ("writers", writers),
    ] {
        expect(
            role.of_class(5) + role.timeouts() == 0,
            format!(
                "{who}: {} responses 5xx, {} timeouts",
                role.of_class(5),
                role.timeouts()
            ),
        );
        let others: u64 = role.of_class(4);
        expect(others == 0, format!("{who}: {others} responses 4xx"));
    }
    // At each of the two stops a client may lose its connection and fail to connect a few times.
    let clients = u64::from(run.pollers.clients);
    expect(
        run.pollers.lost() <= 2 * 4 * clients,
        format!("{} connections broke", run.pollers.lost()),
    );
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "challenges: {} changed, {} not in the very next answer, {} unanswered; slow readers: {} whole \
         answers; slow senders: {} cut off",
        of(&others.changes),
        of(&others.unseen),
        of(&others.unanswered),
        of(&others.slow_answers),
        of(&others.cut_off)
    );
    expect(
        of(&others.unseen) == 0,
        "a change was not visible".to_owned(),
    );
    expect(
        of(&others.unanswered) <= 2,
        "changes were not answered".to_owned(),
    );
    expect(
        of(&others.slow_answers) > 0,
        "no slow reader got its board".to_owned(),
    );
    expect(
        of(&others.cut_off) > 0,
        "no slow sender was cut off".to_owned(),
    );
    faults
}

fn rebuilds(samples: &[Sampled], others: &Others) -> Vec<String> {
    let instances = samples.last().map_or(0, |sample| sample.instance) + 1;
    let last = |instance| {
        samples
            .iter()
            .rev()
            .find(|sample| sample.instance == instance)
    };
    let builds: u64 = (0..instances)
        .filter_map(|instance| Some(last(instance)?.builds))
        .sum();
    let elapsed = samples.last().map_or(0.0, |sample| sample.at);
    let changes = others.changes.load(Ordering::Relaxed);
    // One rebuild per expiry, per change and per start of the server.
    let most = (elapsed / TTL_SECS) as u64 + changes + instances as u64 + 1;
    println!("rebuilds: {builds}, at most {most} for {changes} changes in {elapsed:.0} s");
    if builds > most {
        return vec![format!("{builds} rebuilds")];
    }
    Vec::new()
}
