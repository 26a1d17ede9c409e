//! A publisher on a free port, its database in a folder of its own, its clock and builds in the
//! test's hands.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use awc::{
    Client, Connector,
    http::{Method, StatusCode, header::HeaderMap},
};
use cathedral_publisher::{
    cache::{
        build::{BuildError, BuildSnapshot, Built, SqliteBuilder},
        handle::CacheHandle,
    },
    config::{Cli, Command},
    demo::sample::Sample,
    domain::{challenge::Challenge, clock::ManualClock, eval_run::EvalRun, ran_at::RanAt},
    http::AdminTokens,
    server::{self, Listen, Parts, Settings, Stopper},
    store::{
        open::open_writer,
        pool::ReadPool,
        write::{insert_eval_run, put_challenge},
    },
    writer::handle::WriterHandle,
};
use clap::Parser;
use tempfile::TempDir;

pub const BOARD: &str = "/v1/synthetic-boolean/active-challenges";
pub const CURRENT: &str = "/v1/synthetic-boolean/current-challenge";
pub const FEED: &str = "/v1/leaderboard/recent";

/// Both tokens of a rotation.
pub const TOKENS: [&str; 2] = [
    "the-first-token-of-the-tests-0123456789",
    "the-second-token-of-the-tests-012345678",
];

/// What the next builds do before they read the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Pass,
    Hold,
    Fail,
    Panic,
}

/// The real builder behind a gate that counts.
#[derive(Debug)]
pub struct Gate {
    real: SqliteBuilder,
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug)]
struct GateState {
    mode: Mode,
    builds: usize,
    running: usize,
}

/// A build under way, however it ends.
struct Running<'a>(&'a Gate);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap().running -= 1;
    }
}

impl Gate {
    pub fn set(&self, mode: Mode) {
        self.state.lock().unwrap().mode = mode;
        self.changed.notify_all();
    }

    /// How many builds have begun.
    pub fn builds(&self) -> usize {
        self.state.lock().unwrap().builds
    }
}

impl BuildSnapshot for Gate {
    fn build(&self, deadline: Instant) -> Result<Built, BuildError> {
        let mut state = self.state.lock().unwrap();
        state.builds += 1;
        state.running += 1;
        let _running = Running(self);
        while state.mode == Mode::Hold {
            state = self.changed.wait(state).unwrap();
        }
        let mode = state.mode;
        drop(state);
        match mode {
            Mode::Fail => return Err(BuildError::Json(serde::ser::Error::custom("on purpose"))),
            Mode::Panic => panic!("on purpose"),
            Mode::Pass | Mode::Hold => {}
        }
        // A build that was held keeps its real time limit from now on.
        self.real
            .build(deadline.max(Instant::now() + Duration::from_secs(20)))
    }
}

/// A folder with a database.
pub struct Data {
    folder: TempDir,
}

impl Data {
    pub fn empty() -> Self {
        let data = Self {
            folder: TempDir::new().unwrap(),
        };
        data.write(|_| ());
        data
    }

    /// The sample board of 51 challenges.
    pub fn sample() -> Self {
        let data = Self::empty();
        data.put(&Sample::new(1).board());
        data
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("publisher.db")
    }

    pub fn write<T>(&self, work: impl FnOnce(&rusqlite::Connection) -> T) -> T {
        let mut connection = open_writer(&self.path(), Duration::from_secs(20)).unwrap();
        let transaction = connection.transaction().unwrap();
        let result = work(&transaction);
        transaction.commit().unwrap();
        result
    }

    pub fn put(&self, challenges: &[Challenge]) {
        self.write(|connection| {
            for challenge in challenges {
                put_challenge(connection, challenge).unwrap();
            }
        });
    }

    /// Stores `{"id":…,"ran_at":…,"eval_output_schema_version":…}`.
    pub fn run(&self, id: &str, ran_at: &str, version: i64) {
        let json = format!(
            r#"{{"id":"{id}","ran_at":"{ran_at}","weighted_score":1.0,"eval_output_schema_version":{version}}}"#
        );
        self.write(|connection| {
            insert_eval_run(connection, &EvalRun::from_json(&json).unwrap()).unwrap();
        });
    }

    /// Stores sample rows, all of the same instant.
    pub fn sample_runs(&self, count: usize, ran_at: &str) {
        let mut sample = Sample::new(2);
        let ran_at = RanAt::parse(ran_at).unwrap();
        self.write(|connection| {
            for _ in 0..count {
                let run = EvalRun::from_json(&sample.eval_run(&ran_at).unwrap()).unwrap();
                insert_eval_run(connection, &run).unwrap();
            }
        });
    }
}

pub struct App {
    pub data: Data,
    pub clock: ManualClock,
    pub gate: Arc<Gate>,
    pub cache: CacheHandle,
    pub pool: ReadPool,
    pub writer: WriterHandle,
    pub url: String,
    /// Of the admin address, where there is one.
    pub admin_url: Option<String>,
    client: Client,
    pub server: Stopper,
}

/// An answer, its body read.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Asserts an error: its status and `{"detail":…}`.
    #[track_caller]
    pub fn assert_error(&self, status: u16, detail: &str) {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/json");
        assert_eq!(self.json(), serde_json::json!({ "detail": detail }));
    }
}

impl App {
    pub async fn start(data: Data) -> Self {
        Self::start_in(data, Mode::Pass).await
    }

    pub async fn start_in(data: Data, mode: Mode) -> Self {
        Self::start_with(data, mode, settings(&[])).await
    }

