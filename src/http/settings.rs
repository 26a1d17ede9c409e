//! The options of the HTTP room.

use std::{num::NonZeroU32, time::Duration};

use clap::{Args, ValueEnum};
use ipnet::IpNet;

use crate::units;

/// Which requests the access log has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AccessLog {
    /// Those that the server failed: 5xx.
    Failures,
    /// Every request.
    All,
}

/// How connections and requests are served.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Front")]
#[group(skip)]
pub struct Settings {
    /// Which requests are logged: those that the server failed (5xx), or all. A line has no query and
    /// no token in it.
    #[arg(long, env = "PUBLISHER_ACCESS_LOG", default_value = "failures")]
    #[arg(value_name = "WHICH")]
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
    #[arg(long, env = "PUBLISHER_TRUSTED_PROXIES", value_name = "NETWORKS")]
    #[arg(value_delimiter = ',')]
    pub trusted_proxies: Vec<IpNet>,
    /// Requests a minute from one client address (with IPv6, from one /64), let through evenly; more
    /// get 429 [default: no limit]. Health and metrics are not limited.
    #[arg(long, env = "PUBLISHER_RATE_LIMIT", value_name = "REQUESTS")]
    pub rate_limit: Option<NonZeroU32>,
    /// How many of those may come at once [default: a minute's].
    #[arg(long, env = "PUBLISHER_RATE_LIMIT_BURST", value_name = "REQUESTS")]
    #[arg(requires = "rate_limit")]
    pub rate_limit_burst: Option<NonZeroU32>,
    /// The longest path with its query, in bytes; a longer one gets 414.
    #[arg(long, env = "PUBLISHER_MAX_TARGET_BYTES", value_name = "BYTES")]
    #[arg(default_value = "8192", value_parser = units::number::<usize>(..=u64::from(u32::MAX)))]
    pub max_target_bytes: usize,
    /// The longest header section of a request, in bytes; a longer one gets 431, and more than 96 fields
    /// or 128 KiB do in any case.
    #[arg(long, env = "PUBLISHER_MAX_HEADER_BYTES", value_name = "BYTES")]
    #[arg(default_value = "32768", value_parser = units::number::<usize>(..=u64::from(u32::MAX)))]
    pub max_header_bytes: usize,
    /// How long a client may leave what was sent to it unread, in seconds; then it is cut off.
    #[arg(long = "send-timeout-secs", env = "PUBLISHER_SEND_TIMEOUT_SECS")]
    #[arg(value_name = "SECONDS", default_value = "60")]
    #[arg(value_parser = units::secs(1..=u64::from(u32::MAX)))]
    pub send_timeout: Duration,
    /// The longest body of a write, in MiB; a longer one gets 413.
    #[arg(long = "max-body-mib", env = "PUBLISHER_MAX_BODY_MIB")]
    #[arg(value_name = "MIB", default_value = "16", value_parser = units::mib::<u32>(1..=1024))]
    #[arg(help_heading = "Limits")]
    pub max_body_bytes: u32,
    // From the end of the head to the end of the body.
    /// How long a client may take to send the body of a write, in milliseconds.
    #[arg(long = "body-timeout-ms", env = "PUBLISHER_BODY_TIMEOUT_MS")]
    #[arg(value_name = "MS", default_value = "30000", value_parser = units::millis(1..))]
    #[arg(help_heading = "Limits")]
    pub body_timeout: Duration,
    /// How long an idle connection is kept open, in seconds; 0 closes each one after its first answer.
    #[arg(long = "keep-alive-secs", env = "PUBLISHER_KEEP_ALIVE_SECS")]
    #[arg(value_name = "SECONDS", default_value = "75")]
    #[arg(value_parser = units::secs(..=units::YEAR_SECS))]
    #[arg(help_heading = "Limits")]
    pub keep_alive: Duration,
    // From its first byte to its last, and from accepting a connection to its first request.
    /// How long a client may take to send the head of a request, in milliseconds.
    #[arg(long = "head-timeout-ms", env = "PUBLISHER_HEAD_TIMEOUT_MS")]
    #[arg(value_name = "MS", default_value = "5000", value_parser = units::millis(1..))]
    #[arg(help_heading = "Limits")]
    pub head_timeout: Duration,
}
