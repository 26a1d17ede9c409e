//! The options of a run, and the only place of their defaults. The command line, a plan file and the plan in the results
//! of a run are three forms of them, with the same names: see `plan_file`.

#![expect(
    missing_docs,
    reason = "clap would take the doc of a flattened field for its own"
)]

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, builder::ArgPredicate};
use serde::Serialize;

use crate::{
    condition::Condition,
    fields,
    quantity::{LONGEST_SECS, parse_plain_rate, parse_second, whole},
    resolve::Resolve,
    secrets,
    stage::Stage,
};

/// Longest time between two requests of a client, in milliseconds.
const LONGEST_MS: u64 = LONGEST_SECS * 1000;

const EXAMPLES: &str = r#"Examples:
  # 64 clients poll once per second for 30 s, with If-None-Match.
  herd http://127.0.0.1:8080/board

  # 500 polls per second; exit 1 if they are slow, or if one in a thousand fails.
  herd http://127.0.0.1:8080/board --rate 500 --fail-if 'p99>50ms' --fail-if 'errors>0.1%'

  # 10,000 requests by 8 clients, as fast as the server answers.
  herd http://127.0.0.1:8080/ --interval-ms 0 --clients 8 -n 10000 --max-rate 1000000

  # A rise, a plateau, and a burst in the middle of it.
  herd http://127.0.0.1:8080/board --stage 'ramp 10s to 500/s' --stage 'hold 20s at 500/s' \
      --stage 'burst 1000' --stage 'hold 20s at 500/s'

  # Three of four polls go to the first URL; the token stays out of the results and of `ps`.
  herd --target '3 http://127.0.0.1:8080/board' --target '1 http://127.0.0.1:8080/feed' \
      -H 'Authorization: Bearer ${TOKEN}'

  # A plan in a file, with another rate; then the same run again, from its results.
  herd --plan board.toml --rate 800 --json >run.json
  herd --plan run.json

  # board.toml: options without their dashes, lists where they may be given more than once.
  url = "http://127.0.0.1:8080/board"
  clients = 200
  rate = 500
  header = ["Accept: application/json", "Authorization: Bearer ${TOKEN}"]
  fail-if = ["p99>50ms", "errors>0.1%"]
