//! Wiring: which actor gets what, and when the server begins to listen.
//!
//! | file | knows |
//! |---|---|
//! | `settings` | all options of a server |
//! | `listening` | listening sockets |
//! | `inherited` | sockets that a service manager passes |
//! | `signals` | the signals of the process |
//! | `accepting` | accepts connections, and ends them in order |
//! | `workers` | the threads that serve connections |
//! | `descriptors` | how many connections the limit of file descriptors allows |
//! | `service_manager` | tells the service manager how the server is |
//! | `running` | how a server ends: signals, the service manager, the death of an actor |

mod accepting;
mod descriptors;
mod inherited;
mod listening;
mod reload;
mod running;
mod service_manager;
mod settings;
mod signals;
mod workers;

use std::{
    io,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use tokio::sync::watch::channel;

use crate::{
    cache::{
        actor::CacheActor,
        build::BuildSnapshot,
        handle::CacheHandle,
        measured::Measured,
        saver::Saver,
        snapshot_file::{SavedBoard, SnapshotFile},
    },
    cnf::CnfHandle,
    domain::clock::Clock,
    feed::FeedHandle,
    follow::{Follow, Own},
    health::HealthHandle,
    http::{AdminHandles, AdminTokens, DateSource, Handles, RateLimit, Waits},
    keys::JwkSetHandle,
    liveness::Liveness,
    metrics::{DroppedLines, Metrics, SampledGauge},
    store::Store,
    throttle::Throttle,
    watch,
    writer::actor::WriterActor,
};

pub use inherited::Inherited;
pub use listening::{Addresses, Listen};
pub use reload::Reload;
pub use running::{Running, Stopper};
pub use settings::Settings;
pub use signals::Signals;

use accepting::{Acceptor, Stop};

/// How many answers of one route with one status of 5xx are logged in [`LOG_FAILURES_PERIOD`].
const LOG_FAILURES: u32 = 3;
const LOG_FAILURES_PERIOD: Duration = Duration::from_secs(10);

/// What the server is made of; tests pass a builder and a clock of their own.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The database.
    pub store: Store,
    /// Makes the board's snapshots.
    pub builder: Arc<dyn BuildSnapshot>,
    /// Decides when a snapshot is stale.
    pub clock: Arc<dyn Clock>,
    /// Whether there is a writer.
    pub writable: bool,
    /// The publisher that is followed: then nobody else writes, and the database is a file.
    pub follow: Option<Follow>,
    /// Tokens of clients that may write over HTTP.
    pub tokens: AdminTokens,
    /// The public keys of the eval runs.
    pub jwk_set: JwkSetHandle,
    /// Whether eval runs are refused that none of these keys has signed.
    pub verifies_rows: bool,
    /// Lines of the log that were dropped.
    pub dropped_log_lines: DroppedLines,
}

