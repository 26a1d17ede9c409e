//! The feed's pages, shared by the clients that ask for them, the writer and the watcher.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{oneshot, watch};

use super::{
    FeedError,
    key::PageKey,
    news::FeedNews,
    page::Page,
    pages::{self, Answer, Pages, ReadToken},
};
use crate::{
    domain::{cursor::Cursor, seq_cursor::SeqCursor},
    store::FeedStamp,
};

/// The cached pages and the reads in flight, behind one short lock. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct FeedCache(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    pages: Mutex<Pages>,
    news: watch::Sender<FeedNews>,
}

/// How a request gets its page.
pub(super) enum Lookup {
    Hit(Page),
    Join(oneshot::Receiver<Answer>),
    Miss(PendingRead, oneshot::Receiver<Answer>),
    Full,
}

impl FeedCache {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self(Arc::new(Shared {
            pages: Mutex::new(Pages::new(max_bytes)),
            news: watch::Sender::new(FeedNews::none()),
        }))
    }

    /// Returns the page if it is cached.
    pub(super) fn get(&self, key: &PageKey) -> Option<Page> {
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

    /// Returns what tells every change of the feed, after the pages that it invalidates were dropped.
    pub(super) fn changes(&self) -> watch::Receiver<FeedNews> {
        self.0.news.subscribe()
    }

    /// Returns the last change.
    pub(super) fn news(&self) -> FeedNews {
        *self.0.news.borrow()
    }

    /// Returns the feed that is known.
    pub(super) fn known(&self) -> Option<FeedStamp> {
        self.pages().known()
    }

    /// Notes the feed as it is now. Drops all pages, if it is another one than is known.
    pub(super) fn observe(&self, stamp: FeedStamp) {
        self.change(|pages| pages.observe(stamp));
    }

    /// Drops the pages that these rows fall into, which were inserted since the feed was as `before`. Returns false, and
    /// does nothing, if another feed than `before` is known.
    pub(super) fn follow(&self, before: &FeedStamp, after: FeedStamp, rows: &[Cursor]) -> bool {
        self.change(|pages| pages.follow(before, after, rows))
    }

    /// Drops all pages: the feed was as `before`, and is `after` now. Returns false, and does nothing, if another feed
    /// than `before` is known.
    pub(super) fn replace(&self, before: &FeedStamp, after: FeedStamp) -> bool {
        self.change(|pages| {
            let is_known = pages.known().map(|known| known.version) == Some(before.version);
            if is_known {
                pages.observe(after);
            }
            is_known
        })
    }

    /// Changes the pages, then wakes everybody who waits for news if the feed has changed. Nobody is woken under the
    /// lock of the pages.
    fn change<T>(&self, change: impl FnOnce(&mut Pages) -> T) -> T {
        let mut pages = self.pages();
        let result = change(&mut pages);
        // A follower that has copied nothing yet has no end to tell.
        let end = pages.end().filter(|end| *end != SeqCursor::Start);
        let changes = pages.changes();
        drop(pages);
        let news = &self.0.news;
        news.send_if_modified(|news| news.update(changes, end));
        result
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        // Nothing under this lock panics half-way through a change.
        self.0.pages.lock().unwrap_or_else(PoisonError::into_inner)
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
    pub(super) fn finish(mut self, page: Result<Page, FeedError>) {
        self.settle(page);
    }

    fn settle(&mut self, page: Result<Page, FeedError>) {
        let Some(token) = self.token.take() else {
            return;
        };
        match &page {
            Ok(_) | Err(FeedError::Busy | FeedError::UnknownLineage | FeedError::Ahead) => {}
            Err(error @ FeedError::Store(_)) => log::warn!("leaderboard/recent: {error}"),
            Err(error @ (FeedError::Json(_) | FeedError::Time | FeedError::Panicked)) => {
                log::error!("leaderboard/recent: {error}");
            }
        }
        let answer = page.map_err(Arc::new);
        self.cache.change(|pages| pages.finish(token, &answer));
    }
}

impl Drop for PendingRead {
    fn drop(&mut self) {
        self.settle(Err(FeedError::Panicked));
    }
}

#[cfg(test)]
mod tests {
    use super::{super::key::After, *};
    use crate::{
        answer::Representation,
        domain::{
            cursor::PageLimit,
            position::{Lineage, Position},
            seq_cursor::SeqCursor,
        },
        store::Version,
    };

    #[test]
    fn a_read_that_is_dropped_answers_its_waiters_and_the_next_request_reads_anew()
    -> Result<(), String> {
        let cache = FeedCache::new(1 << 20);
        let cursor = Cursor::tuple("2026-06-07T00:00:00Z", None).map_err(|e| e.to_string())?;
        let key = PageKey::new(After::Place(cursor), PageLimit::default());
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

    /// A state of the feed after so many rows.
    fn stamp(rows: i64) -> FeedStamp {
        let lineage = Lineage { ordinal: 1, id: 1 };
        FeedStamp {
            version: Version {
                count: rows,
                change_id: rows,
            },
            merkle_epoch_latest: None,
            end: SeqCursor::At(Position {
                lineage,
                number: rows,
            }),
            lineage,
            last_seq: rows,
            last_row: 0,
        }
    }

    #[test]
    fn every_change_is_told_after_its_pages_were_dropped_and_nothing_else_is() -> Result<(), String>
    {
        let cache = FeedCache::new(1 << 20);
        let mut news = cache.changes();
        let mut told = || {
            let changed = news.has_changed().unwrap_or_default();
            changed.then(|| news.borrow_and_update().end)
        };
        assert_eq!(told(), None);
        cache.observe(stamp(1));
        assert_eq!(told(), Some(Some(stamp(1).end)));
        cache.observe(stamp(1));
        assert_eq!(told(), None, "no change");
        assert!(cache.follow(&stamp(1), stamp(2), &[]));
        assert_eq!(told(), Some(Some(stamp(2).end)));
        assert!(cache.follow(&stamp(2), stamp(2), &[]));
        assert_eq!(told(), None, "the same rows again");
        assert!(!cache.follow(&stamp(1), stamp(3), &[]));
        assert_eq!(told(), None, "another feed is known");
        assert_eq!(cache.news().end, Some(stamp(2).end));
        cache.observe(stamp(3));
        assert_eq!(told(), Some(Some(stamp(3).end)));
        // A read finds what another process wrote.
        let key = PageKey::new(After::Seq(SeqCursor::Start), PageLimit::default());
        let Lookup::Miss(read, _) = cache.look_up(&key) else {
            return Err("nothing is cached".to_owned());
        };
        read.finish(Ok(Page {
            representation: Arc::new(Representation::new("{}")),
            rows: 0,
            is_full: false,
            next: None,
            kept_from: None,
            last: None,
            stamp: FeedStamp {
                merkle_epoch_latest: Some(1),
                ..stamp(4)
            },
        }));
        assert_eq!(told(), Some(Some(stamp(4).end)));
        assert!(cache.get(&key).is_some());
        Ok(())
    }
}
