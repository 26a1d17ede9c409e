//! Health: whether the database answers (WIRE.md, GET /health), and whether the server is ready.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Args;
use tokio::sync::Mutex;

use crate::{
    cache::handle::CacheHandle,
    follow::UpstreamStatus,
    store::{Check, NO_ANSWER, Store},
    units,
    writer::handle::WriterHandle,
};

/// The time limit of a health check.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// When the server counts as ready.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "HTTP")]
#[group(skip)]
pub struct Settings {
    /// How old the board may be before /health/ready is 503, in seconds; with --follow, also how long ago the upstream may have confirmed it.
    #[arg(long = "max-snapshot-age-secs", value_name = "SECONDS")]
    #[arg(env = "PUBLISHER_MAX_SNAPSHOT_AGE_SECS")]
    #[arg(default_value = "600", value_parser = units::secs(..=u64::from(u32::MAX)))]
    pub max_snapshot_age: Duration,
}

/// The health of the server, for request handlers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HealthHandle {
    /// The options of this room.
    pub settings: Settings,
    /// The database.
    pub store: Store,
    /// The last probe of the database; locked while one runs.
    pub last_probe: Arc<Mutex<Option<Probe>>>,
    /// The board's cache.
    pub cache: CacheHandle,
    /// The writer; `None` if the database is read-only.
    pub writer: Option<WriterHandle>,
    /// The publisher that is followed; `None` if none is.
    pub upstream: Option<UpstreamStatus>,
    /// Set when the server begins to stop.
    pub stopping: Arc<AtomicBool>,
}

/// A probe of the database.
#[derive(Debug, Clone)]
pub struct Probe {
    begun: Instant,
    outcome: Check,
}

/// The checks of readiness: each is well, or says what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// A board that was confirmed not too long ago.
    pub snapshot: Check,
    /// The database.
    pub database: Check,
    /// The actors.
    pub actors: Check,
    /// The process is not about to end.
    pub process: Check,
    /// What is copied from another publisher was confirmed not too long ago; `None` if nothing is.
    pub upstream: Option<Check>,
}

impl Readiness {
    /// Returns the checks by name.
    pub fn checks(self) -> Vec<(&'static str, Check)> {
        let mut checks = vec![
            ("snapshot", self.snapshot),
            ("database", self.database),
            ("actors", self.actors),
            ("process", self.process),
        ];
        checks.extend(self.upstream.map(|check| ("upstream", check)));
        checks
    }
}

impl HealthHandle {
    /// Returns whether the database answers within two seconds, or what is wrong with its files. One probe runs at a time, and answers all
    /// that asked before it began: a herd of checks takes neither the pool from the board nor its turn
    /// from a balancer.
    ///
    /// # Errors
    /// What is wrong.
    pub async fn database(&self) -> Check {
        let asked = Instant::now();
        let last = Arc::clone(&self.last_probe).lock_owned();
        let Ok(mut last) = tokio::time::timeout(PROBE_TIMEOUT, last).await else {
            return Err(NO_ANSWER.into());
        };
        if let Some(probe) = &*last
            && probe.begun >= asked
        {
            return probe.outcome.clone();
        }
        let store = self.store.clone();
        // The lock goes with it: a probe that hangs has no second one beside it.
        let probe = actix_rt::task::spawn_blocking(move || {
            let begun = Instant::now();
            let outcome = store.probe(begun + PROBE_TIMEOUT);
            *last = Some(Probe {
                begun,
                outcome: outcome.clone(),
            });
            outcome
        });
        match tokio::time::timeout(PROBE_TIMEOUT, probe).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => Err(NO_ANSWER.into()),
        }
    }

    /// Returns whether balancers should send requests here.
    pub async fn readiness(&self) -> Readiness {
        let stopping = self.stopping.load(Ordering::Relaxed);
        Readiness {
            snapshot: self.snapshot().await,
            database: self.database().await,
            actors: self.actors(),
            process: well(!stopping, "stopping"),
            upstream: self
                .upstream
                .as_ref()
                .map(|it| it.check(self.settings.max_snapshot_age)),
        }
    }

    async fn snapshot(&self) -> Check {
        let cache = &self.cache;
        let max_age = self.settings.max_snapshot_age;
        let young = || cache.snapshot_age().map(|age| age <= max_age);
        // Without requests the board is not rebuilt: this check may be the first request in a while.
        if young() == Some(false) {
            let _ = cache.invalidate_and_wait().await;
        }
        if cache.freshness().is_some_and(|board| board.is_saved) {
            return Err("from the snapshot file".into());
        }
        match young() {
            Some(true) => Ok(()),
            Some(false) => Err("too old".into()),
            None => Err("none yet".into()),
        }
    }

    fn actors(&self) -> Check {
        well(self.cache.is_alive(), "the cache has stopped")?;
        let writer_lives = self.writer.as_ref().is_none_or(WriterHandle::is_alive);
        well(writer_lives, "the writer has stopped")
    }
}

fn well(is_well: bool, otherwise: &'static str) -> Check {
    is_well.then_some(()).ok_or(otherwise.into())
}
