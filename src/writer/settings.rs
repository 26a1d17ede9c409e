//! The options of the writer.

use std::time::Duration;

use clap::Args;

use crate::units;

/// How much may be in flight, from the first byte of a request body to its acknowledgement, and the bounds
/// of a commit.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Limits")]
#[group(skip)]
pub struct Settings {
    /// Writes in flight; further ones get 503 at once, unless a body that arrives at less than 64 KiB per
    /// second can be cut off instead, with 408.
    #[arg(long, env = "PUBLISHER_MAX_WRITES", value_name = "REQUESTS")]
    #[arg(default_value = "1024", value_parser = units::number::<u32>(1..=1_000_000))]
    pub max_writes: u32,
    /// Request bodies in flight, in MiB, counted as they arrive; further bytes get 503 at once. A quarter is
    /// for the first 64 KiB of each body.
    #[arg(long = "max-write-mib", env = "PUBLISHER_MAX_WRITE_MIB")]
    #[arg(value_name = "MIB", default_value = "64", value_parser = units::mib::<u32>(16..=2048))]
    pub max_write_bytes: u32,
    // Longer than the two waits below together: a commit that only waits is no commit that hangs.
    /// How long a write may wait for an earlier commit before it gets 503, and how long for its own commit
    /// before it gets 503 and the outcome is unknown, in milliseconds.
    #[arg(long = "write-timeout-ms", env = "PUBLISHER_WRITE_TIMEOUT_MS")]
    #[arg(value_name = "MS", default_value = "15000", value_parser = units::millis(1..=units::DAY_MILLIS))]
    pub write_timeout: Duration,
    /// How long a commit waits while another process writes, in milliseconds.
    #[arg(id = "write_busy_timeout", long = "write-busy-timeout-ms")]
    #[arg(env = "PUBLISHER_WRITE_BUSY_TIMEOUT_MS", value_name = "MS")]
    #[arg(default_value = "5000", value_parser = units::millis(..=units::DAY_MILLIS))]
    pub busy_timeout: Duration,
    /// Size of the write-ahead log above which a commit waits 50 ms for readers, so that it can be
    /// checkpointed, in MiB.
    #[arg(long = "wal-soft-mib", env = "PUBLISHER_WAL_SOFT_MIB")]
    #[arg(value_name = "MIB", default_value = "16", value_parser = units::mib::<u64>(0..))]
    pub wal_soft_bytes: u64,
    /// Size of the write-ahead log above which a commit waits for twice the time of a feed read, in MiB. If it is below
    /// --wal-soft-mib, it is the limit of both.
    #[arg(long = "wal-hard-mib", env = "PUBLISHER_WAL_HARD_MIB")]
    #[arg(value_name = "MIB", default_value = "128", value_parser = units::mib::<u64>(0..))]
    pub wal_hard_bytes: u64,
}
