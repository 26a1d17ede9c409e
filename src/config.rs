//! The command line and the environment: every option, every limit with its unit and default.

#![expect(
    missing_docs,
    reason = "clap would take the doc of a flattened field for its own"
)]

use std::{num::NonZeroU64, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Publishes a subnet's challenges and signed eval runs over HTTP.
///
/// Every option can also be given by the environment variable that its help names; the command line
/// wins.
#[derive(Debug, Parser)]
#[command(name = "cathedral-publisher", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What to log on stderr: off, error, warn, info, debug, trace, or a filter such as
    /// `info,cathedral_publisher=debug`.
    #[arg(
        long,
        global = true,
        env = "PUBLISHER_LOG",
        default_value = "info",
        value_name = "FILTER"
    )]
    pub log_level: String,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the board and the feed from a database.
    ///
    /// The database is created or migrated first. SIGTERM or Ctrl-C ends the requests under way and
    /// stops; a second one stops at once.
    Serve(Serve),
    /// Bring in what another publisher serves: a saved answer of either endpoint, or NDJSON.
    ///
    /// All or nothing, in one transaction, which keeps other writers waiting but no reader. Items
    /// that are there already, to the byte, are left alone; a row whose id is there with other bytes
    /// is an error, and so is a challenge whose status would go back.
    Import(Transfer),
    /// Write what is stored to stdout, in the form that `import` reads.
    ///
    /// `board` writes the answer of active-challenges; `rows` every eval run there is, in the feed's
    /// order.
    Export(Export),
    /// Serve a database of sample data in which something happens, and say what to try.
    Demo(Demo),
}

/// Which of the two kinds of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Challenges: what active-challenges answers.
    Board,
    /// Eval runs: what leaderboard/recent answers.
    Rows,
}

/// Options of `serve`.
#[derive(Debug, Args)]
pub struct Serve {
    #[command(flatten)]
    pub database: Database,
    #[command(flatten)]
    pub address: Address,
    #[command(flatten)]
    pub admin: Admin,
    /// Open somebody else's database (of the same tables) and never write to it: it is not made, not
    /// migrated, and there are no admin routes.
    #[arg(long, env = "PUBLISHER_READ_ONLY")]
    pub read_only: bool,
    /// `off` has the faults of the service that this one replaces, for comparison and nothing else:
    /// every request rebuilds the board from SQLite, in rollback-journal mode, over one connection
    /// that readers and the writer share.
    #[arg(
        long,
        env = "PUBLISHER_CACHE",
        default_value = "on",
        conflicts_with = "read_only"
    )]
    pub cache: CacheMode,
    // Last: its help heading holds for all that follows.
    #[command(flatten)]
    pub limits: Limits,
}

/// Whether there is a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CacheMode {
    /// A snapshot, and all that this program is for.
    On,
    /// A rebuild for every request.
    Off,
}

/// Who may write.
#[derive(Debug, Clone, Default, Args)]
pub struct Admin {
    /// A file whose lines are the admin tokens, at least 32 characters each: one, or two while one
    /// takes the other's place. Tokens may also come from the environment, as PUBLISHER_ADMIN_TOKEN
    /// and PUBLISHER_ADMIN_TOKEN_NEXT. Without a token the admin routes answer 404.
    #[arg(long, env = "PUBLISHER_ADMIN_TOKEN_FILE", value_name = "PATH")]
    pub admin_token_file: Option<PathBuf>,
}

/// Which database.
#[derive(Debug, Args)]
pub struct Database {
    /// The SQLite file; made where there is none.
    #[arg(
        long,
        env = "PUBLISHER_DATABASE",
        default_value = "publisher.db",
        value_name = "PATH"
    )]
    pub database: PathBuf,
}

/// Where to listen.
#[derive(Debug, Args)]
pub struct Address {
    /// Host and port to listen on; port 0 takes a free one.
    #[arg(
        long,
        env = "PUBLISHER_ADDRESS",
        default_value = "127.0.0.1:8080",
        value_name = "HOST:PORT"
    )]
    pub address: String,
}

