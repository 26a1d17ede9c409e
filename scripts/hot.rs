//! What a request, a page and a rebuild cost, function by function.
//!
//!     cargo bench --bench hot                         # measured
//!     cargo bench --bench hot -- --test               # each once, whether it works
//!     FEED_ROWS=10000,1000000 cargo bench --bench hot -- page

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    unreachable_pub
)]

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use cathedral_publisher::{
    answer::Representation,
    cache::snapshot::Snapshot,
    demo::{life::populate, sample::Sample},
    domain::{
        challenge::Challenge,
        coding::{Acceptable, Coding},
        cursor::{Cursor, PageLimit},
        entity_tag::{EntityTag, TagList},
        eval_run::EvalRun,
    },
    feed::{
        page,
        pages::{Lookup, Pages},
        tail::{Spares, Tail, TailRow},
    },
    store::{open::open_writer, pool::ReadPool, read},
};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tempfile::TempDir;

const TAIL_BYTES: usize = 32 << 20;
const BROWSER: &[u8] = b"gzip, deflate, br, zstd";

fn challenges(count: u32) -> Vec<Challenge> {
    let mut all: Vec<Challenge> = Sample::new(1).challenges(count).collect();
    all.sort_by(|a, b| (a.tier, &a.challenge_id).cmp(&(b.tier, &b.challenge_id)));
    all
}

/// What every poll of the board goes through.
fn request(c: &mut Criterion) {
    let snapshot = Snapshot::new(&challenges(51)).unwrap();
    snapshot.precompress();
    snapshot.encode_brotli();
    let board = snapshot.board();
    let tag = board.etag().as_str().as_bytes().to_vec();
    let mut group = c.benchmark_group("request");
    group.bench_function("If-None-Match, one tag", |b| {
        b.iter(|| TagList::parse([black_box(tag.as_slice())]).matches_weakly(board.etag()));
    });
    group.bench_function("Accept-Encoding of a browser", |b| {
        b.iter(|| Acceptable::parse([black_box(BROWSER)]).in_order().next());
    });
    let held = TagList::parse([tag.as_slice()]);
    group.bench_function("select, nothing accepted", |b| {
        b.iter(|| {
            board
                .select(&Acceptable::default(), Some(black_box(&held)))
                .is_some()
        });
    });
    let browser = Acceptable::parse([BROWSER]);
    group.bench_function("select, a browser", |b| {
        b.iter(|| board.select(&browser, Some(black_box(&held))).is_some());
    });
    group.finish();
}

/// A body handed out by two threads at once: with one count of references for both, and with one each.
fn counts(c: &mut Criterion) {
    let body = Bytes::from(vec![b'x'; 32_669]);
    let own = || Bytes::from_owner(body.clone());
    let mut group = c.benchmark_group("hand out a body, two threads");
    for (name, bodies) in [
        ("one count", [body.clone(), body.clone()]),
        ("a count each", [own(), own()]),
    ] {
        group.bench_function(name, |b| {
            b.iter_custom(|times| {
                let begun = Instant::now();
                std::thread::scope(|scope| {
                    for body in &bodies {
                        scope.spawn(move || {
                            for _ in 0..times {
                                black_box(body.clone());
                            }
                        });
                    }
                });
                begun.elapsed()
            });
        });
    }
    group.finish();
}

/// What a rebuild goes through, but for SQLite.
fn rebuild(c: &mut Criterion) {
    let mut group = c.benchmark_group("rebuild");
    group.sample_size(10);
    for count in [51, 5000] {
        let challenges = challenges(count);
        group.bench_with_input(
            BenchmarkId::new("snapshot", count),
            &challenges,
            |b, all| {
                b.iter(|| Snapshot::new(all).unwrap());
            },
        );
        let body = Snapshot::new(&challenges)
            .unwrap()
            .board()
            .identity()
            .body();
        group.bench_with_input(BenchmarkId::new("entity-tag", count), &body, |b, body| {
            b.iter(|| EntityTag::of(body));
        });
        for coding in [Coding::Gzip, Coding::Zstd, Coding::Brotli] {
            let name = BenchmarkId::new(coding.as_str(), count);
            group.bench_with_input(name, &body, |b, body| {
                b.iter(|| Representation::new(body.clone()).encode(coding));
            });
        }
    }
    group.finish();
}

