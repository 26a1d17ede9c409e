//! The options of the database.

use std::time::Duration;

use clap::Args;

use crate::units;

/// How many connections read, and how long each waits for a lock.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Limits")]
#[group(skip)]
pub struct Settings {
    /// Read connections to the database. One is reserved for the board and one for health checks; the
    /// others bound how many feed reads run at once.
    #[arg(long, env = "PUBLISHER_POOL_SIZE", value_name = "CONNECTIONS")]
    #[arg(default_value = "8", value_parser = units::number::<u32>(3..=1024))]
    pub pool_size: u32,
    /// How long a connection waits for another process that has the database locked, in milliseconds.
    #[arg(long = "busy-timeout-ms", env = "PUBLISHER_BUSY_TIMEOUT_MS")]
    #[arg(value_name = "MS", default_value = "1000", value_parser = units::millis(..=units::DAY_MILLIS))]
    pub busy_timeout: Duration,
}
