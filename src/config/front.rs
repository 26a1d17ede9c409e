//! What the server shows of itself, and to whom.

use std::{num::NonZeroU32, time::Duration};

use clap::Args;
use ipnet::IpNet;

use crate::http::AccessLog;

/// What the server shows of itself, and to whom.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Front")]
pub struct Front {
    /// Serve the admin routes, /metrics and /health here instead of on the public address; port 0
    /// takes a free one.
    #[arg(long, env = "PUBLISHER_ADMIN_ADDRESS", value_name = "HOST:PORT")]
    pub admin_address: Option<String>,
    /// Which requests are logged: those that the server failed (5xx), or all. A line has no query and
    /// no token in it.
    #[arg(
        long,
        env = "PUBLISHER_ACCESS_LOG",
        default_value = "failures",
        value_name = "WHICH"
    )]
    pub access_log: AccessLog,
    /// Let pages of any origin read (CORS): the board, the feed and health, with their ETag.
    #[arg(long, env = "PUBLISHER_CORS")]
    pub cors: bool,
    /// Say on the board's answers how the cache came by them: Cache-Status (RFC 9211) and Age. Age
    /// makes caches on the way hold them for a shorter time.
    #[arg(long, env = "PUBLISHER_CACHE_STATUS")]
    pub cache_status: bool,
    /// Say on every answer how long it took: Server-Timing.
    #[arg(long, env = "PUBLISHER_SERVER_TIMING")]
    pub server_timing: bool,
    /// Proxies whose Forwarded or X-Forwarded-For is believed, as networks: 10.0.0.0/8,::1/128.
    #[arg(
        long,
        env = "PUBLISHER_TRUSTED_PROXIES",
        value_delimiter = ',',
        value_name = "NETWORKS"
    )]
    pub trusted_proxies: Vec<IpNet>,
    /// Requests a minute from one client address (with IPv6, from one /64), let through evenly; more
    /// get 429 [default: no limit]. Health and metrics are not limited.
    #[arg(long, env = "PUBLISHER_RATE_LIMIT", value_name = "REQUESTS")]
    pub rate_limit: Option<NonZeroU32>,
    /// How many of those may come at once [default: a minute's].
    #[arg(
        long,
        env = "PUBLISHER_RATE_LIMIT_BURST",
        requires = "rate_limit",
        value_name = "REQUESTS"
    )]
    pub rate_limit_burst: Option<NonZeroU32>,
    /// The longest path with its query, in bytes; a longer one gets 414.
    #[arg(
        long,
        env = "PUBLISHER_MAX_TARGET_BYTES",
        default_value_t = 8192,
        value_name = "BYTES"
    )]
    pub max_target_bytes: u32,
    /// The longest header section of a request, in bytes; a longer one gets 431, and more than 96 fields
    /// or 128 KiB do in any case.
    #[arg(
        long,
        env = "PUBLISHER_MAX_HEADER_BYTES",
        default_value_t = 32_768,
        value_name = "BYTES"
    )]
    pub max_header_bytes: u32,
    /// How old the board may be before /health/ready is 503, in seconds.
    #[arg(
        long,
        env = "PUBLISHER_MAX_SNAPSHOT_AGE_SECS",
        default_value_t = 600,
        value_name = "SECONDS"
    )]
    pub max_snapshot_age_secs: u32,
    /// How long a client may leave what was sent to it unread, in seconds; then it is cut off.
    #[arg(
        long,
        env = "PUBLISHER_SEND_TIMEOUT_SECS",
        default_value = "60",
        value_name = "SECONDS"
    )]
    pub send_timeout_secs: NonZeroU32,
    /// How long to go on after SIGTERM with /health/ready at 503 before listening stops, in
    /// milliseconds: for balancers to notice.
    #[arg(
        long,
        env = "PUBLISHER_SHUTDOWN_DELAY_MS",
        default_value_t = 0,
        value_name = "MS"
    )]
    pub shutdown_delay_ms: u64,
}

impl Front {
    /// How old the board may be.
    pub fn max_snapshot_age(&self) -> Duration {
        Duration::from_secs(self.max_snapshot_age_secs.into())
    }

    /// How long to go on after a signal.
    pub fn shutdown_delay(&self) -> Duration {
        Duration::from_millis(self.shutdown_delay_ms)
    }

    /// How long a client may leave unread what was sent to it.
    pub fn send_timeout(&self) -> Duration {
        Duration::from_secs(self.send_timeout_secs.get().into())
    }
}
