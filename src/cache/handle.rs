//! Gives readers the snapshot, wait-free once one is published.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use actix::Recipient;
use arc_swap::ArcSwapOption;
use tokio::sync::{Semaphore, oneshot, watch};

use super::{
    actor::{AwaitSnapshot, Invalidate, Refresh, Retry, ServeSaved, Show},
    refresh_flag::RefreshFlag,
    snapshot::Snapshot,
    snapshot_file::SavedBoard,
    state::Answer,
};
use crate::{
    answer::Representation,
    domain::{clock::Clock, position::Position},
    store::BoardStamp,
};

/// A change of the board's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoardNews {
    /// The version of the board at the build that found it. A write that leaves the bytes as they are gives no
    /// new position.
    pub position: Position,
    /// When it was published, by the system's clock.
    pub changed_at: Instant,
}

/// A snapshot in service.
#[derive(Debug)]
pub struct Published {
    /// What readers get.
    pub snapshot: Arc<Snapshot>,
    /// When its bytes changed last.
    pub news: BoardNews,
    /// `None` if it is of the snapshot file.
    pub(super) stamp: Option<BoardStamp>,
    /// When it was published, or found to be the same again.
    pub(super) confirmed_at: Instant,
    pub(super) fresh_until: Instant,
    /// Claimed by the first reader that finds this snapshot stale.
    pub(super) refresh: RefreshFlag,
}

impl Published {
    /// Returns the answer of active-challenges.
    pub fn board(&self) -> &Arc<Representation> {
        self.snapshot.board()
    }

    fn freshness(&self, now: Instant) -> Freshness {
        Freshness {
            now,
            age: now.saturating_duration_since(self.confirmed_at),
            fresh_for: self.fresh_until.saturating_duration_since(now),
            stale_for: now.saturating_duration_since(self.fresh_until),
            is_saved: self.stamp.is_none(),
        }
    }
}

/// The cell that the actor stores to and readers load from.
pub(super) type Cell = ArcSwapOption<Published>;

/// The age of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// The instant at which the age was taken.
    pub now: Instant,
    /// Since it was published, or found to be the same again.
    pub age: Duration,
    /// How long it is still fresh; zero if it is stale.
    pub fresh_for: Duration,
    /// How long it has been stale.
    pub stale_for: Duration,
    /// Whether it is the board of the snapshot file: nothing was built yet since the start.
    pub is_saved: bool,
}

impl Freshness {
    /// Returns whether a rebuild is due.
    pub fn is_stale(&self) -> bool {
        self.fresh_for.is_zero()
    }
}

/// No snapshot is available now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no snapshot")]
pub struct Unavailable {
    /// How long until it is worth asking again.
    pub retry_after: Duration,
}

/// The cache, for its readers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CacheHandle {
    pub(super) cell: Arc<Cell>,
    pub(super) news: watch::Receiver<Option<BoardNews>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) refresh: Recipient<Refresh>,
    pub(super) await_snapshot: Recipient<AwaitSnapshot>,
    pub(super) invalidate: Recipient<Invalidate>,
    pub(super) retry: Recipient<Retry>,
    pub(super) show: Recipient<Show>,
    pub(super) serve_saved: Recipient<ServeSaved>,
    /// Bounds the readers that wait in the actor's mailbox, which itself has no bound.
    pub(super) waiting: Arc<Semaphore>,
    pub(super) max_waiting: usize,
    /// See [`CacheHandle::following`].
    pub(super) follows: bool,
}

impl CacheHandle {
    /// Returns a handle for those that tell the cache of a follower what was written: the board that was copied last is
    /// the board, whatever its lineage.
    pub(crate) fn following(&self, follows: bool) -> Self {
        Self {
            follows,
            ..self.clone()
        }
    }

    /// Reads the snapshot in service, fresh or stale. Takes no lock, writes nothing that another
    /// thread reads (not even a count of references) and, unless it is the first to find the snapshot
    /// stale, sends no message.
    ///
    /// # Errors
    /// [`Unavailable`] if nothing has been published yet and the build waited for has failed,
    /// has run past its timeout, or is not to be tried before `retry_after`.
    pub async fn read<T>(
        &self,
        reading: impl FnOnce(&Published, Freshness) -> T,
    ) -> Result<T, Unavailable> {
        if self.cell.load().is_none() {
            self.wait_for_first().await?;
        }
        self.try_read(reading).ok_or(GIVEN_UP)
    }

    /// Reads the snapshot as [`CacheHandle::read`] does; `None` if nothing is published.
    pub fn try_read<T>(&self, reading: impl FnOnce(&Published, Freshness) -> T) -> Option<T> {
        let published = self.cell.load();
        let published = published.as_ref()?;
        let freshness = published.freshness(self.clock.now());
        if freshness.is_stale() && published.refresh.claim() {
            self.refresh.do_send(Refresh);
        }
        Some(reading(published, freshness))
    }

