//! Pages of the leaderboard feed: read off the async threads, a bounded number at a time, each once
//! at a time, and held as long as they are true.
//!
//! | file | knows |
//! |---|---|
//! | `page` | how a page is read and written |
//! | `pages` | which are held, which are being read, what an insertion makes of them |
//! | `tail` | the newest rows, from which pages are made without SQLite |
//! | `changes` | who writes tells here; what is held follows |

pub mod changes;
pub mod page;
pub mod pages;
pub mod tail;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{OnceCell, Semaphore};

use crate::{
    answer::Representation,
    domain::{
        coding::Coding,
        cursor::{Cursor, PageLimit},
    },
    metrics::{Metrics, Origin},
    store::{StoreError, pool::ReadPool, read::FeedStamp},
};
use changes::FeedChanges;
use pages::{Answer, Lookup, ReadToken};

/// Pages up to this size are made of the tail where they are asked for: hashing them takes some ten
/// microseconds, as long as it takes to hand them to another thread.
const MADE_AT_ONCE_BYTES: usize = 16 * 1024;

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
    /// How many bytes the tail may have; 0: there is none.
    pub max_tail_bytes: usize,
}

/// How much of the feed is held, and read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldFeed {
    /// Reads from the database under way.
    pub reads: usize,
    /// What the pages weigh, in bytes.
    pub page_bytes: usize,
    /// What the tail weighs, in bytes.
    pub tail_bytes: usize,
}

/// A handler's way to the feed. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FeedHandle {
    pool: ReadPool,
    limits: FeedLimits,
    turns: Arc<Semaphore>,
    changes: FeedChanges,
    /// Set once somebody has pulled.
    pulled: Arc<OnceCell<()>>,
    metrics: Metrics,
}

impl FeedHandle {
    /// Reads pages through `pool`.
    pub fn new(pool: ReadPool, limits: FeedLimits, metrics: Metrics) -> Self {
        let changes = FeedChanges::new(limits.max_held_bytes, limits.max_tail_bytes);
        Self {
            pool,
            turns: Arc::new(Semaphore::new(limits.max_reads)),
            limits,
            changes,
            pulled: Arc::default(),
            metrics,
        }
    }

    /// What is to be told of every change.
    pub fn changes(&self) -> FeedChanges {
        self.changes.clone()
    }

    /// The feed was found like this by who watches for other processes, perhaps in another file than
    /// before.
    pub async fn seen(&self, stamp: FeedStamp, replaced: bool) {
        self.catch_up(replaced).await;
        if replaced {
            self.changes.pages().clear();
        }
        // After the tail: a page that is made of it from now on has what was found.
        self.changes.pages().seen(stamp);
    }

    /// Nobody can see how the feed is.
    pub fn lost_sight(&self) {
        self.changes.clear();
    }

    /// Has the tail read where there should be one and is none, as after a failure.
    pub async fn follow_if_lacking(&self) {
        if self.changes.lacks_tail() {
            self.catch_up(false).await;
        }
    }

    /// Has the tail read, as far as it lacks something. Where that fails there is none, and pages come
    /// from SQLite. A feed that nobody has pulled yet takes no memory.
    async fn catch_up(&self, afresh: bool) {
        if self.pulled.initialized() {
            self.read_tail(afresh).await;
        }
    }

    async fn read_tail(&self, afresh: bool) {
        if self.limits.max_tail_bytes == 0 {
            return;
        }
        let (pool, changes) = (self.pool.clone(), self.changes.clone());
        let deadline = Instant::now() + self.limits.read_timeout;
        let followed = actix_rt::task::spawn_blocking(move || {
            let reader = pool.reader(deadline)?;
            changes.follow(&reader, afresh)
        });
        match followed.await.unwrap_or(Err(FeedError::Panicked)) {
            Ok(()) => {}
            Err(error) => {
                self.changes.clear();
                log::debug!("the tail of the feed cannot be read: {error}");
            }
        }
    }

    /// How much of it is held, and read.
    pub fn held(&self) -> HeldFeed {
        HeldFeed {
            reads: self.limits.max_reads - self.turns.available_permits(),
            page_bytes: self.changes.pages().bytes(),
            tail_bytes: self.changes.tail().map_or(0, |tail| tail.weight_bytes()),
        }
    }

