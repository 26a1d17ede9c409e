//! The options of `herd` and `herd-compare`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Options of `herd`.
#[derive(Debug, Args)]
pub struct Herd {
    /// What the pollers ask for: `http://HOST[:PORT]/PATH`.
    pub url: String,
    /// What the run is called in tables and reports.
    #[arg(long, default_value = "herd", value_name = "NAME")]
    pub name: String,
    /// The server is mine, or its owner knows: allows a host that is not this machine.
    #[arg(long)]
    pub i_own_this_server: bool,
    /// How long polls come in, in seconds. Those that are under way then may still end.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400), value_name = "SECONDS")]
    pub duration_secs: u64,
    /// Connections that may be open at once, those of validators and writers included.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=100_000), value_name = "CONNECTIONS")]
    pub max_connections: u32,
    /// Requests a second that may be sent, retries included; a second's worth may come at once.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=1_000_000), value_name = "REQUESTS")]
    pub max_rate: u32,
    /// The same seed gives the same jitter.
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub seed: u64,
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
    /// Print the run as JSON instead of the table; `herd-compare` reads it.
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// Exit with 1 unless every poll was answered, and nothing timed out, broke or got 5xx.
    #[arg(long, help_heading = "Output")]
    pub strict: bool,
}

/// The clients that poll the URL.
#[derive(Debug, Args)]
#[command(next_help_heading = "Pollers")]
pub struct Pollers {
    /// How many there are.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000), value_name = "CLIENTS")]
    pub clients: u32,
    /// Time between two polls of one client, in milliseconds. 0: the next poll follows the answer
    /// (a closed loop, which measures throughput and hides latency).
    #[arg(
        long,
        default_value_t = 1000,
        conflicts_with = "rate",
        value_name = "MS"
    )]
    pub interval_ms: u64,
    /// Polls a second of all clients together, instead of the interval.
    #[arg(long, value_name = "POLLS")]
    pub rate: Option<f64>,
    /// How far a poll may be from its time, either way, in percent of the interval.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=50), value_name = "PERCENT")]
    pub jitter_percent: u32,
    /// The clients begin one after the other over this time, in milliseconds; 0: all at once, by a
    /// barrier [default: the interval].
    #[arg(long, value_name = "MS")]
    pub ramp_ms: Option<u64>,
    /// At this second of the run every client polls once more, all at once: what a restart or a full
    /// minute does to clients of cron. May be given more than once.
    #[arg(long, value_name = "SECOND")]
    pub burst_at: Vec<f64>,
    /// What becomes of a poll that is due while its client still waits for the one before.
    #[arg(long, value_enum, default_value_t = Arrival::Open)]
    pub arrival: Arrival,
    /// How long a client waits for a whole answer, in milliseconds.
    #[arg(long, default_value_t = 3000, value_parser = clap::value_parser!(u64).range(1..=600_000), value_name = "MS")]
    pub timeout_ms: u64,
    /// What a client does on a time-out, a broken connection, 429 or 5xx.
    #[arg(long, value_enum, default_value_t = OnFailure::BackOff)]
    pub on_failure: OnFailure,
    /// Wait as long as Retry-After says (RFC 9110 §10.2.3), where it says more.
    #[arg(long)]
    pub honour_retry_after: bool,
    /// Retries of one poll [default: until the run ends].
    #[arg(long, value_name = "RETRIES")]
    pub max_retries: Option<u32>,
    /// Ask without If-None-Match: every answer has its body.
    #[arg(long)]
    pub unconditional: bool,
    /// Send this Accept-Encoding. Bodies are counted as they come, coded.
    #[arg(long, value_name = "CODINGS")]
    pub accept_encoding: Option<String>,
}

/// When a client sends a poll that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Arrival {
    /// At once, beside the one under way, on a connection of its own.
    Open,
    /// Never: a simple loop that waits for its answer misses its turns. What it waited for them is
    /// part of the latency all the same.
    Loop,
}

/// What a client does when a poll fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnFailure {
    /// Ask again at once.
    Retry,
    /// Ask again after a random time, up to 0.5 s at first, doubling to 30 s.
    BackOff,
    /// Leave it until the next poll is due.
    GiveUp,
}

/// The clients that walk a feed by its cursor.
#[derive(Debug, Args)]
#[command(next_help_heading = "Validators")]
pub struct Validators {
    /// How many walk the feed. They retry as the pollers do.
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
    /// Where they begin.
    #[arg(long, default_value = "1970-01-01T00:00:00Z", value_name = "TIME")]
    pub feed_since: String,
    /// Rows of a page.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1000), value_name = "ROWS")]
    pub feed_limit: u32,
    /// Send this Accept-Encoding with pulls: of gzip, zstd and br.
    #[arg(long, value_name = "CODINGS")]
    pub feed_accept_encoding: Option<String>,
    /// Time between two pulls of one validator, in milliseconds. A pull goes on page by page to the
    /// end of the feed.
    #[arg(long, default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(1..), value_name = "MS")]
    pub feed_interval_ms: u64,
}

/// The clients that post eval runs.
#[derive(Debug, Args)]
#[command(next_help_heading = "Writers")]
pub struct Writers {
    /// How many post sample eval runs. The token is taken from PUBLISHER_ADMIN_TOKEN.
    #[arg(
        long,
        default_value_t = 0,
        requires = "write_url",
        value_name = "CLIENTS"
    )]
    pub writers: u32,
    /// Where to: `http://HOST[:PORT]/v1/admin/eval-runs`.
    #[arg(long, value_name = "URL")]
    pub write_url: Option<String>,
    /// Time between two posts of one writer, in milliseconds.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..), value_name = "MS")]
    pub write_interval_ms: u64,
    /// Rows of a post.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000), value_name = "ROWS")]
    pub write_rows: u32,
}

/// What the server says of itself.
#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
pub struct ServerSide {
    /// Its metrics in Prometheus' text format: where its rebuilds are counted.
    #[arg(long, value_name = "URL")]
    pub metrics_url: Option<String>,
    /// The counter of rebuilds in it; series that differ in their labels are added up.
    #[arg(
        long,
        default_value = "publisher_board_builds_total",
        value_name = "NAME"
    )]
    pub rebuild_metric: String,
    /// The server's process, on this machine: its processor time and memory are measured, those of
    /// its children included. May be given more than once.
    #[arg(long, value_name = "PID")]
    pub server_pid: Vec<i32>,
}

/// Where results go beside the table.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct Output {
    /// Write a picture of the run: .html, .svg or .png. May be given more than once.
    #[arg(long, value_name = "FILE")]
    pub report: Vec<PathBuf>,
}

/// Options of `herd-compare`.
#[derive(Debug, Args)]
pub struct HerdCompare {
    /// What `herd --json` printed, one file a run.
    #[arg(required = true, value_name = "RUN.json")]
    pub runs: Vec<PathBuf>,
    #[command(flatten)]
    pub output: Output,
}
