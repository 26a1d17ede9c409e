//! Which pages are held, which are being read, and what a change of the feed makes of them: pure
//! decisions, under one lock.
//!
//! A page is the answer to (cursor, limit). A full one spans the rows from its cursor to its last row
//! and stays true until a row is inserted between them. A shorter one, at the end of the feed, spans
//! everything after its cursor.

use std::{collections::HashSet, sync::Arc};

use hashlink::LruCache;
use tokio::sync::oneshot;

use super::FeedError;
use crate::{
    answer::Representation,
    domain::cursor::{Cursor, PageLimit},
    metrics::Origin,
    store::read::FeedStamp,
};

/// What a page weighs beside its body: its key, its tags, its place in the list.
const OVERHEAD_BYTES: usize = 512;
/// However small they are, so that an insertion never has to look at more.
const MAX_PAGES: usize = 4096;

/// What a page answers.
pub type PageKey = (Cursor, PageLimit);

/// A page that has been read.
#[derive(Debug, Clone)]
pub struct Page {
    /// Its bytes.
    pub representation: Arc<Representation>,
    /// The place of its last row, where it is full.
    pub last: Option<Cursor>,
    /// Whether it was read, or made of the tail.
    pub origin: Origin,
}

/// What everybody who waits for a page gets.
pub type Answer = Result<Page, Arc<FeedError>>;

/// Which read of which page: whoever holds it must bring it to [`Pages::ended`].
#[derive(Debug)]
#[must_use = "a read that never ends keeps its waiters"]
pub struct ReadToken {
    key: PageKey,
    number: u64,
}

impl ReadToken {
    /// What is to be read.
    pub fn key(&self) -> &PageKey {
        &self.key
    }
}

/// How a request gets its page.
#[derive(Debug)]
pub enum Lookup {
    /// It is held.
    Held(Arc<Representation>),
    /// Somebody reads it already, and nothing was inserted since.
    Join(oneshot::Receiver<Answer>),
    /// It is to be read, by whoever gets this.
    Read(ReadToken, oneshot::Receiver<Answer>),
}

/// A read under way.
#[derive(Debug)]
struct Flight {
    key: PageKey,
    number: u64,
    waiting: Vec<oneshot::Sender<Answer>>,
    /// The first place after the cursor at which something was inserted since the read began: it may
    /// or may not have seen that.
    inserted: Option<Cursor>,
    /// Anything may have changed since.
    doubtful: bool,
}

/// The pages held and the reads under way.
#[derive(Debug)]
pub struct Pages {
    held: LruCache<PageKey, Page>,
    /// Those at the end of the feed.
    tails: HashSet<PageKey>,
    /// No full page that is held has a last row behind this.
    greatest_last: Option<Cursor>,
    bytes: usize,
    max_bytes: usize,
    /// Whether a read is for all who ask meanwhile.
    shared: bool,
    /// As many as reads may run and wait for their turn: few.
    flights: Vec<Flight>,
    reads: u64,
    stamp: Option<FeedStamp>,
}

impl Pages {
    /// Holds up to `max_bytes`. None: no page is held, and every request has a read of its own.
    pub fn new(max_bytes: Option<usize>) -> Self {
        Self {
            held: LruCache::new_unbounded(),
            tails: HashSet::new(),
            greatest_last: None,
            bytes: 0,
            max_bytes: max_bytes.unwrap_or(0),
            shared: max_bytes.is_some(),
            flights: Vec::new(),
            reads: 0,
            stamp: None,
        }
    }

    /// What is held weighs, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the page if it is cached.
    pub fn cached(&mut self, key: &PageKey) -> Option<Arc<Representation>> {
        self.held
            .get(key)
            .map(|page| Arc::clone(&page.representation))
    }

    /// What a request for this page is to do.
    pub fn look_up(&mut self, key: &PageKey) -> Lookup {
        if let Some(page) = self.held.get(key) {
            return Lookup::Held(Arc::clone(&page.representation));
        }
        let (waiter, answer) = oneshot::channel();
        // One that is too old to be joined goes on for those who came before the change.
        let shared = self.shared;
        let flights = self.flights.iter_mut();
        let mut joinable = flights.filter(|flight| shared && flight.is_true());
        if let Some(flight) = joinable.find(|flight| flight.key == *key) {
            flight.waiting.push(waiter);
            return Lookup::Join(answer);
        }
        self.reads += 1;
        self.flights.push(Flight {
            key: key.clone(),
            number: self.reads,
            waiting: vec![waiter],
            inserted: None,
            doubtful: false,
        });
        let token = ReadToken {
            key: key.clone(),
            number: self.reads,
        };
        Lookup::Read(token, answer)
    }

