#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::{
    demo::sample::Sample,
    domain::{
        cursor::PageLimit, feed_detail::FeedDetail, lineages::KnownLineage, position::Lineage,
    },
    store::{
        KeptFrom,
        sqlite::{open::open_writer, read::feed_page_by_seq},
    },
};

const WAIT: Duration = Duration::from_secs(20);

struct Follower {
    _folder: TempDir,
    connection: Connection,
}

impl Follower {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("copy.db");
        let _claim = claim::claim(&path, "http://a", WAIT).unwrap();
        Self {
            connection: open_writer(&path, WAIT).unwrap(),
            _folder: folder,
        }
    }

    fn cursor(&self) -> SeqCursor {
        mirrored(&self.connection).unwrap().cursor
    }

    /// Carries it out as the writer does.
    fn apply(&self, mirrored: &Mirror) -> Result<Counts, RefusedItem> {
        let transaction = self.connection.unchecked_transaction().unwrap();
        let applied = apply(&transaction, mirrored);
        if applied.is_ok() {
            transaction.commit().unwrap();
        }
        applied
    }

    /// Copies until there are no further eval runs.
    fn follow(&self, upstream: &Connection, rows: u16) {
        let limit = PageLimit::new(rows).unwrap();
        let mut asked = self.cursor();
        loop {
            let mut bodies = Vec::new();
            let page = feed_page_by_seq(upstream, asked, limit, |row| {
                bodies.push(String::from_utf8(row.to_vec()).unwrap());
            });
            let Ok(page) = page else {
                assert_ne!(asked, SeqCursor::Start);
                asked = SeqCursor::Start;
                continue;
            };
            let is_last = page.rows < limit.rows();
            let runs = bodies.iter().map(|row| EvalRun::from_json(row).unwrap());
            let applied = self.apply(&Mirror::Page(MirroredPage {
                asked,
                rows: page.seqs.iter().copied().zip(runs).collect(),
                detail: FeedDetail {
                    next: page.next,
                    seqs: page.seqs,
                    lineages: page.lineages,
                    merkle_epoch_latest: page.stamp.merkle_epoch_latest,
                },
                is_last,
                kept_from: page.kept_from,
            }));
            if asked != SeqCursor::Start
                && matches!(
                    &applied,
                    Err(RefusedItem {
                        error: WriteError::Mirror(MirrorRefused::Parted),
                        ..
                    })
                )
            {
                asked = SeqCursor::Start;
                continue;
            }
            applied.unwrap();
            if is_last {
                return;
            }
            asked = self.cursor();
        }
    }
}

fn run(number: u32, version: i64) -> EvalRun {
    let (minute, second) = (number * 7 % 60, number * 13 % 60);
    let row = format!(
        r#"{{"id":"r{number}","ran_at":"2026-06-07T00:{minute:02}:{second:02}Z","eval_output_schema_version":{version}}}"#
    );
    EvalRun::from_json(&row).unwrap()
}

/// What clients see of the feed: rows with their numbers, lineages, the end, the epoch.
fn seen(connection: &Connection) -> (Vec<(i64, String)>, Lineages, SeqCursor, Option<i64>) {
    let mut rows = Vec::new();
    read::every_eval_run_in_order::<StoreError>(connection, |row| {
        if row.schema_version >= 5 {
            rows.push((row.seq, row.body));
        }
        Ok(())
    })
    .unwrap();
    let stamp = read::feed_stamp(connection).unwrap();
    (
        rows,
        read::lineages(connection).unwrap(),
        stamp.end,
        stamp.merkle_epoch_latest,
    )
}

#[derive(Debug, Clone)]
enum Event {
    Insert(u8, i64),
    Epoch(i64),
    /// A process writes for the first time.
    Restart,
    /// To a copy that was made when so many parts of eight of the numbers were given.
    Restore(u8),
    /// Another database takes its place.
    Replace(u8),
    Follow(u16),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1..20_u8, 4..7_i64).prop_map(|(count, version)| Event::Insert(count, version)),
        1 => (0..9_i64).prop_map(Event::Epoch),
        2 => Just(Event::Restart),
        1 => (0..8_u8).prop_map(Event::Restore),
        1 => (0..50_u8).prop_map(Event::Replace),
        3 => (1..30_u16).prop_map(Event::Follow),
    ]
}

