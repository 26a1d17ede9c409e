//! A load generator for polled HTTP endpoints: clients that behave like real ones, and what they
//! measure.
//!
//! | file | knows |
//! |---|---|
//! | `config` | the command line |
//! | `plan`, `invalid` | what a run does: the options, checked, and what is wrong with them |
//! | `clients` | all clients of a run |
//! | `schedule` | when polls are due: fixed before the run begins (an open loop) |
//! | `retry` | what a client does after a failed request |
//! | `exchange` | one poll: requests until a response; timeouts, and the limits of the whole run |
//! | `connections` | the connections of one client: idle ones, new ones, and those that the server has closed |
//! | `http1`, `transport` | one connection: HTTP/1.1, and the bytes below it |
//! | `response`, `answer` | reading a response to its end, and whether it counts as an answer |
//! | `failures` | why requests failed |
//! | `poller`, `validator`, `writer`, `operator` | clients that poll, and clients that write |
//! | `follower`, `link` | the client that waits, and where it asks next |
//! | `page` | a page of the feed |
//! | `news` | when something was written, and how long it takes to reach clients |
//! | `target` | URLs and addresses |
//! | `tally`, `latencies`, `bands` | counts and histograms during the run |
//! | `server_side`, `processes` | the server's figures: rebuilds, processor time, memory |
//! | `run` | the results; the JSON format |
//! | `live`, `table`, `aligned`, `report` | output: during the run, as text, in columns, as a picture |
//!
//! Latency is measured from the time at which a poll was due, not from the time at which it was sent. A
//! stall of the server therefore counts for every poll that was due meanwhile (no coordinated
//! omission). A poll without a response counts as slower than every other poll; a quantile that falls
//! among such polls is `never`.
//!
//! One thread generates all of the load. If that thread itself is late, the results say by how much.

mod aligned;
mod answer;
pub mod bands;
mod clients;
pub mod config;
mod connections;
mod exchange;
pub mod failures;
mod follower;
mod http1;
pub mod invalid;
mod latencies;
pub mod link;
mod live;
mod news;
mod operator;
mod page;
pub mod plan;
mod poller;
pub mod processes;
pub mod report;
mod response;
pub mod retry;
pub mod run;
pub mod schedule;
mod server_side;
pub mod table;
mod tally;
mod target;
mod transport;
mod validator;
mod writer;

use std::{cell::Cell, future::Future, net::TcpStream, rc::Rc, time::Duration};

use fastrand::Rng;
use tokio::{task::JoinSet, time::Instant};

use clients::Herd;
use exchange::Limits;
use news::News;
use plan::Plan;
use run::{FORMAT, Run};

/// Timeout of the first connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// File descriptors in addition to those of the clients: standard streams, epoll, metrics.
const SPARE_FILES: u64 = 64;

/// Reasons why a run cannot start.
#[derive(Debug, thiserror::Error)]
pub enum HerdError {
    /// Nothing listens at the target.
    #[error("nothing answers at {host}: {source}")]
    Absent {
        /// Host and port.
        host: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The limit of open files is too low.
    #[error("{needed} file descriptors are needed, {allowed} allowed: raise `ulimit -n`")]
    Files {
        /// Required for all connections.
        needed: u64,
        /// The hard limit.
        allowed: u64,
    },
    /// A URL of a client that waits is invalid.
    #[error(transparent)]
    Url(#[from] url::ParseError),
    /// A histogram could not be created.
    #[error(transparent)]
    Histogram(#[from] hdrhistogram::CreationError),
}

/// Runs the plan to its end or until `stop`, and returns the results. Requests in flight at the end may
/// take one more timeout. Must be called within a [`tokio::task::LocalSet`].
///
/// # Errors
/// [`HerdError`], before any request is sent.
pub async fn run(plan: Plan, stop: impl Future<Output = ()>) -> Result<Run, HerdError> {
    is_there(&plan)?;
    allow_files(&plan)?;
    let plan = Rc::new(plan);
    let side = server_side::begin(&plan).await;
    let began_at = jiff::Timestamp::now().to_string();
    let began = Instant::now();
    let mut herd = Herd {
        limits: Rc::new(Limits::new(
            plan.max_connections,
            plan.max_rate,
            began,
            began + plan.duration,
        )),
        began,
        clients: JoinSet::new(),
        started: 0,
        news: Rc::new(News::new(plan.operator.is_some()).into()),
        rng: Rng::with_seed(plan.seed),
        plan: Rc::clone(&plan),
    };
    let pollers = herd.pollers()?;
    let validators = herd.validators()?;
    let writers = herd.writers()?;
    let limits = Rc::clone(&herd.limits);
    let all = async move { while herd.clients.join_next().await.is_some() {} };
    let seconds = Cell::new(plan.duration.as_secs_f64());
    let ended = async {
        tokio::select! {
            () = all => {}
            () = stop => seconds.set(began.elapsed().as_secs_f64().min(seconds.get())),
        }
    };
    tokio::select! {
        () = ended => {}
        () = live::show(Rc::clone(&pollers), began, plan.duration) => {}
        () = server_side::watch(Rc::clone(&plan), Rc::clone(&side)) => {}
    }
    drop(limits);
    server_side::sample(&plan, &side).await;
    let pollers = pollers.borrow();
    let side = side.borrow();
    Ok(Run {
        format: FORMAT,
        name: plan.name.clone(),
        url: plan.pollers.target.url.to_string(),
        began_at,
        seconds: seconds.get(),
        timeout_ms: plan.policy.timeout.as_secs_f64() * 1e3,
        pollers: pollers.role(),
        validators: validators.map(|tally| tally.borrow().role()),
        writers: writers.map(|tally| tally.borrow().role()),
        bands_ms: bands::ends_ms(),
        slices: pollers.slices(),
        rebuilds: side.rebuilds(),
        server: (!plan.server_pids.is_empty()).then(|| side.server_use()),
        late_p99_ms: pollers.late_p99_ms(),
    })
}

/// Checks that the target accepts a connection. Sends no request, which might warm a cache.
fn is_there(plan: &Plan) -> Result<(), HerdError> {
    let origin = &plan.pollers.target.origin;
    let mut failed = std::io::ErrorKind::AddrNotAvailable.into();
    for address in &origin.addresses {
        match TcpStream::connect_timeout(address, CONNECT_TIMEOUT) {
            Ok(_) => return Ok(()),
            Err(error) => failed = error,
        }
    }
    Err(HerdError::Absent {
        host: origin.authority.clone(),
        source: failed,
    })
}

fn allow_files(plan: &Plan) -> Result<(), HerdError> {
    let needed = u64::from(plan.max_connections) + SPARE_FILES;
    // If the limit cannot be read, assume that it is high enough.
    let allowed = rlimit::increase_nofile_limit(needed).unwrap_or(needed);
    if allowed < needed {
        return Err(HerdError::Files { needed, allowed });
    }
    Ok(())
}
