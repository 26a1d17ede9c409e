//! Reasons why a plan is invalid.

use cathedral_publisher::domain::ran_at::NotATime;
use http::header::InvalidHeaderValue;

use crate::{fields::NotAField, secrets::NotExpanded, tls::TlsError};

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
    /// The URL has a user or a password.
    #[error("a user or a password in front of {host}: use --header 'Authorization: …' instead")]
    User {
        /// Host and port.
        host: String,
    },
    /// The URL has a fragment.
    #[error("{url}: a fragment is never sent; remove it")]
    Fragment {
        /// The argument.
        url: String,
    },
    /// The port is invalid.
    #[error("'{port}' is not a port: expected 1 to 65535")]
    Port {
        /// The port.
        port: String,
    },
    /// There is neither a URL nor a target.
    #[error("a URL or a --target is missing")]
    NoTarget,
    /// A target has no valid weight. Its URL, which may have a password, is not shown.
    #[error(
        "--target: '{0}' is not a weight from 1 to 1000000; expected '3 http://127.0.0.1:8080/path'"
    )]
    Weight(String),
    /// There are too many targets.
    #[error("there are more than {0} targets")]
    TooManyTargets(usize),
    /// The method is not a token (RFC 9110 §9.1), or not one that a poll can have.
    #[error("--method {method}: {reason}")]
    Method {
        /// The argument.
        method: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A header field is invalid.
    #[error("--header: {0}")]
    Field(#[from] NotAField),
    /// A header field has an option of its own.
    #[error("--header: {field} is also set by {option}")]
    FieldTwice {
        /// The field.
        field: &'static str,
        /// The option.
        option: &'static str,
    },
    /// There are two fields Host (RFC 9112 §3.2).
    #[error("--header: a request has one Host")]
    Hosts,
    /// An option has nothing to work on.
    #[error("{option} has no effect: {reason}")]
    NoEffect {
        /// The option.
        option: String,
        /// What is missing, or stands against it.
        reason: &'static str,
    },
    /// A variable in a URL is missing.
    #[error(transparent)]
    Variable(#[from] NotExpanded),
    /// A URL that gets a query of its own has one.
    #[error("{option}: the URL must not have a query")]
    Query {
        /// The option.
        option: &'static str,
    },
    /// The body cannot be read.
    #[error("--body-file {path}: {source}")]
    Body {
        /// The file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The name of the cache buster is not that of a query parameter.
    #[error("--cache-buster must be letters, digits, - and _")]
    CacheBuster,
    /// The rate is higher than the maximum.
    #[error("{rate:.0} polls per second are more than --max-rate {limit}: raise it")]
    TooFast {
        /// Polls per second.
        rate: f64,
        /// `--max-rate`.
        limit: u32,
    },
    /// A burst is larger than what may be sent at once.
    #[error(
        "a burst of {polls} polls is more than --max-rate {limit} allows in one second: raise it"
    )]
    TooLargeABurst {
        /// Polls of the burst.
        polls: u32,
        /// `--max-rate`.
        limit: u32,
    },
    /// The stages are too short, or have nothing to send.
    #[error("--stage: {0}")]
    Stages(&'static str),
    /// The run is longer than its stages.
    #[error("--duration-secs {duration} is longer than all stages, {stages} s")]
    LongerThanStages {
        /// `--duration-secs`.
        duration: u64,
        /// Seconds.
        stages: f64,
    },
    /// The polls take longer than a day.
    #[error("{polls} polls take longer than a day: raise --rate, or lower --requests")]
    TooManyPolls {
        /// `--requests`.
        polls: u64,
    },
    /// A condition is about clients that the run does not have.
    #[error("--fail-if '{condition}': the run has no such clients")]
    NoSuchClients {
        /// The condition.
        condition: String,
    },
    /// The options cannot be written with the results.
    #[error("the options cannot be written: {0}")]
    Written(#[from] serde_json::Error),
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
