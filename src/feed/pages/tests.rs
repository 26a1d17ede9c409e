//! Over arbitrary interleavings of requests, reads, own commits and changes by other processes, no request gets a
//! page of a version that is older than the cache has been told of, or has read itself; and the number of changes grows
//! exactly when the feed has changed.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    answer::Representation,
    domain::{
        cursor::PageLimit,
        position::{Lineage, Position},
    },
    store::Version,
};

/// A feed of numbered rows, and its cached pages.
struct Model {
    pages: Pages,
    /// The rows of each version of the feed, by their `seq`; the last one is what is stored.
    history: Vec<BTreeMap<i64, Cursor>>,
    stamps: Vec<FeedStamp>,
    lineage: Lineage,
    last_seq: i64,
    /// The version that the cache was told of, or has read: no answer may be older.
    known: usize,
    /// A commit of this process that the cache is not told of yet.
    untold: Option<(FeedStamp, FeedStamp, Vec<Cursor>)>,
    reads: Vec<Reading>,
    joined: Vec<Joined>,
}

/// A read that was begun; what it saw, once it has read.
struct Reading {
    token: ReadToken,
    seen: Option<Page>,
}

/// A request that joined a read.
struct Joined {
    answer: oneshot::Receiver<Answer>,
    key: PageKey,
    /// The version that the cache knew then.
    known: usize,
}

fn sort_key(at: u8) -> Cursor {
    Cursor::tuple(&format!("2026-06-07T00:00:00.{at:03}Z"), Some("x")).unwrap()
}

fn seq(number: i64) -> SeqCursor {
    let lineage = Lineage { ordinal: 1, id: 1 };
    SeqCursor::At(Position { lineage, number })
}

fn key(after: After, limit: u16) -> PageKey {
    PageKey::new(after, PageLimit::new(limit).unwrap())
}

impl Model {
    fn current(&self) -> usize {
        self.history.len() - 1
    }

    fn stamp(&self, version: usize) -> FeedStamp {
        self.stamps[version]
    }

    /// Adds a version of the feed, which so many changes have led to.
    fn push(&mut self, rows: BTreeMap<i64, Cursor>, changes: usize) {
        let before = self.stamps.last();
        let count = before.map_or(0, |before| before.version.count) + changes as i64;
        self.stamps.push(FeedStamp {
            version: Version {
                count,
                change_id: self.history.len() as i64,
            },
            merkle_epoch_latest: None,
            end: seq(rows.keys().max().copied().unwrap_or(0)),
            lineage: self.lineage,
            last_seq: self.last_seq,
            last_row: 0,
        });
        self.history.push(rows);
    }

    fn new(room: usize, rows: impl Iterator<Item = u8>) -> Self {
        let rows: BTreeMap<i64, Cursor> = (1..).zip(rows.map(sort_key)).collect();
        let mut model = Self {
            pages: Pages::new(room),
            history: Vec::new(),
            stamps: Vec::new(),
            lineage: Lineage { ordinal: 1, id: 1 },
            last_seq: rows.len() as i64,
            known: 0,
            untold: None,
            reads: Vec::new(),
            joined: Vec::new(),
        };
        let changes = rows.len();
        model.push(rows, changes);
        model
    }

    fn page(&self, version: usize, key: &PageKey) -> Page {
        let mut rows: Vec<(i64, Cursor)> = self.history[version].clone().into_iter().collect();
        match &key.after {
            After::Place(cursor) => {
                rows.retain(|row| row.1 > *cursor);
                rows.sort_unstable_by(|a, b| a.1.cmp(&b.1));
            }
            After::Seq(SeqCursor::Start) => {}
            After::Seq(SeqCursor::At(position)) => rows.retain(|row| row.0 > position.number),
        }
        rows.truncate(key.limit.rows());
        let is_full = rows.len() == key.limit.rows();
        let last = rows
            .last()
            .filter(|_| is_full && matches!(key.after, After::Place(_)));
        Page {
            rows: rows.len(),
            is_full,
            next: None,
            kept_from: None,
            last: last.map(|row| Arc::new(row.1.clone())),
            representation: Arc::new(Representation::new(format!("{rows:?}"))),
            stamp: self.stamp(version),
        }
    }

