//! Over arbitrary writes, backups, restores of any of them, and pulls of clients that stay away for any time: no client
//! misses an eval run of the database, and none gets one twice that was never away.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::prelude::*;

use super::*;

/// A database: its eval runs are numbers that are never used again.
#[derive(Debug, Clone)]
struct Database {
    lineages: Lineages,
    rows: BTreeMap<i64, u32>,
    last_seq: i64,
}

/// A client: where it is, and how often it has seen each eval run.
#[derive(Debug, Clone)]
struct Client {
    cursor: SeqCursor,
    seen: BTreeMap<u32, u32>,
}

fn begun(ordinal: u32, first_seq: i64) -> KnownLineage {
    KnownLineage {
        lineage: Lineage {
            ordinal,
            id: u64::from(ordinal) * 7,
        },
        first_seq,
        shared_through: None,
        is_restore: true,
    }
}

/// One that a process began with its first write.
fn continued(ordinal: u32, first_seq: i64) -> KnownLineage {
    KnownLineage {
        is_restore: false,
        ..begun(ordinal, first_seq)
    }
}

/// A time long after all lineages of the tests began.
const NOW: i64 = 10_000;

fn left(ordinal: u32, first_seq: i64, shared_through: i64) -> KnownLineage {
    KnownLineage {
        shared_through: Some(shared_through),
        ..begun(ordinal, first_seq)
    }
}

fn at(ordinal: u32, number: i64) -> SeqCursor {
    let lineage = begun(ordinal, 0).lineage;
    SeqCursor::At(Position { lineage, number })
}

impl Database {
    fn restore(&mut self, backup: &Self, ordinal: u32) {
        let known = backup.lineages.clone();
        let known = known.taking_place_of(&self.lineages, backup.last_seq);
        let mut known = known.known().to_vec();
        known.push(begun(ordinal, backup.last_seq + 1));
        self.lineages = Lineages::new(known).unwrap();
        self.rows = backup.rows.clone();
        self.last_seq = backup.last_seq;
    }

    /// Begins the lineage of a process that writes for the first time.
    fn start(&mut self, ordinal: u32) {
        let mut known = self.lineages.known().to_vec();
        known.push(continued(ordinal, self.last_seq + 1));
        self.lineages = Lineages::new(known).unwrap();
    }

    fn page(&self, cursor: SeqCursor, limit: usize) -> Page {
        let mut last = self.lineages.resolve(cursor, self.last_seq, NOW).unwrap();
        let rows = self.rows.range(last + 1..).take(limit);
        let rows = rows.map(|(seq, row)| {
            last = *seq;
            *row
        });
        let rows: Vec<u32> = rows.collect();
        let next = self.lineages.canonical(last);
        let is_immutable = rows.len() == limit && cursor.is_of_lineage_of(next);
        Page {
            rows,
            next,
            is_immutable,
        }
    }

    /// Pulls through a cache, which keeps what it may keep for ever.
    fn pull(&self, client: &mut Client, limit: usize, cache: &mut Cache) {
        let key = (client.cursor, limit);
        let page = match cache.get(&key) {
            Some(page) => page.clone(),
            None => self.page(client.cursor, limit),
        };
        if page.is_immutable {
            cache.insert(key, page.clone());
        }
        for row in page.rows {
            *client.seen.entry(row).or_default() += 1;
        }
        client.cursor = page.next;
    }
}

#[derive(Debug, Clone)]
struct Page {
    rows: Vec<u32>,
    next: SeqCursor,
    is_immutable: bool,
}

type Cache = HashMap<(SeqCursor, usize), Page>;