/// A page of 200 rows from the middle of the feed: from SQLite, held, and made of a tail of 32 MiB that
/// begins before it; one more row in that tail.
fn feed(c: &mut Criterion) {
    let sizes = std::env::var("FEED_ROWS").unwrap_or_else(|_| "10000".to_owned());
    let mut group = c.benchmark_group("page");
    for rows in sizes.split(',').map(|rows| rows.parse::<u32>().unwrap()) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("feed.db");
        populate(
            &mut open_writer(&path, Duration::from_secs(5)).unwrap(),
            rows,
        )
        .unwrap();
        let pool = ReadPool::new(&path, 3, Duration::from_secs(5), true);
        let reader = pool
            .reader(Instant::now() + Duration::from_secs(600))
            .unwrap();
        let middle = middle(&reader, rows);
        let limit = PageLimit::default();
        group.bench_with_input(BenchmarkId::new("SQLite", rows), &middle, |b, cursor| {
            b.iter(|| page::read(&reader, cursor, limit).unwrap());
        });
        let tail = tail_around(&reader, &middle);
        group.bench_with_input(BenchmarkId::new("tail", rows), &middle, |b, cursor| {
            b.iter(|| page::joined(&tail.page(cursor, limit).unwrap(), None).unwrap());
        });
        let one_more = TailRow {
            place: Cursor::tuple("2100-01-01T00:00:00Z", Some("new")).unwrap(),
            body: vec![b'x'; 500].into(),
        };
        group.bench_with_input(
            BenchmarkId::new("one more row", rows),
            &one_more,
            |b, row| {
                let mut spares = Spares::default();
                b.iter(|| {
                    let more = tail.with(vec![row.clone()], tail.stamp(), TAIL_BYTES, &mut spares);
                    spares.reclaim(Arc::new(more));
                });
            },
        );
        let mut pages = Pages::new(Some(1 << 24));
        let key = (middle, limit);
        let Lookup::Read(token, _) = pages.look_up(&key) else {
            unreachable!("nothing is held yet")
        };
        pages.ended(token, &Ok(page::read(&reader, &key.0, limit).unwrap()));
        group.bench_with_input(BenchmarkId::new("held", rows), &key, |b, key| {
            b.iter(|| match pages.look_up(key) {
                Lookup::Held(page) => Arc::strong_count(&page),
                Lookup::Join(_) | Lookup::Read(..) => unreachable!("it is held"),
            });
        });
    }
    group.finish();
}

/// Of the rows after `cursor`, as many as fit.
fn tail_around(connection: &rusqlite::Connection, cursor: &Cursor) -> Tail {
    let (mut rows, mut bytes) = (Vec::new(), 0);
    let limit = PageLimit::new(PageLimit::MAX_ROWS).unwrap();
    let mut at = cursor.clone();
    let stamp = read::feed_stamp(connection).unwrap();
    while bytes < TAIL_BYTES {
        let mut bodies: Vec<Box<[u8]>> = Vec::new();
        let end = read::feed_page(connection, &at, limit, |row| bodies.push(row.into())).unwrap();
        for body in bodies {
            bytes += body.len() + 200;
            let run = EvalRun::from_json(std::str::from_utf8(&body).unwrap()).unwrap();
            rows.push(TailRow {
                place: run.place(),
                body,
            });
        }
        let Some(last) = end.next else { break };
        at = Cursor::tuple(&last.ran_at, Some(&last.id)).unwrap();
    }
    // What fits beside it are the oldest of these rows.
    while bytes > TAIL_BYTES {
        bytes -= rows.pop().unwrap().body.len() + 200;
    }
    Tail::empty(Some(cursor.clone()), stamp).with(rows, stamp, TAIL_BYTES, &mut Spares::default())
}

fn middle(connection: &rusqlite::Connection, rows: u32) -> Cursor {
    let query = "SELECT ran_at, id FROM eval_runs ORDER BY rowid LIMIT 1 OFFSET ?1";
    let row = connection.query_row(query, [rows / 2], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
    });
    let (ran_at, id) = row.unwrap();
    Cursor::tuple(&ran_at, Some(&id)).unwrap()
}

criterion_group!(hot, request, counts, rebuild, feed);
criterion_main!(hot);
