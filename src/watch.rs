//! Notices what other processes write to the database, and tells the board's cache and the feed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Args;
use tokio::sync::{oneshot, watch};

use crate::{
    cache::handle::CacheHandle,
    domain::{clock::Clock, position::Lineage},
    feed::FeedHandle,
    liveness::LivenessGuard,
    metrics::{Metrics, SampledGauge},
    store::{DatabaseSize, DatabaseState, Store, StoreError, Watcher},
    units,
};

/// How long the start waits for the first poll.
const FIRST_POLL: Duration = Duration::from_secs(1);

/// How often the database is polled.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Limits")]
#[group(skip)]
pub struct Settings {
    /// How often to look whether another process has written to the database, in milliseconds.
    #[arg(long = "change-poll-ms", env = "PUBLISHER_CHANGE_POLL_MS")]
    #[arg(value_name = "MS", default_value = "500", value_parser = units::millis(1..=units::DAY_MILLIS))]
    pub change_poll: Duration,
}

/// Opens the database, and starts a task that polls it for ever, and whenever the database says that something was
/// committed. Returns after the first poll, or a second: what others write from then on is noticed. A poll of a file costs
/// some twenty system calls if nothing was written.
pub(crate) async fn launch(
    store: Store,
    settings: Settings,
    clock: Arc<dyn Clock>,
    cache: CacheHandle,
    feed: FeedHandle,
    metrics: Metrics,
    liveness: LivenessGuard,
) {
    let new = {
        let store = store.clone();
        move || store.watcher()
    };
    let mut watcher = actix_rt::task::spawn_blocking(new.clone()).await.ok();
    let (first, polled_once) = oneshot::channel::<()>();
    let mut first = Some(first);
    actix_rt::spawn(async move {
        let _liveness = liveness;
        let mut log = PollLog {
            follows: cache.follows(),
            ..PollLog::default()
        };
        let mut news = watcher.as_ref().map(Watcher::news);
        let mut next_poll = clock.now();
        loop {
            let noticed = tokio::select! {
                () = clock.sleep_until(next_poll) => None,
                () = told(&mut news) => Some(Instant::now()),
            };
            let (known, new) = (watcher.take(), new.clone());
            let (polled_store, feed) = (store.clone(), feed.clone());
            let polled = actix_rt::task::spawn_blocking(move || {
                // A panic while polling loses the watcher; another takes its place.
                let mut polling = known.unwrap_or_else(new);
                let state = polling.poll();
                polled_store.polled(state.is_ok());
                // If the database is out of reach, what is cached of it is still true of it.
                if let Ok(Some(state)) = &state {
                    feed.observe(state.feed);
                }
                (polling, state, polled_store.size())
            });
            let polled = polled.await;
            next_poll = clock.now() + settings.change_poll;
            let Ok((polled, state, size)) = polled else {
                news = None;
                continue;
            };
            if news.is_none() {
                news = Some(polled.news());
            }
            watcher = Some(polled);
            if let Some(size) = size {
                show_size(&metrics, size);
            }
            if log.is_back(&state) {
                cache.retry();
            }
            if log.polled(&state) {
                store.replaced();
            }
            if let Ok(Some(state)) = state {
                metrics.newest_eval_run(state.newest_run_secs);
                cache.observe(state.board);
                if let Some(noticed) = noticed {
                    metrics.noticed_after(noticed.elapsed());
                }
            }
            drop(first.take());
        }
    });
    // Resolves when the sender is dropped.
    drop(tokio::time::timeout(FIRST_POLL, polled_once).await);
}

fn show_size(metrics: &Metrics, size: DatabaseSize) {
    metrics.set_gauge(SampledGauge::DatabaseBytes, size.database_bytes);
    if let Some(disk) = size.disk {
        metrics.set_gauge(SampledGauge::DiskFreeBytes, disk.free_bytes);
        metrics.set_gauge(SampledGauge::DiskBytes, disk.bytes);
    }
}

/// Waits until the database says that something was committed; for ever, if it never does.
async fn told(news: &mut Option<watch::Receiver<u64>>) {
    if let Some(news) = news
        && news.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// What was logged of the polls.
#[derive(Debug, Default)]
struct PollLog {
    /// Whether lineages come from an upstream.
    follows: bool,
    failure: Option<String>,
    restored: Option<Lineage>,
}

impl PollLog {
    /// Returns whether this poll succeeded, and the one before did not. Call it before [`PollLog::polled`].
    fn is_back(&self, state: &Result<Option<DatabaseState>, StoreError>) -> bool {
        state.is_ok() && self.failure.is_some()
    }

    /// Logs every new failure, the first success after it, and a new lineage. Returns whether there is one.
    fn polled(&mut self, state: &Result<Option<DatabaseState>, StoreError>) -> bool {
        let failure = state.as_ref().err().map(ToString::to_string);
        if failure != self.failure {
            match &failure {
                Some(error) => log::warn!("cannot poll the database: {error}"),
                None => log::info!("polling the database again"),
            }
            self.failure = failure;
        }
        let Ok(Some(state)) = state else {
            return false;
        };
        let before = self.restored.replace(state.restored);
        let restored = before.is_some_and(|before| before != state.restored);
        if restored && self.follows {
            log::info!("the lineage of the upstream is {}", state.restored);
        } else if restored {
            log::warn!(
                "the database was restored: its lineage is {}",
                state.restored
            );
        }
        restored
    }
}
