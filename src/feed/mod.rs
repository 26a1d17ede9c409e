//! Pages of the leaderboard feed: read off the async threads, a bounded number at a time, each once
//! at a time, and held as long as they are true.
//!
//! | file | knows |
//! |---|---|
//! | `page` | how a page is read and written |
//! | `pages` | which are held, which are being read, what an insertion makes of them |

pub mod page;
pub mod pages;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

use crate::{
    domain::{
        coding::Coding,
        cursor::{Cursor, PageLimit},
    },
    metrics::Metrics,
    representation::Representation,
    store::{StoreError, pool::ReadPool, read::FeedStamp},
};
use pages::{Answer, Lookup, Pages, ReadToken};

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
    /// A row is stored under a time that is none.
    #[error("a row has no valid time")]
    Time,
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
    /// How many bytes of pages are held. None: not even a read is shared.
    pub max_held_bytes: Option<usize>,
}

/// A handler's way to the feed. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FeedHandle {
    pool: ReadPool,
    limits: FeedLimits,
    turns: Arc<Semaphore>,
    pages: FeedPages,
    metrics: Metrics,
}

/// The pages that are held; whoever writes rows tells it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FeedPages(Arc<Mutex<Pages>>);

impl FeedPages {
    /// Rows at these places were committed by this process: to be told before anybody is told that
    /// they are stored. The feed was `before`, and is `after`.
    pub fn committed(&self, before: FeedStamp, after: FeedStamp, rows: &[Cursor]) {
        self.lock().committed(before, after, rows);
    }

    /// The feed was found like this.
    pub fn seen(&self, stamp: FeedStamp) {
        self.lock().seen(stamp);
    }

    /// Nobody knows what was written.
    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        // Nothing in there panics half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FeedHandle {
    /// Reads pages through `pool`.
    pub fn new(pool: ReadPool, limits: FeedLimits, metrics: Metrics) -> Self {
        let pages = Pages::new(limits.max_held_bytes);
        Self {
            pool,
            turns: Arc::new(Semaphore::new(limits.max_reads)),
            limits,
            pages: FeedPages(Arc::new(Mutex::new(pages))),
            metrics,
        }
    }

    /// What is to be told of every change.
    pub fn pages(&self) -> FeedPages {
        self.pages.clone()
    }

    /// The page of up to `limit` rows after `cursor`. One that is held costs a look-up. Else it is
    /// read once for all who ask for it meanwhile: one walk along the index and a hash of the page, on
    /// a blocking thread.
    ///
    /// # Errors
    /// [`FeedError`].
    pub async fn page(
        &self,
        cursor: Cursor,
        limit: PageLimit,
    ) -> Result<Arc<Representation>, Arc<FeedError>> {
        let looked_up = self.pages.lock().look_up(&(cursor, limit));
        let answer = match looked_up {
            Lookup::Held(page) => {
                self.metrics.feed_page_held();
                return Ok(page);
            }
            Lookup::Join(answer) => {
                self.metrics.feed_page_joined();
                answer
            }
            Lookup::Read(token, answer) => {
                self.metrics.feed_page_read();
                // Not a part of this request: others wait for it too, and this client may go.
                actix_rt::spawn(self.clone().read(token));
                answer
            }
        };
        let answer = answer.await.unwrap_or(Err(Arc::new(FeedError::Panicked)));
        answer.map(|page| page.representation)
    }

    /// Makes a coding of a page, on a blocking thread.
    pub async fn code(&self, page: &Arc<Representation>, coding: Coding) {
        let page = Arc::clone(page);
        // Where that panics the page goes out as it is.
        let _ = actix_rt::task::spawn_blocking(move || page.code(coding)).await;
    }

    async fn read(self, token: ReadToken) {
        let answer: Answer = self.try_read(&token).await.map_err(Arc::new);
        if let Err(error) = &answer {
            match &**error {
                FeedError::Busy => {}
                FeedError::Store(_) => log::warn!("leaderboard/recent: {error}"),
                FeedError::Json(_) | FeedError::Time | FeedError::Panicked => {
                    log::error!("leaderboard/recent: {error}");
                }
            }
        }
        self.pages.lock().ended(token, &answer);
    }

    async fn try_read(&self, token: &ReadToken) -> Result<pages::Page, FeedError> {
        let turn = Arc::clone(&self.turns).acquire_owned();
        let Ok(Ok(turn)) = tokio::time::timeout(self.limits.queue_timeout, turn).await else {
            return Err(FeedError::Busy);
        };
        let pool = self.pool.clone();
        let read_timeout = self.limits.read_timeout;
        let (cursor, limit) = token.key().clone();
        let read = actix_rt::task::spawn_blocking(move || {
            // Held until the read has ended, whoever still waits for it.
            let _turn = turn;
            let reader = pool.reader(Instant::now() + read_timeout)?;
            page::read(&reader, &cursor, limit)
        });
        read.await.unwrap_or(Err(FeedError::Panicked))
    }
}