fn restore(upstream: &Connection, parts: u8) {
    let (live, last_seq) = (
        read::lineages(upstream).unwrap(),
        read::last_seq(upstream).unwrap(),
    );
    let kept = last_seq * i64::from(parts) / 8;
    let known = live.known().iter().copied();
    // The copy was made in the last lineage that had begun then.
    let known: Vec<KnownLineage> = known
        .filter(|known| known.first_seq <= kept.max(1))
        .collect();
    let Some(copy) = Lineages::new(known) else {
        return;
    };
    upstream
        .execute("DELETE FROM eval_runs WHERE seq > ?1", [kept])
        .unwrap();
    set_last_seq(upstream, kept).unwrap();
    write::put_lineages(upstream, &copy.taking_place_of(&live, kept)).unwrap();
    write::begin_history(upstream, 0).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn whatever_happens_to_the_upstream_the_copy_is_the_same(events in prop::collection::vec(event(), 1..40)) {
        let folder = TempDir::new().unwrap();
        let mut upstream = open_writer(&folder.path().join("0.db"), WAIT).unwrap();
        let follower = Follower::new();
        let mut next = 0;
        for (index, event) in events.into_iter().enumerate() {
            match event {
                Event::Insert(count, version) => for _ in 0..count {
                    write::insert_eval_run(&upstream, &run(next, version)).unwrap();
                    next += 1;
                },
                Event::Epoch(epoch) => {
                    upstream.execute("DELETE FROM merkle_epochs", []).unwrap();
                    write::put_merkle_epoch(&upstream, epoch, Some("{}")).unwrap();
                }
                Event::Restart => write::continue_lineage(&upstream).unwrap(),
                Event::Restore(parts) => restore(&upstream, parts),
                Event::Replace(count) => {
                    upstream = open_writer(&folder.path().join(format!("{}.db", index + 1)), WAIT).unwrap();
                    // Some of its rows are known, with other numbers and in another order.
                    for number in (next.saturating_sub(u32::from(count))..next).rev() {
                        write::insert_eval_run(&upstream, &run(number, 5)).unwrap();
                    }
                }
                Event::Follow(rows) => {
                    follower.follow(&upstream, rows);
                    prop_assert_eq!(seen(&follower.connection), seen(&upstream));
                }
            }
        }
        follower.follow(&upstream, 7);
        prop_assert_eq!(seen(&follower.connection), seen(&upstream));
    }
}

fn page(asked: SeqCursor, seqs: &[i64], lineages: Vec<KnownLineage>, next: i64) -> Mirror {
    let lineages = Lineages::new(lineages).unwrap();
    let lineage = lineages.current().unwrap();
    let number = |seq: &i64| u32::try_from(*seq % 100).unwrap();
    Mirror::Page(MirroredPage {
        asked,
        rows: seqs.iter().map(|seq| (*seq, run(number(seq), 5))).collect(),
        detail: FeedDetail {
            next: SeqCursor::At(Position {
                lineage,
                number: next,
            }),
            seqs: seqs.to_vec(),
            lineages,
            merkle_epoch_latest: None,
        },
        is_last: true,
        kept_from: None,
    })
}

fn known(ordinal: u32) -> KnownLineage {
    KnownLineage {
        lineage: Lineage { ordinal, id: 7 },
        first_seq: 1,
        shared_through: None,
        is_restore: true,
    }
}

