//! A load generator for polled HTTP endpoints: clients that behave like real ones, and what they
//! measure.
//!
//! | file | knows |
//! |---|---|
//! | `config` | the options, with their defaults |
//! | `plan_file` | options in a file: TOML, or the results of a run |
//! | `plan`, `invalid`, `effect` | what a run does: the options, checked, and what is wrong with them |
//! | `bounded_file` | files that options name, up to a bound |
//! | `outline`, `one_line` | what the run will do, and an error, as one line |
//! | `secrets` | variables in options, and what is written in place of secrets |
//! | `polls`, `mix`, `fields`, `web_url` | what pollers send: targets and their weights, header fields, URLs |
//! | `pace`, `stage`, `curve`, `quantity` | how fast they poll: stages, and the moment of poll number *n* |
//! | `condition` | conditions under which a run has failed |
//! | `shard` | one thread of a run, with its runtime, clients and counters |
//! | `clients` | the clients of a shard |
//! | `limits` | the limits of the whole run, and the part of them that a shard gets |
//! | `timer` (`timer_coarse` outside of Linux) | waits for due times, mostly to less than 0.1 ms |
//! | `schedule` | when polls are due: fixed before the run begins (an open loop) |
//! | `retry` | what a client does after a failed request |
//! | `exchange` | one poll: requests until a response; timeouts |
//! | `course` | how far a request has come when it times out, and whether it was written |
//! | `connections` | the connections of one client: idle ones, new ones, and those that the server has closed |
//! | `sockets` | the open connections of a shard, of which there are at most so many |
//! | `http1`, `http2`, `transport`, `tls` | one connection: a version of HTTP, and the bytes below it |
//! | `response`, `answer` | reading a response to its end, and whether it counts as an answer |
//! | `failures` | why requests failed |
//! | `poller`, `validator`, `writer`, `operator` | clients that poll, and clients that write |
//! | `follower`, `link` | the client that waits, and where it asks next |
//! | `page` | a page of the feed |
//! | `news`, `recent` | when something was written, and how long it takes to reach clients; the last entries of a long run |
//! | `target`, `resolve` | URLs, their servers and addresses |
//! | `tally`, `buckets`, `by_target`, `progress` | counts during the run: of all, over time, by target, so far |
//! | `requests`, `waits` | what became of requests, and what clients that wait got |
//! | `latencies`, `quantile`, `bands` | histograms of latencies, the quantiles that results have, the bands of a heat map |
//! | `generator` | the load generator's own figures, and whether it was the bottleneck |
//! | `server_side`, `processes` | the server's figures: rebuilds, processor time, memory |
//! | `run`, `role`, `never` | the results: of the run, of the clients of one kind; the JSON format |
//! | `live`, `table`, `target_rows`, `aligned`, `remarks`, `report` | output: during the run, as text in columns, warnings, as a picture |
//! | `outage` | when requests failed, and when no poll was answered |
//!
//! Latency is measured from the time at which a poll was due, not from the time at which it was sent. A
//! stall of the server therefore counts for every poll that was due meanwhile (no coordinated
//! omission). A poll without a response counts as slower than every other poll; a quantile that falls
//! among such polls is infinite, written as `never`.
//!
//! Each thread runs a shard of the clients, and shares nothing with the others on the path of a request: each has its own
//! connections, counters, random numbers and part of the limits. Their counters are added at the end. If a thread was late
//! or had no time left, the results say so.

mod aligned;
mod answer;
pub mod bands;
pub mod bounded_file;
mod buckets;
mod by_target;
mod clients;
pub mod condition;
pub mod config;
mod connections;
pub mod course;
pub mod curve;
mod effect;
mod exchange;
pub mod failures;
pub mod fields;
mod follower;
mod generator;
mod http1;
mod http2;
pub mod invalid;
mod latencies;
mod limits;
pub mod link;
mod live;
pub mod mix;
mod never;
mod news;
pub mod one_line;
mod operator;
mod outage;
pub mod outline;
pub mod pace;
mod page;
pub mod plan;
pub mod plan_file;
mod poller;
pub mod polls;
pub mod processes;
mod progress;
mod quantile;
mod quantity;
mod recent;
mod remarks;
pub mod report;
mod requests;
pub mod resolve;
mod response;
pub mod retry;
mod role;
pub mod run;
pub mod schedule;
pub mod secrets;
mod server_side;
mod shard;
mod sockets;
pub mod stage;
pub mod table;
mod tally;
mod target;
mod target_rows;
#[cfg_attr(not(target_os = "linux"), path = "timer_coarse.rs")]
mod timer;
pub mod tls;
mod transport;
mod validator;
mod waits;
mod web_url;
mod writer;

