//! Over arbitrary interleavings of requests, reads and writes, no request gets a page that lacks what was
//! committed before the request came.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// A feed of numbered rows, and its cached pages.
struct Model {
    pages: Pages,
    rows: BTreeSet<Cursor>,
    reads: Vec<Reading>,
    joined: Vec<Joined>,
}

/// A read that was begun; what it saw, once it has read.
struct Reading {
    token: ReadToken,
    seen: Option<Page>,
}

/// A request that joined a read: what it had to see at least, unless it is read later.
struct Joined {
    answer: oneshot::Receiver<Answer>,
    truth: Arc<Representation>,
    /// Whether the read had seen the rows by then.
    after_reading: bool,
}

fn sort_key(at: u8) -> Cursor {
    Cursor::tuple(&format!("2026-06-07T00:00:00.{at:03}Z"), Some("x")).unwrap()
}

impl Model {
    fn truth(&self, cursor: &Cursor, limit: PageLimit) -> Page {
        let rows: Vec<&Cursor> = self
            .rows
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
        }
    }

    fn stamp(&self) -> FeedStamp {
        FeedStamp {
            last_row: Some(self.rows.len() as i64),
            merkle_epoch_latest: None,
        }
    }

    fn request(&mut self, key: (Cursor, PageLimit)) {
        let truth = self.truth(&key.0, key.1).representation;
        match self.pages.look_up(&key) {
            Lookup::Hit(page) => assert_eq!(page, truth, "cached, and not valid"),
            Lookup::Miss(token, _) => self.reads.push(Reading { token, seen: None }),
            Lookup::Full => panic!("few reads are in flight"),
            Lookup::Join(answer) => {
                let reading = self
                    .reads
                    .iter()
                    .rev()
                    .find(|reading| *reading.token.key() == key);
                let after_reading = reading.unwrap().seen.is_some();
                self.joined.push(Joined {
                    answer,
                    truth,
                    after_reading,
                });
            }
        }
    }

    fn read(&mut self, number: usize) {
        if self.reads.is_empty() {
            return;
        }
        let at = number % self.reads.len();
        let (cursor, limit) = self.reads[at].token.key().clone();
        let seen = self.truth(&cursor, limit);
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
        self.pages.finish(reading.token, &Ok(reading.seen.unwrap()));
        for mut joined in std::mem::take(&mut self.joined) {
            match joined.answer.try_recv() {
                Ok(Ok(page)) if joined.after_reading => {
                    assert_eq!(page.representation, joined.truth, "joined, and too old");
                }
                Ok(_) => {}
                Err(_) => self.joined.push(joined),
            }
        }
    }

    fn insert(&mut self, rows: &[u8]) {
        let before = self.stamp();
        let rows: Vec<Cursor> = rows.iter().map(|at| sort_key(*at)).collect();
        self.rows.extend(rows.iter().cloned());
        self.pages.committed(before, self.stamp(), &rows);
    }

    fn others_insert(&mut self, rows: &[u8]) {
        self.rows.extend(rows.iter().map(|at| sort_key(*at)));
        self.pages.observe(self.stamp());
    }
}

#[derive(Debug, Clone)]
enum Step {
    Request(u8, u16),
    Read(usize),
    Finish(usize),
    Insert(Vec<u8>),
    OthersInsert(Vec<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    let rows = || prop::collection::vec(0_u8..40, 1..4);
    prop_oneof![
        5 => (0_u8..40, 1_u16..5).prop_map(|(at, limit)| Step::Request(at, limit)),
        4 => (0_usize..8).prop_map(Step::Read),
        4 => (0_usize..8).prop_map(Step::Finish),
        2 => rows().prop_map(Step::Insert),
        1 => rows().prop_map(Step::OthersInsert),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn no_request_gets_a_page_that_lacks_what_was_committed_before_it_came(
        steps in prop::collection::vec(step(), 1..80),
        room in prop_oneof![Just(0_usize), Just(3000), Just(1 << 20)],
    ) {
        let mut model = Model {
            pages: Pages::new(room),
            rows: (0..40).step_by(4).map(sort_key).collect(),
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
                Step::Insert(rows) => model.insert(&rows),
                Step::OthersInsert(rows) => model.others_insert(&rows),
            }
        }
    }
}
