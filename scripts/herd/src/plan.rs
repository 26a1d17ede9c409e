//! The plan of a run: the validated options.

use std::time::Duration;

use cathedral_publisher::domain::ran_at::RanAt;
use http::header::HeaderValue;
use serde_json::{Map, Value};

use crate::{
    condition::{Clients, Condition},
    config::{self, Arrival, RunOptions},
    effect,
    invalid::PlanError,
    news::CHALLENGE,
    pace::Schedule,
    plan_file::written,
    polls::Polls,
    retry::RetryPolicy,
    secrets::Environment,
    target::{Target, Targets},
};

/// The first wait of a client that waits, after an error, and the time that it waits longer each time
/// (WIRE.md, Waiting).
const LEAST_WAIT: Duration = Duration::from_secs(1);
/// A wait may take so much longer than another request.
const LONGEST_WAIT: Duration = Duration::from_secs(35);

/// The plan of a run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The options, as a plan file has them.
    pub written: Map<String, Value>,
    /// Name of the run.
    pub name: String,
    /// Time in which polls are due.
    pub duration: Duration,
    /// Maximum of open connections.
    pub max_connections: u32,
    /// Maximum of requests per second; one second's worth may be sent at once.
    pub max_rate: u32,
    /// Whether pollers and validators wait instead of polling.
    pub wait: bool,
    /// The number of addresses that clients connect from; `None` for the one that the system chooses.
    pub from_addresses: Option<u32>,
    /// Maximum of threads that send requests.
    pub threads: u32,
    /// Seed of the random numbers.
    pub seed: u64,
    /// The pollers.
    pub pollers: Pollers,
    /// Timeout and retries of all clients, except of those that wait.
    pub policy: RequestPolicy,
    /// The validators, if there are any.
    pub validators: Option<Validators>,
    /// The writers, if there are any.
    pub writers: Option<Writers>,
    /// The client that changes the board, if there is one.
    pub operator: Option<Operator>,
    /// The server's counter of rebuilds.
    pub metrics: Option<Counter>,
    /// Process ids of the server.
    pub server_pids: Vec<i32>,
}

/// The clients that poll.
#[derive(Debug, Clone)]
pub struct Pollers {
    /// What they send.
    pub polls: Polls,
    /// When they send it.
    pub schedule: Schedule,
    /// What happens to a poll that is due while its client waits.
    pub arrival: Arrival,
    /// Value of Accept-Encoding of clients that wait.
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
    pub target: Target,
    /// Number of clients.
    pub clients: u32,
    /// Cursor of the first request: a time, or one of since_seq.
    pub since: String,
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
    pub target: Target,
    /// Number of clients.
    pub clients: u32,
    /// Time between two posts.
    pub interval: Duration,
    /// Eval runs per post.
    pub rows: u32,
    /// The value of Authorization, with the admin token.
    pub bearer: HeaderValue,
}

/// The client that changes the board.
#[derive(Debug, Clone)]
pub struct Operator {
    /// The URL of the challenge that it changes.
    pub target: Target,
    /// When it changes it.
    pub at: Vec<Duration>,
    /// The value of Authorization, with the admin token.
    pub bearer: HeaderValue,
}

/// A counter in the server's metrics.
#[derive(Debug, Clone)]
pub struct Counter {
    /// The URL of the metrics.
    pub target: Target,
    /// Name of the counter.
    pub name: String,
}

impl Plan {
    /// Checks the options. `environment` has the token of the writers, and variables of header fields.
    ///
    /// # Errors
    /// [`PlanError`] for the first invalid option.
    pub fn new(options: &RunOptions, environment: Environment<'_>) -> Result<Self, PlanError> {
        let connection = &options.connection;
        let mut targets = Targets::new(options.i_own_this_server, connection, environment);
        let token = environment("PUBLISHER_ADMIN_TOKEN").filter(|token| !token.is_empty());
        let timeout = Duration::from_millis(options.failures.timeout_ms);
        let schedule = Schedule::new(options, timeout)?;
        let duration = schedule.duration;
        let pollers = Pollers {
            polls: Polls::new(options, &mut targets, environment)?,
            schedule,
            arrival: options.schedule.arrival,
            accept_encoding: codings(options.polls.accept_encoding.as_deref())?,
        };
        let validators = match &options.validators.feed_url {
            Some(url) if options.validators.validators > 0 => {
                let url = targets.without_query("--feed-url", url)?;
                Some(validators(&options.validators, url, options.wait)?)
            }
            Some(_) | None => None,
        };
        let writers = match &options.writers.write_url {
            Some(url) if options.writers.writers > 0 => Some(Writers {
                target: targets.target(url)?,
                clients: options.writers.writers,
                interval: Duration::from_millis(options.writers.write_interval_ms),
                rows: options.writers.write_rows,
                bearer: bearer(token.as_deref())?,
            }),
            Some(_) | None => None,
        };
        let operator = match &options.writers.change_url {
            Some(url) if !options.writers.change_at.is_empty() => Some(Operator {
                target: targets.without_query("--change-url", &format!("{url}/{CHALLENGE}"))?,
                at: moments(&options.writers.change_at, duration, "change-at")?,
                bearer: bearer(token.as_deref())?,
            }),
            Some(_) | None => None,
        };
        let metrics = match &options.server.metrics_url {
            Some(url) => Some(Counter {
                target: targets.target(url)?,
                name: options.server.rebuild_metric.clone(),
            }),
            None => None,
        };
        targets.check_resolve()?;
        let written = written(options)?;
        effect::check(options, &written, targets.has_tls())?;
        let clients =
            pollers.schedule.clients + options.validators.validators + options.writers.writers;
        if clients > options.max_connections {
            return Err(PlanError::TooManyClients {
                clients,
                limit: options.max_connections,
            });
        }
        let feed = validators.as_ref().map(|validators| &validators.target);
        let mut all = pollers.polls.mix.targets().iter().chain(feed);
        if options.from_addresses.is_some() && !all.all(Target::is_loopback_v4) {
            return Err(PlanError::Addresses);
        }
        conditions(
            options,
            validators.is_some(),
            writers.is_some() || operator.is_some(),
        )?;
        Ok(Self {
            written,
            name: options.name.clone(),
            duration,
            wait: options.wait,
            from_addresses: options.from_addresses,
            max_connections: options.max_connections,
            max_rate: options.max_rate,
            threads: options.threads.unwrap_or_else(processors),
            seed: options.seed,
            pollers,
            policy: RequestPolicy {
                timeout,
                retry: RetryPolicy {
                    on_failure: options.failures.on_failure,
                    honour_retry_after: options.failures.honour_retry_after,
                    max_retries: options.failures.max_retries,
                    least: Duration::ZERO,
                },
            },
            validators,
            writers,
            operator,
            metrics,
            server_pids: options.server.server_pid.clone(),
        })
    }

