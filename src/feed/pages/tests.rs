//! Over arbitrary interleavings of requests, reads, own commits and changes by other processes, no request gets a
//! page of a version that is older than the cache has been told of, or has read itself.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// A feed of numbered rows, and its cached pages.
struct Model {
    pages: Pages,
    /// The rows of each version of the feed; the last one is what is stored.
    history: Vec<BTreeSet<Cursor>>,
    /// The version that the cache was told of, or has read: no answer may be older.
    known: usize,
    /// A commit of this process that the cache is not told of yet.
    untold: Option<(FeedStamp, Vec<Cursor>)>,
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

fn stamp(version: usize) -> FeedStamp {
    FeedStamp {
        version: Version {
            // As after restores: the count says little.
            count: version as i64 % 3,
            change_id: version as i64,
        },
        merkle_epoch_latest: None,
    }
}

impl Model {
    fn current(&self) -> usize {
        self.history.len() - 1
    }

    fn page(&self, version: usize, (cursor, limit): &PageKey) -> Page {
        let rows: Vec<&Cursor> = self.history[version]
            .iter()
            .filter(|row| *row > cursor)
            .take(limit.rows())
            .collect();
        Page {
            last: rows
                .last()
                .filter(|_| rows.len() == limit.rows())
                .map(|row| (*row).clone()),
            representation: Arc::new(Representation::new(format!("{rows:?}"))),
            version: stamp(version).version,
        }
    }

    fn assert_not_older(&self, known: usize, key: &PageKey, page: &Representation) {
        let is_page = |version| *self.page(version, key).representation == *page;
        assert!((known..=self.current()).any(is_page), "too old");
    }

    fn request(&mut self, key: (Cursor, PageLimit)) {
        match self.pages.look_up(&key) {
            Lookup::Hit(page) => self.assert_not_older(self.known, &key, &page),
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
        let version = seen.version.change_id as usize;
        self.pages.finish(reading.token, &Ok(seen));
        if self.pages.version == Some(stamp(version).version) {
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
        rows.extend(inserted.iter().map(|at| sort_key(*at)));
        for at in deleted {
            rows.remove(&sort_key(*at));
        }
        self.history.push(rows);
    }

    fn commit(&mut self, rows: &[u8]) {
        self.tell();
        let before = stamp(self.current());
        self.pages.begin_write();
        self.change(rows, &[]);
        self.untold = Some((before, rows.iter().map(|at| sort_key(*at)).collect()));
    }

    fn tell(&mut self) {
        if let Some((before, rows)) = self.untold.take() {
            let after = before.version.change_id as usize + 1;
            self.pages.committed(before, stamp(after), &rows);
            self.pages.end_write();
            self.known = self.known.max(after);
        }
    }

    fn poll(&mut self) {
        self.pages.observe(stamp(self.current()).version);
        self.known = self.current();
    }
}

#[derive(Debug, Clone)]
enum Step {
    Request(u8, u16),
    Read(usize),
    Finish(usize),
    Commit(Vec<u8>),
    Tell,
    OthersChange(Vec<u8>, Vec<u8>),
    Poll,
}

fn step() -> impl Strategy<Value = Step> {
    let rows = || prop::collection::vec(0_u8..40, 1..4);
    prop_oneof![
        5 => (0_u8..40, 1_u16..5).prop_map(|(at, limit)| Step::Request(at, limit)),
        4 => (0_usize..8).prop_map(Step::Read),
        4 => (0_usize..8).prop_map(Step::Finish),
        2 => rows().prop_map(Step::Commit),
        2 => Just(Step::Tell),
        1 => (rows(), rows()).prop_map(|(new, old)| Step::OthersChange(new, old)),
        1 => Just(Step::Poll),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn no_request_gets_a_page_that_is_older_than_what_the_cache_knows(
        steps in prop::collection::vec(step(), 1..80),
        room in prop_oneof![Just(0_usize), Just(3000), Just(1 << 20)],
    ) {
        let mut model = Model {
            pages: Pages::new(room),
            history: vec![(0..40).step_by(4).map(sort_key).collect()],
            known: 0,
            untold: None,
            reads: Vec::new(),
            joined: Vec::new(),
        };
        for step in steps {
            match step {
                Step::Request(at, limit) => {
                    model.request((sort_key(at), PageLimit::new(limit).unwrap()));
                }
                Step::Read(number) => model.read(number),
                Step::Finish(number) => model.finish(number),
                Step::Commit(rows) => model.commit(&rows),
                Step::Tell => model.tell(),
                Step::OthersChange(new, old) => model.change(&new, &old),
                Step::Poll => model.poll(),
            }
        }
    }
}