    /// A read has ended: who waits gets what it yielded, and it is held where it is still true.
    pub fn ended(&mut self, token: ReadToken, answer: &Answer) {
        let at = self
            .flights
            .iter()
            .position(|flight| flight.number == token.number);
        let Some(flight) = at.map(|at| self.flights.swap_remove(at)) else {
            return;
        };
        if let Ok(page) = answer
            && flight.has_seen_all(page)
        {
            self.hold(token.key, page.clone());
        }
        for waiting in flight.waiting {
            // Whoever waited may have gone.
            let _ = waiting.send(answer.clone());
        }
    }

    /// Rows were committed by this process, which found the feed as `before` and left it as `after`.
    pub fn committed(&mut self, before: FeedStamp, after: FeedStamp, rows: &[Cursor]) {
        let epoch_changed = before.merkle_epoch_latest != after.merkle_epoch_latest;
        if epoch_changed || self.stamp != Some(before) {
            self.clear();
        } else {
            self.inserted(rows);
        }
        self.stamp = Some(after);
    }

    /// The feed was found like this: where nobody here left it so, anything may have been written.
    pub fn seen(&mut self, stamp: FeedStamp) {
        if self.stamp.replace(stamp) != Some(stamp) {
            self.clear();
        }
    }

    /// Nothing that is held can be relied upon.
    pub fn clear(&mut self) {
        self.held.clear();
        self.tails.clear();
        self.greatest_last = None;
        self.bytes = 0;
        for flight in &mut self.flights {
            flight.doubtful = true;
        }
    }

    fn inserted(&mut self, rows: &[Cursor]) {
        let mut rows: Vec<&Cursor> = rows.iter().collect();
        rows.sort_unstable();
        let first_after = |cursor: &Cursor| {
            let at = rows.partition_point(|row| *row <= cursor);
            rows.get(at).copied()
        };
        for flight in &mut self.flights {
            if let Some(row) = first_after(&flight.key.0) {
                let earlier = flight.inserted.take().filter(|earlier| earlier <= row);
                flight.inserted = Some(earlier.unwrap_or_else(|| row.clone()));
            }
        }
        let changed = |key: &PageKey, last: Option<&Cursor>| {
            let row = first_after(&key.0);
            row.is_some_and(|row| last.is_none_or(|last| row <= last))
        };
        let mut gone: Vec<PageKey> = Vec::new();
        for key in &self.tails {
            if changed(key, None) {
                gone.push(key.clone());
            }
        }
        // Rows come at the end of the feed, behind every full page: then there is nothing to look for.
        let first = rows.first().copied();
        if first.is_some() && first <= self.greatest_last.as_ref() {
            for (key, page) in &self.held {
                if page.last.is_some() && changed(key, page.last.as_ref()) {
                    gone.push(key.clone());
                }
            }
        }
        for key in gone {
            self.let_go(&key);
        }
    }

    fn hold(&mut self, key: PageKey, page: Page) {
        let weight = weight(&page);
        if weight > self.max_bytes {
            return;
        }
        match &page.last {
            None => {
                self.tails.insert(key.clone());
            }
            Some(last) if self.greatest_last.as_ref() < Some(last) => {
                self.greatest_last = Some(last.clone());
            }
            Some(_) => {}
        }
        self.bytes += weight;
        if let Some(old) = self.held.insert(key, page) {
            self.bytes -= self::weight(&old);
        }
        while self.bytes > self.max_bytes || self.held.len() > MAX_PAGES {
            let Some((key, page)) = self.held.remove_lru() else {
                return;
            };
            self.tails.remove(&key);
            self.bytes -= self::weight(&page);
        }
    }

    fn let_go(&mut self, key: &PageKey) {
        self.tails.remove(key);
        if let Some(page) = self.held.remove(key) {
            self.bytes -= weight(&page);
        }
    }
}

impl Flight {
    /// Whether it yields what a request that comes now may see.
    fn is_true(&self) -> bool {
        self.inserted.is_none() && !self.doubtful
    }

    /// Whether nothing was inserted into the page while it was read.
    fn has_seen_all(&self, page: &Page) -> bool {
        let inserted_behind = match (&self.inserted, &page.last) {
            (None, _) => true,
            (Some(inserted), Some(last)) => inserted > last,
            (Some(_), None) => false,
        };
        inserted_behind && !self.doubtful
    }
}

fn weight(page: &Page) -> usize {
    OVERHEAD_BYTES + page.representation.weight_bytes()
}
