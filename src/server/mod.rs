//! Wiring: which actor gets what, and when the server begins to listen.
//!
//! | file | knows |
//! |---|---|
//! | `settings` | all options of a server |
//! | `listening` | listening sockets |
//! | `accepting` | accepts connections, and ends them in order |
//! | `workers` | the threads that serve connections |
//! | `descriptors` | how many connections the limit of file descriptors allows |
//! | `running` | how a server ends: signals, the service manager, the death of an actor |

mod accepting;
mod descriptors;
mod listening;
mod running;
mod settings;
mod workers;

use std::{
    io,
    sync::{Arc, atomic::AtomicBool},
};

use tokio::sync::watch::channel;

use crate::{
    cache::{actor::CacheActor, build::BuildSnapshot, measured::Measured},
    domain::clock::Clock,
    feed::FeedHandle,
    health::HealthHandle,
    http::{AdminHandles, AdminTokens, DateSource, Handles, RateLimit},
    liveness::Liveness,
    metrics::Metrics,
    store::pool::ReadPool,
    watch::{self, Watched},
    writer::actor::WriterActor,
};

pub use listening::Listen;
pub use running::{Running, Stopper};
pub use settings::Settings;

use accepting::{Acceptor, Stop};

/// What the server is made of; tests pass a builder and a clock of their own.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Readers of the database.
    pub pool: ReadPool,
    /// Makes the board's snapshots.
    pub builder: Arc<dyn BuildSnapshot>,
    /// Decides when a snapshot is stale.
    pub clock: Arc<dyn Clock>,
    /// Whether there is a writer.
    pub writable: bool,
    /// Tokens of clients that may write over HTTP.
    pub tokens: AdminTokens,
}

/// Builds the first snapshot, then listens. If that build fails the server starts all the same: the cache
/// retries, and clients wait or get 503.
///
/// # Errors
/// If none of the addresses can be listened on.
pub async fn start(listen: Listen, settings: Settings, parts: Parts) -> io::Result<Running> {
    let liveness = Liveness::default();
    let stopping = Arc::new(AtomicBool::new(false));
    let metrics = Metrics::new().map_err(io::Error::other)?;
    let cache = CacheActor::launch(
        settings.cache,
        Arc::new(Measured {
            inner: parts.builder,
            metrics: metrics.clone(),
        }),
        Arc::clone(&parts.clock),
        liveness.guard("the cache"),
    );
    let file = parts.pool.file().clone();
    let feed = FeedHandle::new(parts.pool.clone(), settings.feed, metrics.clone());
    let writer = parts.writable.then(|| {
        WriterActor::launch(
            file.clone(),
            settings.writer,
            &feed,
            cache.clone(),
            Arc::clone(&parts.clock),
            metrics.clone(),
            liveness.guard("the writer"),
        )
    });
    let handles = Handles {
        board: cache.clone(),
        feed: feed.clone(),
        health: HealthHandle {
            settings: settings.health,
            pool: parts.pool,
            last_probe: Arc::default(),
            cache: cache.clone(),
            writer: writer.clone(),
            stopping: Arc::clone(&stopping),
        },
        metrics,
        metrics_page: Arc::default(),
        admin: AdminHandles::new(parts.tokens, writer.clone(), &settings.http),
        date: Arc::new(DateSource::new(Arc::clone(&parts.clock))),
        rate_limit: RateLimit::new(&settings.http, Arc::clone(&parts.clock)),
        settings: settings.http.clone(),
    };
    if cache.read(|_, _| ()).await.is_err() {
        log::warn!("the first build of the board failed: listening without a board");
    }
    // Before any page of the feed is cached.
    watch::launch(
        Watched {
            file,
            writable: parts.writable,
            busy_timeout: settings.store.busy_timeout,
        },
        settings.watch,
        parts.clock,
        cache.clone(),
        feed,
        liveness.guard("the database poll"),
    );
    let mut addresses = settings.addresses(listen);
    descriptors::fit(&mut addresses, settings.store.pool_size);
    let (stop, stopped) = channel(Stop::No);
    let (mut acceptors, mut bound) = (Vec::new(), Vec::new());
    for address in addresses {
        let acceptor = Acceptor::start(address, &settings, &handles, stopped.clone()).await?;
        bound.push(acceptor.addresses()?);
        acceptors.push(acceptor);
    }
    let mut bound = bound.into_iter();
    Ok(Running {
        addresses: bound.next().unwrap_or_default(),
        admin_addresses: bound.next().unwrap_or_default(),
        cache,
        writer,
        acceptors,
        stop,
        stopping,
        liveness,
        shutdown_delay: settings.shutdown_delay,
    })
}