#[derive(Debug, Clone)]
enum Step {
    Write(i64),
    Start,
    Backup,
    Restore(usize),
    Pull(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_i64..4).prop_map(Step::Write),
        1 => Just(Step::Start),
        2 => Just(Step::Backup),
        2 => (0_usize..8).prop_map(Step::Restore),
        5 => (0_usize..4, 1_usize..6).prop_map(|(client, limit)| Step::Pull(client, limit)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    #[test]
    fn no_client_misses_an_eval_run_or_gets_one_twice_that_was_never_away(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut live = Database {
            lineages: Lineages::new(vec![begun(1, 1)]).unwrap(),
            rows: BTreeMap::new(),
            last_seq: 0,
        };
        let client = Client { cursor: SeqCursor::Start, seen: BTreeMap::new() };
        let mut clients = vec![client; 4];
        let mut backups = vec![live.clone()];
        let mut cache = Cache::new();
        let (mut ordinal, mut next_row) = (1, 0);
        // Those that a restore has taken away; a later one may have brought them back.
        let mut away: BTreeSet<u32> = BTreeSet::new();
        for step in steps {
            match step {
                Step::Write(count) => {
                    for _ in 0..count {
                        live.last_seq += 1;
                        next_row += 1;
                        live.rows.insert(live.last_seq, next_row);
                    }
                }
                Step::Start => {
                    ordinal += 1;
                    live.start(ordinal);
                }
                Step::Backup => backups.push(live.clone()),
                Step::Restore(number) => {
                    let before = live.clone();
                    ordinal += 1;
                    live.restore(&backups[number % backups.len()], ordinal);
                    let kept: BTreeSet<u32> = live.rows.values().copied().collect();
                    away.extend(before.rows.values().filter(|row| !kept.contains(row)));
                }
                Step::Pull(number, limit) => {
                    // Half of them through a cache.
                    let cache = if number < 2 { &mut cache } else { &mut Cache::new() };
                    live.pull(&mut clients[number], limit, cache);
                }
            }
        }
        for client in &mut clients {
            // So often that it is at the end, whatever the cache has kept.
            for _ in 0..4 * (live.last_seq + 1) + i64::from(ordinal) {
                live.pull(client, 3, &mut cache);
            }
            for row in live.rows.values() {
                let count = client.seen.get(row).copied().unwrap_or_default();
                prop_assert!(count == 1 || (count > 1 && away.contains(row)), "{row}: {count}");
            }
        }
    }

    #[test]
    fn a_position_and_its_cursor_are_the_same(
        lengths in prop::collection::vec(0_i64..4, 1..8),
        seq in 0_i64..30,
    ) {
        let mut first_seq = 1;
        let mut known = Vec::new();
        for (length, ordinal) in lengths.into_iter().zip(1..) {
            known.push(begun(ordinal, first_seq));
            first_seq += length;
        }
        let lineages = Lineages::new(known).unwrap();
        let cursor = lineages.canonical(seq);
        prop_assert_eq!(lineages.resolve(cursor, 30, NOW), Ok(seq));
        prop_assert_eq!(SeqCursor::parse(&cursor.to_string()), Ok(cursor));
    }
}

#[test]
fn a_cursor_counts_up_to_where_the_next_lineage_begins() {
    let lineages = Lineages::new(vec![begun(2, 51), begun(1, 1)]).unwrap();
    for (cursor, seq) in [
        (SeqCursor::Start, Ok(0)),
        (at(1, 0), Ok(0)),
        (at(1, 50), Ok(50)),
        (at(1, 51), Ok(50)),
        (at(2, 40), Ok(40)),
        (at(2, 60), Ok(60)),
        (at(2, 61), Err(Unresolved::Ahead)),
        (at(3, 0), Err(Unresolved::Ahead)),
        (at(0, 0), Err(Unresolved::Unknown)),
    ] {
        assert_eq!(lineages.resolve(cursor, 60, 0), seq, "{cursor}");
    }
    let lineage = Lineage { ordinal: 1, id: 0 };
    let other = SeqCursor::At(Position { lineage, number: 1 });
    assert_eq!(lineages.resolve(other, 60, 0), Err(Unresolved::Unknown));
    for seq in [0, 50, 51, 60] {
        assert_eq!(lineages.canonical(seq), at(2, seq), "a restore");
    }
    let known = vec![
        begun(1, 1),
        begun(2, 21),
        continued(3, 51),
        continued(4, 51),
    ];
    let lineages = Lineages::new(known).unwrap();
    for (seq, ordinal) in [(0, 2), (20, 2), (50, 2), (51, 4), (60, 4)] {
        assert_eq!(lineages.canonical(seq), at(ordinal, seq));
    }
    let forgotten = Lineages::new(vec![continued(3, 51), continued(4, 61)]).unwrap();
    assert_eq!(forgotten.canonical(10), at(3, 10));
}

#[test]
fn a_lineage_of_the_future_is_unknown_if_it_began_long_ago() {
    let lineages = Lineages::new(vec![begun(1, 1)]).unwrap();
    for (now, expected) in [
        (0, Unresolved::Ahead),
        (BEHIND_SECS + 1, Unresolved::Ahead),
        (BEHIND_SECS + 2, Unresolved::Unknown),
    ] {
        assert_eq!(lineages.resolve(at(2, 1), 1, now), Err(expected), "{now}");
    }
}

#[test]
fn a_lineage_that_was_left_counts_up_to_where_both_have_the_same_eval_runs() {
    // The second began at 51; restored is a backup of the first that was made at 40, or at 80.
    let live = Lineages::new(vec![begun(1, 1), begun(2, 51)]).unwrap();
    for (last_seq, shared) in [(40, 40), (80, 50)] {
        let backup = Lineages::new(vec![begun(1, 1)]).unwrap();
        let restored = backup.taking_place_of(&live, last_seq);
        assert_eq!(restored.known(), [begun(1, 1), left(2, 51, shared)]);
    }
}

#[test]
fn nothing_is_known_of_a_database_without_a_common_lineage() {
    let live = Lineages::new(vec![begun(1, 1)]).unwrap();
    let other = Lineages::new(vec![begun(2, 1)]).unwrap();
    assert_eq!(other.clone().taking_place_of(&live, 10), other);
    assert_eq!(Lineages::new(vec![]), None);
    assert_eq!(Lineages::new(vec![left(1, 1, 1)]), None);
}

#[test]
fn the_number_of_lineages_that_were_left_is_bounded() {
    let mut live = Lineages::new(vec![begun(1, 1), begun(2, 1)]).unwrap();
    for ordinal in 3..600 {
        let backup = Lineages::new(vec![begun(1, 1)]).unwrap();
        let restored = backup.taking_place_of(&live, 0);
        let mut known = restored.known().to_vec();
        known.push(begun(ordinal, 1));
        live = Lineages::new(known).unwrap();
    }
    assert_eq!(live.known().len(), MAX_LEFT + 2);
    assert_eq!(live.known()[1].lineage.ordinal, 599 - MAX_LEFT as u32);
}
