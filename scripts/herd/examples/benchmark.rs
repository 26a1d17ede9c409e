//! Compares the publisher with nginx and Varnish: the same board, the same load, interleaved rounds.
//!
//!     cargo run --release -p herd --example benchmark -- [ROUNDS [SECONDS]]
//!
//! | contestant | what it does |
//! |---|---|
//! | lower bound | the example `lower_bound`: parses nothing, sends the publisher's own response for every request |
//! | publisher | `serve` with its defaults |
//! | nginx static | the board as a file, `etag`, `gzip_static` |
//! | nginx cache | `proxy_cache` with lock, stale-while-updating and background update, in front of an origin |
//! | varnish | its defaults, grace, in front of an origin |
//!
//! Throughput is measured with a closed loop of `herd`, so that all cores are busy. Processor time per request
//! is that of the server and its workers, from /proc; a noisy machine disturbs it least. Memory is the
//! proportional set size, which includes pages of the executable. Expiry is measured with a constant open
//! load on a board that expires every two seconds and takes 200 ms to build: the number of builds and the
//! latency of the slowest clients.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub
)]

#[allow(dead_code)]
mod lab;

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use cathedral_publisher::{
    demo::{sample::Sample, simulation::populate},
    store::sqlite::{open::open_writer, write::put_challenge},
};
use herd::{processes::used, run::Run, table::milliseconds};
use lab::{
    Process, bare_address, example, free_address, herd, listens, make_readable, median, ran_on,
    serve_at, start,
};

/// The contestant that no server can beat; excluded from the comparison with the best other one.
const LOWER_BOUND: &str = "lower bound";
const BOARD: &str = "v1/synthetic-boolean/active-challenges";
/// A page of 34 kB, about what a validator pulls in 30 s, at the end of the sample data.
const FEED: &str =
    "v1/leaderboard/recent?since_ran_at=2020-01-01T00%3A00%3A00.000Z&since_id=&limit=30";

/// A server of the board.
struct Contestant {
    name: &'static str,
    /// Processes, killed at the end; the last one is measured.
    processes: Vec<Process>,
    address: String,
    /// URL of the metrics that count its builds.
    counter: Option<String>,
    gzip: bool,
}

impl Contestant {
    fn url(&self, target: &str) -> String {
        format!("http://{}/{target}", self.address)
    }

