//! The options of the HTTP room.

use std::{num::NonZeroU32, time::Duration};

use clap::{Args, ValueEnum};
use ipnet::IpNet;

use super::{
    client_address::{ClientAddressFrom, trusted_network},
    routes::RouteSet,
    waiting,
};
use crate::{
    answer::{Directives, EdgeCache, TargetedField},
    units,
};

/// Which requests the access log has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AccessLog {
    /// Those that the server failed: 5xx.
    Failures,
    /// Every request.
    All,
}

/// Which addresses serve the page for browsers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ServesPage {
    /// The admin address, or the public one if there is no admin address.
    Auto,
    /// Every address.
    On,
    /// No address.
    Off,
}

impl ServesPage {
    /// Returns whether the address with these routes serves it.
    pub(super) fn is_served(self, routes: RouteSet) -> bool {
        match self {
            Self::Auto => routes != RouteSet::Public,
            Self::On => true,
            Self::Off => false,
        }
    }
}

/// How connections and requests are served.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "HTTP")]
#[group(skip)]
pub struct Settings {
    /// Which requests are logged: those that failed with 5xx, or all. A line contains neither the query
    /// nor a token.
    #[arg(long, env = "PUBLISHER_ACCESS_LOG", default_value = "failures")]
    #[arg(value_name = "WHICH")]
    pub access_log: AccessLog,
    /// Serve a page at / for browsers, which shows the board and the feed while they change: on the admin
    /// address, or on the public one if there is no admin address (auto); on both (on); on none (off).
    #[arg(long, env = "PUBLISHER_PAGE", default_value = "auto")]
    #[arg(value_name = "WHERE")]
    pub page: ServesPage,
    /// What shared caches, such as those of a CDN, are told beside `public, max-age=15` about the board,
    /// current-challenge, the keys, and pages of the feed that are asked for by `since_ran_at` or nothing, not by `since_seq`: s-maxage, stale-while-revalidate and stale-if-error (RFC 5861) with seconds, no-transform,
    /// and must-revalidate or proxy-revalidate. Some CDNs serve nothing stale if there is an s-maxage. Example:
    /// `s-maxage=15, stale-while-revalidate=30, stale-if-error=900`.
    #[arg(long, env = "PUBLISHER_EDGE_CACHE", value_name = "DIRECTIVES")]
    pub edge_cache: Option<Directives>,
    /// Send that in this field (RFC 9213), together with `public, max-age=15`, instead of in Cache-Control: a cache
    /// that knows the field uses it alone, and all other caches are told what they are told now.
    #[arg(long, env = "PUBLISHER_EDGE_CACHE_FIELD", value_name = "FIELD")]
    #[arg(requires = "edge_cache")]
    pub edge_cache_field: Option<TargetedField>,
    /// Allow scripts of any origin to read (CORS) the board, the feed and health, with their ETag.
    #[arg(long, env = "PUBLISHER_CORS")]
    pub cors: bool,
    /// Add Cache-Status (RFC 9211) to public answers, and Age to those of the board. Age shortens the
    /// time that caches on the way keep them.
    #[arg(long, env = "PUBLISHER_CACHE_STATUS")]
    pub cache_status: bool,
    /// Add Server-Timing, the time that the server took, to every answer.
    #[arg(long, env = "PUBLISHER_SERVER_TIMING")]
    pub server_timing: bool,
    /// What names the client of a request, for --rate-limit and the access log: the other end of the
    /// connection, or one header field that the trusted proxies set. The other field is never read
    /// [default: peer; x-forwarded-for if there are trusted proxies].
    #[arg(long, env = "PUBLISHER_CLIENT_ADDRESS_FROM", value_name = "SOURCE")]
    #[arg(requires_ifs = [("x-forwarded-for", "trusted_proxies"), ("forwarded", "trusted_proxies")])]
    pub client_address_from: Option<ClientAddressFrom>,
    /// Proxies that may name the client of a request: addresses or networks, such as 10.0.0.1,fd00::/8.
    /// Each of them must set the field of --client-address-from.
    #[arg(long, env = "PUBLISHER_TRUSTED_PROXIES", value_name = "NETWORKS")]
    #[arg(value_delimiter = ',', value_parser = trusted_network)]
    pub trusted_proxies: Vec<IpNet>,
    /// Requests per minute from one client address, spread evenly; more get 429 [default: no limit]. IPv6:
    /// from one /64, 16 times as many from one /48, 256 times as many from one /32. Health and the admin
    /// address are not limited.
    #[arg(long, env = "PUBLISHER_RATE_LIMIT", value_name = "REQUESTS")]
    #[arg(value_parser = units::positive())]
    pub rate_limit: Option<NonZeroU32>,
    /// How many of those may come at once [default: those of one minute].
    #[arg(long, env = "PUBLISHER_RATE_LIMIT_BURST", value_name = "REQUESTS")]
    #[arg(requires = "rate_limit")]
    #[arg(value_parser = units::positive())]
    pub rate_limit_burst: Option<NonZeroU32>,
    /// The longest path with its query, in bytes; a longer one gets 414.
    #[arg(long, env = "PUBLISHER_MAX_TARGET_BYTES", value_name = "BYTES")]
    #[arg(default_value = "8192", value_parser = units::number::<usize>(256..=u64::from(u32::MAX)))]
    pub max_target_bytes: usize,
    /// The longest header section of a request, in bytes; a longer one gets 431. More than 96 fields or
    /// 128 KiB always get 431.
    #[arg(long, env = "PUBLISHER_MAX_HEADER_BYTES", value_name = "BYTES")]
    #[arg(default_value = "32768", value_parser = units::number::<usize>(1024..=u64::from(u32::MAX)))]
    pub max_header_bytes: usize,
    /// How long sent data may stay unacknowledged (TCP_USER_TIMEOUT), and a client may accept nothing, in
    /// seconds; then the connection is closed.
    #[arg(long = "send-timeout-secs", env = "PUBLISHER_SEND_TIMEOUT_SECS")]
    #[arg(value_name = "SECONDS", default_value = "60")]
    #[arg(value_parser = units::secs(1..=u64::from(u32::MAX)))]
    pub send_timeout: Duration,
    /// How fast a client must accept an answer, in bytes per second: beyond --send-timeout-secs and the time
    /// that its bytes take at this rate, the connection is closed.
    #[arg(long, env = "PUBLISHER_MIN_SEND_BYTES_PER_SEC", value_name = "BYTES")]
    #[arg(default_value = "4096", value_parser = units::number::<u64>(1..=u64::from(u32::MAX)))]
    pub min_send_bytes_per_sec: u64,
    /// The longest body of a write, in MiB; a longer one gets 413.
    #[arg(long = "max-body-mib", env = "PUBLISHER_MAX_BODY_MIB")]
    #[arg(value_name = "MIB", default_value = "16", value_parser = units::mib::<u32>(1..=1024))]
    #[arg(help_heading = "Limits")]
    pub max_body_bytes: u32,
    // From the end of the head to the end of the body.
    /// How long a client may take to send the body of a write, in milliseconds.
    #[arg(long = "body-timeout-ms", env = "PUBLISHER_BODY_TIMEOUT_MS")]
    #[arg(value_name = "MS", default_value = "30000", value_parser = units::millis(1..=units::DAY_MILLIS))]
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
    #[arg(value_name = "MS", default_value = "5000", value_parser = units::millis(1..=units::DAY_MILLIS))]
    #[arg(help_heading = "Limits")]
    pub head_timeout: Duration,
    // Its help heading holds for all that follows.
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for its own")]
    pub waiting: waiting::Settings,
}

impl Settings {
    /// Returns what shared caches are told.
    #[must_use]
    pub fn edge_cache(&self) -> EdgeCache {
        EdgeCache::new(self.edge_cache.as_ref(), self.edge_cache_field.as_ref())
    }

    /// Returns what names the client of a request.
    pub(super) fn client_address_from(&self) -> ClientAddressFrom {
        let default = if self.trusted_proxies.is_empty() {
            ClientAddressFrom::Peer
        } else {
            ClientAddressFrom::XForwardedFor
        };
        self.client_address_from.unwrap_or(default)
    }
}
