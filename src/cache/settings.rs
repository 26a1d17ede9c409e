//! The options of the board's cache.

use std::time::Duration;

use clap::Args;

use crate::units;

/// How long a snapshot is fresh, and how long clients wait for one.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Limits")]
#[group(skip)]
pub struct Settings {
    /// How long the board counts as fresh, in seconds. The first request after that starts a rebuild;
    /// no client waits for it.
    #[arg(long = "ttl-secs", env = "PUBLISHER_TTL_SECS", value_name = "SECONDS")]
    #[arg(default_value = "30", value_parser = units::secs(1..=units::YEAR_SECS))]
    pub ttl: Duration,
    /// How long a rebuild may take, in milliseconds; also how long a client waits for the first one.
    #[arg(long = "rebuild-timeout-ms", env = "PUBLISHER_REBUILD_TIMEOUT_MS")]
    #[arg(value_name = "MS", default_value = "5000", value_parser = units::millis(1..=units::DAY_MILLIS))]
    pub rebuild_timeout: Duration,
    /// Clients that may wait for the first snapshot; further clients get 503 at once.
    #[arg(long, env = "PUBLISHER_MAX_WAITING", value_name = "REQUESTS")]
    #[arg(default_value = "10000", value_parser = units::number::<usize>(1..=1_000_000))]
    pub max_waiting: usize,
}
