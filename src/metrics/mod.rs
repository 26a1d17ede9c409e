//! The server's metrics, in Prometheus' text format.
//!
//! | file | knows |
//! |---|---|
//! | `requests` | request counters of each worker |
//! | `process` | what the process uses |
//! | `follow` | what a follower asks of its upstream |
//! | `dropped_lines` | lines of the log that were dropped |

mod dropped_lines;
mod follow;
mod process;
pub mod requests;

use std::time::Duration;

use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder, core::Collector,
};

pub use dropped_lines::DroppedLines;
pub use follow::{FollowMetrics, FollowOutcome, FollowRejected};

use process::Process;
use requests::Requests;

/// The content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// From the rebuild of a small board, 50 µs, to the default timeout.
const BUILD_SECONDS: [f64; 9] = [50e-6, 200e-6, 1e-3, 5e-3, 25e-3, 0.1, 0.5, 1.0, 5.0];
/// From a disk that syncs at once to a slow one.
const COMMIT_SECONDS: [f64; 9] = [100e-6, 500e-6, 1e-3, 5e-3, 25e-3, 0.1, 0.5, 1.0, 5.0];
/// From one waiting client to more than ten thousand.
const WAKE_SECONDS: [f64; 9] = [100e-6, 500e-6, 1e-3, 5e-3, 25e-3, 0.1, 0.25, 0.5, 1.0];
/// What may be wrong with the file of a formula.
pub const FORMULA_FAULTS: [&str; 4] = ["missing", "wrong_size", "wrong_content", "unreadable"];
/// Writes that share a commit.
const COMMIT_WRITES: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 256.0, 1024.0];

/// The server's counters, in a registry of their own. Cheap to clone; clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    requests: Requests,
    builds: IntCounterVec,
    build_seconds: Histogram,
    /// One for each [`Source`], looked up once: a hit must not pay for a look-up by label.
    feed_pages: [IntCounter; Source::ALL.len()],
    /// One for each [`WaitOutcome`].
    waits: [IntCounter; WaitOutcome::ALL.len()],
    wake_seconds: Histogram,
    /// One for each [`CommitOutcome`].
    commits: [IntCounter; CommitOutcome::ALL.len()],
    commit_seconds: Histogram,
    commit_writes: Histogram,
    committed_rows: IntCounter,
    lock_wait_seconds: Histogram,
    notice_seconds: Histogram,
    /// One for each [`Source`].
    formula_chunks: [IntCounter; Source::ALL.len()],
    formula_faults: IntCounterVec,
    formula_cut_off: IntCounter,
    coded_bytes: IntGauge,
    connections: IntGauge,
    accepted: IntCounter,
    snapshot_age_seconds: Gauge,
    follow: FollowMetrics,
    board_challenges: IntGauge,
    ready: IntGaugeVec,
    database: IntGaugeVec,
    gauges: [IntGauge; SampledGauge::ALL.len()],
}

/// How a build of the board ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildOutcome {
    /// With a snapshot.
    Built,
    /// With an error or a panic.
    Failed,
}

/// How a wait for a change ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitOutcome {
    /// With news.
    Changed,
    /// The slot ended, or the server stops.
    Unchanged,
    /// At once: too many requests wait.
    Refused,
    /// The client has gone.
    Gone,
}

/// How a commit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitOutcome {
    /// It is durable.
    Stored,
    /// Nothing of it is stored.
    NotStored,
    /// It may be stored.
    Unknown,
}

/// Where a page of the feed came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The cache.
    Hit,
    /// A read for another request, which was in flight already.
    Join,
    /// The database, or the disk.
    Miss,
}

