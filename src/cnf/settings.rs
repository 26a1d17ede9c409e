//! The options of the formulas.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use crate::units;

/// Where the formulas are, and how many bytes of them are in memory and on disk.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Formulas")]
#[group(skip)]
pub struct Settings {
    /// The folder of the formulas, which active-cnf serves: each is a file `<cnf_sha256>.cnf`. Without this option
    /// active-cnf answers 404.
    #[arg(long = "cnf-dir", env = "PUBLISHER_CNF_DIR", value_name = "PATH")]
    pub folder: Option<PathBuf>,
    /// The largest formula that PUT /v1/admin/challenges/{id}/cnf accepts, in MiB; a larger one gets 413.
    #[arg(
        long = "max-cnf-mib",
        env = "PUBLISHER_MAX_CNF_MIB",
        value_name = "MIB"
    )]
    #[arg(default_value = "1024", value_parser = units::mib::<u64>(1..=1_048_576))]
    pub max_upload_bytes: u64,
    /// How many MiB of formulas are cached in memory; 0 caches nothing, and concurrent requests still share reads.
    #[arg(
        long = "cnf-cache-mib",
        env = "PUBLISHER_CNF_CACHE_MIB",
        value_name = "MIB"
    )]
    #[arg(default_value = "32", value_parser = units::mib::<usize>(0..=65_536))]
    pub cache_bytes: usize,
    /// How many MiB the zstd, gzip and brotli files beside the formulas of active challenges may have in all. They are
    /// made in the background, and deleted with their challenge. 0 makes none and deletes none.
    #[arg(
        long = "cnf-codings-mib",
        env = "PUBLISHER_CNF_CODINGS_MIB",
        value_name = "MIB"
    )]
    #[arg(default_value = "1024", value_parser = units::mib::<u64>(0..=1_048_576))]
    pub max_coded_bytes: u64,
    /// How many bytes that are not cached may be in memory: just read, or still being sent.
    #[arg(skip = 32 * units::MIB as usize)]
    pub max_in_flight_bytes: usize,
    /// When codings are tried again that could not be made or read.
    #[arg(skip = Duration::from_secs(60))]
    pub retry_codings_after: Duration,
}