"#;

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
    subcommand_negates_reqs = true,
    after_help = EXAMPLES
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Read options from this file, TOML, or repeat the run whose results this file has, JSON. Options on the command
    /// line win; `--wait=false` switches off what the file switches on. Paths are relative to the current folder.
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
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
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RunOptions {
    /// The URL that the pollers request: `http[s]://HOST[:PORT]/PATH`. In the query of this and every other URL, ${NAME} is an
    /// environment variable, and secrets are treated as in --header.
    #[arg(value_name = "URL", group = "where", required_unless_present_any = ["plan", "target"])]
    #[serde(serialize_with = "secrets::serialize_url")]
    pub url: Option<String>,
    /// Name of the run in tables and reports.
    #[arg(long, default_value = "herd", value_parser = parse_name, value_name = "NAME")]
    pub name: String,
    /// Allow a host that is not this machine: you own the server, or its owner agrees. On the command line only.
    #[arg(long)]
    #[serde(skip)]
    pub i_own_this_server: bool,
    /// Duration of the run, in seconds. Requests in flight at its end may still finish. With --stage: the length of all
    /// stages (default), or less. With -n: until the last one (default), or less; the results say which of the two ended
    /// the run, and how many polls were not due before.
    #[arg(
        long,
        default_value = "30",
        default_value_ifs = [
            ("stage", ArgPredicate::IsPresent, None),
            ("interval_ms", ArgPredicate::Equals("0".into()), Some("30")),
            ("requests", ArgPredicate::IsPresent, None),
        ],
        allow_negative_numbers = true, value_parser = whole(1..=LONGEST_SECS),
        value_name = "SECONDS"
    )]
    pub duration_secs: Option<u64>,
    /// End after this number of polls of all pollers together; retries do not count. The clients share them evenly; stages
    /// say by themselves how many there are. It does not change the pace: each client polls once per second, unless --rate or
    /// --interval-ms says otherwise. Without --duration-secs the run takes as long as the polls do, in a closed loop
    /// (--interval-ms 0) at most 30 s.
    #[arg(short = 'n', long, conflicts_with = "stage", allow_negative_numbers = true, value_parser = whole(1..=1_000_000_000), value_name = "REQUESTS")]
    pub requests: Option<u64>,
    /// Maximum of open connections, including idle ones, and those of validators and writers. At the maximum a client with
    /// its share waits for its own connections, and one with less gets the place of an idle one. The requests of a client
    /// over HTTP/2 share a connection.
    #[arg(long, default_value_t = 1024, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=100_000), value_name = "CONNECTIONS")]
    pub max_connections: u32,
    /// Maximum of requests per second, including retries and requests that are sent again because the server has not
    /// processed them; one second's worth may be sent at once.
    #[arg(long, default_value_t = 5000, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=1_000_000), value_name = "REQUESTS")]
    pub max_rate: u32,
    /// Wait instead of polling: pollers and validators follow `Link: <…>; rel="next"` of each response.
    /// The URL is that of the board's changes, the feed is read by since_seq. A client starts at its
    /// time of the ramp.
    #[arg(long, conflicts_with_all = [
        "rate", "stage", "burst_at", "requests", "target", "method", "body", "body_file", "cache_buster",
    ])]
    pub wait: bool,
    /// Connect from so many addresses, 127.0.0.1 and the following ones, in turn: for servers that limit
    /// the waits of one address, and for more than 28,000 connections.
    #[arg(long, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=60_000), value_name = "ADDRESSES")]
    pub from_addresses: Option<u32>,
    /// Threads that send requests; each client belongs to one [default: the processors that herd may use].
    #[arg(long, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=1024), value_name = "THREADS")]
    pub threads: Option<u32>,
    /// Seed of the random numbers: the same seed gives the same times and the same order of targets,
    /// whatever the number of threads.
    #[arg(
        long,
        default_value_t = 1,
        allow_negative_numbers = true,
        value_name = "NUMBER"
    )]
    pub seed: u64,
    #[command(flatten)]
    #[serde(flatten)]
    pub connection: ConnectionOptions,
    #[command(flatten)]
    #[serde(flatten)]
    pub schedule: Schedule,
    #[command(flatten)]
    #[serde(flatten)]
    pub polls: Requests,
    #[command(flatten)]
    #[serde(flatten)]
    pub failures: Failures,
    #[command(flatten)]
    #[serde(flatten)]
    pub validators: Validators,
    #[command(flatten)]
    #[serde(flatten)]
    pub writers: Writers,
    #[command(flatten)]
    #[serde(flatten)]
    pub server: ServerSide,
    #[command(flatten)]
    #[serde(skip)]
    pub output: Output,
    /// Print the run as JSON instead of the table, as input of `herd compare` and `herd --plan`.
    #[arg(long, help_heading = "Output")]
    #[serde(skip)]
    pub json: bool,
    /// Exit with 1 if this holds: FIGURE, one of > >= < <=, LIMIT. Figures: p50, p90, p95, p99, p99.9, max (a time in us, ms, s,
    /// m or h; `never` is more than every limit); lateness (of this program, p99, a time); rate (answered polls per second,
    /// such as 500/s); errors (polls without a response), failures (of requests, retries too), timeouts, lost (connections),
    /// dead-ends (of --wait: no next link), a status (404), a class of statuses (5xx), or a reason: unresolved, refused,
    /// unreachable, tls, reset, closed, truncated, 'timed out', malformed, 'too large', 'invalid page', 'not sent'; each a number
    /// or a share such as 0.1%. With `validators.` or `writers.` before it, a figure of theirs. A run that is interrupted has
    /// failed. May be given more than once.
    #[arg(long, help_heading = "Output", value_name = "CONDITION")]
    pub fail_if: Vec<Condition>,
    /// Exit with 1 unless every request of every client got a response that counts, up to the end of the run: --fail-if
    /// 'errors>0', 'timeouts>0', 'lost>0', 'failures>0' and 'dead-ends>0', of each kind of client.
    #[arg(long, help_heading = "Output")]
    pub strict: bool,
}

