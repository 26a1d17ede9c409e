//! A server with sample data, its figures, and herds that run beside the scenario.

use std::{
    io::Read as _,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime},
};

use cathedral_publisher::{demo::simulation::populate, store::sqlite::open::open_writer};
use herd::{
    processes,
    run::{Run, ServerUse},
};
use tempfile::TempDir;

use crate::{
    client::Connection,
    lab::{Process, TOKEN, program, serve_at},
};

pub const BOARD: &str = "/v1/synthetic-boolean/active-challenges";
pub const CHANGES: &str = "/v1/synthetic-boolean/active-challenges/changes";
pub const FEED: &str = "/v1/leaderboard/recent";
/// The default of `--wait-slot-secs`.
const SLOT: Duration = Duration::from_secs(25);
const BUSY: Duration = Duration::from_secs(30);
/// Below the server's limit of waits from one address, for up to 12,000 clients.
pub const ADDRESSES: u32 = 200;

pub struct Server {
    pub process: Process,
    pub address: String,
    _folder: TempDir,
}

impl Server {
    /// Starts a server with the sample board and some eval runs.
    pub fn start(options: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let database: PathBuf = folder.path().join("waiting.db");
        populate(&mut open_writer(&database, BUSY).unwrap(), 500, None).unwrap();
        let (process, address) = serve_at("127.0.0.1:0", &database, options);
        let server = Self {
            process,
            address,
            _folder: folder,
        };
        // All codings of the board are made within a second or two.
        for _ in 0..3 {
            server.get(BOARD);
            thread::sleep(Duration::from_secs(1));
        }
        server
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn get(&self, path: &str) -> String {
        let mut connection = Connection::open(&self.address).unwrap();
        let (status, body) = connection.request("GET", path, "", b"").unwrap();
        assert_eq!(status, 200, "{path}");
        String::from_utf8(body).unwrap()
    }

    /// Returns the sum of the series of a metric whose line has `part`.
    pub fn metric(&self, name: &str, part: &str) -> f64 {
        let text = self.get("/metrics");
        let lines = text.lines().filter(|line| {
            let rest = line.strip_prefix(name).unwrap_or_default();
            rest.starts_with([' ', '{']) && rest.contains(part)
        });
        let values = lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap());
        values.sum()
    }

    pub fn builds(&self) -> f64 {
        self.metric("publisher_board_builds_total", "")
    }

    pub fn waiters(&self) -> f64 {
        self.metric("publisher_waiters", "")
    }

    /// Returns the requests for public paths.
    pub fn public_requests(&self) -> f64 {
        let routes = ["active-challenges", "changes", "leaderboard"];
        let of = |route: &&str| {
            let label = format!("route=\"{route}\"");
            self.metric("publisher_http_requests_total", &label)
        };
        routes.iter().map(of).sum()
    }

    /// Returns the cursor of since_seq at the end of the feed.
    pub fn end_of_feed(&self) -> String {
        let mut cursor = "0".to_owned();
        loop {
            let page = self.get(&format!("{FEED}?since_seq={cursor}&limit=1000"));
            let page: serde_json::Value = serde_json::from_str(&page).unwrap();
            let next = page["next_since_seq"].as_str().unwrap().to_owned();
            if next == cursor {
                return cursor;
            }
            cursor = next;
        }
    }

    /// Waits until so many clients wait; returns how many do after that or after `within`.
    pub fn until_waiting(&self, clients: u32, within: Duration) -> f64 {
        let begun = Instant::now();
        loop {
            let waiters = self.waiters();
            let reached = match clients {
                0 => waiters == 0.0,
                _ => waiters >= f64::from(clients),
            };
            if reached || begun.elapsed() > within {
                return waiters;
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    pub fn used(&self) -> ServerUse {
        processes::used(&[self.process.0.id() as i32])
    }

    /// Starts `clients` that wait for the board, for so many seconds; the board changes at second `change_at`, if ever.
    pub fn wait_with(&self, clients: u32, seconds: u64, change_at: Option<f64>) -> Herd {
        // Two thousand connections a second.
        let ramp_ms = clients / 2;
        let connections = clients + 64;
        let change = change_at.map_or(String::new(), |at| {
            let url = self.url("/v1/admin/challenges");
            format!("--change-at {at:.3} --change-url {url}")
        });
        Herd::start(
            &self.url(CHANGES),
            &format!(
                "--wait --clients {clients} --ramp-ms {ramp_ms} --duration-secs {seconds} \
                 --max-connections {connections} --max-rate 1000000 --from-addresses {ADDRESSES} \
                 --accept-encoding gzip {change}"
            ),
        )
    }
}

/// A herd in a process of its own. Killed when it is dropped.
pub struct Herd(Process);

impl Herd {
    pub fn start(url: &str, options: &str) -> Self {
        let child = Command::new(program("herd"))
            .args([url, "--json"])
            .args(options.split_whitespace())
            .env("PUBLISHER_ADMIN_TOKEN", TOKEN)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        Self(Process(child))
    }

    /// Waits for its end; returns its results.
    pub fn results(mut self) -> Run {
        let child = &mut self.0.0;
        let mut results = Vec::new();
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_to_end(&mut results).unwrap();
        assert!(child.wait().unwrap().success(), "herd failed");
        serde_json::from_slice(&results).unwrap()
    }

    /// Makes all its clients disappear.
    pub fn kill(self) {
        drop(self);
    }
}

/// Sleeps until the current slot has lasted for so long: what is measured in the middle of a slot is not disturbed by
/// its end.
pub fn until_phase(phase: Duration) {
    thread::sleep(to_phase(SystemTime::now(), phase));
}

/// Returns the time from then until a slot has lasted for `phase`.
pub fn to_phase(then: SystemTime, phase: Duration) -> Duration {
    let since = then.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let now = since.as_secs_f64() % SLOT.as_secs_f64();
    let left = phase.as_secs_f64() - now;
    Duration::from_secs_f64(left.rem_euclid(SLOT.as_secs_f64()))
}