#[test]
fn a_page_that_does_not_fit_changes_nothing() {
    let follower = Follower::new();
    follower
        .apply(&page(SeqCursor::Start, &[2, 5], vec![known(9)], 5))
        .unwrap();
    let (cursor, before) = (follower.cursor(), seen(&follower.connection));
    assert_eq!(cursor.to_string(), "9-0000000000000007.5");
    for (what, lie) in [
        (
            "numbers at or below the cursor",
            page(cursor, &[5, 6], vec![known(9)], 6),
        ),
        (
            "a cursor below the last number",
            page(cursor, &[6, 8], vec![known(9)], 7),
        ),
        (
            "a cursor that goes back",
            page(cursor, &[], vec![known(9)], 4),
        ),
        (
            "lineages without that of the cursor",
            page(cursor, &[6], vec![known(10)], 6),
        ),
        (
            "a cursor behind the last number",
            page(cursor, &[6, 8], vec![known(9)], 9),
        ),
        (
            "a cursor that goes on without eval runs",
            page(cursor, &[], vec![known(9)], 6),
        ),
        (
            "a number that is too great",
            page(cursor, &[i64::MAX], vec![known(9)], i64::MAX),
        ),
    ] {
        assert!(follower.apply(&lie).is_err(), "{what}");
        assert_eq!(
            (seen(&follower.connection), follower.cursor()),
            (before.clone(), cursor),
            "{what}"
        );
    }
    // The same eval run under another number.
    let Mirror::Page(mut twice) = page(cursor, &[6], vec![known(9)], 6) else {
        panic!();
    };
    twice.rows[0].1 = run(5, 5);
    assert!(follower.apply(&Mirror::Page(twice)).is_err());
    assert_eq!(seen(&follower.connection), before);
    // One that was left out is behind the cursor all the same.
    let Mirror::Page(mut left_out) = page(cursor, &[7, 9], vec![known(9)], 9) else {
        panic!();
    };
    left_out.rows.pop();
    follower.apply(&Mirror::Page(left_out)).unwrap();
    assert_eq!(follower.cursor().to_string(), "9-0000000000000007.9");
    // A page that a cache has kept from before a lineage began.
    let cursor = follower.cursor();
    let restarted = KnownLineage {
        lineage: Lineage { ordinal: 11, id: 8 },
        first_seq: 10,
        is_restore: false,
        ..known(9)
    };
    let mut newer = page(cursor, &[], vec![known(9), restarted], 9);
    let Mirror::Page(page_of_it) = &mut newer else {
        panic!();
    };
    page_of_it.detail.next = cursor;
    follower.apply(&newer).unwrap();
    let before = seen(&follower.connection);
    let older = page(cursor, &[], vec![known(9)], 9);
    assert!(follower.apply(&older).is_err());
    assert_eq!(seen(&follower.connection), before);
}

#[test]
fn an_upstream_that_tells_no_numbers_any_more_begins_a_lineage_here() {
    let follower = Follower::new();
    follower
        .apply(&page(SeqCursor::Start, &[2, 5], vec![known(9)], 5))
        .unwrap();
    // It is read anew, and that does not come to its end.
    let Mirror::Page(mut first) = page(SeqCursor::Start, &[1, 2], vec![known(10)], 2) else {
        panic!();
    };
    first.is_last = false;
    follower.apply(&Mirror::Page(first)).unwrap();
    let rows = Arc::new(vec![run(2, 5), run(8, 5)]);
    let counts = follower.apply(&Mirror::Rows {
        rows,
        merkle_epoch_latest: Some(3),
        is_last: true,
    });
    assert_eq!(
        counts.unwrap(),
        Counts {
            inserted: 1,
            unchanged: 1
        }
    );
    let (rows, lineages, _, epoch) = seen(&follower.connection);
    assert_eq!(
        rows.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );
    assert_eq!((lineages.known().len(), epoch), (2, Some(3)));
    assert_eq!(follower.cursor(), SeqCursor::Start);
}

fn board(number: i64, challenges: &[u32]) -> Mirror {
    let mut sample = Sample::new(1);
    let mut all: Vec<_> = (0..9).map(|_| sample.challenge(1)).collect();
    all.sort_by_key(|it| it.challenge_id.clone());
    let challenges = challenges.iter().map(|at| all[*at as usize].clone());
    Mirror::Board {
        challenges: Some(challenges.collect()),
        position: Some(Position {
            lineage: known(9).lineage,
            number,
        }),
    }
}

fn in_lineage(ordinal: u32, mirrored: Mirror) -> Mirror {
    let Mirror::Board {
        challenges,
        position,
    } = mirrored
    else {
        panic!();
    };
    let number = position.unwrap().number;
    let id = if ordinal == 9 { 7 } else { 8 };
    let lineage = Lineage { ordinal, id };
    let position = Some(Position { lineage, number });
    Mirror::Board {
        challenges,
        position,
    }
}

