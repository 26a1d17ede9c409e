//! The command line.

#![expect(
    missing_docs,
    reason = "clap would take the doc of a flattened field for its own"
)]

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::resolve::Resolve;

/// Loads a polled HTTP endpoint as real clients do, and reports what they measured.
///
/// Each poller sends its requests at fixed times, however slow the server is (an open loop): a slow
/// response does not delay later requests, and latency is measured from the time at which a poll was
/// due. Validators may read a feed and writers may post eval runs at the same time.
#[derive(Debug, Parser)]
#[command(
    name = "herd",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The URL that the pollers request: `http[s]://HOST[:PORT]/PATH`.
    #[arg(required = true, value_name = "URL")]
    pub url: Option<String>,
    #[command(flatten)]
    pub run: RunOptions,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the results of several runs side by side.
    Compare(CompareOptions),
}

/// Options of a run.
#[derive(Debug, Args)]
pub struct RunOptions {
    /// Name of the run in tables and reports.
    #[arg(long, default_value = "herd", value_name = "NAME")]
    pub name: String,
    /// Allow a host that is not this machine: you own the server, or its owner agrees.
    #[arg(long)]
    pub i_own_this_server: bool,
    /// Duration of the run, in seconds. Requests in flight at its end may still finish.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400), value_name = "SECONDS")]
    pub duration_secs: u64,
    /// Maximum of open connections, including those of validators and writers.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=100_000), value_name = "CONNECTIONS")]
    pub max_connections: u32,
    /// Maximum of requests per second, retries included; one second's worth may be sent at once.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=1_000_000), value_name = "REQUESTS")]
    pub max_rate: u32,
    /// Wait instead of polling: pollers and validators follow `Link: <…>; rel="next"` of each response.
    /// The URL is that of the board's changes, the feed is read by since_seq. A client starts at its
    /// time of the ramp; intervals, bursts and --arrival do not matter.
    #[arg(long)]
    pub wait: bool,
    /// Connect from so many addresses, 127.0.0.1 and the following ones, in turn: for servers that limit
    /// the waits of one address, and for more than 28,000 connections.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=60_000), value_name = "ADDRESSES")]
    pub from_addresses: Option<u32>,
    /// Threads that send requests; each client belongs to one [default: the processors that herd may use].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024), value_name = "THREADS")]
    pub threads: Option<u32>,
    /// Seed of the random numbers: the same seed gives the same times, whatever the
    /// number of threads.
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub seed: u64,
    #[command(flatten)]
    pub connection: ConnectionOptions,
    #[command(flatten)]
    pub pollers: Pollers,
    #[command(flatten)]
    pub validators: Validators,
    #[command(flatten)]
    pub writers: Writers,
    #[command(flatten)]
    pub server: ServerSide,
    #[command(flatten)]
    pub output: Output,
    /// Print the run as JSON instead of the table, as input of `herd compare`.
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// Exit with 1 unless every poll got a response, without a timeout, a lost connection or a 5xx.
    #[arg(long, help_heading = "Output")]
    pub strict: bool,
}

/// How clients connect.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connections")]
pub struct ConnectionOptions {
    /// Use these addresses for a host and port of a URL, instead of those that the name has. May be given more than
    /// once.
    #[arg(long, value_name = "HOST:PORT:ADDRESS")]
    pub resolve: Vec<Resolve>,
    /// Speak HTTP/2 only: over http with prior knowledge, over https by ALPN. Each client has one connection, and
    /// requests that overlap are streams of it.
    #[arg(long, conflicts_with = "http1")]
    pub http2: bool,
    /// Speak HTTP/1.1 only [default: over https the version that the server chooses, over http HTTP/1.1].
    #[arg(long)]
    pub http1: bool,
    /// Trust the certificate authorities in this PEM file, instead of those of the system.
    #[arg(long, conflicts_with = "insecure", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Accept any certificate.
    #[arg(long)]
    pub insecure: bool,
}

/// The clients that poll the URL.
#[derive(Debug, Args)]
#[command(next_help_heading = "Pollers")]
pub struct Pollers {
    /// Number of pollers.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000), value_name = "CLIENTS")]
    pub clients: u32,
    /// Time between two polls of one client, in milliseconds. With 0 the next poll follows the response
    /// at once (a closed loop, which measures throughput and hides latency).
    #[arg(
        long,
        default_value_t = 1000,
        conflicts_with = "rate",
        value_name = "MS"
    )]
    pub interval_ms: u64,
    /// Polls per second of all clients together, instead of the interval.
    #[arg(long, value_name = "POLLS")]
    pub rate: Option<f64>,
    /// Random deviation of each poll from its time, in percent of the interval.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=50), value_name = "PERCENT")]
    pub jitter_percent: u32,
    /// Time over which the clients start one after the other, in milliseconds; with 0 all start at
    /// the same moment [default: the interval].
    #[arg(long, value_name = "MS")]
    pub ramp_ms: Option<u64>,
    /// At this second of the run every client sends one more poll, all at the same moment, as cron jobs
    /// do at a full minute. May be given more than once.
    #[arg(long, value_name = "SECOND")]
    pub burst_at: Vec<f64>,
    /// What happens to a poll that is due while its client still waits for the previous response.
    #[arg(long, value_enum, default_value_t = Arrival::Open)]
    pub arrival: Arrival,
    /// Timeout for a complete response, in milliseconds.
    #[arg(long, default_value_t = 3000, value_parser = clap::value_parser!(u64).range(1..=600_000), value_name = "MS")]
    pub timeout_ms: u64,
    /// What a client does after a timeout, a lost connection, 429 or 5xx.
    #[arg(long, value_enum, default_value_t = OnFailure::BackOff)]
    pub on_failure: OnFailure,
    /// Wait at least as long as Retry-After says (RFC 9110 §10.2.3).
    #[arg(long)]
    pub honour_retry_after: bool,
    /// Maximum of retries of one poll [default: until the run ends].
    #[arg(long, value_name = "RETRIES")]
    pub max_retries: Option<u32>,
    /// Send no If-None-Match, so that every response has a body.
    #[arg(long)]
    pub unconditional: bool,
    /// Send this Accept-Encoding. Body bytes are counted as received, encoded.
    #[arg(long, value_name = "CODINGS")]
    pub accept_encoding: Option<String>,
}

