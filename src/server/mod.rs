//! Wiring: which actor gets what, and when the server begins to listen.
//!
//! | file | knows |
//! |---|---|
//! | `listening` | the sockets that listen |
//! | `accepting` | accepts connections, and ends them in order |
//! | `workers` | the threads that serve connections |
//! | `descriptors` | how many connections fit beside what must always be open |
//! | `running` | how a server ends: signals, the service manager, the death of an actor |

mod accepting;
mod descriptors;
mod listening;
mod running;
mod workers;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use tokio::sync::watch;

use crate::{
    cache::{actor::CacheActor, build::BuildSnapshot, measured::Measured, state::Policy},
    config::{Front, Limits},
    domain::clock::Clock,
    feed::{FeedHandle, FeedLimits},
    health::HealthHandle,
    http::{AdminHandles, AdminTokens, Handles, RateLimit, RouteSet, Settings},
    liveness::Liveness,
    metrics::Metrics,
    store::pool::ReadPool,
    watch::watch,
    writer::{
        actor::WriterActor, commit::WriteSettings, handle::AdmissionLimits, wal_size::WalLimits,
    },
};

pub use listening::Listen;
pub use running::{Running, Stopper};

use accepting::{AcceptLimits, Acceptor, Stop};
use workers::Workers;

/// How often idle clients are evicted from the rate limit.
const EVICT_EVERY: Duration = Duration::from_secs(60);

const MIB: usize = 1024 * 1024;
/// Pages of the feed that are not cached: just read, or still being sent to slow clients.
const FEED_IN_FLIGHT_BYTES: usize = 32 * MIB;

/// What the server is made of; tests put their own builder and clock in.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Readers of the database.
    pub pool: ReadPool,
    /// Makes the board's snapshots.
    pub builder: Arc<dyn BuildSnapshot>,
    /// Decides when a snapshot is stale.
    pub clock: Arc<dyn Clock>,
    /// The database; its changes by other processes are watched for.
    pub path: PathBuf,
    /// Whether there is a write side.
    pub writable: bool,
    /// Who may use it over HTTP.
    pub tokens: AdminTokens,
    /// What it shows of itself, and to whom.
    pub front: Front,
}

/// Builds the first snapshot, then listens. Where that build fails the server starts all the same:
/// the cache retries, and readers wait or get 503.
///
/// # Errors
/// Where none of the addresses can be listened on.
pub async fn start(listen: Listen, limits: &Limits, parts: Parts) -> io::Result<Running> {
    let front = parts.front.clone();
    let liveness = Liveness::default();
    let stopping = Arc::new(AtomicBool::new(false));
    let policy = Policy::new(limits.ttl(), limits.rebuild_timeout());
    let metrics = Metrics::new().map_err(io::Error::other)?;
    let builder: Arc<dyn BuildSnapshot> = Arc::new(Measured {
        inner: parts.builder,
        metrics: metrics.clone(),
    });
    let cache = CacheActor::launch(
        policy,
        limits.max_waiting,
        builder,
        Arc::clone(&parts.clock),
        liveness.guard("the cache"),
    );
    let feed = FeedHandle::new(parts.pool.clone(), feed_limits(limits), metrics.clone());
    let writer = parts.writable.then(|| {
        WriterActor::launch(
            write_settings(parts.path.clone(), limits, &feed),
            admission_limits(limits),
            cache.clone(),
            metrics.clone(),
            liveness.guard("the writer"),
        )
    });
    let handles = Handles {
        board: cache.clone(),
        feed: feed.clone(),
        health: HealthHandle {
            pool: parts.pool,
            last_probe: Arc::default(),
            cache: cache.clone(),
            writer: writer.clone(),
            max_snapshot_age: front.max_snapshot_age(),
            stopping: Arc::clone(&stopping),
        },
        metrics: metrics.clone(),
        metrics_page: Arc::default(),
        settings: settings(&front, limits, &parts.clock),
        admin: writer
            .clone()
            .filter(|_| !parts.tokens.is_empty())
            .map(|writer| AdminHandles {
                tokens: parts.tokens,
                writer,
                // One that is longer than all together may be would never be admitted.
                max_body_bytes: limits.max_body_mib.min(limits.max_write_mib) * MIB as u32,
            }),
    };
    if cache.read(|_, _| ()).await.is_err() {
        log::warn!("the first build of the board failed: listening without a board");
    }
    // Before anything of the feed is cached.
    let watching = watch(
        parts.path,
        Duration::from_millis(limits.change_poll_ms.get()),
        limits.busy_timeout(),
        parts.clock,
        cache.clone(),
        feed.clone(),
    );
    let watch_lives = liveness.guard("the database poll");
    actix_rt::spawn(async move {
        let _watch_lives = watch_lives;
        watching.await;
    });
    let admin = front.admin_address.clone().map(Listen::At);
    let routes = match admin {
        Some(_) => RouteSet::Public,
        None => RouteSet::All,
    };
    let (stop, stopped) = watch::channel(Stop::No);
    let workers = limits.workers.unwrap_or_else(default_workers);
    let accept_limits = |workers: usize| AcceptLimits {
        connections: workers.saturating_mul(limits.max_connections),
        shutdown_grace: Duration::from_millis(limits.shutdown_grace_ms),
        shutdown_timeout: Duration::from_secs(limits.shutdown_timeout_secs),
    };
    let mut all_limits = vec![accept_limits(workers)];
    if admin.is_some() {
        all_limits.push(accept_limits(1));
    }
    descriptors::fit(&mut all_limits, limits.pool_size);
    let mut acceptors = Vec::new();
    let mut all_addresses = Vec::new();
    let addresses = [(Some(listen), routes, workers), (admin, RouteSet::Admin, 1)];
    for ((listen, routes, workers), limits) in addresses.into_iter().zip(all_limits) {
        let Some(listen) = listen else { continue };
        let listeners = listen.listeners()?;
        let addresses = listeners
            .sockets
            .iter()
            .map(std::net::TcpListener::local_addr);
        all_addresses.push(addresses.collect::<io::Result<Vec<_>>>()?);
        let workers = Workers::start(workers, &handles, routes).await?;
        let metrics = metrics.clone();
        let stopped = stopped.clone();
        acceptors.push(Acceptor::new(listeners, workers, limits, metrics, stopped)?);
    }
    drop(stopped);
    let mut all_addresses = all_addresses.into_iter();
    Ok(Running {
        addresses: all_addresses.next().unwrap_or_default(),
        admin_addresses: all_addresses.next().unwrap_or_default(),
        cache,
        writer,
        acceptors,
        stop,
        stopping,
        liveness,
        shutdown_delay: front.shutdown_delay(),
    })
}

fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn settings(front: &Front, limits: &Limits, clock: &Arc<dyn Clock>) -> Settings {
    Settings {
        access_log: front.access_log,
        cors: front.cors,
        cache_status: front.cache_status,
        server_timing: front.server_timing,
        trusted_proxies: front.trusted_proxies.clone().into(),
        rate_limit: rate_limit(front, clock),
        max_target_bytes: front.max_target_bytes as usize,
        max_header_bytes: front.max_header_bytes as usize,
        head_timeout: Duration::from_millis(limits.head_timeout_ms.get()),
        keep_alive: Duration::from_secs(limits.keep_alive_secs),
        body_timeout: Duration::from_millis(limits.body_timeout_ms.get()),
        send_timeout: front.send_timeout(),
    }
}

/// The limit of each client, where there is one; and a task that keeps its memory bounded.
fn rate_limit(front: &Front, clock: &Arc<dyn Clock>) -> Option<Arc<RateLimit>> {
    let per_minute = front.rate_limit?;
    let burst = front.rate_limit_burst.unwrap_or(per_minute);
    let rate_limit = Arc::new(RateLimit::new(per_minute, burst));
    let (evicting, clock) = (Arc::downgrade(&rate_limit), Arc::clone(clock));
    actix_rt::spawn(async move {
        while let Some(rate_limit) = evicting.upgrade() {
            rate_limit.evict_idle();
            drop(rate_limit);
            clock.sleep_until(clock.now() + EVICT_EVERY).await;
        }
    });
    Some(rate_limit)
}

fn feed_limits(limits: &Limits) -> FeedLimits {
    FeedLimits {
        // One connection is kept for the board and one for the health check.
        max_reads: limits.pool_size.saturating_sub(2).max(1) as usize,
        max_encodings: default_workers(),
        queue_timeout: Duration::from_millis(limits.feed_queue_timeout_ms),
        read_timeout: Duration::from_millis(limits.feed_read_timeout_ms),
        max_cached_bytes: limits.feed_cache_mib * MIB,
        max_in_flight_bytes: FEED_IN_FLIGHT_BYTES,
    }
}

fn write_settings(path: PathBuf, limits: &Limits, feed: &FeedHandle) -> WriteSettings {
    let mib = |mib: u64| mib * MIB as u64;
    WriteSettings {
        path,
        busy_timeout: Duration::from_millis(limits.write_busy_timeout_ms),
        wal: WalLimits {
            soft_bytes: mib(limits.wal_soft_mib),
            hard_bytes: mib(limits.wal_hard_mib),
            // Readers that were there, and those that came while they were waited for.
            long_wait: Duration::from_millis(limits.feed_read_timeout_ms.saturating_mul(2)),
        },
        feed: feed.cache(),
    }
}

fn admission_limits(limits: &Limits) -> AdmissionLimits {
    AdmissionLimits {
        operations: limits.max_writes,
        bytes: limits.max_write_mib.saturating_mul(1024 * 1024),
    }
}
