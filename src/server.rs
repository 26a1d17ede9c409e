//! Wiring: which actor gets what, when the server begins to listen, and how it ends.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use actix_web::{
    App, HttpServer,
    dev::{Server, ServerHandle},
};

use crate::{
    cache::{
        actor::CacheActor,
        build::BuildSnapshot,
        handle::CacheHandle,
        measured::Measured,
        state::Policy,
        uncached::{Board, Uncached},
        watch::watch,
    },
    config::Limits,
    domain::clock::Clock,
    feed::{FeedHandle, FeedLimits},
    health::HealthHandle,
    http::{self, AdminHandles, Handles, token::AdminTokens},
    metrics::Metrics,
    store::pool::ReadPool,
    writer::{
        actor::WriterActor,
        commit::WriteSettings,
        handle::{AdmissionLimits, WriterHandle},
        log_size::LogLimits,
    },
};

/// Connections that may wait to be accepted. The kernel caps it at `net.core.somaxconn`.
const BACKLOG: u32 = 4096;

const MIB: usize = 1024 * 1024;

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
    /// Whether the board is cached; without, every request builds it.
    pub cached: bool,
    /// Whether there is a write side.
    pub writable: bool,
    /// Who may use it over HTTP.
    pub tokens: AdminTokens,
}

/// A server that listens.
pub struct Running {
    /// Where it listens.
    pub addresses: Vec<SocketAddr>,
    /// The board's cache.
    pub cache: CacheHandle,
    /// The write side, where there is one.
    pub writer: Option<WriterHandle>,
    server: Server,
}

/// Builds the first snapshot, then listens. Where that build fails the server starts all the same:
/// the cache retries, and readers wait or get 503.
///
/// # Errors
/// Where none of the addresses can be listened on.
pub async fn start(
    address: impl ToSocketAddrs,
    limits: &Limits,
    parts: Parts,
) -> io::Result<Running> {
    let policy = Policy::new(limits.ttl(), limits.rebuild_timeout());
    let metrics = Metrics::new().map_err(io::Error::other)?;
    let builder: Arc<dyn BuildSnapshot> = Arc::new(Measured {
        inner: parts.builder,
        metrics: metrics.clone(),
    });
    let cache = CacheActor::launch(
        policy,
        limits.max_waiting,
        Arc::clone(&builder),
        Arc::clone(&parts.clock),
    );
    let feed_limits = FeedLimits {
        // One connection is kept for the board and one for the health check.
        max_reads: limits.pool_size.saturating_sub(2).max(1) as usize,
        queue_timeout: Duration::from_millis(limits.feed_queue_timeout_ms),
        read_timeout: Duration::from_millis(limits.feed_read_timeout_ms),
        max_held_bytes: parts.cached.then_some(limits.feed_cache_mib * MIB),
        max_tail_bytes: if parts.cached {
            limits.feed_tail_mib * MIB
        } else {
            0
        },
    };
    let feed = FeedHandle::new(parts.pool.clone(), feed_limits, metrics.clone());
    let writer = parts.writable.then(|| {
        let mut settings = write_settings(parts.path.clone(), limits, &feed);
        settings.shared = (!parts.cached).then(|| parts.pool.clone());
        WriterActor::launch(settings, admission_limits(limits), cache.clone())
    });
    let handles = Handles {
        board: if parts.cached {
            Board::Cached(cache.clone())
        } else {
            Board::Uncached(Uncached {
                builder,
                timeout: limits.rebuild_timeout(),
            })
        },
        feed: feed.clone(),
        health: HealthHandle::new(parts.pool),
        metrics,
        admin: writer
            .clone()
            .filter(|_| !parts.tokens.is_empty())
            .map(|writer| AdminHandles {
                tokens: parts.tokens,
                writer,
                body_timeout: Duration::from_millis(limits.body_timeout_ms),
            }),
    };
    if cache.read(|_| ()).await.is_err() {
        log::warn!("listening without a board: the first build failed");
    }
    feed.follow().await;
    actix_rt::spawn(watch(
        parts.path,
        Duration::from_millis(limits.change_poll_ms.get()),
        limits.busy_timeout(),
        parts.clock,
        cache.clone(),
        feed,
    ));
    let mut server =
        HttpServer::new(move || App::new().configure(|config| http::configure(config, &handles)))
            .disable_signals()
            .tcp_nodelay(true)
            .backlog(BACKLOG)
            .max_connections(limits.max_connections)
            .keep_alive(Duration::from_secs(limits.keep_alive_secs))
            .client_request_timeout(Duration::from_millis(limits.head_timeout_ms))
            .shutdown_timeout(limits.shutdown_timeout_secs);
    if let Some(workers) = limits.workers {
        server = server.workers(workers);
    }
    let server = server.bind(address)?;
    Ok(Running {
        addresses: server.addrs(),
        cache,
        writer,
        server: server.run(),
    })
}

fn write_settings(path: PathBuf, limits: &Limits, feed: &FeedHandle) -> WriteSettings {
    let mib = |mib: u64| mib * MIB as u64;
    WriteSettings {
        path,
        busy_timeout: Duration::from_millis(limits.write_busy_timeout_ms),
        log: LogLimits {
            soft_bytes: mib(limits.wal_soft_mib),
            hard_bytes: mib(limits.wal_hard_mib),
            // Readers that were there, and those that came while they were waited for.
            long_wait: Duration::from_millis(2 * limits.feed_read_timeout_ms),
        },
        shared: None,
        feed: feed.changes(),
    }
}

fn admission_limits(limits: &Limits) -> AdmissionLimits {
    AdmissionLimits {
        operations: limits.max_writes,
        bytes: limits.max_write_mib.saturating_mul(1024 * 1024),
    }
}

impl Running {
    /// A handle that can stop the server.
    pub fn handle(&self) -> ServerHandle {
        self.server.handle()
    }

    /// Serves until the handle stops it; then whatever was admitted is written.
    ///
    /// # Errors
    /// Where accepting connections fails for good.
    pub async fn serve(self) -> io::Result<()> {
        let served = self.server.await;
        if let Some(writer) = self.writer {
            writer.drained().await;
        }
        served
    }

    /// Serves until SIGINT or SIGTERM, then ends the requests under way. A second signal ends the
    /// process at once.
    ///
    /// # Errors
    /// As [`Running::serve`], or where signals cannot be waited for.
    pub async fn serve_until_signal(self) -> io::Result<()> {
        let handle = self.handle();
        let mut signals = Signals::new()?;
        actix_rt::spawn(async move {
            let name = signals.next().await;
            log::info!("{name}: stopping");
            actix_rt::spawn(async move { handle.stop(true).await });
            signals.next().await;
            log::warn!("a second signal: stopping at once");
            std::process::exit(1);
        });
        self.serve().await
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}
