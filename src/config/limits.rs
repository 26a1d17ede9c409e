//! Every limit of the server, with its unit and default.

use std::{num::NonZeroU64, time::Duration};

use clap::Args;

/// The longest time that an option in seconds may set: a year. An instant that far ahead exists on every
/// system.
const MAX_SECS: u64 = 365 * 24 * 60 * 60;

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
    /// Pages of the feed that are held ready, in MiB; 0: none.
    #[arg(long, env = "PUBLISHER_FEED_CACHE_MIB", default_value = "16", value_parser = in_range(0..=65_536), value_name = "MIB")]
    pub feed_cache_mib: usize,
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
    /// The longest body of a write, in MiB; a longer one gets 413.
    #[arg(long, env = "PUBLISHER_MAX_BODY_MIB", default_value = "16", value_parser = clap::value_parser!(u32).range(1..=1024), value_name = "MIB")]
    pub max_body_mib: u32,
    /// How long a client may take to send the body of a write, in milliseconds.
    #[arg(
        long,
        env = "PUBLISHER_BODY_TIMEOUT_MS",
        default_value = "30000",
        value_name = "MS"
    )]
    pub body_timeout_ms: NonZeroU64,
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
    /// How long an idle connection is kept open, in seconds; 0 closes each one after its first answer.
    #[arg(
        long,
        env = "PUBLISHER_KEEP_ALIVE_SECS",
        default_value_t = 75,
        value_parser = clap::value_parser!(u64).range(..=MAX_SECS),
        value_name = "SECONDS"
    )]
    pub keep_alive_secs: u64,
    /// How long a client may take to send the head of a request, in milliseconds.
    #[arg(
        long,
        env = "PUBLISHER_HEAD_TIMEOUT_MS",
        default_value = "5000",
        value_name = "MS"
    )]
    pub head_timeout_ms: NonZeroU64,
    /// How long connections are still answered after a signal, each answer with `Connection: close`,
    /// before idle ones are closed, in milliseconds. Ends early when no connection is left.
    #[arg(
        long,
        env = "PUBLISHER_SHUTDOWN_GRACE_MS",
        default_value_t = 1000,
        value_name = "MS"
    )]
    pub shutdown_grace_ms: u64,
    /// How long requests in flight may take to end after a signal, in seconds.
    #[arg(
        long,
        env = "PUBLISHER_SHUTDOWN_TIMEOUT_SECS",
        default_value_t = 30,
        value_parser = clap::value_parser!(u64).range(..=MAX_SECS),
        value_name = "SECONDS"
    )]
    pub shutdown_timeout_secs: u64,
}

impl Limits {
    /// How long the board counts as fresh.
    pub fn ttl(&self) -> Duration {
        Duration::from_secs(self.ttl_secs.get().min(MAX_SECS))
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
