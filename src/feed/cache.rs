//! The feed's pages, shared by the clients that ask for them, the writer and the watcher.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::{
    FeedError,
    pages::{self, Answer, PageKey, Pages, ReadToken},
};
use crate::{
    answer::Representation,
    domain::{cursor::Cursor, eval_run::EvalRun},
    store::read::{FeedStamp, Version},
};

/// The cached pages and the reads in flight, behind one short lock. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FeedCache(Arc<Mutex<Pages>>);

/// How a request gets its page.
pub(super) enum Lookup {
    Hit(Arc<Representation>),
    Join(oneshot::Receiver<Answer>),
    Miss(PendingRead, oneshot::Receiver<Answer>),
    Full,
}

impl FeedCache {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self(Arc::new(Mutex::new(Pages::new(max_bytes))))
    }

    /// Returns the page if it is cached.
    pub(super) fn get(&self, key: &PageKey) -> Option<Arc<Representation>> {
        self.pages().get(key)
    }

    /// Decides what a request for this page does.
    pub(super) fn look_up(&self, key: &PageKey) -> Lookup {
        match self.pages().look_up(key) {
            pages::Lookup::Hit(page) => Lookup::Hit(page),
            pages::Lookup::Join(answer) => Lookup::Join(answer),
            pages::Lookup::Miss(token, answer) => {
                let cache = self.clone();
                let token = Some(token);
                Lookup::Miss(PendingRead { cache, token }, answer)
            }
            pages::Lookup::Full => Lookup::Full,
        }
    }

    /// Evicts the least recently used page. Returns false if none is cached.
    pub(super) fn evict_oldest(&self) -> bool {
        // Dropped after the lock is released.
        let evicted = self.pages().evict_oldest();
        evicted.is_some()
    }

    /// Returns what the cached pages weigh, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.pages().bytes()
    }

    /// Notes the version that a poll found. Drops all pages if another process left the feed so.
    pub(super) fn observe(&self, version: Version) {
        self.pages().observe(version);
    }

    /// Drops all pages: anything may have changed.
    pub(super) fn invalidate_all(&self) {
        self.pages().invalidate_all();
    }

    /// Returns a guard for a transaction that writes rows. Call it before the transaction commits.
    pub(crate) fn begin_write(&self) -> PendingWrite<'_> {
        self.pages().begin_write();
        PendingWrite {
            cache: self,
            committed: false,
        }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        // Nothing under this lock panics half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The obligation to answer everybody who waits for a page. If it is dropped, they get an error.
#[must_use]
pub(super) struct PendingRead {
    cache: FeedCache,
    /// Present until the read has ended.
    token: Option<ReadToken>,
}

impl PendingRead {
    /// Returns which page is to be read.
    pub(super) fn key(&self) -> Option<&PageKey> {
        self.token.as_ref().map(ReadToken::key)
    }

    /// Answers everybody who waits, and caches the page if nothing has changed it meanwhile.
    pub(super) fn finish(mut self, page: Result<pages::Page, FeedError>) {
        self.settle(page);
    }

    fn settle(&mut self, page: Result<pages::Page, FeedError>) {
        let Some(token) = self.token.take() else {
            return;
        };
        match &page {
            Ok(_) | Err(FeedError::Busy) => {}
            Err(error @ FeedError::Store(_)) => log::warn!("leaderboard/recent: {error}"),
            Err(error @ (FeedError::Json(_) | FeedError::Time | FeedError::Panicked)) => {
                log::error!("leaderboard/recent: {error}");
            }
        }
        self.cache.pages().finish(token, &page.map_err(Arc::new));
    }
}

impl Drop for PendingRead {
    fn drop(&mut self) {
        self.settle(Err(FeedError::Panicked));
    }
}

/// Rows are being written. If this is dropped without [`PendingWrite::committed`], all pages are dropped:
/// the outcome is unknown.
#[derive(Debug)]
#[must_use]
pub(crate) struct PendingWrite<'a> {
    cache: &'a FeedCache,
    committed: bool,
}

impl PendingWrite<'_> {
    /// Invalidates the pages that the rows fall into. The rows are committed; some may have been stored
    /// before. The feed was `before` and is `after`. Call it before anybody is told that they are stored.
    pub(crate) fn committed<'r>(
        mut self,
        before: FeedStamp,
        after: FeedStamp,
        rows: impl Iterator<Item = &'r EvalRun>,
    ) {
        let keys: Vec<Cursor> = rows.map(EvalRun::sort_key).collect();
        self.cache.pages().committed(before, after, &keys);
        self.committed = true;
    }
}

impl Drop for PendingWrite<'_> {
    fn drop(&mut self) {
        let mut pages = self.cache.pages();
        if !self.committed {
            pages.invalidate_all();
        }
        pages.end_write();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::cursor::PageLimit;

    #[test]
    fn a_read_that_is_dropped_answers_its_waiters_and_the_next_request_reads_anew()
    -> Result<(), String> {
        let cache = FeedCache::new(1 << 20);
        let cursor = Cursor::tuple("2026-06-07T00:00:00Z", None).map_err(|e| e.to_string())?;
        let key = (cursor, PageLimit::default());
        let Lookup::Miss(read, mut first) = cache.look_up(&key) else {
            return Err("nothing is cached yet".to_owned());
        };
        let Lookup::Join(mut second) = cache.look_up(&key) else {
            return Err("a read is in flight".to_owned());
        };
        drop(read);
        for waiter in [&mut first, &mut second] {
            let answer = waiter.try_recv().map_err(|error| error.to_string())?;
            assert!(answer.is_err_and(|error| matches!(*error, FeedError::Panicked)));
        }
        assert!(matches!(cache.look_up(&key), Lookup::Miss(..)));
        Ok(())
    }
}
