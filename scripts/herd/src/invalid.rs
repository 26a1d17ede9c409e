//! Reasons why a plan is invalid.

use cathedral_publisher::domain::ran_at::NotATime;
use http::header::InvalidHeaderValue;

use crate::tls::TlsError;

/// Reasons why the options are invalid.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The URL is invalid or not absolute.
    #[error(
        "{url}: invalid URL; expected one such as http://127.0.0.1:8080/path, without a name and password"
    )]
    Url {
        /// The argument.
        url: String,
    },
    /// The scheme of the URL is neither `http` nor `https`.
    #[error("{url}: the scheme must be http or https")]
    Scheme {
        /// The argument.
        url: String,
    },
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The host cannot be resolved.
    #[error("{host}: {source}")]
    Host {
        /// Host and port.
        host: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The host is not this machine, and `--i-own-this-server` is missing.
    #[error(
        "{host} is not this machine: loading another person's server is an attack; \
         confirm with --i-own-this-server that it is yours"
    )]
    NotLoopback {
        /// Host and port.
        host: String,
    },
    /// There are more clients than connections.
    #[error("{clients} clients need more than {limit} connections: raise --max-connections")]
    TooManyClients {
        /// Pollers, validators and writers.
        clients: u32,
        /// `--max-connections`.
        limit: u32,
    },
    /// The rate is invalid.
    #[error("--rate must be a positive number of polls per second")]
    Rate,
    /// A moment is outside of the run.
    #[error("--{option} must be a second of the run")]
    Moment {
        /// The option, without its dashes.
        option: &'static str,
    },
    /// An Accept-Encoding is not a valid header value.
    #[error("--accept-encoding: {0}")]
    Header(#[from] InvalidHeaderValue),
    /// The cursor of the validators is not a time.
    #[error("--feed-since {0}")]
    Since(#[from] NotATime),
    /// The cursor of the validators, which wait, cannot be part of a URL.
    #[error("--feed-since must be a cursor of since_seq")]
    Cursor,
    /// Clients on this machine cannot reach another one from its loopback addresses.
    #[error("--from-addresses needs targets at addresses such as 127.0.0.1")]
    Addresses,
    /// Writers have no token.
    #[error("writers need a token in PUBLISHER_ADMIN_TOKEN")]
    NoToken,
    /// The token of the writers is not a valid header value.
    #[error("PUBLISHER_ADMIN_TOKEN cannot be sent in a header field")]
    Token,
}
