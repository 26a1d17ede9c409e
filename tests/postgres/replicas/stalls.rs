//! Something stands still, and nothing says so:
//!
//! - a paused PostgreSQL costs writes 503, and nothing that is in memory; afterwards all is fresh within two seconds
//! - a link that is cut does the same
//! - a network that is down does the same
//! - a paused publisher does not keep the others from writing

use std::{
    fs,
    process::Command,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use super::{
    fleet::{Fleet, post},
    link::Link,
    load, ms, promise, publisher, seconds, size, within,
};
use crate::{
    chaos::{
        items,
        model::Stored,
        server::{Server, bearer, serve_at, signal},
    },
    client::Connection,
    cluster::{Cluster, shared, skipped},
    ports::free_port,
};

const BOARD: &str = "/v1/synthetic-boolean/active-challenges";
const PAGE: &str = "/v1/leaderboard/recent?since_seq=0&limit=10";
/// The time limit of a write, and a second for the answer.
const REJECTED_WITHIN: Duration = Duration::from_secs(6);

/// What clients met while the database was out of reach, and afterwards.
#[derive(Debug, Default)]
struct Met {
    reads: u32,
    failed_reads: Vec<String>,
    writes: u32,
    acknowledged: u32,
    slowest_write: Duration,
    fresh_after: Option<Duration>,
    threads: (usize, usize),
}

impl Met {
    fn holds(&self) -> bool {
        self.failed_reads.is_empty()
            && self.reads > 10
            && self.writes > 0
            && self.acknowledged == 0
            && self.slowest_write <= within(REJECTED_WITHIN)
            && self
                .fresh_after
                .is_some_and(|it| it <= within(Duration::from_secs(2)))
            && self.threads.1 <= self.threads.0
    }

    fn promise(&self, check: &str) {
        let fresh = self.fresh_after.map_or("never".to_owned(), ms);
        let found = format!(
            "{} of {} reads failed {:?}; {} of {} writes acknowledged, the slowest 503 after {}; fresh after {fresh}; \
             threads {:?}",
            self.failed_reads.len(),
            self.reads,
            self.failed_reads.first(),
            self.acknowledged,
            self.writes,
            ms(self.slowest_write),
            self.threads,
        );
        promise("6", check, &found, self.holds());
    }
}

/// Returns how many threads a process has.
fn threads(pid: u32) -> usize {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    tasks.map_or(0, Iterator::count)
}

fn get(address: &str, path: &str) -> (u16, String) {
    let answer = Connection::open(address).and_then(|mut it| it.request("GET", path, "", b""));
    answer.map_or((0, String::new()), |(status, body)| {
        (status, String::from_utf8_lossy(&body).into_owned())
    })
}

/// Reads and writes while the database is out of reach.
fn out_of_reach(server: &Server, cut: impl FnOnce(), mend: impl FnOnce()) -> Met {
    let address = &server.address;
    let mut met = Met::default();
    let challenge = items::challenge("1-0-0", items::ACTIVE);
    let path = "/v1/admin/challenges/1-0-0";
    let mut connection = Connection::open(address).unwrap();
    let put = connection.request("PUT", path, &bearer(), challenge.as_bytes());
    assert_eq!(put.unwrap().0, 200);
    let rows: Vec<String> = (0..20).map(|at| items::row(&format!("1-0-{at}"))).collect();
    assert_eq!(post(address, &rows.join("\n")).unwrap().0, 200);
    assert_eq!(get(address, PAGE).0, 200);
    assert_eq!(get(address, BOARD).0, 200);
    let before = threads(server.pid());
    cut();
    let (begun, length) = (Instant::now(), seconds(8, 20));
    thread::scope(|scope| {
        let writes = scope.spawn(|| {
            let mut number = 100;
            let mut all = Vec::new();
            while begun.elapsed() < length {
                number += 1;
                let sent = Instant::now();
                let answer = post(address, &items::row(&format!("1-1-{number}")));
                all.push((answer, sent.elapsed()));
                thread::sleep(Duration::from_millis(50));
            }
            all
        });
        while begun.elapsed() < length {
            for path in [BOARD, PAGE] {
                let sent = Instant::now();
                let (status, body) = get(address, path);
                met.reads += 1;
                if status != 200 || sent.elapsed() > within(Duration::from_secs(1)) {
                    let elapsed = sent.elapsed();
                    met.failed_reads
                        .push(format!("{path}: {status} after {elapsed:?}: {body}"));
                }
            }
            thread::sleep(Duration::from_millis(50));
        }
        // Those that wait end before the link is mended.
        for (answer, elapsed) in writes.join().unwrap() {
            met.writes += 1;
            met.slowest_write = met.slowest_write.max(elapsed);
            met.acknowledged += u32::from(!matches!(answer, Ok((503, _))));
        }
    });
    mend();
    let mended = Instant::now();
    let row = items::row("1-2-0");
    let limit = Duration::from_secs(20);
    while met.fresh_after.is_none() && mended.elapsed() < limit {
        let is_written = matches!(post(address, &row), Ok((200, _)));
        let page = "/v1/leaderboard/recent?since_ran_at=2026-06-01T00:00:00Z&limit=1000";
        let is_ready = get(address, "/health/ready").0 == 200;
        if is_written && is_ready && get(address, page).1.contains("1-2-0") {
            met.fresh_after = Some(mended.elapsed());
        }
        thread::sleep(Duration::from_millis(10));
    }
    // Idle threads end after ten seconds.
    let mut now = threads(server.pid());
    while now > before && mended.elapsed() < Duration::from_secs(40) {
        thread::sleep(Duration::from_millis(100));
        now = threads(server.pid());
    }
    met.threads = (before, now);
    met
}

#[test]
fn a_paused_postgresql_costs_writes_503_and_nothing_that_is_in_memory() {
    let Some(cluster) = Cluster::start(&[]) else {
        return;
    };
    let cluster = Arc::new(cluster);
    let database = cluster.database();
    let fleet = Fleet::start(database.url(), 1, &[]);
    let server = fleet.server(0);
    let met = out_of_reach(&server, || cluster.pause(), || cluster.resume());
    met.promise("SIGSTOP of all of PostgreSQL");
}

#[test]
fn a_link_that_is_cut_costs_writes_503_and_nothing_that_is_in_memory() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let link = Link::to(cluster.port());
    let fleet = Fleet::start(database.url_through(link.port), 1, &[]);
    let server = fleet.server(0);
    let met = out_of_reach(&server, || link.cut(), || link.mend());
    met.promise("a proxy in between passes nothing on");
}

