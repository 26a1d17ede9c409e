//! The board without a cache: every request rebuilds it from SQLite. The old service's fault, for
//! showing the difference.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    build::BuildSnapshot,
    handle::{CacheHandle, Freshness, Unavailable},
    snapshot::Snapshot,
};

/// Where the handlers of the board get it from.
#[derive(Debug, Clone)]
pub enum Board {
    /// From the published snapshot.
    Cached(CacheHandle),
    /// From the database, each time.
    Uncached(Uncached),
}

/// Builds for each request.
#[derive(Debug, Clone)]
pub struct Uncached {
    /// What builds.
    pub builder: Arc<dyn BuildSnapshot>,
    /// How long it may take, the wait for the connection included.
    pub timeout: Duration,
}

impl Board {
    /// Reads the board; with how fresh it is, where it comes from a cache.
    ///
    /// # Errors
    /// [`Unavailable`], as [`CacheHandle::read`]; without a cache, where the build fails.
    pub async fn read<T>(
        &self,
        reading: impl FnOnce(&Snapshot, Option<Freshness>) -> T,
    ) -> Result<T, Unavailable> {
        match self {
            Self::Cached(cache) => {
                cache
                    .read(|snapshot, freshness| reading(snapshot, Some(freshness)))
                    .await
            }
            Self::Uncached(uncached) => Ok(reading(&uncached.snapshot().await?, None)),
        }
    }
}

impl Uncached {
    async fn snapshot(&self) -> Result<Snapshot, Unavailable> {
        let builder = Arc::clone(&self.builder);
        let deadline = Instant::now() + self.timeout;
        let build = actix_rt::task::spawn_blocking(move || builder.build(deadline));
        match build.await {
            Ok(Ok(built)) => Ok(built.snapshot),
            Ok(Err(_)) | Err(_) => Err(Unavailable {
                retry_after: Duration::from_secs(1),
            }),
        }
    }
}