    fn assert_not_older(&self, known: usize, key: &PageKey, page: &Representation) {
        let is_page = |version| *self.page(version, key).representation == *page;
        assert!((known..=self.current()).any(is_page), "too old");
    }

    fn request(&mut self, key: PageKey) {
        match self.pages.look_up(&key) {
            Lookup::Hit(page) => self.assert_not_older(self.known, &key, &page.representation),
            Lookup::Miss(token, _) => self.reads.push(Reading { token, seen: None }),
            Lookup::Full => panic!("few reads are in flight"),
            Lookup::Join(answer) => self.joined.push(Joined {
                answer,
                key,
                known: self.known,
            }),
        }
    }

    fn read(&mut self, number: usize) {
        if self.reads.is_empty() {
            return;
        }
        let at = number % self.reads.len();
        let seen = self.page(self.current(), self.reads[at].token.key());
        self.reads[at].seen.get_or_insert(seen);
    }

    fn finish(&mut self, number: usize) {
        let read: Vec<usize> = (0..self.reads.len())
            .filter(|at| self.reads[*at].seen.is_some())
            .collect();
        if read.is_empty() {
            return;
        }
        let reading = self.reads.swap_remove(read[number % read.len()]);
        let seen = reading.seen.unwrap();
        let version = seen.stamp.version.change_id as usize;
        self.pages.finish(reading.token, &Ok(seen));
        if self.pages.stamp == Some(self.stamp(version)) {
            self.known = self.known.max(version);
        }
        for mut joined in std::mem::take(&mut self.joined) {
            match joined.answer.try_recv() {
                Ok(Ok(page)) => {
                    self.assert_not_older(joined.known, &joined.key, &page.representation);
                }
                Ok(Err(_)) => {}
                Err(_) => self.joined.push(joined),
            }
        }
    }

    fn change(&mut self, inserted: &[u8], deleted: &[u8]) {
        let mut rows = self.history[self.current()].clone();
        for at in inserted {
            let row = sort_key(*at);
            if !rows.values().any(|stored| *stored == row) {
                self.last_seq += 1;
                rows.insert(self.last_seq, row);
            }
        }
        let after_insertion = rows.len();
        rows.retain(|_, row| deleted.iter().all(|at| *row != sort_key(*at)));
        let inserted = after_insertion - self.history[self.current()].len();
        let deleted = after_insertion - rows.len();
        self.push(rows, inserted + deleted);
    }

    /// The feed is as it was before, and every number that is given now may have been given before.
    fn restore(&mut self, number: usize) {
        self.tell();
        let version = number % self.history.len();
        self.lineage.ordinal += 1;
        self.last_seq = self.stamps[version].last_seq;
        self.push(self.history[version].clone(), 1);
    }

    fn commit(&mut self, rows: &[u8]) {
        self.tell();
        let before = self.stamp(self.current());
        self.change(rows, &[]);
        let after = self.stamp(self.current());
        let rows = rows.iter().map(|at| sort_key(*at)).collect();
        self.untold = Some((before, after, rows));
    }

    fn tell(&mut self) {
        let Some((before, after, rows)) = self.untold.take() else {
            return;
        };
        if self.pages.follow(&before, after, &rows) {
            self.known = self.known.max(after.version.change_id as usize);
        } else if self.pages.known().map(|known| known.version) != Some(after.version) {
            self.poll();
        }
    }

    /// What the store says of rows that were inserted since.
    fn inserted_since(&self, known: &FeedStamp, now: &FeedStamp) -> Option<Vec<Cursor>> {
        let rows = self.history[self.current()].range(known.last_seq + 1..);
        let rows: Vec<Cursor> = rows.map(|(_, row)| row.clone()).collect();
        known.is_followed_by(now, rows.len() as i64).then_some(rows)
    }

