//! Pages of the leaderboard feed: one cache, single-flight, invalidated by range.
//!
//! | file | knows |
//! |---|---|
//! | `key` | what a page answers: where it begins, in which order, how long it is |
//! | `page` | a page, and how it is read from the database |
//! | `pages` | which pages are cached and which are being read; what an inserted row invalidates (pure) |
//! | `cache` | the same behind a lock, for clients, the writer and the watcher |
//! | `news` | what those are told who wait for a change |
//! | `encoder` | content codings of pages, each made once |
//! | `settings` | the options of this room |

mod cache;
mod encoder;
mod key;
mod news;
mod page;
mod pages;
mod settings;

use std::{
    borrow::Cow,
    net::IpAddr,
    sync::{Arc, Mutex},
    thread::available_parallelism,
    time::{Duration, Instant, UNIX_EPOCH},
};

use bytes::Bytes;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, watch};

use crate::{
    answer::{MissingEncoding, Representation},
    domain::{
        clock::{Clock, ForwardWall},
        cursor::{Cursor, PageLimit},
        eval_run::EvalRun,
        lineages::Unresolved,
        ran_at::RanAt,
    },
    metrics::{Metrics, Source},
    outgoing::{ByteBudget, Senders, Sending},
    store::{FeedStamp, SeqPageError, Store, StoreError},
};
use cache::{Lookup, PendingRead};
use encoder::Encoder;
use page::PageReader;

use cache::FeedCache;
pub use key::{After, PageKey, SeqPage};
pub use news::FeedNews;
pub use page::Page;
pub use settings::Settings;

/// How often another change may come between a look at what is known of the feed and its update.
const FOLLOW_ATTEMPTS: u32 = 8;

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// Too many reads are in flight, or too many bytes are still being sent, and the time allowed is over.
    #[error("too many feed reads are in flight")]
    Busy,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The page could not be serialised.
    #[error("serialising a page: {0}")]
    Json(#[from] serde_json::Error),
    /// The cursor is of a lineage that the database does not know: the client must start again.
    #[error("the cursor is of another database")]
    UnknownLineage,
    /// The cursor is of a time that the database has not reached yet.
    #[error("the database is behind the cursor")]
    Ahead,
    /// A stored row has an invalid time.
    #[error("a row has an invalid time")]
    Time,
    /// The read panicked, or was dropped.
    #[error("a feed read panicked")]
    Panicked,
}

impl From<SeqPageError> for FeedError {
    fn from(error: SeqPageError) -> Self {
        match error {
            SeqPageError::Cursor(Unresolved::Unknown) => Self::UnknownLineage,
            SeqPageError::Cursor(Unresolved::Ahead) => Self::Ahead,
            SeqPageError::Store(error) => Self::Store(error),
        }
    }
}

/// How much of the feed is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedUsage {
    /// Reads from the database that run now.
    pub reads: usize,
    /// What the cached pages weigh, in bytes.
    pub page_bytes: usize,
}

/// The feed, for request handlers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FeedHandle(Arc<Feed>);

#[derive(Debug)]
struct Feed {
    store: Store,
    settings: Settings,
    max_reads: usize,
    turns: Arc<Semaphore>,
    large_page: Mutex<()>,
    cache: FeedCache,
    budget: ByteBudget,
    senders: Senders,
    encoder: Encoder,
    /// What clients have seen once is not held back again.
    wall: ForwardWall,
    metrics: Metrics,
}

impl FeedHandle {
    /// A feed whose pages are read from `store`. The wall clock says which rows are held back.
    pub fn new(store: Store, settings: Settings, clock: Arc<dyn Clock>, metrics: Metrics) -> Self {
        // The feed leaves one connection to the board and one to the health check.
        let max_reads = store.max_readers().saturating_sub(2).max(1) as usize;
        // Encoding is bound by the processor.
        let max_encodings = available_parallelism().map_or(1, usize::from);
        let budget = ByteBudget::new(settings.max_cached_bytes + settings.max_in_flight_bytes);
        Self(Arc::new(Feed {
            store,
            turns: Arc::new(Semaphore::new(max_reads)),
            large_page: Mutex::default(),
            cache: FeedCache::new(settings.max_cached_bytes),
            encoder: Encoder::new(max_encodings, budget.clone()),
            senders: Senders::new(budget.clone()),
            budget,
            settings,
            max_reads,
            wall: ForwardWall::new(clock, "what --feed-holdback-ms shows stays"),
            metrics,
        }))
    }

