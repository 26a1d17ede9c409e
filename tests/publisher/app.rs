//! Starts a publisher inside the test process: on a free port, with its own temporary database, and with a clock
//! and board builds that the test controls.

use std::{
    ffi::OsString,
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
        build::{BuildError, BuildSnapshot, Built, StoreBuilder},
        handle::CacheHandle,
    },
    config::{Cli, Command, Kind},
    demo::{key, sample::Sample},
    domain::{challenge::Challenge, clock::ManualClock, eval_run::EvalRun, ran_at::RanAt},
    http::AdminTokens,
    keys::{JwkSet, JwkSetHandle},
    server::{self, Listen, Parts, Settings, Stopper},
    store::{Store, operation::Operation},
    writer::handle::WriterHandle,
};
use clap::Parser;

use crate::database::Database;

pub const BOARD: &str = "/v1/synthetic-boolean/active-challenges";
pub const CURRENT: &str = "/v1/synthetic-boolean/current-challenge";
pub const FEED: &str = "/v1/leaderboard/recent";

/// The admin tokens of the test server: the current one and the next one of a rotation.
pub const TOKENS: [&str; 2] = [
    "the-first-token-of-the-tests-0123456789",
    "the-second-token-of-the-tests-012345678",
];

/// What board builds do before they read the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Build at once.
    Pass,
    /// Wait until the mode changes.
    Hold,
    /// Read the database, and then wait until the mode changes.
    HoldRead,
    /// Return an error.
    Fail,
    /// Panic.
    Panic,
}

/// The real snapshot builder behind a gate that counts builds and can hold or break them.
#[derive(Debug)]
pub struct Gate {
    real: StoreBuilder,
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug)]
struct GateState {
    mode: Mode,
    builds: usize,
    running: usize,
    /// Builds that have read the database, and wait.
    held: usize,
}

/// Counts a build as running until dropped, even if the build fails or panics.
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

    /// Returns how many builds have read the database and waited then.
    pub fn held(&self) -> usize {
        self.state.lock().unwrap().held
    }

    /// Returns the number of builds started so far.
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
            Mode::Pass | Mode::Hold | Mode::HoldRead => {}
        }
        // Waiting at the gate does not count against the time limit of a build.
        let built = self
            .real
            .build(deadline.max(Instant::now() + Duration::from_secs(20)));
        let mut state = self.state.lock().unwrap();
        if mode == Mode::HoldRead {
            state.held += 1;
            while state.mode == Mode::HoldRead {
                state = self.changed.wait(state).unwrap();
            }
        }
        drop(state);
        built
    }
}

/// A database of its own, and what tests store in it.
pub struct Data {
    pub database: Database,
}

impl Data {
    pub fn empty() -> Self {
        Self {
            database: Database::new(),
        }
    }

    /// Creates a database with the sample board of 51 challenges.
    pub fn sample() -> Self {
        let data = Self::empty();
        data.put(&Sample::new(1).board());
        data
    }

    /// The value of `--database`.
    pub fn location(&self) -> OsString {
        self.database.location()
    }

    pub fn put(&self, challenges: &[Challenge]) {
        self.commit(&[Operation::PutChallenges(challenges.to_vec())]);
    }

    /// Imports a saved answer or NDJSON.
    pub fn import(&self, kind: Kind, source: &[u8]) {
        self.database.import(kind, source);
    }

    /// Stores an eval run with this id, time and schema version.
    pub fn run(&self, id: &str, ran_at: &str, version: i64) {
        let json = format!(
            r#"{{"id":"{id}","ran_at":"{ran_at}","weighted_score":1.0,"eval_output_schema_version":{version}}}"#
        );
        self.runs([json]);
    }

    /// Stores `count` sample eval runs, all with the same time.
    pub fn sample_runs(&self, count: usize, ran_at: &str) {
        let mut sample = Sample::new(2);
        let ran_at = RanAt::parse(ran_at).unwrap();
        self.runs((0..count).map(|_| sample.eval_run(&ran_at).unwrap()));
    }

    fn runs(&self, runs: impl IntoIterator<Item = String>) {
        let runs = runs
            .into_iter()
            .map(|run| EvalRun::from_json(&run).unwrap());
        self.commit(&[Operation::InsertEvalRuns(runs.collect())]);
    }

    /// Commits operations as another process does.
    pub fn commit(&self, operations: &[Operation]) {
        self.database.commit(operations);
    }
}

/// A running publisher, its parts, and an HTTP client for it.
pub struct App {
    pub data: Data,
    pub clock: ManualClock,
    pub gate: Arc<Gate>,
    pub cache: CacheHandle,
    pub store: Store,
    pub writer: WriterHandle,
    pub url: String,
    /// The URL of the admin address; `None` if admin routes are on the public address.
    pub admin_url: Option<String>,
    client: Client,
    pub server: Stopper,
}