    /// Returns the number of all clients.
    pub(super) fn clients(&self) -> u32 {
        let validators = self.validators.as_ref().map_or(0, |plan| plan.clients);
        let writers = self.writers.as_ref().map_or(0, |plan| plan.clients);
        self.pollers.schedule.clients + validators + writers + u32::from(self.operator.is_some())
    }
}

/// Returns the processors that this process may use, as far as the system says it.
fn processors() -> u32 {
    let processors = std::thread::available_parallelism();
    processors.map_or(1, |count| u32::try_from(count.get()).unwrap_or(1))
}

/// Returns the start of client `number` of `clients` that start one after the other over `whole`.
pub fn share(whole: Duration, number: u32, clients: u32) -> Duration {
    whole.mul_f64(f64::from(number) / f64::from(clients.max(1)))
}

/// Checks that each condition is about clients of the run.
fn conditions(options: &RunOptions, validators: bool, writers: bool) -> Result<(), PlanError> {
    let has_figure = |condition: &&Condition| {
        let has_clients = match condition.clients {
            Clients::Pollers => true,
            Clients::Validators => validators,
            Clients::Writers => writers,
        };
        has_clients && (options.wait || !condition.is_of_waits())
    };
    let wrong = options
        .fail_if
        .iter()
        .find(|condition| !has_figure(condition));
    match wrong {
        Some(condition) => Err(PlanError::NoSuchClients {
            condition: condition.to_string(),
        }),
        None => Ok(()),
    }
}

fn validators(
    options: &config::Validators,
    target: Target,
    wait: bool,
) -> Result<Validators, PlanError> {
    let since = options.feed_since.as_deref();
    Ok(Validators {
        target,
        clients: options.validators,
        since: if wait {
            cursor(since.unwrap_or("0"))?
        } else {
            RanAt::parse(since.unwrap_or("1970-01-01T00:00:00Z"))?.to_string()
        },
        limit: options.feed_limit,
        accept_encoding: codings(options.feed_accept_encoding.as_deref())?,
        interval: Duration::from_millis(options.feed_interval_ms),
    })
}

/// Checks that a cursor of since_seq can be part of a query as it is.
fn cursor(text: &str) -> Result<String, PlanError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err(PlanError::Cursor)
    }
}

/// Parses seconds of the run.
pub(super) fn moments(
    seconds: &[f64],
    duration: Duration,
    option: &'static str,
) -> Result<Vec<Duration>, PlanError> {
    let moments = seconds.iter().map(|second| {
        Duration::try_from_secs_f64(*second)
            .ok()
            .filter(|at| *at < duration)
            .ok_or(PlanError::Moment { option })
    });
    moments.collect()
}

/// Returns the value of Authorization (RFC 6750 §2.1).
fn bearer(token: Option<&str>) -> Result<HeaderValue, PlanError> {
    let token = token.ok_or(PlanError::NoToken)?;
    let value = HeaderValue::from_str(&format!("Bearer {token}"));
    let mut value = value.map_err(|_| PlanError::Token)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Checks the value of an Accept-Encoding.
pub(super) fn codings(value: Option<&str>) -> Result<Option<HeaderValue>, PlanError> {
    Ok(value.map(HeaderValue::from_str).transpose()?)
}

impl RequestPolicy {
    /// Returns the policy of a client that waits.
    pub fn waiting(self) -> Self {
        Self {
            timeout: self.timeout + LONGEST_WAIT,
            retry: RetryPolicy {
                honour_retry_after: true,
                least: LEAST_WAIT,
                ..self.retry
            },
        }
    }
}