/// When a client sends a poll that is due while it waits for a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Arrival {
    /// At once, on another connection.
    Open,
    /// Never: a simple loop that waits for the response skips these polls. They still count, with
    /// the latency of the response that the client waited for.
    Loop,
}

/// What a client does when a poll fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnFailure {
    /// Retry at once.
    Retry,
    /// Retry after a random time of up to 0.5 s, which doubles with each retry up to 30 s.
    BackOff,
    /// Wait until the next poll is due.
    GiveUp,
}

/// The clients that read a feed by its cursor.
#[derive(Debug, Args)]
#[command(next_help_heading = "Validators")]
pub struct Validators {
    /// Number of validators, which read the feed. They retry as the pollers do.
    #[arg(
        long,
        default_value_t = 0,
        requires = "feed_url",
        value_name = "CLIENTS"
    )]
    pub validators: u32,
    /// The feed, without its query: `http://HOST[:PORT]/v1/leaderboard/recent`.
    #[arg(long, value_name = "URL")]
    pub feed_url: Option<String>,
    /// Cursor of the first request: rows after this time; with --wait, a cursor of since_seq [default: the
    /// beginning].
    #[arg(long, value_name = "CURSOR")]
    pub feed_since: Option<String>,
    /// Rows per page.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1000), value_name = "ROWS")]
    pub feed_limit: u32,
    /// Send this Accept-Encoding to the feed; gzip, zstd and br are supported.
    #[arg(long, value_name = "CODINGS")]
    pub feed_accept_encoding: Option<String>,
    /// Time between two pulls of one validator, in milliseconds. A pull reads page by page up to the
    /// end of the feed.
    #[arg(long, default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(1..), value_name = "MS")]
    pub feed_interval_ms: u64,
}

/// The clients that write.
#[derive(Debug, Args)]
#[command(next_help_heading = "Writers")]
pub struct Writers {
    /// Number of writers, which post sample eval runs with the token in PUBLISHER_ADMIN_TOKEN.
    #[arg(
        long,
        default_value_t = 0,
        requires = "write_url",
        value_name = "CLIENTS"
    )]
    pub writers: u32,
    /// The URL to post to: `http://HOST[:PORT]/v1/admin/eval-runs`.
    #[arg(long, value_name = "URL")]
    pub write_url: Option<String>,
    /// Time between two posts of one writer, in milliseconds.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..), value_name = "MS")]
    pub write_interval_ms: u64,
    /// Eval runs per post.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000), value_name = "ROWS")]
    pub write_rows: u32,
    /// At this second of the run the board is changed, with the token in PUBLISHER_ADMIN_TOKEN: one
    /// challenge, `herd`, gets another size. May be given more than once.
    #[arg(long, requires = "change_url", value_name = "SECOND")]
    pub change_at: Vec<f64>,
    /// The URL of the challenges: `http://HOST[:PORT]/v1/admin/challenges`.
    #[arg(long, value_name = "URL")]
    pub change_url: Option<String>,
}

/// The server's own figures.
#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
pub struct ServerSide {
    /// The server's metrics in Prometheus' text format, for the number of rebuilds.
    #[arg(long, value_name = "URL")]
    pub metrics_url: Option<String>,
    /// Name of the counter of rebuilds; series with different labels are summed.
    #[arg(
        long,
        default_value = "publisher_board_builds_total",
        value_name = "NAME"
    )]
    pub rebuild_metric: String,
    /// Process id of the server on this machine: measures its processor time and memory, including its
    /// children's. May be given more than once.
    #[arg(long, value_name = "PID")]
    pub server_pid: Vec<i32>,
}

/// Where results are written.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct Output {
    /// Write a report with charts to this file: .html or .svg. May be given more than once.
    #[arg(long, value_name = "FILE")]
    pub report: Vec<PathBuf>,
}

/// Options of `compare`.
#[derive(Debug, Args)]
pub struct CompareOptions {
    /// The output of `herd --json`, one file per run.
    #[arg(required = true, value_name = "RUN.json")]
    pub runs: Vec<PathBuf>,
    #[command(flatten)]
    pub output: Output,
}