/// A response with its body read completely.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    /// Returns the value of a header field; empty if the field is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Asserts that this is an error with this status and the body `{"detail":…}`.
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

    /// Returns the value of a counter or gauge of `/metrics`, given its name and labels.
    pub async fn metric(&self, name: &str) -> u64 {
        let path = match self.admin_url {
            Some(_) => "admin:/metrics",
            None => "/metrics",
        };
        let metrics = self.get(path).await;
        let mut lines = metrics.text().lines();
        let value = lines.find_map(|line| line.strip_prefix(name));
        value
            .unwrap_or_else(|| panic!("metric {name} is missing"))
            .trim()
            .parse()
            .unwrap()
    }

    /// Starts with these command-line options of `serve`.
    pub async fn start_with_options(data: Data, options: &[&str]) -> Self {
        Self::start_with(data, Mode::Pass, settings(options)).await
    }

    pub async fn start_with(data: Data, mode: Mode, settings: Settings) -> Self {
        // Tests with 500 clients hold both ends of each connection in this process.
        rlimit::increase_nofile_limit(8192).unwrap();
        let store = data.database.open(settings.store);
        let gate = Arc::new(Gate {
            real: StoreBuilder {
                store: store.clone(),
            },
            state: Mutex::new(GateState {
                mode,
                builds: 0,
                running: 0,
                held: 0,
            }),
            changed: Condvar::new(),
        });
        let clock = ManualClock::default();
        let jwk_set = JwkSetHandle::default();
        jwk_set.replace(JwkSet::from_json(key::jwk_set().into()).unwrap());
        let parts = Parts {
            store: store.clone(),
            builder: gate.clone(),
            clock: Arc::new(clock.clone()),
            writable: true,
            follow: None,
            tokens: AdminTokens::load(None, TOKENS.map(str::to_owned)).unwrap(),
            jwk_set,
            verifies_rows: false,
            dropped_log_lines: Default::default(),
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
            store,
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

    /// Sends a request with the first admin token.
    pub async fn admin(&self, method: Method, path: &str, body: impl Into<Vec<u8>>) -> Answer {
        let bearer = format!("Bearer {}", TOKENS[0]);
        let headers = [("authorization", bearer.as_str())];
        self.send_body(method, path, &headers, body.into()).await
    }

    /// Stores a challenge, through the server.
    pub async fn put_challenge(&self, challenge: &Challenge) {
        let mut item = Vec::new();
        challenge.write_item(&mut item).unwrap();
        let path = format!("/v1/admin/challenges/{}", challenge.challenge_id);
        assert_eq!(self.admin(Method::PUT, &path, item).await.status, 200);
    }

    /// Sends a request; a `path` that begins with `admin:` goes to the admin address.
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

    /// Waits until `condition` is true; panics after 30 s.
    pub async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        wait_until(what, async || condition(self)).await;
    }

    /// Waits until the served board has `count` items.
    pub async fn until_count(&self, count: usize) {
        let has = async || self.get(BOARD).await.json()["count"] == count;
        wait_until(&format!("{count} items"), has).await;
    }

    /// Waits until the served board has `count` items, and advances the clock by one second per attempt, so that
    /// the back-off after failed builds ends.
    pub async fn recovers_to(&self, count: usize) {
        let has = async || {
            let has = self.get(BOARD).await.json()["count"] == count;
            self.clock.advance(Duration::from_secs(u64::from(!has)));
            has
        };
        wait_until(&format!("{count} items after recovery"), has).await;
    }

    pub fn address(&self) -> String {
        self.url.trim_start_matches("http://").to_owned()
    }

    pub async fn stop(self) {
        self.gate.set(Mode::Pass);
        self.server.stop(false).await;
        // A build that was held may still need the directory.
        self.until("no running build", |app| {
            app.gate.state.lock().unwrap().running == 0
        })
        .await;
    }
}

/// How often helpers look, 10 ms apart: for two minutes at least, as every step may take long on a busy machine.
const LOOKS: u32 = 12_000;

/// Waits until `condition` is true; panics after some minutes.
pub async fn wait_until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..LOOKS {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("timed out waiting for: {what}");
}

/// Waits until `condition` is true, and blocks the thread; panics after some minutes.
#[track_caller]
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    assert!(within_limit(condition), "timed out waiting for: {what}");
}

/// Waits until the condition holds. Returns false if it does not in time.
pub fn within_limit(mut condition: impl FnMut() -> bool) -> bool {
    (0..LOOKS).any(|_| {
        let holds = condition();
        if !holds {
            std::thread::sleep(Duration::from_millis(10));
        }
        holds
    })
}

/// Returns the settings of `serve` with these command-line options. Without an option for it, time slots do not end
/// while a test runs.
pub fn settings(options: &[&str]) -> Settings {
    let slot = "--wait-slot-secs";
    let long = if options.contains(&slot) {
        &[][..]
    } else {
        &[slot, "600"]
    };
    let program = ["cathedral-publisher", "serve"];
    let cli = Cli::parse_from(program.iter().chain(long).chain(options));
    let Command::Serve(serve) = cli.command else {
        panic!("{cli:?}");
    };
    serve.settings
}

/// Returns the path of a saved answer of the production service. If the file is missing, prints SKIPPED and
/// returns `None`.
pub fn live_answer(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/data")
        .join(name);
    if path.exists() {
        return Some(path);
    }
    // Not eprintln!: the test harness hides its output if the test passes.
    let skipped = format!(
        "SKIPPED: {} is missing, so no answer was compared with it\n",
        path.display()
    );
    std::io::Write::write_all(&mut std::io::stderr(), skipped.as_bytes()).unwrap();
    None
}