    /// The page of up to `limit` rows after `cursor`. One that is held costs a look-up; one within the
    /// tail some copies of memory and a hash. Else it is read once for all who ask for it meanwhile:
    /// one walk along the index and a hash of the page, on a blocking thread. The first ones wait until
    /// the tail has been read.
    ///
    /// # Errors
    /// [`FeedError`].
    pub async fn page(
        &self,
        cursor: Cursor,
        limit: PageLimit,
    ) -> Result<(Arc<Representation>, Origin), Arc<FeedError>> {
        self.pulled.get_or_init(|| self.read_tail(false)).await;
        let looked_up = self.changes.pages().look_up(&(cursor, limit));
        let (answer, joined) = match looked_up {
            Lookup::Held(page) => {
                self.metrics.feed_page(Origin::Held);
                return Ok((page, Origin::Held));
            }
            Lookup::Join(answer) => {
                self.metrics.feed_page(Origin::Joined);
                (answer, true)
            }
            Lookup::Read(token, answer) => {
                if let Some(page) = self.make_at_once(&token) {
                    self.metrics.feed_page(Origin::Tail);
                    self.ended(token, &page);
                    return page.map(|page| (page.representation, page.origin));
                }
                // Not a part of this request: others wait for it too, and this client may go.
                actix_rt::spawn(self.clone().read(token));
                (answer, false)
            }
        };
        let page = answer.await.unwrap_or(Err(Arc::new(FeedError::Panicked)))?;
        let origin = if joined { Origin::Joined } else { page.origin };
        Ok((page.representation, origin))
    }

    /// Returns a page that is cached.
    pub fn cached(&self, key: &pages::PageKey) -> Option<Arc<Representation>> {
        let page = self.changes.pages().cached(key)?;
        self.metrics.feed_page(Origin::Held);
        Some(page)
    }

    /// Makes a coding of a page, on a blocking thread.
    pub async fn encode(&self, page: &Arc<Representation>, coding: Coding) {
        let page = Arc::clone(page);
        // Where that panics the page goes out as it is.
        let _ = actix_rt::task::spawn_blocking(move || page.encode(coding)).await;
    }

    /// The page, where it is a short one of the tail.
    fn make_at_once(&self, token: &ReadToken) -> Option<Answer> {
        let (cursor, limit) = token.key();
        let tail = self.changes.tail()?;
        let span = tail.page(cursor, *limit)?;
        (span.bytes() <= MADE_AT_ONCE_BYTES)
            .then(|| page::joined(&span, tail.stamp().merkle_epoch_latest).map_err(Arc::new))
    }

    async fn read(self, token: ReadToken) {
        let answer = match self.make_of_tail(&token).await {
            Some(page) => {
                self.metrics.feed_page(Origin::Tail);
                page
            }
            None => {
                self.metrics.feed_page(Origin::Read);
                self.try_read(&token).await
            }
        };
        self.ended(token, &answer.map_err(Arc::new));
    }

    fn ended(&self, token: ReadToken, answer: &Answer) {
        if let Err(error) = answer {
            match &**error {
                FeedError::Busy => {}
                FeedError::Store(_) => log::warn!("leaderboard/recent: {error}"),
                FeedError::Json(_) | FeedError::Time | FeedError::Panicked => {
                    log::error!("leaderboard/recent: {error}");
                }
            }
        }
        self.changes.pages().ended(token, answer);
    }

    /// The page, where the tail has it: on a blocking thread, which no turn is needed for.
    async fn make_of_tail(&self, token: &ReadToken) -> Option<Result<pages::Page, FeedError>> {
        let (cursor, limit) = token.key().clone();
        let tail = self.changes.tail()?;
        tail.page(&cursor, limit)?;
        let made = actix_rt::task::spawn_blocking(move || {
            let span = tail.page(&cursor, limit)?;
            Some(page::joined(&span, tail.stamp().merkle_epoch_latest))
        });
        made.await.unwrap_or(Some(Err(FeedError::Panicked)))
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
