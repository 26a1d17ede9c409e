//! The options of the feed.

use std::time::Duration;

use clap::Args;

use crate::units;

/// How long a request for a page may take, and how many bytes of pages are in memory.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Limits")]
#[group(skip)]
pub struct Settings {
    /// How long a feed request waits for a database connection before it gets 503, in milliseconds.
    #[arg(long = "feed-queue-timeout-ms", value_name = "MS")]
    #[arg(env = "PUBLISHER_FEED_QUEUE_TIMEOUT_MS")]
    #[arg(default_value = "500", value_parser = units::millis(..=units::DAY_MILLIS))]
    pub queue_timeout: Duration,
    /// How long a feed read may take, in milliseconds.
    #[arg(long = "feed-read-timeout-ms", env = "PUBLISHER_FEED_READ_TIMEOUT_MS")]
    #[arg(default_value = "5000", value_name = "MS", value_parser = units::millis(..=units::DAY_MILLIS))]
    pub read_timeout: Duration,
    // 0 caches nothing, and concurrent requests still share a read.
    /// Size of the cache of feed pages, in MiB; 0 caches nothing.
    #[arg(long = "feed-cache-mib", env = "PUBLISHER_FEED_CACHE_MIB")]
    #[arg(default_value = "16", value_name = "MIB", value_parser = units::mib::<usize>(0..=65_536))]
    pub max_cached_bytes: usize,
    /// Show an eval run to the cursors since_ran_at and since only when its time is so long ago, in milliseconds, rounded
    /// up to whole seconds: then they miss none that is stored later than others by up to this time. since_seq misses
    /// none without it. 0 shows every row at once.
    #[arg(
        long = "feed-holdback-ms",
        env = "PUBLISHER_FEED_HOLDBACK_MS",
        value_name = "MS"
    )]
    #[arg(default_value = "0", value_parser = units::millis(..=units::DAY_MILLIS))]
    pub holdback: Duration,
    /// How many bytes of pages that are not cached may be in memory: just read, or still being sent.
    #[arg(skip = 32 * units::MIB as usize)]
    pub max_in_flight_bytes: usize,
}