    fn poll(&mut self) {
        let (changes, before) = (self.pages.changes(), self.pages.known());
        let now = self.stamp(self.current());
        let inserted = before.and_then(|known| self.inserted_since(&known, &now));
        match (before, inserted) {
            (Some(known), Some(rows)) => assert!(self.pages.follow(&known, now, &rows)),
            (_, None) | (None, _) => self.pages.observe(now),
        }
        self.known = self.current();
        let has_changed = before != Some(now);
        assert_eq!(self.pages.changes(), changes + u64::from(has_changed));
        assert_eq!(self.pages.end(), Some(now.end));
    }
}

#[derive(Debug, Clone)]
enum Step {
    Request(u8, u16),
    RequestBySeq(i64, u16),
    Read(usize),
    Finish(usize),
    Commit(Vec<u8>),
    Tell,
    OthersChange(Vec<u8>, Vec<u8>),
    Poll,
    Restore(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let rows = || prop::collection::vec(0_u8..40, 1..4);
    prop_oneof![
        5 => (0_u8..40, 1_u16..5).prop_map(|(at, limit)| Step::Request(at, limit)),
        5 => (0_i64..20, 1_u16..5).prop_map(|(at, limit)| Step::RequestBySeq(at, limit)),
        4 => (0_usize..8).prop_map(Step::Read),
        4 => (0_usize..8).prop_map(Step::Finish),
        2 => rows().prop_map(Step::Commit),
        2 => Just(Step::Tell),
        1 => (rows(), rows()).prop_map(|(new, old)| Step::OthersChange(new, old)),
        1 => Just(Step::Poll),
        1 => (0_usize..8).prop_map(Step::Restore),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn no_request_gets_a_page_that_is_older_than_what_the_cache_knows(
        steps in prop::collection::vec(step(), 1..80),
        room in prop_oneof![Just(0_usize), Just(3000), Just(1 << 20)],
    ) {
        let mut model = Model::new(room, (0..40).step_by(4));
        for step in steps {
            match step {
                Step::Request(at, limit) => {
                    model.request(key(After::Place(sort_key(at)), limit));
                }
                Step::RequestBySeq(0, limit) => {
                    model.request(key(After::Seq(SeqCursor::Start), limit));
                }
                Step::RequestBySeq(at, limit) => model.request(key(After::Seq(seq(at)), limit)),
                Step::Read(number) => model.read(number),
                Step::Finish(number) => model.finish(number),
                Step::Commit(rows) => model.commit(&rows),
                Step::Tell => model.tell(),
                Step::OthersChange(new, old) => model.change(&new, &old),
                Step::Poll => model.poll(),
                Step::Restore(number) => model.restore(number),
            }
        }
    }
}

#[test]
fn rows_drop_only_the_last_page_in_the_order_of_commits() {
    let mut model = Model::new(1 << 20, 0..8);
    let full = key(After::Seq(seq(0)), 5);
    let short = key(After::Seq(seq(5)), 5);
    for key in [&full, &short] {
        model.request(key.clone());
        model.read(0);
        model.finish(0);
    }
    // A read of each is in flight when a row with an early time is committed.
    let other = key(After::Seq(seq(1)), 5);
    let last = key(After::Seq(seq(6)), 5);
    for key in [&other, &last] {
        model.request(key.clone());
    }
    model.read(0);
    model.read(1);
    model.commit(&[0, 20]);
    model.tell();
    model.finish(0);
    model.finish(0);
    let mut cached = [&full, &short, &other, &last].map(|key| model.pages.get(key).is_some());
    assert_eq!(cached, [true, false, true, false]);
    // The same rows again change nothing.
    let stamp = model.stamp(1);
    assert!(model.pages.follow(&stamp, stamp, &[sort_key(0)]));
    assert_eq!(model.pages.changes(), 2);
    // Another process inserts a row, and then deletes one.
    model.change(&[21], &[]);
    model.poll();
    cached = [&full, &short, &other, &last].map(|key| model.pages.get(key).is_some());
    assert_eq!(cached, [true, false, true, false]);
    model.change(&[], &[21]);
    model.poll();
    cached = [&full, &short, &other, &last].map(|key| model.pages.get(key).is_some());
    assert_eq!(cached, [false; 4]);
}