/// Gauges sampled at scrape time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SampledGauge {
    /// Readers that wait for the first snapshot.
    BoardWaiters,
    /// Requests that wait for a change, and streams of events.
    Waiters,
    /// How many connections the public address may have. Set once, at the start.
    MaxConnections,
    /// Feed reads that run now.
    FeedReads,
    /// Bytes of cached feed pages.
    FeedPageBytes,
    /// Writes admitted and not yet answered.
    Writes,
    /// Read connections that are open.
    PoolConnections,
    /// Open read connections that are idle.
    PoolIdle,
    /// Bytes of the write-ahead log.
    WalBytes,
    /// Whole seconds that the commit in flight has been running for.
    CommitRunning,
    /// Whether the database tells of changes.
    Listening,
    /// Whole seconds that the database is behind its primary.
    ReplicaLag,
    /// When the newest published eval run ran, in seconds since 1970; -1 if there is none.
    NewestEvalRun,
    /// Bytes of the database, without its write-ahead log.
    DatabaseBytes,
    /// Bytes that are free on the database's disk.
    DiskFreeBytes,
    /// Bytes of the database's disk.
    DiskBytes,
}

impl SampledGauge {
    const ALL: [Self; 16] = [
        Self::BoardWaiters,
        Self::Waiters,
        Self::MaxConnections,
        Self::FeedReads,
        Self::FeedPageBytes,
        Self::Writes,
        Self::PoolConnections,
        Self::PoolIdle,
        Self::WalBytes,
        Self::CommitRunning,
        Self::Listening,
        Self::ReplicaLag,
        Self::NewestEvalRun,
        Self::DatabaseBytes,
        Self::DiskFreeBytes,
        Self::DiskBytes,
    ];

    fn name_and_help(self) -> (&'static str, &'static str) {
        match self {
            Self::BoardWaiters => (
                "publisher_board_waiters",
                "Requests that wait for the first snapshot.",
            ),
            Self::Waiters => (
                "publisher_waiters",
                "Requests that wait for a change, and connections to /v1/events.",
            ),
            Self::MaxConnections => (
                "publisher_http_connections_max",
                "Connections that the public address may have; further ones wait in the kernel.",
            ),
            Self::FeedReads => (
                "publisher_feed_reads",
                "Reads of the feed from the database in flight.",
            ),
            Self::FeedPageBytes => ("publisher_feed_page_bytes", "Bytes of cached feed pages."),
            Self::Writes => (
                "publisher_writes",
                "Writes admitted and not yet answered: those that commit and those that queue.",
            ),
            Self::PoolConnections => (
                "publisher_pool_connections",
                "Read connections to the database that are open.",
            ),
            Self::PoolIdle => (
                "publisher_pool_idle_connections",
                "Read connections to the database that are idle.",
            ),
            Self::WalBytes => (
                "publisher_wal_bytes",
                "Size of the database's write-ahead log, in bytes.",
            ),
            Self::Listening => (
                "publisher_database_listening",
                "1 if PostgreSQL's notices of changes arrive; 0 if only polls notice changes, as with SQLite.",
            ),
            Self::ReplicaLag => (
                "publisher_replica_lag_seconds",
                "For how long a standby that is read has not caught up with its primary, in seconds.",
            ),
            Self::NewestEvalRun => (
                "publisher_newest_eval_run_timestamp_seconds",
                "ran_at of the newest published eval run, in seconds since 1970; -1 if there is none.",
            ),
            Self::DatabaseBytes => (
                "publisher_database_bytes",
                "Size of the SQLite file without its write-ahead log, or of PostgreSQL's tables and indexes, in bytes.",
            ),
            Self::DiskFreeBytes => (
                "publisher_disk_free_bytes",
                "Bytes that are free on the disk of the SQLite file; 0 with PostgreSQL.",
            ),
            Self::DiskBytes => (
                "publisher_disk_bytes",
                "Size of the disk of the SQLite file, in bytes; 0 with PostgreSQL.",
            ),
            Self::CommitRunning => (
                "publisher_commit_running_seconds",
                "For how long the commit in flight has been running, in seconds; 0 while no commit runs.",
            ),
        }
    }
}