#[test]
fn a_board_of_a_known_history_never_goes_back() {
    let follower = Follower::new();
    let stored = || {
        let mut ids = Vec::new();
        read::every_challenge::<StoreError>(&follower.connection, |it| {
            ids.push(it.challenge_id);
            Ok(())
        })
        .unwrap();
        let Mirrored {
            board,
            board_position,
            ..
        } = mirrored(&follower.connection).unwrap();
        (ids, board, board_position.map(|it| it.to_string()))
    };
    follower
        .apply(&page(SeqCursor::Start, &[2], vec![known(9)], 2))
        .unwrap();
    follower.apply(&board(20, &[0, 1])).unwrap();
    follower.apply(&board(30, &[1, 2])).unwrap();
    let before = stored();
    assert_eq!(before.2.as_deref(), Some("9-0000000000000007.30"));
    assert_eq!(before.1.version.count, 30);
    // Another board is refused, and the same one changes nothing.
    assert!(follower.apply(&board(20, &[0, 1])).is_err());
    assert!(follower.apply(&board(29, &[])).is_err());
    follower.apply(&board(20, &[1, 2])).unwrap();
    assert_eq!(stored(), before);
    // A standby that was behind is promoted: the number is less, and the lineage is new.
    let promoted = KnownLineage {
        lineage: Lineage { ordinal: 10, id: 8 },
        first_seq: 3,
        is_restore: false,
        ..known(9)
    };
    let lineages = vec![known(9), promoted];
    assert!(follower.apply(&in_lineage(10, board(25, &[0, 2]))).is_err());
    let mut told = page(follower.cursor(), &[3], lineages, 3);
    if let Mirror::Page(told) = &mut told {
        told.rows[0].1 = run(3, 5);
    }
    follower.apply(&told).unwrap();
    assert!(follower.apply(&board(20, &[0, 1])).is_err());
    for number in [25, 26] {
        let now = in_lineage(10, board(number, &[0, u32::try_from(number - 20).unwrap()]));
        follower.apply(&now).unwrap();
        assert_eq!(stored().1.version.count, number);
    }
    assert!(follower.apply(&in_lineage(10, board(25, &[0, 5]))).is_err());
    assert!(follower.apply(&board(99, &[0, 5])).is_err());
    // All is read anew from an older copy of the database.
    follower
        .apply(&page(SeqCursor::Start, &[2], vec![known(9)], 2))
        .unwrap();
    follower.apply(&board(20, &[0, 1])).unwrap();
    assert_eq!(stored().2.as_deref(), Some("9-0000000000000007.20"));
}

#[test]
fn what_the_upstream_has_removed_is_known_as_far_as_it_was_copied() {
    let follower = Follower::new();
    let kept = |through: i64| {
        Some(KeptFrom {
            cursor: SeqCursor::At(Position {
                lineage: known(9).lineage,
                number: through,
            }),
            ran_at: "2026-06-01T00:00:00.000Z".to_owned(),
        })
    };
    let pruned = || read::pruned(&follower.connection).unwrap();
    let store = |asked, seqs: &[i64], next, is_last, kept_from| {
        let Mirror::Page(mut page) = page(asked, seqs, vec![known(9)], next) else {
            panic!();
        };
        (page.is_last, page.kept_from) = (is_last, kept_from);
        follower.apply(&Mirror::Page(page))
    };
    store(SeqCursor::Start, &[2, 5], 5, false, kept(9)).unwrap();
    assert_eq!(pruned().unwrap().through_seq, 5);
    // The last ones are gone: a cursor behind them is not ahead of the copy.
    store(follower.cursor(), &[7], 7, true, kept(9)).unwrap();
    assert_eq!(pruned().unwrap().through_seq, 9);
    assert_eq!(follower.cursor().to_string(), "9-0000000000000007.9");
    assert!(store(follower.cursor(), &[10], 10, true, kept(i64::MAX)).is_err());
    store(follower.cursor(), &[10], 10, true, None).unwrap();
    assert_eq!(pruned().unwrap().before, "2026-06-01T00:00:00.000Z");
}
