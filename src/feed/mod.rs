//! Pages of the leaderboard feed: read off the async threads, a bounded number at a time.

pub mod page;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

use crate::{
    domain::cursor::{Cursor, PageLimit},
    representation::Representation,
    store::{StoreError, pool::ReadPool},
};

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// As many reads as may run at once are running, and none ended in the time allowed.
    #[error("too many feed reads at once")]
    Busy,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The page could not be written.
    #[error("serialising a page: {0}")]
    Json(#[from] serde_json::Error),
    /// The blocking thread panicked.
    #[error("a feed read panicked")]
    Panicked,
}

/// The limits of feed reads.
#[derive(Debug, Clone, Copy)]
pub struct FeedLimits {
    /// How many reads may run at once: fewer than the pool has connections, so that the feed can
    /// never keep the board from one.
    pub max_reads: usize,
    /// How long a request waits for its turn.
    pub queue_timeout: Duration,
    /// How long a read may take.
    pub read_timeout: Duration,
}

/// A handler's way to the feed. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FeedHandle {
    pool: ReadPool,
    limits: FeedLimits,
    turns: Arc<Semaphore>,
}

impl FeedHandle {
    /// Reads pages through `pool`.
    pub fn new(pool: ReadPool, limits: FeedLimits) -> Self {
        Self {
            pool,
            turns: Arc::new(Semaphore::new(limits.max_reads)),
            limits,
        }
    }

    /// The page of up to `limit` rows after `cursor`. Costs one walk along the index and a hash of
    /// the page, on a blocking thread.
    ///
    /// # Errors
    /// [`FeedError`].
    pub async fn page(
        &self,
        cursor: Cursor,
        limit: PageLimit,
    ) -> Result<Representation, FeedError> {
        let turn = Arc::clone(&self.turns).acquire_owned();
        let Ok(Ok(turn)) = tokio::time::timeout(self.limits.queue_timeout, turn).await else {
            return Err(FeedError::Busy);
        };
        let pool = self.pool.clone();
        let read_timeout = self.limits.read_timeout;
        let read = actix_rt::task::spawn_blocking(move || {
            // Held by the read, not by the request: a client that hangs up does not free a turn
            // while its read still runs.
            let _turn = turn;
            let reader = pool.reader(Instant::now() + read_timeout)?;
            page::read(&reader, &cursor, limit)
        });
        read.await.unwrap_or(Err(FeedError::Panicked))
    }
}