/// Counts a connection for as long as it is open.
#[derive(Debug)]
pub struct OpenConnection(IntGauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Metrics that are all zero.
    ///
    /// # Errors
    /// Invalid or duplicate names, which are a mistake in this file.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let mut gauges = Vec::new();
        for gauge in SampledGauge::ALL {
            let (name, help) = gauge.name_and_help();
            gauges.push(registered(&registry, IntGauge::new(name, help)?)?);
        }
        // Until the database was asked.
        gauges[SampledGauge::NewestEvalRun as usize].set(-1);
        let unreachable = |_| prometheus::Error::Msg("one gauge for each name".to_owned());
        registry.register(Box::new(Process::new()?))?;
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            registered(&registry, Histogram::with_opts(options)?)
        };
        let info = |name: &str, help: &str, labels: &[&str]| {
            registered(&registry, IntGaugeVec::new(Opts::new(name, help), labels)?)
        };
        let by = |label: &str, name: &str, help: &str| {
            registered(
                &registry,
                IntCounterVec::new(Opts::new(name, help), &[label])?,
            )
        };
        let build = info(
            "publisher_build_info",
            "Always 1; the labels say which program runs.",
            &["version", "os", "arch"],
        )?;
        let feed_pages = by(
            "from",
            "publisher_feed_pages_total",
            "Requests for a page of the feed, by its source: held (cached), joined (a read in flight), read (the database).",
        )?;
        let formula_chunks = by(
            "from",
            "publisher_cnf_chunks_total",
            "Chunks of formulas that were sent, by their source: held (cached), joined (a read in flight), read (the disk).",
        )?;
        let waits = by(
            "outcome",
            "publisher_waits_total",
            "Requests that waited for a change, by outcome: changed, unchanged (the slot ended), refused (too many wait), gone (the client).",
        )?;
        let commits = by(
            "outcome",
            "publisher_commits_total",
            "Commits by outcome: stored, not_stored, unknown (the connection or the disk failed meanwhile).",
        )?;
        let metrics = Self {
            requests: registered(&registry, Requests::new()?)?,
            builds: by(
                "outcome",
                "publisher_board_builds_total",
                "Builds of the board from the database, by outcome.",
            )?,
            build_seconds: histogram(
                "publisher_board_build_seconds",
                "Time a build of the board took, the wait for a connection included.",
                &BUILD_SECONDS,
            )?,
            feed_pages: Source::ALL.map(|source| feed_pages.with_label_values(&[source.label()])),
            waits: WaitOutcome::ALL.map(|outcome| waits.with_label_values(&[outcome.label()])),
            wake_seconds: histogram(
                "publisher_wake_seconds",
                "Time from a change to the answer of a request that waited for it.",
                &WAKE_SECONDS,
            )?,
            commits: CommitOutcome::ALL
                .map(|outcome| commits.with_label_values(&[outcome.label()])),
            commit_seconds: histogram(
                "publisher_commit_seconds",
                "Time a commit took, until it was durable.",
                &COMMIT_SECONDS,
            )?,
            commit_writes: histogram(
                "publisher_commit_writes",
                "Writes that shared a commit.",
                &COMMIT_WRITES,
            )?,
            committed_rows: registered(
                &registry,
                IntCounter::new(
                    "publisher_committed_items_total",
                    "Challenges, eval runs and Merkle epochs inserted or changed.",
                )?,
            )?,
            lock_wait_seconds: histogram(
                "publisher_lock_wait_seconds",
                "PostgreSQL: time a commit waited for those of other replicas.",
                &COMMIT_SECONDS,
            )?,
            notice_seconds: histogram(
                "publisher_notice_seconds",
                "PostgreSQL: time from a notice of a commit until the caches were told.",
                &COMMIT_SECONDS,
            )?,
            formula_chunks: Source::ALL
                .map(|source| formula_chunks.with_label_values(&[source.label()])),
            formula_faults: by(
                "reason",
                "publisher_cnf_refused_total",
                "Requests for the formula of an active challenge that got 404, by what is wrong with its file: missing, wrong_size, wrong_content, unreadable.",
            )?,
            formula_cut_off: registered(
                &registry,
                IntCounter::new(
                    "publisher_cnf_cut_off_total",
                    "Formulas whose connection was closed before their last byte: the file changed or could not be read.",
                )?,
            )?,
            coded_bytes: registered(
                &registry,
                IntGauge::new(
                    "publisher_cnf_coding_bytes",
                    "Bytes of the zstd, gzip and brotli files beside the formulas.",
                )?,
            )?,
            connections: registered(
                &registry,
                IntGauge::new("publisher_http_connections", "Connections that are open.")?,
            )?,
            accepted: registered(
                &registry,
                IntCounter::new(
                    "publisher_http_connections_accepted_total",
                    "Connections accepted.",
                )?,
            )?,
            snapshot_age_seconds: registered(
                &registry,
                Gauge::new(
                    "publisher_board_age_seconds",
                    "Time since the board in service was built, or found to be the same again; -1 while there is none.",
                )?,
            )?,
            follow: FollowMetrics::new(&registry)?,
            board_challenges: registered(
                &registry,
                IntGauge::new(
                    "publisher_board_challenges",
                    "Challenges on the board in service; -1 while there is none.",
                )?,
            )?,
            ready: info(
                "publisher_ready",
                "1 if this check of /health/ready was well at the last look, 0 if not. A scrape makes a look begin, once a second at most.",
                &["check"],
            )?,
            database: info(
                "publisher_database_info",
                "Always 1; the labels say which kind of database it is, and whether this process may write to it.",
                &["kind", "access"],
            )?,
            gauges: gauges.try_into().map_err(unreachable)?,
            registry,
        };
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        let labels = [env!("CARGO_PKG_VERSION"), os, arch];
        build.with_label_values(&labels).set(1);
        // A counter that has counted nothing yet shows 0 instead of being absent.
        for outcome in [BuildOutcome::Built, BuildOutcome::Failed] {
            metrics.builds.with_label_values(&[outcome.label()]);
        }
        for reason in FORMULA_FAULTS {
            metrics.formula_faults.with_label_values(&[reason]);
        }
        Ok(metrics)
    }

    /// Returns the metrics of a follower.
    pub fn follow(&self) -> &FollowMetrics {
        &self.follow
    }

    /// Adds the count of dropped log lines.
    ///
    /// # Errors
    /// If it was added before.
    pub fn register_dropped_lines(&self, dropped: &DroppedLines) -> Result<(), prometheus::Error> {
        self.registry.register(Box::new(dropped.collector()?))
    }

    /// Returns the request counters of all workers.
    pub fn requests(&self) -> &Requests {
        &self.requests
    }

    /// Counts a connection until the returned guard is dropped.
    pub fn connected(&self) -> OpenConnection {
        self.accepted.inc();
        self.connections.inc();
        OpenConnection(self.connections.clone())
    }

    /// Counts a request for a page of the feed.
    pub fn feed_page(&self, source: Source) {
        self.feed_pages[source as usize].inc();
    }

    /// Counts a chunk of a formula that is sent.
    pub fn formula_chunk(&self, source: Source) {
        self.formula_chunks[source as usize].inc();
    }

    /// Counts a request for a formula whose file is missing or wrong, by one of [`FORMULA_FAULTS`].
    pub fn formula_fault(&self, reason: &str) {
        self.formula_faults.with_label_values(&[reason]).inc();
    }

    /// Counts a formula that was sent in part only.
    pub fn formula_cut_off(&self) {
        self.formula_cut_off.inc();
    }

    /// Sets how many bytes the codings of formulas have on disk.
    pub fn set_coded_bytes(&self, bytes: u64) {
        self.coded_bytes
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Counts the end of a wait for a change.
    pub fn wait_ended(&self, outcome: WaitOutcome) {
        self.waits[outcome as usize].inc();
    }

    /// Notes how long after a change a waiting client was answered.
    pub fn woken_after(&self, time: Duration) {
        self.wake_seconds.observe(time.as_secs_f64());
    }

    /// Counts a build that took `time`.
    pub fn build_ended(&self, outcome: BuildOutcome, time: Duration) {
        self.builds.with_label_values(&[outcome.label()]).inc();
        self.build_seconds.observe(time.as_secs_f64());
    }

    /// Counts a commit, by how it ended.
    pub fn commit_ended(&self, outcome: CommitOutcome) {
        self.commits[outcome as usize].inc();
    }

    /// Notes how long a commit waited for those of other replicas.
    pub fn lock_waited(&self, time: Duration) {
        self.lock_wait_seconds.observe(time.as_secs_f64());
    }

    /// Notes how long after a notice the caches were told.
    pub fn noticed_after(&self, time: Duration) {
        self.notice_seconds.observe(time.as_secs_f64());
    }

    /// Counts a commit of so many writes, which inserted or changed so many items and took `time`.
    pub fn committed(&self, writes: usize, items: u64, time: Duration) {
        self.commit_seconds.observe(time.as_secs_f64());
        self.commit_writes.observe(writes as f64);
        self.committed_rows.inc_by(items);
    }

    /// Sets a gauge that is sampled at scrape time.
    pub fn set_gauge(&self, gauge: SampledGauge, now: u64) {
        self.gauges[gauge as usize].set(i64::try_from(now).unwrap_or(i64::MAX));
    }

    /// Sets when the newest published eval run ran, in seconds since 1970; `None` without such eval runs.
    pub fn newest_eval_run(&self, ran_at_secs: Option<i64>) {
        self.gauges[SampledGauge::NewestEvalRun as usize].set(ran_at_secs.unwrap_or(-1));
    }

    /// Sets the age of the board and how many challenges it has; `None` if there is no board.
    pub fn board(&self, age: Option<Duration>, challenges: Option<usize>) {
        self.snapshot_age_seconds
            .set(age.map_or(-1.0, |age| age.as_secs_f64()));
        let challenges = challenges.and_then(|count| i64::try_from(count).ok());
        self.board_challenges.set(challenges.unwrap_or(-1));
    }

    /// Notes whether a check of readiness was well.
    pub fn ready(&self, check: &str, is_well: bool) {
        let ready = self.ready.with_label_values(&[check]);
        ready.set(is_well.into());
    }

    /// Notes which kind of database it is, and whether this process may write to it.
    pub fn database(&self, kind: &str, is_writable: bool) {
        let access = if is_writable {
            "read-write"
        } else {
            "read-only"
        };
        self.database.with_label_values(&[kind, access]).set(1);
    }

    /// Returns all metrics as text.
    ///
    /// # Errors
    /// A metric without a name, which is a mistake in this file.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

impl Source {
    const ALL: [Self; 3] = [Self::Hit, Self::Join, Self::Miss];

    fn label(self) -> &'static str {
        match self {
            Self::Hit => "held",
            Self::Join => "joined",
            Self::Miss => "read",
        }
    }
}

impl WaitOutcome {
    const ALL: [Self; 4] = [Self::Changed, Self::Unchanged, Self::Refused, Self::Gone];

    fn label(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
            Self::Gone => "gone",
        }
    }
}

impl CommitOutcome {
    const ALL: [Self; 3] = [Self::Stored, Self::NotStored, Self::Unknown];

    fn label(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::NotStored => "not_stored",
            Self::Unknown => "unknown",
        }
    }
}

impl BuildOutcome {
    fn label(self) -> &'static str {
        match self {
            Self::Built => "built",
            Self::Failed => "failed",
        }
    }
}