/// How clients connect.
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
#[command(next_help_heading = "Connections")]
pub struct ConnectionOptions {
    /// Use these addresses for a host and port of a URL, instead of those that the name has. Clients are dealt to the
    /// addresses of a name in turn, and use the next one if theirs refuses. May be given more than once.
    #[arg(long, value_name = "HOST:PORT:ADDRESS")]
    pub resolve: Vec<Resolve>,
    /// Speak HTTP/2 only: over http with prior knowledge, over https by ALPN. Each client has one connection, and
    /// requests that overlap are streams of it.
    #[arg(long, conflicts_with = "http1")]
    pub http2: bool,
    /// Speak HTTP/1.1 only [default: over https the version that the server chooses, over http HTTP/1.1].
    #[arg(long)]
    pub http1: bool,
    /// Trust the certificates in this PEM file, and those of certificate authorities in it, instead of the authorities of the
    /// system. A certificate that signs itself is enough; name and time are checked.
    #[arg(long, conflicts_with = "insecure", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Accept any certificate.
    #[arg(long)]
    pub insecure: bool,
}

/// When polls are due.
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
#[command(next_help_heading = "Schedule")]
pub struct Schedule {
    /// Number of pollers.
    #[arg(long, default_value_t = 64, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=100_000), value_name = "CLIENTS")]
    pub clients: u32,
    /// Time between two polls of one client, in milliseconds. With 0 the next poll follows the response
    /// at once (a closed loop, which measures throughput and hides latency).
    #[arg(
        long,
        group = "pace",
        default_value = "1000",
        default_value_ifs = [
            ("rate", ArgPredicate::IsPresent, None),
            ("stage", ArgPredicate::IsPresent, None),
        ],
        allow_negative_numbers = true, value_parser = whole(0..=LONGEST_MS),
        value_name = "MS"
    )]
    pub interval_ms: Option<u64>,
    /// Polls per second of all clients together, instead of the interval.
    #[arg(long, group = "pace", allow_negative_numbers = true, value_parser = parse_plain_rate, value_name = "POLLS")]
    pub rate: Option<f64>,
    /// A stage of the run, instead of the interval: 'ramp 10s to 500/s', 'ramp 10s from 5/s to 500/s', 'hold 1m at
    /// 500/s' or 'burst 1000' (so many polls at one moment). Rates are polls per second of all clients together. May be given more than once: stages
    /// follow each other, and a ramp begins at the rate of the stage before it.
    #[arg(long, group = "pace", value_name = "STAGE")]
    pub stage: Vec<Stage>,
    /// At this second of the run every client sends one more poll, all at the same moment, as cron jobs
    /// do at a full minute. May be given more than once.
    #[arg(long, allow_negative_numbers = true, value_parser = parse_second, value_name = "SECOND")]
    pub burst_at: Vec<f64>,
    /// Random deviation of each poll from its time, in percent of the interval.
    #[arg(long, default_value_t = 10, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(0..=50), value_name = "PERCENT")]
    pub jitter_percent: u32,
    /// Time over which the clients start one after the other, in milliseconds; with 0 all start at
    /// the same moment [default: the interval].
    #[arg(long, conflicts_with = "stage", allow_negative_numbers = true, value_parser = whole(0..=LONGEST_MS), value_name = "MS")]
    pub ramp_ms: Option<u64>,
    /// What happens to a poll that is due while its client still waits for the previous response.
    #[arg(long, value_enum, default_value_t = Arrival::Open)]
    pub arrival: Arrival,
}

