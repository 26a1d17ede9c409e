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
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use cathedral_publisher::{
    answer::{Conditions, Representation},
    cache::snapshot::Snapshot,
    demo::{key, sample::Sample, simulation::populate},
    domain::{
        challenge::Challenge,
        clock::SystemClock,
        coding::{Acceptable, Coding},
        cursor::{Cursor, PageLimit},
        entity_tag::{EntityTag, TagList},
        signature::{PublicKeys, signed_text},
    },
    feed::{self, After, FeedHandle, PageKey},
    metrics::Metrics,
    store::{
        self, Store,
        sqlite::{SqliteStore, file::DatabaseFile, open::open_writer},
    },
};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tempfile::TempDir;

const BROWSER: &[u8] = b"gzip, deflate, br, zstd";

fn challenges(count: u32) -> Vec<Challenge> {
    let mut all: Vec<Challenge> = Sample::new(1).challenges(count).collect();
    all.sort_by(|a, b| (a.tier, &a.challenge_id).cmp(&(b.tier, &b.challenge_id)));
    all
}

/// What every poll of the board goes through.
fn request(c: &mut Criterion) {
    let snapshot = Snapshot::new(&challenges(51)).unwrap();
    snapshot.encode_fast();
    snapshot.precompress();
    let board = snapshot.board();
    let tag = board.etag().to_string().into_bytes();
    let mut group = c.benchmark_group("request");
    group.bench_function("If-None-Match, one tag", |b| {
        b.iter(|| TagList::parse([black_box(tag.as_slice())]).matches_weakly(board.etag()));
    });
    group.bench_function("Accept-Encoding of a browser", |b| {
        b.iter(|| Acceptable::parse([black_box(BROWSER)]).in_order().next());
    });
    for (name, acceptable) in [
        ("decide, nothing accepted", Acceptable::default()),
        ("decide, a browser", Acceptable::parse([BROWSER])),
    ] {
        let conditions = Conditions::new(acceptable, [], [tag.as_slice()]);
        group.bench_function(name, |b| {
            b.iter(|| black_box(&conditions).decide(board).is_ok());
        });
    }
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

/// A page of 200 rows from the middle of the feed: from SQLite, and cached.
fn feed(c: &mut Criterion) {
    let sizes = std::env::var("FEED_ROWS").unwrap_or_else(|_| "10000".to_owned());
    let client = IpAddr::from(Ipv4Addr::LOCALHOST);
    let mut group = c.benchmark_group("page");
    for rows in sizes.split(',').map(|rows| rows.parse::<u32>().unwrap()) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("feed.db");
        populate(
            &mut open_writer(&path, Duration::from_secs(5)).unwrap(),
            rows,
            None,
        )
        .unwrap();
        let settings = store::Settings {
            pool_size: 3,
            busy_timeout: Duration::from_secs(5),
        };
        let store = Store::Sqlite(SqliteStore::new(
            DatabaseFile::new(&path, true),
            settings,
            false,
        ));
        let settings = feed::Settings {
            queue_timeout: Duration::from_secs(60),
            read_timeout: Duration::from_secs(60),
            max_cached_bytes: 0,
            max_in_flight_bytes: 1 << 24,
            holdback: Duration::ZERO,
        };
        let uncached = FeedHandle::new(
            store.clone(),
            settings,
            Arc::new(SystemClock),
            Metrics::new().unwrap(),
        );
        let key = PageKey::new(After::Place(middle(&path, rows)), PageLimit::default());
        let system = actix_web::rt::System::new();
        group.bench_with_input(BenchmarkId::new("SQLite", rows), &key, |b, key| {
            b.iter(|| system.block_on(uncached.page(key, client)).unwrap())
        });
        let settings = feed::Settings {
            max_cached_bytes: 1 << 24,
            ..settings
        };
        let feed = FeedHandle::new(
            store,
            settings,
            Arc::new(SystemClock),
            Metrics::new().unwrap(),
        );
        system.block_on(feed.page(&key, client)).unwrap();
        group.bench_with_input(BenchmarkId::new("cached", rows), &key, |b, key| {
            b.iter(|| feed.cached(key).unwrap());
        });
    }
    group.finish();
}

/// What verifying the signatures of eval runs costs: each number is for one row.
fn signatures(c: &mut Criterion) {
    let keys = PublicKeys::from_jwk_set(key::jwk_set().as_bytes()).unwrap();
    let rows: Vec<String> = Sample::new(1).eval_runs(256).map(Result::unwrap).collect();
    let mut changed = rows.clone();
    changed[255] = changed[255].replace("1.0", "0.5");
    let mut group = c.benchmark_group("signature, a row");
    group.bench_function("signed text", |b| {
        b.iter(|| signed_text(black_box(&rows[0])))
    });
    group.bench_function("one", |b| b.iter(|| keys.verify(black_box(&rows[0]))));
    for (name, rows) in [
        ("of 16", &rows[..16]),
        ("of 256", &rows),
        ("of 256, one invalid", &changed),
    ] {
        group.bench_function(name, |b| {
            b.iter_custom(|times| {
                let begun = Instant::now();
                for _ in 0..times {
                    black_box(keys.verify_all(black_box(rows)));
                }
                begun.elapsed() / u32::try_from(rows.len()).unwrap()
            });
        });
    }
    group.finish();
}

fn middle(path: &Path, rows: u32) -> Cursor {
    let connection = rusqlite::Connection::open(path).unwrap();
    let query = "SELECT ran_at, id FROM eval_runs ORDER BY seq LIMIT 1 OFFSET ?1";
    let row = connection.query_row(query, [rows / 2], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
    });
    let (ran_at, id) = row.unwrap();
    Cursor::tuple(&ran_at, Some(&id)).unwrap()
}

criterion_group!(hot, request, counts, rebuild, feed, signatures);
criterion_main!(hot);
