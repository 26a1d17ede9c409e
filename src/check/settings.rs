//! The options of `check`.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use crate::units::{number, secs};

/// How a server is checked.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Seconds that one answer may take, from the look-up of the name to the last byte.
    #[arg(long, default_value = "10", value_parser = secs(1..=600), value_name = "SECS")]
    pub timeout: Duration,
    /// Seconds that all checks may take. Those that are left then fail.
    #[arg(long, default_value = "300", value_parser = secs(1..=86_400), value_name = "SECS")]
    pub total_timeout: Duration,
    /// Rows that each walk over the feed reads at most, from the oldest one on.
    #[arg(long, default_value = "2000", value_parser = number::<u32>(1..=1_000_000), value_name = "ROWS")]
    pub max_rows: u32,
    /// Seconds that the server's clock may differ from the one here.
    #[arg(long, default_value = "10", value_parser = secs(1..=86_400), value_name = "SECS")]
    pub max_clock_skew: Duration,
    /// Seconds for which all checks together wait for caches whose answers differ in age. The board and the feed may be
    /// kept for 15 s.
    #[arg(long, default_value = "20", value_parser = secs(0..=3600), value_name = "SECS")]
    pub max_stale: Duration,
    /// The JWK set whose keys sign the rows: a file, or the URL of a server's [default: the one that the server has at
    /// /.well-known/cathedral-jwks.json].
    #[arg(long, value_name = "FILE|URL")]
    pub jwks: Option<String>,
    /// A file with the certificates, as PEM, that may have issued the server's [default: those that the system
    /// trusts].
    #[arg(long, value_name = "PATH")]
    pub ca_file: Option<PathBuf>,
}