/// What pollers send.
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
#[command(next_help_heading = "Requests")]
pub struct Requests {
    /// One of several URLs, with its weight: '3 http://HOST/PATH' gets three times as many polls as a target
    /// of weight 1. The results have the figures of each. Instead of the URL; may be given more than once.
    #[arg(long, group = "where", value_name = "WEIGHT URL")]
    #[serde(serialize_with = "secrets::serialize_urls")]
    pub target: Vec<String>,
    /// Method of the pollers' requests [default: GET, with a body POST].
    #[arg(short = 'X', long, value_name = "METHOD")]
    pub method: Option<String>,
    /// Send this header field with the pollers' requests: 'Name: value'. ${NAME} in a value is an environment variable.
    /// The value of a field with auth, cookie, credential, csrf, dpop, jwt, key, pass, pwd, secret, session, sig, token or xsrf
    /// in its name is not written with the results, nor is that of such a parameter of a URL: ${NAME} stands in its place, and
    /// a run that is repeated from them needs the variables. Paths and bodies are written as they are, secrets in them too.
    /// May be given more than once.
    #[arg(short = 'H', long, value_name = "FIELD")]
    #[serde(serialize_with = "fields::serialize")]
    pub header: Vec<String>,
    /// Send this text as the body; a Content-Type is a header field. It is written with the results.
    #[arg(long, group = "content", value_name = "TEXT")]
    pub body: Option<String>,
    /// Send this file as the body.
    #[arg(long, group = "content", value_name = "FILE")]
    pub body_file: Option<PathBuf>,
    /// Add a query parameter of this name to each request, with a value that was never sent before, so that no cache can
    /// have the response. Implies --unconditional.
    #[arg(long, value_name = "NAME")]
    pub cache_buster: Option<String>,
    /// Send no If-None-Match, so that every response has a body. Methods other than GET and HEAD never have one.
    #[arg(long)]
    pub unconditional: bool,
    /// Send this Accept-Encoding. Body bytes are counted as received, encoded.
    #[arg(long, value_name = "CODINGS")]
    pub accept_encoding: Option<String>,
}

/// What clients do with slow and failed requests.
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
#[command(next_help_heading = "Failures")]
pub struct Failures {
    /// Timeout for a complete response, in milliseconds.
    #[arg(long, default_value_t = 3000, allow_negative_numbers = true, value_parser = whole(1..=600_000), value_name = "MS")]
    pub timeout_ms: u64,
    /// What a client does after a timeout, a lost connection, 429 or 5xx, whatever the method.
    #[arg(long, value_enum, default_value_t = OnFailure::BackOff)]
    pub on_failure: OnFailure,
    /// Wait at least as long as Retry-After says (RFC 9110 §10.2.3).
    #[arg(long)]
    pub honour_retry_after: bool,
    /// Maximum of retries of one poll [default: until the run ends].
    #[arg(long, allow_negative_numbers = true, value_name = "RETRIES")]
    pub max_retries: Option<u32>,
}

/// When a client sends a poll that is due while it waits for a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrival {
    /// At once, on another connection.
    Open,
    /// Never: a simple loop that waits for the response skips these polls. They still count, with
    /// the latency of the response that the client waited for.
    Loop,
}

/// What a client does when a poll fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// Retry at once.
    Retry,
    /// Retry after a random time of up to 0.5 s, which doubles with each retry up to 30 s.
    BackOff,
    /// Wait until the next poll is due.
    GiveUp,
}

