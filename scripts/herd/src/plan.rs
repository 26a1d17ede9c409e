//! The plan of a run: the validated options.

use std::{
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    time::Duration,
};

use awc::http::{
    Uri,
    header::{HeaderValue, InvalidHeaderValue},
};
use cathedral_publisher::domain::ran_at::{NotATime, RanAt};

use crate::{
    config::{self, Arrival},
    retry::RetryPolicy,
    schedule::Times,
};

/// Reasons why the options are invalid.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The URL is invalid or not absolute.
    #[error("{url}: invalid URL; expected one such as http://127.0.0.1:8080/path")]
    Url {
        /// The argument.
        url: String,
    },
    /// The scheme of the URL is not `http`.
    #[error("{url}: only http is supported; put a proxy that terminates TLS in front")]
    Scheme {
        /// The argument.
        url: String,
    },
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
    /// A burst is outside of the run.
    #[error("--burst-at must be a second of the run")]
    Burst,
    /// An Accept-Encoding is not a valid header value.
    #[error("--accept-encoding: {0}")]
    Header(#[from] InvalidHeaderValue),
    /// The cursor of the validators is not a time.
    #[error("--feed-since {0}")]
    Since(#[from] NotATime),
    /// Writers have no token.
    #[error("--writers need a token in PUBLISHER_ADMIN_TOKEN")]
    NoToken,
}

/// The plan of a run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Name of the run.
    pub name: String,
    /// Time in which polls are due.
    pub duration: Duration,
    /// Maximum of open connections.
    pub max_connections: u32,
    /// Maximum of requests per second; one second's worth may be sent at once.
    pub max_rate: u32,
    /// Seed of the random numbers.
    pub seed: u64,
    /// The pollers.
    pub pollers: Pollers,
    /// Timeout and retries of all clients.
    pub policy: RequestPolicy,
    /// The validators, if there are any.
    pub validators: Option<Validators>,
    /// The writers, if there are any.
    pub writers: Option<Writers>,
    /// The server's counter of rebuilds.
    pub metrics: Option<Counter>,
    /// Process ids of the server.
    pub server_pids: Vec<i32>,
}

/// The clients that poll one URL.
#[derive(Debug, Clone)]
pub struct Pollers {
    /// The URL.
    pub url: Uri,
    /// Number of clients.
    pub clients: u32,
    /// Time between two polls of one client; zero for a closed loop.
    pub interval: Duration,
    /// Random deviation of a poll from its time, as a share of the interval.
    pub jitter: f64,
    /// Time over which the clients start.
    pub ramp: Duration,
    /// Times at which all clients send one more poll.
    pub bursts: Vec<Duration>,
    /// What happens to a poll that is due while its client waits.
    pub arrival: Arrival,
    /// Whether they send If-None-Match.
    pub conditional: bool,
    /// Value of Accept-Encoding.
    pub accept_encoding: Option<HeaderValue>,
}

/// Timeout and retries of a client.
#[derive(Debug, Clone, Copy)]
pub struct RequestPolicy {
    /// Timeout for a complete response.
    pub timeout: Duration,
    /// Retries after a failure.
    pub retry: RetryPolicy,
}

/// The clients that read a feed.
#[derive(Debug, Clone)]
pub struct Validators {
    /// The feed, without a query.
    pub url: Uri,
    /// Number of clients.
    pub clients: u32,
    /// Cursor of the first request.
    pub since: RanAt,
    /// Rows per page.
    pub limit: u32,
    /// Value of Accept-Encoding.
    pub accept_encoding: Option<HeaderValue>,
    /// Time between two pulls.
    pub interval: Duration,
}

/// The clients that post eval runs.
#[derive(Debug, Clone)]
pub struct Writers {
    /// The URL to post to.
    pub url: Uri,
    /// Number of clients.
    pub clients: u32,
    /// Time between two posts.
    pub interval: Duration,
    /// Eval runs per post.
    pub rows: u32,
    /// The admin token.
    pub token: String,
}

/// A counter in the server's metrics.
#[derive(Debug, Clone)]
pub struct Counter {
    /// The URL of the metrics.
    pub url: Uri,
    /// Name of the counter.
    pub name: String,
}