    /// A counter or gauge of `/metrics`, by its name and labels.
    pub async fn metric(&self, name: &str) -> u64 {
        let path = match self.admin_url {
            Some(_) => "admin:/metrics",
            None => "/metrics",
        };
        let metrics = self.get(path).await;
        let mut lines = metrics.text().lines();
        let value = lines.find_map(|line| line.strip_prefix(name));
        value
            .unwrap_or_else(|| panic!("no {name}"))
            .trim()
            .parse()
            .unwrap()
    }

    /// With these options of `serve`.
    pub async fn start_with_options(data: Data, options: &[&str]) -> Self {
        Self::start_with(data, Mode::Pass, settings(options)).await
    }

    pub async fn start_with(data: Data, mode: Mode, settings: Settings) -> Self {
        // Five hundred clients and their server share this process's file descriptors.
        rlimit::increase_nofile_limit(8192).unwrap();
        let pool = ReadPool::new(&data.path(), settings.store, false);
        let gate = Arc::new(Gate {
            real: SqliteBuilder { pool: pool.clone() },
            state: Mutex::new(GateState {
                mode,
                builds: 0,
                running: 0,
            }),
            changed: Condvar::new(),
        });
        let clock = ManualClock::default();
        let parts = Parts {
            pool: pool.clone(),
            builder: gate.clone(),
            clock: Arc::new(clock.clone()),
            path: data.path(),
            writable: true,
            tokens: AdminTokens::load(None, TOKENS.map(str::to_owned)).unwrap(),
        };
        let listen = Listen::At("127.0.0.1:0".to_owned());
        let running = server::start(listen, settings, parts).await.unwrap();
        let url = format!("http://{}", running.addresses[0]);
        let admin_url = running.admin_addresses.first();
        let admin_url = admin_url.map(|address| format!("http://{address}"));
        let (server, cache) = (running.stopper(), running.cache.clone());
        let writer = running.writer.clone().unwrap();
        actix_rt::spawn(running.serve());
        Self {
            data,
            clock,
            gate,
            cache,
            pool,
            writer,
            url,
            admin_url,
            client: Client::builder()
                .connector(Connector::new().limit(0).timeout(Duration::from_secs(60)))
                .timeout(Duration::from_secs(60))
                .finish(),
            server,
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[]).await
    }

    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(Method::GET, path, headers).await
    }

    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send_body(method, path, headers, Vec::new()).await
    }

    /// An admin request with the first token.
    pub async fn admin(&self, method: Method, path: &str, body: impl Into<Vec<u8>>) -> Answer {
        let bearer = format!("Bearer {}", TOKENS[0]);
        let headers = [("authorization", bearer.as_str())];
        self.send_body(method, path, &headers, body.into()).await
    }

    /// Where `path` begins with `admin:`, to the admin address.
    pub async fn send_body(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answer {
        let url = match path.strip_prefix("admin:") {
            Some(path) => format!("{}{path}", self.admin_url.as_deref().unwrap()),
            None => format!("{}{path}", self.url),
        };
        let mut request = self.client.request(method, url);
        for header in headers {
            request = request.append_header(*header);
        }
        let sent = if body.is_empty() {
            request.send()
        } else {
            request.send_body(body)
        };
        let mut response = sent.await.unwrap();
        Answer {
            status: response.status(),
            headers: response.headers().clone(),
            body: response.body().limit(64 << 20).await.unwrap().to_vec(),
        }
    }

    /// Waits for a condition that another thread brings about.
    pub async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        comes_about(what, async || condition(self)).await;
    }

    /// Waits until the board's answer has this many items.
    pub async fn until_count(&self, count: usize) {
        let has = async || self.get(BOARD).await.json()["count"] == count;
        comes_about(&format!("{count} items"), has).await;
    }

    /// Lets time pass, a second at a time, until the board's answer has this many items: however late
    /// a failure comes to the actor's notice, its back-off ends.
    pub async fn recovers_to(&self, count: usize) {
        let has = async || {
            let has = self.get(BOARD).await.json()["count"] == count;
            self.clock.advance(Duration::from_secs(u64::from(!has)));
            has
        };
        comes_about(&format!("{count} items again"), has).await;
    }

    pub fn address(&self) -> String {
        self.url.trim_start_matches("http://").to_owned()
    }

    pub async fn stop(self) {
        self.gate.set(Mode::Pass);
        self.server.stop(false).await;
        // A build that was held must not find its folder gone.
        self.until("the last build's end", |app| {
            app.gate.state.lock().unwrap().running == 0
        })
        .await;
    }
}

/// Asks again and again until it is so.
pub async fn comes_about(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..3000 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never came about: {what}");
}

/// Waits, on this thread, for a condition that another process brings about.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("never came about: {what}");
}

/// Returns the settings of `serve` with these options.
pub fn settings(options: &[&str]) -> Settings {
    let program = ["cathedral-publisher", "serve"];
    let cli = Cli::parse_from(program.iter().chain(options));
    let Command::Serve(serve) = cli.command else {
        panic!("{cli:?}");
    };
    serve.settings
}

/// A live answer of the real service, where the folder is there; else says so, loudly.
pub fn live(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/data")
        .join(name);
    if path.exists() {
        return Some(path);
    }
    // Not eprintln!, which the test harness keeps to itself when a test passes.
    let skipped = format!(
        "SKIPPED: {} is not there, so nothing was compared with it\n",
        path.display()
    );
    std::io::Write::write_all(&mut std::io::stderr(), skipped.as_bytes()).unwrap();
    None
}
