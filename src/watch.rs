//! Notices what other processes write to the database, and tells the board's cache and the feed.

use std::{sync::Arc, time::Duration};

use clap::Args;

use crate::{
    cache::handle::CacheHandle,
    domain::{clock::Clock, position::Lineage},
    feed::FeedHandle,
    liveness::LivenessGuard,
    store::{
        StoreError,
        change_detector::{ChangeDetector, DatabaseState},
        file::DatabaseFile,
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

/// What is watched, and how.
#[derive(Debug, Clone)]
pub(crate) struct Watched {
    /// The database.
    pub(crate) file: DatabaseFile,
    /// Whether a database that takes its place is migrated.
    pub(crate) writable: bool,
    /// How long a poll waits for a lock.
    pub(crate) busy_timeout: Duration,
}

/// Opens the database, and starts a task that polls it for ever. A poll costs some twenty system calls if nothing was
/// written.
pub(crate) async fn launch(
    watched: Watched,
    settings: Settings,
    clock: Arc<dyn Clock>,
    cache: CacheHandle,
    feed: FeedHandle,
    liveness: LivenessGuard,
) {
    let file = watched.file.clone();
    let new = move || {
        let Watched {
            file,
            writable,
            busy_timeout,
        } = watched.clone();
        ChangeDetector::new(file, writable, busy_timeout)
    };
    let mut detector = actix_rt::task::spawn_blocking(new.clone()).await.ok();
    actix_rt::spawn(async move {
        let _liveness = liveness;
        let mut log = PollLog::default();
        loop {
            clock.sleep_until(clock.now() + settings.change_poll).await;
            let (known, new) = (detector.take(), new.clone());
            let polled = actix_rt::task::spawn_blocking(move || {
                // A panic while polling loses the detector; another takes its place.
                let mut polling = known.unwrap_or_else(new);
                let state = polling.poll();
                (polling, state)
            });
            let Ok((polled, state)) = polled.await else {
                feed.invalidate_all();
                continue;
            };
            detector = Some(polled);
            file.condition().polled(state.is_ok());
            if log.polled(&state) {
                file.condition().replaced();
            }
            match state {
                Ok(Some(state)) => {
                    feed.observe(state.feed);
                    let version = cache.board_version();
                    // If nothing is published, the cache is trying already.
                    if version.is_some_and(|old| old != state.board) {
                        cache.invalidate();
                    }
                }
                Ok(None) => {}
                // The database that was served is out of reach; what is cached of it is still true of it.
                Err(StoreError::File(_)) => {}
                // On other errors, assume that everything changed.
                Err(_) => feed.invalidate_all(),
            }
        }
    });
}

/// What was logged of the polls.
#[derive(Debug, Default)]
struct PollLog {
    failure: Option<String>,
    restored: Option<Lineage>,
}

impl PollLog {
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
        if restored {
            log::warn!(
                "the database was restored: its lineage is {}",
                state.restored
            );
        }
        restored
    }
}
