//! What a run does: the options, checked.

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

/// Why a run cannot be made of these options.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Not an absolute URL.
    #[error("{url} is no URL such as http://127.0.0.1:8080/path")]
    Url {
        /// What was given.
        url: String,
    },
    /// A URL of a scheme that is not spoken here.
    #[error("{url}: only http is spoken here; put a proxy that takes off TLS before it")]
    Scheme {
        /// What was given.
        url: String,
    },
    /// A host without an address.
    #[error("{host}: {source}")]
    Host {
        /// The host and port.
        host: String,
        /// Why.
        source: std::io::Error,
    },
    /// Not this machine, and nobody said that it may be.
    #[error(
        "{host} is not this machine: loading somebody else's server is an attack; \
         --i-own-this-server says that it is yours"
    )]
    NotLoopback {
        /// The host and port.
        host: String,
    },
    /// More clients than connections.
    #[error("{clients} clients need more than {limit} connections: raise --max-connections")]
    TooManyClients {
        /// Pollers, validators and writers.
        clients: u32,
        /// `--max-connections`.
        limit: u32,
    },
    /// A rate that is none.
    #[error("--rate must be a positive number of polls a second")]
    Rate,
    /// A burst outside of the run.
    #[error("--burst-at must be a second of the run")]
    Burst,
    /// A value that no header can hold.
    #[error("--accept-encoding: {0}")]
    Header(#[from] InvalidHeaderValue),
    /// A cursor that is no time.
    #[error("--feed-since {0}")]
    Since(#[from] NotATime),
    /// Nobody may write.
    #[error("--writers need a token in PUBLISHER_ADMIN_TOKEN")]
    NoToken,
}

/// What a run does.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What it is called.
    pub name: String,
    /// How long polls come in.
    pub duration: Duration,
    /// Connections open at once.
    pub max_connections: u32,
    /// Requests a second, a second's worth of which may come at once.
    pub max_rate: u32,
    /// Where the random numbers begin.
    pub seed: u64,
    /// Who polls.
    pub pollers: Pollers,
    /// How a request goes, for pollers, validators and writers alike.
    pub manners: Manners,
    /// Who walks a feed.
    pub validators: Option<Validators>,
    /// Who writes.
    pub writers: Option<Writers>,
    /// What the server tells.
    pub metrics: Option<Counter>,
    /// The server's processes.
    pub server_pids: Vec<i32>,
}

/// The pollers.
#[derive(Debug, Clone)]
pub struct Pollers {
    /// What they ask for.
    pub url: Uri,
    /// How many.
    pub clients: u32,
    /// Time between two polls of one of them; zero: a closed loop.
    pub interval: Duration,
    /// Share of the interval.
    pub jitter: f64,
    /// The time over which they begin.
    pub ramp: Duration,
    /// When all of them poll once more.
    pub bursts: Vec<Duration>,
    /// What becomes of a poll that finds its client waiting.
    pub arrival: Arrival,
    /// Whether they send If-None-Match.
    pub conditional: bool,
    /// What they send as Accept-Encoding.
    pub accept_encoding: Option<HeaderValue>,
}

/// How long a client waits, and what it does then.
#[derive(Debug, Clone, Copy)]
pub struct Manners {
    /// For a whole answer.
    pub timeout: Duration,
    /// After a failure.
    pub retry: RetryPolicy,
}

/// The validators.
#[derive(Debug, Clone)]
pub struct Validators {
    /// The feed, without a query.
    pub url: Uri,
    /// How many.
    pub clients: u32,
    /// Where they begin.
    pub since: RanAt,
    /// Rows of a page.
    pub limit: u32,
    /// The codings that they take.
    pub accept_encoding: Option<HeaderValue>,
    /// Time between two pulls.
    pub interval: Duration,
}

/// The writers.
#[derive(Debug, Clone)]
pub struct Writers {
    /// Where they post to.
    pub url: Uri,
    /// How many.
    pub clients: u32,
    /// Time between two posts.
    pub interval: Duration,
    /// Rows of a post.
    pub rows: u32,
    /// What they show.
    pub token: String,
}

/// A counter that the server publishes.
#[derive(Debug, Clone)]
pub struct Counter {
    /// Where.
    pub url: Uri,
    /// Its name.
    pub name: String,
}

impl Plan {
    /// Checks the URL of the pollers and the options. `token` is that of the writers.
    ///
    /// # Errors
    /// [`PlanError`], the first there is.
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
            manners: Manners {
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
    /// When the polls of client `number` are due.
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

/// The beginning of one of `clients` that begin one after the other over `whole`.
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

/// An absolute http URL whose host is this machine, unless the caller owns the other one.
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