    /// Returns the last change of the feed. Costs a short lock.
    pub fn news(&self) -> FeedNews {
        self.0.cache.news()
    }

    /// Returns a channel of the changes of the feed. Pages that are read or found after one show it.
    pub fn changes(&self) -> watch::Receiver<FeedNews> {
        self.0.cache.changes()
    }

    /// Notes the feed that a poll found. If another process changed it, reads which rows were inserted since, and drops
    /// the cached pages that they fall into; all pages, if anything else has changed. Blocks.
    pub fn observe(&self, found: FeedStamp) {
        self.0.follow(found);
    }

    /// Notes that this process committed rows, some of which may have been stored before. The feed was `before` and is
    /// `after`. Drops the cached pages that they fall into. Call it before anybody is told that they are stored. Blocks
    /// if another process has written as well.
    pub(crate) fn committed<'r>(
        &self,
        before: FeedStamp,
        after: FeedStamp,
        rows: impl Iterator<Item = &'r EvalRun>,
    ) {
        let published = rows.filter(|row| row.is_published());
        let keys: Vec<Cursor> = published.map(EvalRun::sort_key).collect();
        if !self.0.cache.follow(&before, after, &keys) {
            self.0.follow(after);
        }
    }

    /// Returns how long a read may take.
    pub fn read_timeout(&self) -> Duration {
        self.0.settings.read_timeout
    }

    /// Returns how much of the feed is in use.
    pub fn usage(&self) -> FeedUsage {
        FeedUsage {
            reads: self.0.max_reads - self.0.turns.available_permits(),
            page_bytes: self.0.cache.bytes(),
        }
    }

    /// Returns the page if it is cached. Costs a look-up under one short lock. The caller that answers with
    /// it counts the hit.
    pub fn cached(&self, key: &PageKey) -> Option<Page> {
        self.0.cache.get(&self.0.held_back(key))
    }

    /// Counts an answer with a page from [`FeedHandle::cached`].
    pub fn count_hit(&self) {
        self.0.metrics.feed_page(Source::Hit);
    }

    /// Notes that a body of the feed is being sent to this client, until what is returned is dropped. Costs a short
    /// lock.
    pub fn begin_sending(&self, client: IpAddr, body: &Bytes) -> Sending {
        self.0.senders.begin(client, body)
    }

    /// Returns a page, for a client. A cached one costs a look-up. Otherwise the page is read once for all requests that
    /// want it meanwhile: one walk along the index and a hash of the page, on a blocking thread.
    ///
    /// # Errors
    /// [`FeedError`]. A request waits at most `queue_timeout` and `read_timeout` together, then it gets
    /// [`FeedError::Busy`].
    pub async fn page(
        &self,
        key: &PageKey,
        client: IpAddr,
    ) -> Result<(Page, Source), Arc<FeedError>> {
        let metrics = &self.0.metrics;
        let is_large = key.limit > PageLimit::default();
        let (answer, source) = match self.0.cache.look_up(&self.0.held_back(key)) {
            Lookup::Hit(page) => {
                metrics.feed_page(Source::Hit);
                return Ok((page, Source::Hit));
            }
            Lookup::Join(answer) => {
                // The client that began the read may have more than its share.
                self.release(client, self.0.budget.missing_bytes(is_large));
                (answer, Source::Join)
            }
            Lookup::Miss(read, answer) => {
                // Not a part of this request: others wait for it too, and this client may go.
                actix_rt::spawn(self.clone().read(read, client, is_large));
                (answer, Source::Miss)
            }
            Lookup::Full => return Err(Arc::new(FeedError::Busy)),
        };
        metrics.feed_page(source);
        let settings = &self.0.settings;
        let timeout = settings.queue_timeout + settings.read_timeout;
        let answer = tokio::time::timeout(timeout, answer);
        match answer.await {
            Ok(Ok(page)) => page.map(|page| (page, source)),
            // A pending read answers even if it is dropped.
            Ok(Err(_)) => Err(Arc::new(FeedError::Panicked)),
            Err(_) => Err(Arc::new(FeedError::Busy)),
        }
    }

    /// Makes a coding of a page or of a part of the board, once for all requests that want it, on a blocking
    /// thread. Waits at most `queue_timeout`; if the request cannot be answered without the coding, at most
    /// `queue_timeout` for its turn and `read_timeout` more.
    ///
    /// The latter is longer because the page may be too large for the cache: what a request does not wait for is
    /// lost then, and a client that tries again would never get it.
    pub async fn encode(&self, page: &Arc<Representation>, missing: MissingEncoding) {
        let settings = &self.0.settings;
        let timeout = if missing.is_required {
            settings.queue_timeout + settings.read_timeout
        } else {
            settings.queue_timeout
        };
        let turn_timeout = settings.queue_timeout;
        let encoder = &self.0.encoder;
        encoder
            .encode(page, missing.coding, turn_timeout, timeout)
            .await;
    }

    /// Reads something else than a page, within the bounds of the reads of pages: their number, `queue_timeout` and
    /// `read_timeout`.
    ///
    /// # Errors
    /// [`FeedError`].
    pub(crate) async fn read_apart<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store, Instant) -> Result<T, FeedError> + Send + 'static,
    ) -> Result<T, FeedError> {
        let turn = Arc::clone(&self.0.turns).acquire_owned();
        let turn = tokio::time::timeout(self.0.settings.queue_timeout, turn).await;
        let Ok(Ok(turn)) = turn else {
            return Err(FeedError::Busy);
        };
        let store = self.0.store.clone();
        let deadline = Instant::now() + self.0.settings.read_timeout;
        let read = actix_rt::task::spawn_blocking(move || {
            let _turn = turn;
            read(&store, deadline)
        });
        read.await.unwrap_or(Err(FeedError::Panicked))
    }

    async fn read(self, read: PendingRead, client: IpAddr, is_large: bool) {
        let turn = self.turn(client, is_large);
        let turn = tokio::time::timeout(self.0.settings.queue_timeout, turn).await;
        let Ok(Ok(turn)) = turn else {
            read.finish(Err(FeedError::Busy));
            return;
        };
        drop(actix_rt::task::spawn_blocking(move || {
            // Held until the read has ended, even if nobody waits for it any more.
            let _turn = turn;
            if let Some(key) = read.key() {
                let page = self.0.read(key);
                read.finish(page);
            }
        }));
    }

    /// Waits until a read may begin: one of few, with room for its bytes.
    async fn turn(
        &self,
        client: IpAddr,
        is_large: bool,
    ) -> Result<OwnedSemaphorePermit, AcquireError> {
        let budget = &self.0.budget;
        let evict = || self.0.cache.evict_oldest();
        let release = |bytes| self.release(client, bytes);
        loop {
            // Without a turn: a large page that waits for room keeps no turn from a small one, which has room.
            budget.room(is_large, evict, release).await;
            let turn = Arc::clone(&self.0.turns).acquire_owned().await?;
            if budget.missing_bytes(is_large) == 0 {
                return Ok(turn);
            }
        }
    }

    fn release(&self, client: IpAddr, bytes: usize) {
        if bytes > 0 {
            self.0.senders.cut_off(client, bytes, Instant::now());
        }
    }
}

