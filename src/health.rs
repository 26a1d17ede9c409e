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
    store::{Check, DiskSpace, NO_ANSWER, Store},
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
    /// SQLite: how much space must be free on the disk of the database, in MiB; with less, /health/ready is 503. 0
    /// leaves that out: a full disk stops writes, and a server that is taken out of service answers no reads either.
    /// Set it where another replica takes over.
    #[arg(
        long = "min-free-space",
        env = "PUBLISHER_MIN_FREE_SPACE",
        value_name = "MIB"
    )]
    #[arg(default_value = "0", value_parser = units::mib::<u64>(0..=MAX_FREE_MIB))]
    pub min_free_bytes: u64,
}

/// 1 PiB.
const MAX_FREE_MIB: u64 = 1 << 30;

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
    database: Check,
    /// `None` if the disk does not matter, or is that of another machine.
    disk: Option<Check>,
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
    /// Enough space is free; `None` if that is not checked. If no free space is asked for, a full disk is told where it may be
    /// why the upstream's data is not confirmed any more.
    pub disk: Option<Check>,
}

impl Readiness {
    /// Returns the checks by name.
    pub fn checks(self) -> impl Iterator<Item = (&'static str, Check)> {
        let disk = self.disk.map(|disk| ("disk", disk));
        let upstream = self.upstream.map(|upstream| ("upstream", upstream));
        [
            ("snapshot", self.snapshot),
            ("database", self.database),
            ("actors", self.actors),
            ("process", self.process),
        ]
        .into_iter()
        .chain(disk)
        .chain(upstream)
    }
}

impl HealthHandle {
    /// Returns whether the database answers within two seconds, or what is wrong with its files.
    ///
    /// # Errors
    /// What is wrong.
    pub async fn database(&self) -> Check {
        self.probe().await.0
    }

    /// Returns the check of the database, and that of its disk if there is one. One probe runs at a time, and answers all
    /// that asked before it began: a herd of checks takes neither the pool from the board nor its turn from a balancer.
    async fn probe(&self) -> (Check, Option<Check>) {
        let asked = Instant::now();
        let no_answer = || (Err(NO_ANSWER.into()), None);
        let last = Arc::clone(&self.last_probe).lock_owned();
        let Ok(mut last) = tokio::time::timeout(PROBE_TIMEOUT, last).await else {
            return no_answer();
        };
        if let Some(probe) = &*last
            && probe.begun >= asked
        {
            return (probe.database.clone(), probe.disk.clone());
        }
        let store = self.store.clone();
        let min_free_bytes = self.min_free_bytes();
        // The lock goes with it: a probe that hangs has no second one beside it.
        let probe = actix_rt::task::spawn_blocking(move || {
            let begun = Instant::now();
            let database = store.probe(begun + PROBE_TIMEOUT);
            let disk = disk(&store, min_free_bytes);
            let answer = (database.clone(), disk.clone());
            *last = Some(Probe {
                begun,
                database,
                disk,
            });
            answer
        });
        match tokio::time::timeout(PROBE_TIMEOUT, probe).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => no_answer(),
        }
    }

    /// Returns whether balancers should send requests here.
    pub async fn readiness(&self) -> Readiness {
        let stopping = self.stopping.load(Ordering::Relaxed);
        let snapshot = self.snapshot().await;
        let (database, disk) = self.probe().await;
        let upstream = self.upstream.as_ref();
        let upstream = upstream.map(|it| it.check(self.settings.max_snapshot_age));
        let is_told = |disk: &Check| match upstream {
            Some(Err(_)) => disk.is_err() || self.settings.min_free_bytes > 0,
            Some(Ok(())) | None => self.settings.min_free_bytes > 0,
        };
        Readiness {
            snapshot,
            database,
            actors: self.actors(),
            process: well(!stopping, "stopping"),
            disk: disk.filter(is_told),
            upstream,
        }
    }

    /// Returns how much space must be free. A follower stores nothing on a full disk.
    fn min_free_bytes(&self) -> u64 {
        let least = self.upstream.as_ref().map(|_| DiskSpace::FULL_BYTES);
        self.settings.min_free_bytes.max(least.unwrap_or(0))
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

/// Checks the free space of the database's disk. `None` if it is unknown or not asked for. Blocks.
fn disk(store: &Store, min_free_bytes: u64) -> Option<Check> {
    if min_free_bytes == 0 {
        return None;
    }
    let free_bytes = store.size()?.disk?.free_bytes;
    let is_enough = free_bytes >= min_free_bytes;
    Some(is_enough.then_some(()).ok_or_else(|| {
        let (free, needed) = (free_bytes / units::MIB, min_free_bytes / units::MIB);
        format!("{free} MiB are free, fewer than {needed}").into()
    }))
}

fn well(is_well: bool, otherwise: &'static str) -> Check {
    is_well.then_some(()).ok_or(otherwise.into())
}