/// Builds the first snapshot, then listens. If that build fails the server starts all the same: the cache
/// retries, and clients wait or get 503.
///
/// # Errors
/// If none of the addresses can be listened on.
pub async fn start(
    listen: impl Into<Addresses>,
    settings: Settings,
    parts: Parts,
) -> io::Result<Running> {
    let mut addresses = settings.addresses(listen.into());
    descriptors::fit(&mut addresses, settings.store.pool_size);
    let liveness = Liveness::default();
    let stopping = Arc::new(AtomicBool::new(false));
    let metrics = Metrics::new().map_err(io::Error::other)?;
    let counted = metrics.register_dropped_lines(&parts.dropped_log_lines);
    counted.map_err(io::Error::other)?;
    metrics.database(parts.store.kind(), parts.writable);
    let max_connections = addresses.first().map_or(0, |public| public.max_connections);
    metrics.set_gauge(SampledGauge::MaxConnections, max_connections as u64);
    let waits = Waits::new(&settings.http.waiting, max_connections);
    let cache = CacheActor::launch(
        settings.cache,
        Arc::new(Measured {
            inner: parts.builder,
            metrics: metrics.clone(),
        }),
        Arc::clone(&parts.clock),
        liveness.guard("the cache"),
    )
    .following(parts.follow.is_some());
    let feed = FeedHandle::new(
        parts.store.clone(),
        settings.feed,
        Arc::clone(&parts.clock),
        metrics.clone(),
    );
    let writer = parts.writable.then(|| {
        WriterActor::launch(
            parts.store.clone(),
            settings.writer,
            &feed,
            cache.clone(),
            Arc::clone(&parts.clock),
            metrics.clone(),
            liveness.guard("the writer"),
        )
    });
    let cnf = {
        let (settings, metrics) = (settings.cnf.clone(), metrics.clone());
        let launch = move || CnfHandle::launch(&settings, metrics);
        let launched = actix_rt::task::spawn_blocking(launch).await;
        launched.map_err(io::Error::other)??
    };
    if let Some(cnf) = cnf.clone() {
        actix_rt::spawn(follow_formulas(cache.clone(), cnf));
    }
    let upstream = match (parts.follow, &writer, &parts.store) {
        (None, ..) => None,
        (Some(follow), Some(writer), Store::Sqlite(store)) => {
            let own = Own {
                store: store.clone(),
                writer: writer.clone(),
                cache: cache.clone(),
                jwk_set: parts.jwk_set.clone(),
                clock: Arc::clone(&parts.clock),
                metrics: metrics.follow().clone(),
                stopping: Arc::clone(&stopping),
            };
            Some(follow.launch(own, |name| liveness.guard(name))?)
        }
        (Some(_), ..) => {
            return Err(io::Error::other(
                "a follower needs a file that it may write",
            ));
        }
    };
    // Only the upstream decides what a follower serves.
    let admin_writer = writer.clone().filter(|_| upstream.is_none());
    let handles = Handles {
        cnf,
        board: cache.clone(),
        feed: feed.clone(),
        health: HealthHandle {
            settings: settings.health,
            store: parts.store.clone(),
            last_probe: Arc::default(),
            cache: cache.clone(),
            writer: writer.clone(),
            upstream,
            stopping: Arc::clone(&stopping),
        },
        metrics,
        metrics_page: Arc::default(),
        page: Arc::default(),
        admin: AdminHandles::new(
            parts.tokens,
            admin_writer,
            &settings.http,
            parts.verifies_rows.then(|| parts.jwk_set.clone()),
        ),
        jwk_set: parts.jwk_set,
        date: Arc::new(DateSource::new(Arc::clone(&parts.clock))),
        rate_limit: RateLimit::new(&settings.http, Arc::clone(&parts.clock)),
        waits: waits.clone(),
        logged_failures: Arc::new(Throttle::new(LOG_FAILURES, LOG_FAILURES_PERIOD)),
        edge_cache: Arc::new(settings.http.edge_cache()),
        settings: settings.http.clone(),
    };
    let snapshot_file = settings.snapshot_file.clone().map(SnapshotFile::new);
    first_board(&cache, snapshot_file.clone()).await;
    let saver = snapshot_file.map(|file| Saver::launch(cache.clone(), file));
    // Before any page of the feed is cached.
    watch::launch(
        parts.store,
        settings.watch,
        parts.clock,
        cache.clone(),
        feed,
        handles.metrics.clone(),
        liveness.guard("the database poll"),
    )
    .await;
    let (stop, stopped) = channel(Stop::No);
    let (mut acceptors, mut bound) = (Vec::new(), Vec::new());
    for address in addresses {
        let handles = Handles {
            waits: waits.of_address(address.max_connections),
            ..handles.clone()
        };
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
        saver,
        acceptors,
        stop,
        stopping,
        liveness,
        shutdown_delay: settings.shutdown_delay,
        shutdown_timeout: settings.shutdown_timeout,
    })
}

/// Tells the formulas' room which formulas active challenges have, whenever the board changes.
async fn follow_formulas(board: CacheHandle, cnf: CnfHandle) {
    let mut changes = board.changes();
    while changes.changed().await.is_ok() {
        board.try_read(|published, _| {
            cnf.follow(published.snapshot.formulas().map(|formula| formula.hash));
        });
    }
}

/// Waits for the first build of the board. If it fails, serves the board of the snapshot file, if there is one.
async fn first_board(cache: &CacheHandle, file: Option<SnapshotFile>) {
    let saved = match file {
        Some(file) => saved_board(file).await,
        None => None,
    };
    if cache.read(|_, _| ()).await.is_ok() {
        return;
    }
    let failed = "the first build of the board failed";
    match saved {
        Some((path, saved)) => {
            let age = cache.wall().duration_since(saved.published_at);
            let age = age.unwrap_or_default().as_secs();
            cache.serve_saved(saved).await;
            log::warn!(
                "{failed}: serving the one of {path}, which was published {age} s ago, until one succeeds"
            );
        }
        None => log::warn!("{failed}: listening without a board"),
    }
}

/// Reads the snapshot file. Returns its path for the log as well.
async fn saved_board(file: SnapshotFile) -> Option<(String, SavedBoard)> {
    let path = file.path().display().to_string();
    let read = move || {
        let saved = file.read();
        if let Ok(Some(saved)) = &saved {
            saved.snapshot.encode_fast();
        }
        saved
    };
    match actix_rt::task::spawn_blocking(read).await {
        Ok(Ok(saved)) => Some((path, saved?)),
        Ok(Err(error)) => {
            log::warn!("{path}: {error}: it is not used");
            None
        }
        Err(error) => {
            log::warn!("{path}: {error}: it is not used");
            None
        }
    }
}
