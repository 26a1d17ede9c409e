//! Notices what other processes write to the database, and tells the board's cache and the feed.

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::Args;

use crate::{
    cache::handle::CacheHandle,
    domain::clock::Clock,
    feed::FeedHandle,
    liveness::LivenessGuard,
    store::{
        StoreError,
        change_detector::{ChangeDetector, DatabaseState},
    },
    units,
};

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

/// Starts a task that polls the database for ever. A poll costs one pragma if nothing was written. A file
/// that replaces the database after this call is noticed.
pub(crate) fn launch(
    path: PathBuf,
    settings: Settings,
    busy_timeout: Duration,
    clock: Arc<dyn Clock>,
    cache: CacheHandle,
    feed: FeedHandle,
    liveness: LivenessGuard,
) {
    let detector = ChangeDetector::new(path.clone(), busy_timeout);
    actix_rt::spawn(async move {
        let _liveness = liveness;
        let mut detector = Some(detector);
        let mut failing = false;
        loop {
            clock.sleep_until(clock.now() + settings.change_poll).await;
            // A panic while polling loses the detector; another takes its place.
            let mut polling = detector
                .take()
                .unwrap_or_else(|| ChangeDetector::new(path.clone(), busy_timeout));
            let polled = actix_rt::task::spawn_blocking(move || {
                let state = polling.poll();
                (polling, state)
            });
            let Ok((polled, state)) = polled.await else {
                feed.invalidate_all();
                continue;
            };
            detector = Some(polled);
            log_change(&state, &mut failing);
            match state {
                Ok(Some(state)) => {
                    feed.observe(state.feed, state.replaced);
                    let version = cache.board_version();
                    // If nothing is published, the cache is trying already.
                    if version.is_some_and(|old| old != state.board_version) {
                        cache.invalidate();
                    }
                }
                Ok(None) => {}
                // On error, assume that everything changed.
                Err(_) => feed.invalidate_all(),
            }
        }
    });
}

/// Logs the first failure in a row, and the first success after it.
fn log_change(state: &Result<Option<DatabaseState>, StoreError>, failing: &mut bool) {
    if let Err(error) = state {
        if !*failing {
            log::warn!("cannot poll the database for writes of other processes: {error}");
        }
    } else if *failing {
        log::info!("polling the database again");
    }
    *failing = state.is_err();
}
