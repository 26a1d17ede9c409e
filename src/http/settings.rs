//! The settings of the HTTP room.

use std::{sync::Arc, time::Duration};

use clap::ValueEnum;
use ipnet::IpNet;

use super::RateLimit;

/// Which requests the access log has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AccessLog {
    /// Those that the server failed: 5xx.
    Failures,
    /// Every request.
    All,
}

/// How connections and requests are served.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which requests the access log has.
    pub access_log: AccessLog,
    /// Whether pages of other origins may read the public routes (CORS).
    pub cors: bool,
    /// Whether answers carry `Cache-Status` and `Age`.
    pub cache_status: bool,
    /// Whether answers carry `Server-Timing`.
    pub server_timing: bool,
    /// Proxies whose `Forwarded` or `X-Forwarded-For` is trusted.
    pub trusted_proxies: Arc<[IpNet]>,
    /// How often one client may ask; unlimited if absent.
    pub rate_limit: Option<Arc<RateLimit>>,
    /// The longest target of a request, in bytes.
    pub max_target_bytes: usize,
    /// The longest header section of a request, in bytes.
    pub max_header_bytes: usize,
    /// The time from the first byte of a head to its last, and from accepting a connection to its first
    /// request.
    pub head_timeout: Duration,
    /// How long an idle connection is kept open. Zero closes each connection after one answer.
    pub keep_alive: Duration,
    /// The time from the end of a head to the end of the body.
    pub body_timeout: Duration,
    /// How long the client may accept no byte of what is being sent to it.
    pub send_timeout: Duration,
}
