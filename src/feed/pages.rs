//! Which pages are cached, which are being read, and what a change of the feed invalidates: pure decisions.
//!
//! A page is the answer to (cursor, limit). In the order of (ran_at, id) a full page spans the rows from its cursor to
//! its last row, and stays valid until a row is inserted between them. A shorter one, at the end of the feed, spans
//! everything after its cursor. In the order of commits rows are only appended: a full page stays valid, and a shorter
//! one until the next published row.

use std::{collections::HashSet, sync::Arc};

use hashlink::LruCache;
use tokio::sync::oneshot;

use super::{
    FeedError,
    key::{After, PageKey},
    page::Page,
};
use crate::{
    domain::{cursor::Cursor, seq_cursor::SeqCursor},
    store::FeedStamp,
};

/// What a page weighs beside its body and the bytes of its key: tags and the entries that lead to it.
const OVERHEAD_BYTES: usize = 768;
/// The most cached pages, however small: an insertion never has to look at more.
const MAX_PAGES: usize = 4096;
/// The most reads in flight, running or queued. Each look-up walks all of them.
const MAX_IN_FLIGHT: usize = 1024;

/// What everybody who waits for a page gets.
pub(super) type Answer = Result<Page, Arc<FeedError>>;

/// Which read of which page. Its holder must bring it to [`Pages::finish`].
#[derive(Debug)]
#[must_use = "a read that never finishes keeps its waiters"]
pub(super) struct ReadToken {
    key: PageKey,
    number: u64,
}

impl ReadToken {
    /// Returns which page is to be read.
    pub(super) fn key(&self) -> &PageKey {
        &self.key
    }
}

/// How a request gets its page.
#[derive(Debug)]
pub(super) enum Lookup {
    /// The page is cached.
    Hit(Page),
    /// A read is in flight, and nothing was inserted since it began.
    Join(oneshot::Receiver<Answer>),
    /// The holder of the token must read the page.
    Miss(ReadToken, oneshot::Receiver<Answer>),
    /// Too many reads are in flight.
    Full,
}

/// A read in flight.
#[derive(Debug)]
struct InFlight {
    key: PageKey,
    number: u64,
    waiters: Vec<oneshot::Sender<Answer>>,
    /// The first row after the cursor that was inserted since the read began: the read may have seen it or
    /// not.
    inserted: Option<Cursor>,
    /// In the order of commits: whether a row was appended since the read began.
    appended: bool,
    /// Whether anything may have changed since the read began.
    invalidated: bool,
}

/// The cached pages and the reads in flight.
#[derive(Debug)]
pub(super) struct Pages {
    cached: LruCache<Arc<PageKey>, Page>,
    /// The keys of the cached pages at the end of the feed.
    at_end: HashSet<Arc<PageKey>>,
    /// No cached full page has a last row behind this one.
    greatest_last: Option<Arc<Cursor>>,
    bytes: usize,
    max_bytes: usize,
    in_flight: Vec<InFlight>,
    reads: u64,
    /// The feed that the cached pages show, or an earlier one than that.
    stamp: Option<FeedStamp>,
    /// How often the feed has changed.
    changes: u64,
}