/// The clients that read a feed by its cursor.
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
#[command(next_help_heading = "Validators")]
pub struct Validators {
    /// Number of validators, which read the feed. They retry as the pollers do.
    #[arg(
        long,
        default_value_t = 0,
        requires = "feed_url",
        allow_negative_numbers = true,
        value_name = "CLIENTS"
    )]
    #[serde(skip_serializing_if = "is_zero")]
    pub validators: u32,
    /// The feed, without its query: `http://HOST[:PORT]/v1/leaderboard/recent`.
    #[arg(long, value_name = "URL")]
    #[serde(serialize_with = "secrets::serialize_url")]
    pub feed_url: Option<String>,
    /// Cursor of the first request: rows after this time; with --wait, a cursor of since_seq [default: the
    /// beginning].
    #[arg(long, value_name = "CURSOR")]
    pub feed_since: Option<String>,
    /// Rows per page.
    #[arg(long, default_value_t = 200, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=1000), value_name = "ROWS")]
    pub feed_limit: u32,
    /// Send this Accept-Encoding to the feed; gzip, zstd and br are supported.
    #[arg(long, value_name = "CODINGS")]
    pub feed_accept_encoding: Option<String>,
    /// Time between two pulls of one validator, in milliseconds. A pull reads page by page up to the
    /// end of the feed.
    #[arg(long, default_value_t = 30_000, allow_negative_numbers = true, value_parser = whole(1..=LONGEST_MS), value_name = "MS")]
    pub feed_interval_ms: u64,
}

/// The clients that write.
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
#[command(next_help_heading = "Writers")]
pub struct Writers {
    /// Number of writers, which post sample eval runs with the token in PUBLISHER_ADMIN_TOKEN.
    #[arg(
        long,
        default_value_t = 0,
        requires = "write_url",
        allow_negative_numbers = true,
        value_name = "CLIENTS"
    )]
    #[serde(skip_serializing_if = "is_zero")]
    pub writers: u32,
    /// The URL to post to: `http://HOST[:PORT]/v1/admin/eval-runs`.
    #[arg(long, value_name = "URL")]
    #[serde(serialize_with = "secrets::serialize_url")]
    pub write_url: Option<String>,
    /// Time between two posts of one writer, in milliseconds.
    #[arg(long, default_value_t = 1000, allow_negative_numbers = true, value_parser = whole(1..=LONGEST_MS), value_name = "MS")]
    pub write_interval_ms: u64,
    /// Eval runs per post.
    #[arg(long, default_value_t = 100, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=10_000), value_name = "ROWS")]
    pub write_rows: u32,
    /// At this second of the run the board is changed, with the token in PUBLISHER_ADMIN_TOKEN: one
    /// challenge, `herd`, gets another size. May be given more than once.
    #[arg(long, requires = "change_url", allow_negative_numbers = true, value_parser = parse_second, value_name = "SECOND")]
    pub change_at: Vec<f64>,
    /// The URL of the challenges: `http://HOST[:PORT]/v1/admin/challenges`.
    #[arg(long, value_name = "URL")]
    #[serde(serialize_with = "secrets::serialize_url")]
    pub change_url: Option<String>,
}

/// The server's own figures.
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
#[command(next_help_heading = "Server")]
pub struct ServerSide {
    /// The server's metrics in Prometheus' text format, for the number of rebuilds.
    #[arg(long, value_name = "URL")]
    #[serde(serialize_with = "secrets::serialize_url")]
    pub metrics_url: Option<String>,
    /// Name of the counter of rebuilds; series with different labels are summed.
    #[arg(
        long,
        default_value = "publisher_board_builds_total",
        value_name = "NAME"
    )]
    pub rebuild_metric: String,
    /// Process id of the server on this machine: measures its processor time and memory, including its
    /// children's. If it ends during the run, the results say when. May be given more than once.
    #[arg(long, allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(1..), value_name = "PID")]
    #[serde(skip)]
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

/// Returns whether there are no clients of a kind: their URL, which they need, may be missing then.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(clients: &u32) -> bool {
    *clients == 0
}

/// Checks the name of a run, which is a heading of tables.
fn parse_name(text: &str) -> Result<String, &'static str> {
    if text.trim().is_empty() || text.contains(char::is_control) {
        return Err("expected a name of one line");
    }
    Ok(text.to_owned())
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