/// Every limit of the server.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// Threads that answer requests [default: one a core].
    #[arg(long, env = "PUBLISHER_WORKERS", value_parser = in_range(1..=1024), value_name = "THREADS")]
    pub workers: Option<usize>,
    /// How long the board counts as fresh, in seconds. The first request after that has it rebuilt;
    /// nobody waits.
    #[arg(
        long,
        env = "PUBLISHER_TTL_SECS",
        default_value = "30",
        value_name = "SECONDS"
    )]
    pub ttl_secs: NonZeroU64,
    /// How long a rebuild may take, in milliseconds; also how long a reader waits for the first one.
    #[arg(
        long,
        env = "PUBLISHER_REBUILD_TIMEOUT_MS",
        default_value = "5000",
        value_name = "MS"
    )]
    pub rebuild_timeout_ms: NonZeroU64,
    /// Read connections to the database. One is kept for the board, one for the health check; the
    /// others bound how many feed reads run at once.
    #[arg(long, env = "PUBLISHER_POOL_SIZE", default_value = "8", value_parser = clap::value_parser!(u32).range(3..=1024), value_name = "CONNECTIONS")]
    pub pool_size: u32,
    /// How long a connection waits for another process that has the database locked, in milliseconds.
    #[arg(
        long,
        env = "PUBLISHER_BUSY_TIMEOUT_MS",
        default_value_t = 1000,
        value_name = "MS"
    )]
    pub busy_timeout_ms: u64,
    /// How long a feed request waits for its turn before it gets 503, in milliseconds.
    #[arg(
        long,
        env = "PUBLISHER_FEED_QUEUE_TIMEOUT_MS",
        default_value_t = 500,
        value_name = "MS"
    )]
    pub feed_queue_timeout_ms: u64,
    /// How long a feed read may take, in milliseconds.
    #[arg(
        long,
        env = "PUBLISHER_FEED_READ_TIMEOUT_MS",
        default_value_t = 5000,
        value_name = "MS"
    )]
    pub feed_read_timeout_ms: u64,
    /// Readers that may wait for the first snapshot; more get 503 at once.
    #[arg(
        long,
        env = "PUBLISHER_MAX_WAITING",
        default_value_t = 10_000,
        value_name = "REQUESTS"
    )]
    pub max_waiting: usize,
    /// How often to look whether another process has written to the database, in milliseconds.
    #[arg(
        long,
        env = "PUBLISHER_CHANGE_POLL_MS",
        default_value = "500",
        value_name = "MS"
    )]
    pub change_poll_ms: NonZeroU64,
    /// Writes under way at once; more get 503 at once.
    #[arg(long, env = "PUBLISHER_MAX_WRITES", default_value = "1024", value_parser = clap::value_parser!(u32).range(1..=1_000_000), value_name = "REQUESTS")]
    pub max_writes: u32,
    /// Bytes of request bodies under way at once, in MiB; more get 503 at once.
    #[arg(long, env = "PUBLISHER_MAX_WRITE_MIB", default_value = "64", value_parser = clap::value_parser!(u32).range(16..=2048), value_name = "MIB")]
    pub max_write_mib: u32,
    /// How long a client may take to send the body of a write, in milliseconds.
    #[arg(
        long,
        env = "PUBLISHER_BODY_TIMEOUT_MS",
        default_value_t = 30_000,
        value_name = "MS"
    )]
    pub body_timeout_ms: u64,
    /// How long a commit waits for another process that is writing, in milliseconds.
    #[arg(
        long,
        env = "PUBLISHER_WRITE_BUSY_TIMEOUT_MS",
        default_value_t = 5000,
        value_name = "MS"
    )]
    pub write_busy_timeout_ms: u64,
    /// Size of the write-ahead log from which on a commit waits briefly for readers to let it go, in
    /// MiB.
    #[arg(
        long,
        env = "PUBLISHER_WAL_SOFT_MIB",
        default_value_t = 16,
        value_name = "MIB"
    )]
    pub wal_soft_mib: u64,
    /// Size from which on it waits as long as a read may take, in MiB.
    #[arg(
        long,
        env = "PUBLISHER_WAL_HARD_MIB",
        default_value_t = 128,
        value_name = "MIB"
    )]
    pub wal_hard_mib: u64,
    /// Connections a worker holds open; more wait in the kernel.
    #[arg(long, env = "PUBLISHER_MAX_CONNECTIONS", default_value = "25000", value_parser = in_range(1..=1_000_000), value_name = "CONNECTIONS")]
    pub max_connections: usize,
    /// How long an idle connection is kept open, in seconds.
    #[arg(
        long,
        env = "PUBLISHER_KEEP_ALIVE_SECS",
        default_value_t = 75,
        value_name = "SECONDS"
    )]
    pub keep_alive_secs: u64,
    /// How long a client may take to send the head of a request, in milliseconds.
    #[arg(
        long,
        env = "PUBLISHER_HEAD_TIMEOUT_MS",
        default_value_t = 5000,
        value_name = "MS"
    )]
    pub head_timeout_ms: u64,
    /// How long requests under way may take to end after a signal, in seconds.
    #[arg(
        long,
        env = "PUBLISHER_SHUTDOWN_TIMEOUT_SECS",
        default_value_t = 30,
        value_name = "SECONDS"
    )]
    pub shutdown_timeout_secs: u64,
}

impl Limits {
    /// How long the board counts as fresh.
    pub fn ttl(&self) -> Duration {
        Duration::from_secs(self.ttl_secs.get())
    }

    /// How long a rebuild may take.
    pub fn rebuild_timeout(&self) -> Duration {
        Duration::from_millis(self.rebuild_timeout_ms.get())
    }

    /// How long a connection waits for a lock.
    pub fn busy_timeout(&self) -> Duration {
        Duration::from_millis(self.busy_timeout_ms)
    }
}

/// Options of `import`.
#[derive(Debug, Args)]
pub struct Transfer {
    /// What the file holds.
    pub kind: Kind,
    /// The file, or `-` for standard input.
    pub file: PathBuf,
    #[command(flatten)]
    pub database: Database,
}

/// Options of `export`.
#[derive(Debug, Args)]
pub struct Export {
    /// What to write.
    pub kind: Kind,
    /// One item a line instead of one JSON object.
    #[arg(long)]
    pub ndjson: bool,
    #[command(flatten)]
    pub database: Database,
}

/// Options of `demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Keep the database here, and go on with it the next time [default: a temporary one].
    #[arg(long, env = "PUBLISHER_DEMO_DATABASE", value_name = "PATH")]
    pub database: Option<PathBuf>,
    /// Sample eval runs to begin with.
    #[arg(
        long,
        env = "PUBLISHER_DEMO_ROWS",
        default_value_t = 5000,
        value_name = "ROWS"
    )]
    pub rows: u32,
    #[command(flatten)]
    pub admin: Admin,
    #[command(flatten)]
    pub address: Address,
    #[command(flatten)]
    pub limits: Limits,
}

/// A `usize` within bounds.
fn in_range(
    range: std::ops::RangeInclusive<usize>,
) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| {
        text.parse()
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(|| format!("must be from {} to {}", range.start(), range.end()))
    }
}