    /// Returns the last change of the board's bytes; `None` before the first build. Costs a short lock.
    pub fn news(&self) -> Option<BoardNews> {
        *self.news.borrow()
    }

    /// Returns a channel of the changes of the board's bytes, each of which readers can see by then.
    pub fn changes(&self) -> watch::Receiver<Option<BoardNews>> {
        self.news.clone()
    }

    /// Tells the cache that the database has changed; the rebuild goes on in the background.
    pub fn invalidate(&self) {
        self.invalidate.do_send(Invalidate { waiter: None });
    }

    /// Tells the cache that the database answers again: a build that has failed is tried at once.
    pub fn retry(&self) {
        self.retry.do_send(Retry);
    }

    /// Tells the cache that the board is so now. Unless the published snapshot or the build in flight shows it, a
    /// rebuild goes on in the background. If nothing is published, the cache is trying already.
    pub fn observe(&self, stamp: BoardStamp) {
        if self
            .cell
            .load()
            .as_ref()
            .is_some_and(|published| published.stamp != Some(stamp))
        {
            self.show.do_send(Show {
                stamp,
                is_exact: self.follows,
                waiter: None,
            });
        }
    }

    /// Waits until a snapshot is published that shows this state of the board, or a later one.
    ///
    /// # Errors
    /// [`Unavailable`] if the rebuild fails or runs past its timeout.
    pub async fn show(&self, stamp: BoardStamp) -> Result<(), Unavailable> {
        let (waiter, answer) = oneshot::channel();
        self.show.do_send(Show {
            stamp,
            is_exact: self.follows,
            waiter: Some(waiter),
        });
        settle(answer).await
    }

    /// Tells the cache that the database has changed, and waits until a snapshot that was read
    /// after this call is published.
    ///
    /// # Errors
    /// [`Unavailable`] if the rebuild fails or runs past its timeout.
    pub async fn invalidate_and_wait(&self) -> Result<(), Unavailable> {
        let (waiter, answer) = oneshot::channel();
        self.invalidate.do_send(Invalidate {
            waiter: Some(waiter),
        });
        settle(answer).await
    }

    /// Returns how long ago the published snapshot was published, or found to be the same again.
    pub fn snapshot_age(&self) -> Option<Duration> {
        Some(self.freshness()?.age)
    }

    /// Returns how many challenges the board in service has; `None` before the first board.
    pub fn challenges(&self) -> Option<usize> {
        let published = self.cell.load();
        Some(published.as_ref()?.snapshot.challenges())
    }

    /// Returns the age of the published snapshot.
    pub fn freshness(&self) -> Option<Freshness> {
        let now = self.clock.now();
        let published = self.cell.load();
        Some(published.as_ref()?.freshness(now))
    }

    /// Waits for so long, by the clock that decides what is stale.
    pub(super) async fn sleep(&self, time: Duration) {
        self.clock.sleep_until(self.clock.now() + time).await;
    }

    /// Returns the published snapshot.
    pub(super) fn published(&self) -> Option<Arc<Published>> {
        self.cell.load_full()
    }

    /// Publishes the board of the snapshot file, unless another one is published already. The first build that
    /// succeeds replaces it. It counts as stale.
    pub(crate) async fn serve_saved(&self, saved: SavedBoard) {
        let (done, published) = oneshot::channel();
        self.serve_saved.do_send(ServeSaved { saved, done });
        // On an error the actor is gone: the process is ending.
        let _ = published.await;
    }

    /// Returns the present instant, by the clock that decides what is stale.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Returns the time of the wall clock.
    pub fn wall(&self) -> SystemTime {
        self.clock.wall()
    }

    /// Returns whether this is a handle of [`CacheHandle::following`].
    pub(crate) fn follows(&self) -> bool {
        self.follows
    }

    /// Returns whether the actor still runs.
    pub fn is_alive(&self) -> bool {
        self.refresh.connected()
    }

    /// Returns how many readers wait for the first snapshot.
    pub fn waiting_readers(&self) -> usize {
        self.max_waiting - self.waiting.available_permits()
    }

    async fn wait_for_first(&self) -> Result<(), Unavailable> {
        let permit = Arc::clone(&self.waiting)
            .try_acquire_owned()
            .map_err(|_| GIVEN_UP)?;
        let (waiter, answer) = oneshot::channel();
        self.await_snapshot
            .do_send(AwaitSnapshot { waiter, permit });
        settle(answer).await
    }
}

const GIVEN_UP: Unavailable = Unavailable {
    retry_after: Duration::from_secs(1),
};

async fn settle(answer: oneshot::Receiver<Answer>) -> Result<(), Unavailable> {
    match answer.await {
        Ok(Answer::Published) => Ok(()),
        Ok(Answer::Unavailable { retry_after }) => Err(Unavailable { retry_after }),
        // The actor is gone: the process is ending.
        Err(_) => Err(GIVEN_UP),
    }
}