    fn pid(&self) -> u32 {
        self.processes.last().unwrap().0.id()
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: usize| {
        arguments
            .next()
            .map_or(default, |text| text.parse().unwrap())
    };
    let (rounds, seconds) = (number(3), number(2));
    let folder = tempfile::TempDir::new().unwrap();
    // The workers of nginx run as another user and must be able to read.
    make_readable(folder.path());
    let database = folder.path().join("board.db");
    let mut connection = open_writer(&database, Duration::from_secs(5)).unwrap();
    populate(&mut connection, 100, None).unwrap();
    drop(connection);
    println!("on {}\n", ran_on());
    throughput(folder.path(), &database, rounds, seconds);
    growth(folder.path(), &database, rounds, seconds);
    expiry(folder.path(), &database);
    rest(folder.path());
}

/// A kind of request and the numbers of clients.
struct Case {
    name: &'static str,
    target: &'static str,
    not_modified: bool,
    /// Whether proxies are measured beside the static file.
    proxies: bool,
    options: &'static str,
    /// Additional header fields, to get the response that the lower bound sends.
    header: &'static str,
    coded: bool,
    clients: &'static [u32],
}

const CASES: [Case; 6] = [
    Case {
        name: "board 304",
        target: BOARD,
        not_modified: true,
        proxies: true,
        options: "",
        header: "If-None-Match: *\r\n",
        coded: false,
        clients: &[64, 2000],
    },
    Case {
        name: "board 200",
        target: BOARD,
        not_modified: false,
        proxies: true,
        options: "--unconditional",
        header: "",
        coded: false,
        clients: &[64, 2000],
    },
    Case {
        name: "board gzip",
        target: BOARD,
        not_modified: false,
        proxies: false,
        options: "--unconditional --accept-encoding gzip",
        header: "Accept-Encoding: gzip\r\n",
        coded: true,
        clients: &[64],
    },
    Case {
        name: "feed 304",
        target: FEED,
        not_modified: true,
        proxies: false,
        options: "",
        header: "If-None-Match: *\r\n",
        coded: false,
        clients: &[64],
    },
    Case {
        name: "feed 200",
        target: FEED,
        not_modified: false,
        proxies: false,
        options: "--unconditional",
        header: "",
        coded: false,
        clients: &[64],
    },
    Case {
        name: "feed gzip",
        target: FEED,
        not_modified: false,
        proxies: false,
        options: "--unconditional --accept-encoding gzip",
        header: "Accept-Encoding: gzip\r\n",
        coded: true,
        clients: &[64],
    },
];

/// Medians of one contestant in one case.
struct Line {
    name: &'static str,
    rate: f64,
    p50: f64,
    p99: f64,
    cpu: f64,
    pss: f64,
    bytes: f64,
}

fn throughput(folder: &Path, database: &Path, rounds: usize, seconds: usize) {
    println!(
        "throughput: {rounds} interleaved rounds of {seconds} s, medians; a closed loop, so that"
    );
    println!("latency is what is left of the processor's share\n");
    for case in CASES {
        for clients in case.clients {
            let mut found: Vec<(&'static str, Vec<Run>)> = Vec::new();
            for _ in 0..rounds {
                // Restarted, so that memory belongs to this case.
                for contestant in contestants(folder, database, &case) {
                    if case.coded && !contestant.gzip {
                        continue;
                    }
                    let run = saturate(&contestant, &case, *clients, seconds);
                    match found.iter_mut().find(|(name, _)| *name == contestant.name) {
                        Some((_, runs)) => runs.push(run),
                        None => found.push((contestant.name, vec![run])),
                    }
                }
            }
            let lines: Vec<Line> = found.iter().map(|(name, runs)| line(name, runs)).collect();
            print(&format!("{}, {clients} connections", case.name), &lines);
        }
    }
}

fn saturate(contestant: &Contestant, case: &Case, clients: u32, seconds: usize) -> Run {
    let options = format!(
        "--clients {clients} --interval-ms 0 --ramp-ms 100 --max-rate 1000000 --max-connections 4096 \
         --timeout-ms 10000 --duration-secs {seconds} --server-pid {} {}",
        contestant.pid(),
        case.options
    );
    let run = herd(&contestant.url(case.target), &options);
    let role = &run.pollers;
    assert_eq!(role.failed, 0, "{}: {:?}", contestant.name, role.statuses);
    let expected = if case.not_modified { 304 } else { 200 };
    // The first poll of a client has no entity-tag yet.
    let others = role.attempts - role.statuses.get(&expected).copied().unwrap_or(0);
    assert!(
        others as f64 <= f64::from(clients) + 0.05 * role.attempts as f64,
        "{}: {:?}",
        contestant.name,
        role.statuses
    );
    run
}

fn line(name: &'static str, runs: &[Run]) -> Line {
    let of = |figure: &dyn Fn(&Run) -> f64| median(runs.iter().map(figure).collect());
    Line {
        name,
        rate: of(&|run| run.pollers.answered as f64 / run.seconds),
        p50: of(&|run| run.pollers.service.p50_ms.unwrap()),
        p99: of(&|run| run.pollers.service.p99_ms.unwrap()),
        cpu: of(&|run| run.cpu_us_per_request().unwrap()),
        pss: of(&|run| run.server.as_ref().unwrap().pss_bytes as f64 / 1e6),
        bytes: of(&|run| run.pollers.body_bytes as f64 / run.pollers.attempts as f64),
    }
}

fn print(case: &str, lines: &[Line]) {
    println!(
        "{case:<28} {:>10} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "requests/s", "p50", "p99", "CPU µs", "PSS MB", "body B"
    );
    for line in lines {
        println!(
            "  {:<26} {:>10.0} {:>9} {:>9} {:>9.1} {:>9.1} {:>9.0}",
            line.name,
            line.rate,
            milliseconds(Some(line.p50)),
            milliseconds(Some(line.p99)),
            line.cpu,
            line.pss,
            line.bytes
        );
    }
    let Some(ours) = lines.iter().find(|line| line.name == "publisher") else {
        println!("  the publisher has no such response: behind\n");
        return;
    };
    let of = |name| lines.iter().find(|line| line.name == name);
    if let Some(bound) = of(LOWER_BOUND) {
        let times = ours.cpu / bound.cpu;
        println!("  processor time: {times:.2} times the lower bound");
    }
    if let Some(nginx) = of("nginx static") {
        let (cpu, p99) = (ours.cpu / nginx.cpu, ours.p99 / nginx.p99);
        println!("  processor time: {cpu:.2} times that of nginx static; p99: {p99:.2} times");
    }
    for (what, figure) in [
        ("processor time", (|line| line.cpu) as fn(&Line) -> f64),
        ("p99", |line| line.p99),
        ("memory", |line| line.pss),
    ] {
        let others = lines
            .iter()
            .filter(|line| line.name != "publisher" && line.name != LOWER_BOUND);
        let best = others.min_by(|a, b| figure(a).total_cmp(&figure(b)));
        if let Some(best) = best.filter(|best| figure(ours) > 1.02 * figure(best)) {
            let times = figure(ours) / figure(best);
            println!("  behind: {what} is {times:.2} times that of {}", best.name);
        }
    }
    println!();
}

/// Measures the cost of a 304 with a hundred times the challenges.
fn growth(folder: &Path, database: &Path, rounds: usize, seconds: usize) {
    let large = folder.join("large.db");
    let mut connection = open_writer(&large, Duration::from_secs(5)).unwrap();
    let transaction = connection.transaction().unwrap();
    for challenge in Sample::new(1).challenges(5000) {
        put_challenge(&transaction, &challenge).unwrap();
    }
    transaction.commit().unwrap();
    drop(connection);
    let boards = [(database, "51"), (&large, "5,000")];
    let mut runs = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for ((database, _), runs) in boards.iter().zip(&mut runs) {
            let (process, address) = serve_at("127.0.0.1:0", database, &[]);
            let publisher = Contestant {
                name: "publisher",
                processes: vec![process],
                address,
                counter: None,
                gzip: true,
            };
            runs.push(saturate(&publisher, &CASES[0], 64, seconds));
        }
    }
    println!("304, 64 connections, by the number of challenges on the board");
    for ((_, challenges), runs) in boards.iter().zip(runs) {
        let cpu = line("publisher", &runs).cpu;
        println!("  {challenges:<26} {cpu:>10.1} µs");
    }
    println!();
}

/// Measures the publisher's memory with the demo's data, before any request and after the feed has been
/// read.
fn rest(folder: &Path) {
    let database = folder.join("demo.db");
    let mut connection = open_writer(&database, Duration::from_secs(5)).unwrap();
    populate(&mut connection, 5000, None).unwrap();
    drop(connection);
    let (process, address) = serve_at("127.0.0.1:0", &database, &[]);
    let pss = || used(&[process.0.id() as i32]).pss_bytes as f64 / 1e6;
    std::thread::sleep(Duration::from_secs(3));
    let before = pss();
    herd(
        &format!("http://{address}/v1/leaderboard/recent?since=2020-01-01"),
        "--clients 1 --duration-secs 1",
    );
    println!(
        "\nat rest on 5,000 rows: {before:.1} MB; after the first pull of the feed {:.1} MB",
        pss()
    );
}

/// Starts all contestants that are installed, on free ports.
fn contestants(folder: &Path, database: &Path, case: &Case) -> Vec<Contestant> {
    let (process, address) = serve_at("127.0.0.1:0", database, &[]);
    let mut all = vec![Contestant {
        name: "publisher",
        processes: vec![process],
        address,
        counter: None,
        gzip: true,
    }];
    all.push(lower_bound(folder, &all[0], case));
    if installed("nginx", "-v") {
        all.push(nginx_static(folder, &all[0], case.target));
    }
    if case.proxies && installed("nginx", "-v") {
        all.push(nginx_cache(folder, origin(database, 0, 3600)));
    }
    if case.proxies && installed("varnishd", "-V") {
        all.push(varnish(folder, origin(database, 0, 3600)));
    }
    // The first request fills the cache of a proxy; brotli is precompressed within a second.
    for contestant in &all {
        herd(
            &contestant.url(case.target),
            "--clients 1 --duration-secs 1",
        );
    }
    all
}

fn installed(program: &str, version: &str) -> bool {
    let mut command = Command::new(program);
    command
        .arg(version)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let found = command.status().is_ok();
    if !found {
        println!("{program} is not installed: left out");
    }
    found
}

/// Starts the server that sends the publisher's response in this case to every request.
fn lower_bound(folder: &Path, publisher: &Contestant, case: &Case) -> Contestant {
    let mut socket = TcpStream::connect(&publisher.address).unwrap();
    let Case { header, target, .. } = case;
    write!(socket, "GET /{target} HTTP/1.1\r\nHost: x\r\n{header}\r\n").unwrap();
    // Reads until the timeout: the response arrives at once, and nothing follows it.
    socket
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    assert!(answer.starts_with(b"HTTP/1.1 "), "no answer");
    let file = folder.join("answer");
    fs::write(&file, answer).unwrap();
    let mut command = Command::new(example("lower_bound"));
    command.arg(file);
    let (process, address) = start(&mut command, bare_address);
    Contestant {
        name: LOWER_BOUND,
        processes: vec![process],
        address,
        counter: None,
        gzip: true,
    }
}

/// Starts an origin with this build time and time to live.
fn origin(database: &Path, build_ms: u32, ttl_secs: u32) -> (Process, String) {
    slow_builder("origin", database, build_ms, ttl_secs)
}

fn slow_builder(mode: &str, database: &Path, build_ms: u32, ttl_secs: u32) -> (Process, String) {
    let mut command = Command::new(example("slow_builder"));
    command
        .arg(mode)
        .arg(database)
        .args([build_ms.to_string(), ttl_secs.to_string()]);
    start(&mut command, bare_address)
}

const NGINX: &str = "
daemon off;
worker_processes auto;
error_log stderr crit;
pid nginx.pid;
events { worker_connections 8192; }
http {
    access_log off;
    default_type application/json;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000000;
    client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp;
    uwsgi_temp_path tmp; scgi_temp_path tmp;
";

fn nginx(folder: &Path, name: &str, rest: &str, address: &str) -> Process {
    let home = folder.join(format!("{name}-{}", address.replace(':', "-")));
    fs::create_dir_all(home.join("tmp")).unwrap();
    fs::write(home.join("nginx.conf"), format!("{NGINX}{rest}}}\n")).unwrap();
    let mut command = Command::new("nginx");
    command
        .arg("-p")
        .arg(&home)
        .arg("-c")
        .arg(home.join("nginx.conf"));
    // In a container without the right to change users, workers must run as root.
    command.args(["-g", "user root;"]);
    let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn();
    let process = Process(child.unwrap());
    listens(address);
    process
}

fn nginx_static(folder: &Path, publisher: &Contestant, target: &str) -> Contestant {
    let files = folder.join("files");
    let board = files.join(target.split('?').next().unwrap());
    fs::create_dir_all(board.parent().unwrap()).unwrap();
    let curl = Command::new("curl")
        .args(["-sf", &publisher.url(target)])
        .output()
        .unwrap();
    assert!(curl.status.success() && !curl.stdout.is_empty());
    fs::write(&board, &curl.stdout).unwrap();
    let gzip = Command::new("gzip")
        .args(["-9", "-k", "-f"])
        .arg(&board)
        .status();
    assert!(gzip.unwrap().success());
    let address = free_address();
    let server = format!(
        "server {{ listen {address} backlog=4096; root {}; gzip_static on; \
         add_header Cache-Control \"public, max-age=15\"; }}",
        files.display()
    );
    Contestant {
        name: "nginx static",
        processes: vec![nginx(folder, "static", &server, &address)],
        address,
        counter: None,
        gzip: true,
    }
}

fn nginx_cache(folder: &Path, (origin, origin_address): (Process, String)) -> Contestant {
    let address = free_address();
    let rest = format!(
        "proxy_cache_path cache-{} keys_zone=board:1m;
         upstream origin {{ server {origin_address}; keepalive 16; }}
         server {{ listen {address} backlog=4096; location / {{
            proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection \"\";
            proxy_cache board; proxy_cache_lock on; proxy_cache_lock_timeout 30s;
            proxy_cache_use_stale updating error timeout; proxy_cache_background_update on;
         }} }}",
        address.replace(':', "-")
    );
    Contestant {
        name: "nginx cache",
        processes: vec![origin, nginx(folder, "cache", &rest, &address)],
        counter: Some(format!("http://{origin_address}/metrics")),
        address,
        gzip: false,
    }
}

fn varnish(folder: &Path, (origin, origin_address): (Process, String)) -> Contestant {
    let address = free_address();
    let home = folder.join(format!("varnish-{}", address.replace(':', "-")));
    fs::create_dir_all(&home).unwrap();
    let (host, port) = origin_address.split_once(':').unwrap();
    let vcl = format!(
        "vcl 4.1;\nbackend default {{ .host = \"{host}\"; .port = \"{port}\"; }}\n\
         sub vcl_backend_response {{ set beresp.grace = 60s; }}\n"
    );
    fs::write(home.join("board.vcl"), vcl).unwrap();
    let child = Command::new("varnishd")
        .args(["-F", "-j", "none", "-s", "malloc,64m", "-a", &address, "-n"])
        .arg(&home)
        .arg("-f")
        .arg(home.join("board.vcl"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let process = Process(child);
    listens(&address);
    Contestant {
        name: "varnish",
        processes: vec![origin, process],
        counter: Some(format!("http://{origin_address}/metrics")),
        address,
        gzip: false,
    }
}

fn expiry(folder: &Path, database: &Path) {
    const BUILD_MS: u32 = 200;
    const TTL_SECS: u32 = 2;
    const SECONDS: u32 = 12;
    println!("expiry: 64 clients, 1,000 polls/s, open loop, {SECONDS} s; the board expires every");
    println!(
        "{TTL_SECS} s and takes {BUILD_MS} ms to make; cold: 500 clients at once, one poll each\n"
    );
    println!(
        "{:<16} {:>8} {:>14} {:>9} {:>9} {:>9} {:>12} {:>12}",
        "", "builds", "an expiry", "p50", "p99.9", "max", "cold builds", "cold max"
    );
    for name in ["publisher", "nginx cache", "varnish"] {
        let begin = || match name {
            "publisher" => {
                let (process, address) = slow_builder(name, database, BUILD_MS, TTL_SECS);
                Some(Contestant {
                    name: "publisher",
                    processes: vec![process],
                    counter: Some(format!("http://{address}/metrics")),
                    address,
                    gzip: false,
                })
            }
            "nginx cache" => installed("nginx", "-v")
                .then(|| nginx_cache(folder, origin(database, BUILD_MS, TTL_SECS))),
            _ => installed("varnishd", "-V")
                .then(|| varnish(folder, origin(database, BUILD_MS, TTL_SECS))),
        };
        let Some(cold) = begin() else { continue };
        let counter = cold.counter.as_ref().unwrap();
        let cold = herd(
            &cold.url(BOARD),
            &format!(
                "--clients 500 --interval-ms 60000 --ramp-ms 0 --duration-secs 3 --timeout-ms 30000 --metrics-url {counter}"
            ),
        );
        let warm = begin().unwrap();
        let counter = warm.counter.as_ref().unwrap();
        herd(&warm.url(BOARD), "--clients 1 --duration-secs 1");
        let run = herd(
            &warm.url(BOARD),
            &format!(
                "--clients 64 --rate 1000 --duration-secs {SECONDS} --timeout-ms 10000 --metrics-url {counter}"
            ),
        );
        let builds = |run: &Run| run.rebuilds.as_ref().unwrap().total;
        let expiries = f64::from(SECONDS) / (f64::from(TTL_SECS) + f64::from(BUILD_MS) / 1e3);
        let service = &run.pollers.service;
        println!(
            "{name:<16} {:>8} {:>14.2} {:>9} {:>9} {:>9} {:>12} {:>12}",
            builds(&run),
            builds(&run) as f64 / expiries,
            milliseconds(service.p50_ms),
            milliseconds(service.p999_ms),
            milliseconds(service.max_ms),
            builds(&cold),
            milliseconds(cold.pollers.service.max_ms),
        );
    }
    println!(
        "\nbuilds an expiry: over {SECONDS} s, in periods of the time it is fresh and that of making it;"
    );
    println!(
        "the first and the last period may be cut. The publisher makes its first board before it listens."
    );
}