impl Pages {
    /// An empty cache of up to `max_bytes`. With 0 no page is cached, and reads are still shared.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            cached: LruCache::new_unbounded(),
            at_end: HashSet::new(),
            greatest_last: None,
            bytes: 0,
            max_bytes,
            in_flight: Vec::new(),
            reads: 0,
            stamp: None,
            changes: 0,
        }
    }

    /// Returns what the cached pages weigh, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the page if it is cached; then it is the most recently used one.
    pub(super) fn get(&mut self, key: &PageKey) -> Option<Page> {
        self.cached.get(key).cloned()
    }

    /// Returns how often the feed has changed.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// Returns the cursor after the last published row, in the order of commits, if it is known.
    pub(super) fn end(&self) -> Option<SeqCursor> {
        Some(self.stamp?.end)
    }

    /// Returns the feed that is known.
    pub(super) fn known(&self) -> Option<FeedStamp> {
        self.stamp
    }

    /// Decides what a request for this page does.
    pub(super) fn look_up(&mut self, key: &PageKey) -> Lookup {
        if let Some(page) = self.get(key) {
            return Lookup::Hit(page);
        }
        let (waiter, answer) = oneshot::channel();
        // A read that began before a change goes on for the requests that came before the change.
        let mut current = self.in_flight.iter_mut().filter(|read| read.is_current());
        if let Some(read) = current.find(|read| read.key == *key) {
            read.waiters.push(waiter);
            return Lookup::Join(answer);
        }
        if self.in_flight.len() >= MAX_IN_FLIGHT {
            return Lookup::Full;
        }
        self.reads += 1;
        self.in_flight.push(InFlight {
            key: key.clone(),
            number: self.reads,
            waiters: vec![waiter],
            inserted: None,
            appended: false,
            invalidated: false,
        });
        let token = ReadToken {
            key: key.clone(),
            number: self.reads,
        };
        Lookup::Miss(token, answer)
    }

    /// Ends a read: everybody who waits gets its answer, and the page is cached if it is still valid.
    pub(super) fn finish(&mut self, token: ReadToken, answer: &Answer) {
        let mut in_flight = self.in_flight.iter();
        let Some(at) = in_flight.position(|read| read.number == token.number) else {
            return;
        };
        let read = self.in_flight.swap_remove(at);
        if let Ok(page) = answer
            && read.has_seen_all(page)
        {
            self.found(page.stamp);
            self.insert(token.key, page.clone());
        }
        for waiter in read.waiters {
            // A waiter may have gone.
            let _ = waiter.send(answer.clone());
        }
    }

    /// Notes that these published rows were inserted into the feed since it was as `before`, by whichever process, and
    /// that it is `after` now. Returns false, and does nothing, if another feed than `before` is known.
    pub(super) fn follow(&mut self, before: &FeedStamp, after: FeedStamp, rows: &[Cursor]) -> bool {
        if self.stamp.map(|known| known.version) != Some(before.version) {
            return false;
        }
        if before.lineage != after.lineage
            || before.merkle_epoch_latest != after.merkle_epoch_latest
        {
            // Every page in the order of (ran_at, id) contains the epoch.
            self.drop_all();
        } else {
            self.invalidate(rows, before.end != after.end);
        }
        self.know(after);
        true
    }

    /// Notes the feed as it is now. Drops all pages, if it is another one than is known: anything may have changed.
    pub(super) fn observe(&mut self, stamp: FeedStamp) {
        if self.stamp.map(|known| known.version) != Some(stamp.version) {
            self.drop_all();
        }
        self.know(stamp);
    }

    /// Notes the feed that a read found. Rows that were inserted before the read or after it change nothing: a page that
    /// they fall into was read after them, or is not cached. If anything else has changed, pages of before and after
    /// that are not cached together.
    fn found(&mut self, stamp: FeedStamp) {
        let known = self.stamp;
        if !known.is_some_and(|known| known.may_differ_by_rows_only(&stamp)) {
            self.observe(stamp);
        }
    }

    fn know(&mut self, stamp: FeedStamp) {
        let version = self.stamp.map(|known| known.version);
        self.changes += u64::from(version != Some(stamp.version));
        self.stamp = Some(stamp);
    }

    fn drop_all(&mut self) {
        self.cached.clear();
        self.at_end.clear();
        self.greatest_last = None;
        self.bytes = 0;
        for read in &mut self.in_flight {
            read.invalidated = true;
        }
    }

    /// Evicts and returns the least recently used page.
    pub(super) fn evict_oldest(&mut self) -> Option<Page> {
        let (key, page) = self.cached.remove_lru()?;
        self.at_end.remove(&key);
        self.bytes -= weight(&key, &page);
        Some(page)
    }

    /// Drops the pages that these rows fall into; `appended` says whether one of them is new and published.
    fn invalidate(&mut self, rows: &[Cursor], appended: bool) {
        let mut rows: Vec<&Cursor> = rows.iter().collect();
        rows.sort_unstable();
        let first_after = |cursor: &Cursor| {
            let at = rows.partition_point(|row| *row <= cursor);
            rows.get(at).copied()
        };
        for read in &mut self.in_flight {
            match &read.key.after {
                After::Place(cursor) => {
                    if let Some(row) = first_after(cursor) {
                        let earlier = read.inserted.take().filter(|earlier| earlier <= row);
                        read.inserted = Some(earlier.unwrap_or_else(|| row.clone()));
                    }
                }
                After::Seq(_) => read.appended |= appended,
            }
        }
        let changed = |key: &PageKey, last: Option<&Cursor>| match &key.after {
            After::Place(cursor) => {
                let row = first_after(cursor);
                row.is_some_and(|row| last.is_none_or(|last| row <= last))
            }
            After::Seq(_) => appended,
        };
        let at_end = self.at_end.iter().filter(|key| changed(key, None));
        let mut invalid: Vec<Arc<PageKey>> = at_end.cloned().collect();
        // Usually rows come at the end of the feed, behind every full page: then no full page is looked at.
        let first = rows.first().copied();
        if first.is_some() && first <= self.greatest_last.as_deref() {
            for (key, page) in &self.cached {
                if page.last.is_some() && changed(key, page.last.as_deref()) {
                    invalid.push(Arc::clone(key));
                }
            }
        }
        for key in invalid {
            self.remove(&key);
        }
    }

    fn insert(&mut self, key: PageKey, page: Page) {
        let added = weight(&key, &page);
        if added > self.max_bytes {
            return;
        }
        let key = Arc::new(key);
        self.remove(&key);
        if !page.is_full {
            self.at_end.insert(Arc::clone(&key));
        }
        if self.greatest_last < page.last {
            self.greatest_last.clone_from(&page.last);
        }
        self.bytes += added;
        self.cached.insert(key, page);
        while self.bytes > self.max_bytes || self.cached.len() > MAX_PAGES {
            if self.evict_oldest().is_none() {
                return;
            }
        }
    }

    fn remove(&mut self, key: &PageKey) {
        self.at_end.remove(key);
        if let Some(page) = self.cached.remove(key) {
            self.bytes -= weight(key, &page);
        }
    }
}

impl InFlight {
    /// Returns whether the read yields what a request that comes now must see.
    fn is_current(&self) -> bool {
        self.inserted.is_none() && !self.appended && !self.invalidated
    }

    /// Returns whether nothing was inserted into the page while it was read.
    fn has_seen_all(&self, page: &Page) -> bool {
        let inserted_behind = match (&self.inserted, &page.last) {
            (None, _) => true,
            (Some(inserted), Some(last)) => *inserted > **last,
            (Some(_), None) => false,
        };
        let appended_behind = !self.appended || page.is_full;
        inserted_behind && appended_behind && !self.invalidated
    }
}

fn weight(key: &PageKey, page: &Page) -> usize {
    let last = page.last.as_ref().map_or(0, |last| last.bytes());
    OVERHEAD_BYTES + key.bytes() + last + page.representation.weight_bytes()
}

#[cfg(test)]
mod tests;