use std::{
    cell::Cell, convert::Infallible, future::Future, net::TcpStream, sync::Arc, time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use limits::Part;
use news::Writes;
use plan::Plan;
use run::{Ended, FORMAT, Run};
use shard::{Common, Measured, Shard};
use target::Origin;

/// Timeout of the first connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// File descriptors in addition to those of the clients: standard streams, metrics.
const SPARE_FILES: u64 = 64;
/// File descriptors of each thread: epoll, its waker, signals, a timer.
const THREAD_FILES: u64 = 8;

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
    #[error(
        "{needed} file descriptors are needed, {allowed} allowed: raise `ulimit -n`, or lower --max-connections"
    )]
    Files {
        /// Required for all connections and threads.
        needed: u64,
        /// The hard limit.
        allowed: u64,
    },
    /// There is no such process.
    #[error("--server-pid {0}: there is no such process on this machine")]
    NoProcess(i32),
    /// The counter of rebuilds cannot be read.
    #[error("--metrics-url {url}: {reason}")]
    Metrics {
        /// The URL.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// A URL of a client that waits is invalid.
    #[error(transparent)]
    Url(#[from] url::ParseError),
    /// The system refused a thread, a runtime or a timer.
    #[error("cannot start a thread that sends requests: {0}")]
    System(#[source] std::io::Error),
    /// A thread ended early, which is a bug.
    #[error("a thread that sends requests has ended early")]
    Thread,
    /// A histogram could not be created.
    #[error(transparent)]
    Histogram(#[from] hdrhistogram::CreationError),
    /// Histograms of two threads could not be added.
    #[error(transparent)]
    Histograms(#[from] hdrhistogram::AdditionError),
}

/// Runs the plan to its end or until `stop`, and returns the results. Requests in flight at the end may
/// take one more timeout. Must be called within a [`tokio::task::LocalSet`].
///
/// # Errors
/// [`HerdError`], before any request is sent.
pub async fn run(plan: Plan, stop: impl Future<Output = ()>) -> Result<Run, HerdError> {
    processes::are_there(&plan.server_pids)?;
    allow_files(&plan)?;
    is_there(&plan)?;
    let plan = Arc::new(plan);
    let side = server_side::begin(&plan).await?;
    let clients = plan.clients();
    let began = Instant::now() + shard::set_up_time(clients);
    side.borrow_mut().began = Some(began);
    let (stop_shards, stopped) = watch::channel(false);
    let common = Common {
        plan: Arc::clone(&plan),
        began,
        stopped,
        writes: Arc::new(Writes::new(plan.operator.is_some())),
    };
    let shards = start(&common, clients)?;
    let began_at = jiff::Timestamp::now().to_string();
    let shown = shards.iter().map(|shard| shard.progress.clone()).collect();
    let seconds = Cell::new(plan.duration.as_secs_f64());
    let interrupted = Cell::new(false);
    let until_now = || seconds.set(began.elapsed().as_secs_f64().min(seconds.get()));
    let stop = async {
        stop.await;
        interrupted.set(true);
        until_now();
        // Fails if all shards have ended.
        let _ = stop_shards.send(true);
        std::future::pending::<Infallible>().await
    };
    let cpu_before = Cell::new(None);
    // Making the clients is not part of the run.
    let at_beginning = async {
        sleep_until(began).await;
        cpu_before.set(Some(generator::cpu_of_process()));
    };
    let meanwhile = async {
        tokio::join!(
            stop,
            at_beginning,
            live::show(shown, began, plan.duration),
            server_side::watch(&plan, &side)
        )
    };
    let measured = tokio::select! {
        measured = all(shards) => measured?,
        (never, ..) = meanwhile => match never {},
    };
    let load_secs = began.elapsed().as_secs_f64();
    let cpu = generator::cpu_of_process();
    let cpu = cpu.saturating_sub(cpu_before.get().unwrap_or(cpu));
    // A limited number of polls may be answered before the end of the run.
    if plan.pollers.schedule.polls.is_some() {
        until_now();
    }
    server_side::sample(&plan, &side).await;
    if let Some(counter) = plan
        .metrics
        .as_ref()
        .filter(|_| side.borrow().rebuilds().is_none())
    {
        let name = &counter.name;
        log::warn!("herd: --metrics-url: there is no counter {name}: the rebuilds are unknown");
    }
    let (pollers, side, seconds) = (measured.pollers, side.borrow(), seconds.get());
    let mut slices = pollers.slices();
    slices.retain(|slice| slice.at < seconds);
    let timeout_ms = plan.policy.timeout.as_secs_f64() * 1e3;
    let role = pollers.role();
    let polls = plan.pollers.schedule.polls;
    let not_due = polls.map_or(0, |polls| polls.saturating_sub(role.due));
    let ended = match () {
        () if interrupted.get() => Ended::Interrupted,
        () if polls.is_some() && not_due == 0 => Ended::Requests,
        () => Ended::Duration,
    };
    Ok(Run {
        format: FORMAT,
        name: plan.name.clone(),
        url: plan.pollers.polls.first.shown.clone(),
        plan: plan.written.clone(),
        began_at,
        seconds,
        ended,
        not_due,
        timeout_ms,
        pollers: role,
        targets: pollers.targets(plan.pollers.polls.mix.targets()),
        validators: measured.validators.map(|tally| tally.role()),
        writers: measured.writers.map(|tally| tally.role()),
        bands_ms: bands::ends_ms(),
        slices,
        rebuilds: side.rebuilds(),
        server: (!plan.server_pids.is_empty()).then(|| side.server_use()),
        generator: generator::figures(measured.shards, &pollers, cpu, load_secs, timeout_ms),
    })
}

/// Starts as many threads as the plan allows and as have something to do.
fn start(common: &Common, clients: u32) -> Result<Vec<Shard>, HerdError> {
    let plan = &common.plan;
    let shards = plan.threads.min(clients).min(plan.max_rate).max(1);
    let parts = (0..shards).map(|shard| Part {
        shard,
        shards,
        clients,
    });
    let started = parts.map(|part| Shard::start(common.clone(), part));
    started.collect::<Result<_, _>>().map_err(HerdError::System)
}

/// Waits for all shards, and adds what they have measured.
async fn all(shards: Vec<Shard>) -> Result<Measured, HerdError> {
    let mut whole: Option<Measured> = None;
    for shard in shards {
        let measured = shard.measured().await?;
        match &mut whole {
            Some(whole) => whole.merge(measured)?,
            None => whole = Some(measured),
        }
    }
    whole.ok_or(HerdError::Thread)
}

/// Checks that each target accepts a connection. Sends no request, which might warm a cache.
fn is_there(plan: &Plan) -> Result<(), HerdError> {
    let mut targets = plan.pollers.polls.mix.targets().iter();
    targets.try_for_each(|target| accepts(&target.origin))
}

fn accepts(origin: &Origin) -> Result<(), HerdError> {
    let mut failed = std::io::ErrorKind::AddrNotAvailable.into();
    for address in &origin.addresses {
        match TcpStream::connect_timeout(address, CONNECT_TIMEOUT) {
            Ok(_) => return Ok(()),
            // This machine lacks something, which says nothing about the server: the run tells it.
            Err(error) if transport::is_out_of_resources(&error) => return Ok(()),
            Err(error) => failed = error,
        }
    }
    Err(HerdError::Absent {
        host: origin.authority.clone(),
        source: failed,
    })
}

fn allow_files(plan: &Plan) -> Result<(), HerdError> {
    let threads = u64::from(plan.threads) * THREAD_FILES;
    let needed = u64::from(plan.max_connections) + threads + SPARE_FILES;
    // If the limit cannot be read, assume that it is high enough.
    let allowed = rlimit::increase_nofile_limit(needed).unwrap_or(needed);
    if allowed < needed {
        return Err(HerdError::Files { needed, allowed });
    }
    Ok(())
}