/// A network namespace with two links: one to clients, and one to the database. Removed when dropped.
struct Namespace {
    name: String,
    /// The third byte of the addresses.
    number: u8,
}

fn ip(arguments: &str) -> bool {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    output.is_ok_and(|output| output.status.success())
}

impl Namespace {
    fn new() -> Option<Self> {
        let number = fastrand::u8(1..250);
        let name = format!("pub{number}");
        if !ip(&format!("netns add {name}")) {
            return None;
        }
        let namespace = Self { name, number };
        let name = &namespace.name;
        let built = ["c", "d"].into_iter().all(|kind| {
            let (net, link) = (namespace.net(kind), format!("{name}{kind}"));
            ip(&format!(
                "link add {link} type veth peer name {kind}0 netns {name}"
            )) && ip(&format!("addr add {net}.1/30 dev {link}"))
                && ip(&format!("link set {link} up"))
                && ip(&format!("-n {name} addr add {net}.2/30 dev {kind}0"))
                && ip(&format!("-n {name} link set {kind}0 up"))
        });
        built.then_some(namespace)
    }

    fn net(&self, kind: &str) -> String {
        let second = if kind == "c" { 213 } else { 214 };
        format!("10.{second}.{}", self.number)
    }

    fn set(&self, state: &str) {
        assert!(ip(&format!("link set {}d {state}", self.name)));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Its links go with it.
        let _ = ip(&format!("netns del {}", self.name));
    }
}

#[test]
fn a_network_that_is_down_costs_writes_503_and_nothing_that_is_in_memory() {
    let Some(cluster) = Cluster::start(&["listen_addresses=*"]) else {
        return;
    };
    let Some(namespace) = Namespace::new() else {
        skipped("a network namespace needs root and `ip`: a network that is down was not tested");
        return;
    };
    let cluster = Arc::new(cluster);
    let database = cluster.database();
    let url = database
        .url()
        .replace("127.0.0.1", &format!("{}.1", namespace.net("d")));
    let address = format!("{}.2:{}", namespace.net("c"), free_port());
    let serve = serve_at(
        &address,
        publisher(),
        &format!("{url}?sslmode=disable"),
        &[],
    );
    let mut command = Command::new("ip");
    command
        .args(["netns", "exec", &namespace.name])
        .arg(serve.get_program())
        .args(serve.get_args())
        .env("PUBLISHER_ADMIN_TOKEN", crate::chaos::server::TOKEN);
    let server = Server::try_start(&mut command).unwrap_or_else(|log| panic!("{log:?}"));
    let met = out_of_reach(&server, || namespace.set("down"), || namespace.set("up"));
    met.promise("the network to PostgreSQL is down");
}

#[test]
fn a_paused_publisher_does_not_keep_the_others_from_writing() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let fleet = Fleet::start(database.url(), 3, &[]);
    let model = load::model(1, &Stored::default());
    let mut longest = Duration::ZERO;
    let mut number = 0;
    let times = size(2, 10);
    load::during(&fleet, &model, 24, &mut [], || {
        for _ in 0..times {
            thread::sleep(Duration::from_millis(fastrand::u64(200..500)));
            let pid = fleet.server(0).pid();
            signal(pid, "-STOP");
            let begun = Instant::now();
            while begun.elapsed() < seconds(3, 10) {
                for server in [1, 2] {
                    number += 1;
                    let ids = [format!("1-500-{number}")];
                    let limit = Duration::from_secs(20);
                    let took = fleet.insist(&model, server, &ids, limit);
                    longest = longest.max(took.unwrap_or(Duration::from_secs(99)));
                }
            }
            signal(pid, "-CONT");
        }
    });
    promise(
        "7",
        &format!("{times} x SIGSTOP of a publisher under 24 writers"),
        &format!("the others' writes took {} at most", ms(longest)),
        longest <= within(Duration::from_secs(5)),
    );
}