impl Feed {
    /// Returns what the page answers now: in the order of (ran_at, id), rows whose time is not long enough ago are held
    /// back.
    fn held_back<'k>(&self, key: &'k PageKey) -> Cow<'k, PageKey> {
        let holdback = self.settings.holdback;
        match &key.after {
            After::Place(_) if !holdback.is_zero() => {
                let now = UNIX_EPOCH.checked_add(Duration::from_millis(self.wall.millis()));
                let until = now.and_then(|now| now.checked_sub(holdback));
                Cow::Owned(PageKey {
                    until: until.and_then(RanAt::second_of),
                    ..key.clone()
                })
            }
            After::Place(_) | After::Seq(_) => Cow::Borrowed(key),
        }
    }

    fn read(&self, key: &PageKey) -> Result<Page, FeedError> {
        let reading = PageReader {
            store: &self.store,
            deadline: Instant::now() + self.settings.read_timeout,
            budget: &self.budget,
            large_page: &self.large_page,
        };
        reading.read(key)
    }

    /// Brings the cache from the feed that it knows to `found`, or to a later one.
    fn follow(&self, found: FeedStamp) {
        let deadline = Instant::now() + self.settings.read_timeout;
        for _ in 0..FOLLOW_ATTEMPTS {
            let Some(known) = self.cache.known() else {
                break;
            };
            if known.version == found.version {
                return;
            }
            // What is read now is not older than what is known, unless the database went back.
            let Ok(since) = self.store.inserted_since(&known, deadline) else {
                break;
            };
            let is_followed = match since.inserted {
                Some(rows) => self.cache.follow(&known, since.stamp, &rows),
                None => self.cache.replace(&known, since.stamp),
            };
            if is_followed {
                return;
            }
        }
        self.cache.observe(found);
    }
}