impl Plan {
    /// Checks the URL of the pollers and the options. `token` is that of the writers.
    ///
    /// # Errors
    /// [`PlanError`] for the first invalid option.
    pub fn new(
        url: &str,
        options: &config::RunOptions,
        token: Option<String>,
    ) -> Result<Self, PlanError> {
        let own = options.i_own_this_server;
        let duration = Duration::from_secs(options.duration_secs);
        let pollers = pollers(target(url, own)?, &options.pollers, duration)?;
        let validators = match &options.validators.feed_url {
            Some(url) if options.validators.validators > 0 => {
                Some(validators(&options.validators, target(url, own)?)?)
            }
            Some(_) | None => None,
        };
        let writers = match &options.writers.write_url {
            Some(url) if options.writers.writers > 0 => Some(Writers {
                url: target(url, own)?,
                clients: options.writers.writers,
                interval: Duration::from_millis(options.writers.write_interval_ms),
                rows: options.writers.write_rows,
                token: token.ok_or(PlanError::NoToken)?,
            }),
            Some(_) | None => None,
        };
        let metrics = match &options.server.metrics_url {
            Some(url) => Some(Counter {
                url: target(url, own)?,
                name: options.server.rebuild_metric.clone(),
            }),
            None => None,
        };
        let clients = pollers.clients + options.validators.validators + options.writers.writers;
        if clients > options.max_connections {
            return Err(PlanError::TooManyClients {
                clients,
                limit: options.max_connections,
            });
        }
        Ok(Self {
            name: options.name.clone(),
            duration,
            max_connections: options.max_connections,
            max_rate: options.max_rate,
            seed: options.seed,
            pollers,
            policy: RequestPolicy {
                timeout: Duration::from_millis(options.pollers.timeout_ms),
                retry: RetryPolicy {
                    on_failure: options.pollers.on_failure,
                    honour_retry_after: options.pollers.honour_retry_after,
                    max_retries: options.pollers.max_retries,
                },
            },
            validators,
            writers,
            metrics,
            server_pids: options.server.server_pid.clone(),
        })
    }
}

impl Pollers {
    /// Returns when the polls of client `number` are due.
    pub fn times(&self, number: u32, end: Duration) -> Times {
        Times {
            first: share(self.ramp, number, self.clients),
            interval: self.interval,
            jitter: self.jitter,
            bursts: self.bursts.clone(),
            end,
        }
    }
}

/// Returns the start of client `number` of `clients` that start one after the other over `whole`.
pub fn share(whole: Duration, number: u32, clients: u32) -> Duration {
    whole.mul_f64(f64::from(number) / f64::from(clients.max(1)))
}

fn pollers(url: Uri, options: &config::Pollers, duration: Duration) -> Result<Pollers, PlanError> {
    let interval = match options.rate {
        None => Duration::from_millis(options.interval_ms),
        Some(rate) => Duration::try_from_secs_f64(f64::from(options.clients) / rate)
            .ok()
            .filter(|interval| !interval.is_zero())
            .ok_or(PlanError::Rate)?,
    };
    let bursts = options.burst_at.iter().map(|second| {
        Duration::try_from_secs_f64(*second)
            .ok()
            .filter(|at| *at < duration)
            .ok_or(PlanError::Burst)
    });
    Ok(Pollers {
        url,
        clients: options.clients,
        interval,
        jitter: f64::from(options.jitter_percent) / 100.0,
        ramp: options.ramp_ms.map_or(interval, Duration::from_millis),
        bursts: bursts.collect::<Result<_, _>>()?,
        arrival: options.arrival,
        conditional: !options.unconditional,
        accept_encoding: codings(options.accept_encoding.as_deref())?,
    })
}

fn validators(options: &config::Validators, url: Uri) -> Result<Validators, PlanError> {
    Ok(Validators {
        url,
        clients: options.validators,
        since: RanAt::parse(&options.feed_since)?,
        limit: options.feed_limit,
        accept_encoding: codings(options.feed_accept_encoding.as_deref())?,
        interval: Duration::from_millis(options.feed_interval_ms),
    })
}

fn codings(value: Option<&str>) -> Result<Option<HeaderValue>, PlanError> {
    Ok(value.map(HeaderValue::from_str).transpose()?)
}

/// Parses an absolute http URL. Its host must be this machine unless `own` is set.
fn target(url: &str, own: bool) -> Result<Uri, PlanError> {
    let not_a_url = || PlanError::Url {
        url: url.to_owned(),
    };
    let uri: Uri = url.parse().map_err(|_| not_a_url())?;
    let host = uri.host().ok_or_else(not_a_url)?;
    if uri.scheme_str().ok_or_else(not_a_url)? != "http" {
        return Err(PlanError::Scheme {
            url: url.to_owned(),
        });
    }
    let host = format!("{host}:{}", uri.port_u16().unwrap_or(80));
    let addresses: Vec<SocketAddr> = match host.to_socket_addrs() {
        Ok(addresses) => addresses.collect(),
        Err(source) => return Err(PlanError::Host { host, source }),
    };
    if own || addresses.iter().all(|address| is_loopback(address.ip())) {
        Ok(uri)
    } else {
        Err(PlanError::NotLoopback { host })
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
