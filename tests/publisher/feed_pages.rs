//! Feed pages are read once, cached until a new row changes them, and never older than an acknowledged write:
//!
//! - two hundred validators that request the same page cost one read; a client that has the page already gets 304
//!   without a read
//! - a row is in the next page after its acknowledgement
//! - a full page is cached until a row is inserted into it, and the last page until any row is appended; a new epoch
//!   invalidates every page
//! - writes of other processes are seen at the next poll, and drop only the pages that their rows fall into
//! - a cache of no bytes reads for every request
//! - a request is counted once, also if its page must be encoded first
//! - a page is encoded for a client that accepts it, and keeps its tags when it is read again
//! - the bytes of pages that clients do not read are bounded: further pages get 503, and large ones earlier

use std::{
    io::Read,
    net::{IpAddr, Ipv4Addr},
    rc::Rc,
    sync::Arc,
    thread,
    time::Duration,
};

use awc::http::Method;
use cathedral_publisher::{
    domain::{
        clock::SystemClock,
        cursor::{Cursor, PageLimit},
        eval_run::EvalRun,
    },
    feed::{self, After, FeedError, FeedHandle, PageKey},
    metrics::{Metrics, Source},
    store::{self, Writer, WriterSettings, operation::Operation},
};
use futures_util::future::join_all;

use crate::app::{App, Data, FEED, Mode, settings, wait_until};

const RUNS: &str = "/v1/admin/eval-runs";
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn row(id: &str, second: u32) -> String {
    format!(
        r#"{{"id":"{id}","ran_at":"2026-06-07T00:00:{second:02}.000Z","eval_output_schema_version":5}}"#
    )
}

fn page(second: u32, limit: u32) -> String {
    format!("{FEED}?since_ran_at=2026-06-07T00:00:{second:02}Z&limit={limit}")
}

/// Creates a database with rows `r1`, `r2`, …, one per second.
fn data(rows: u32) -> Data {
    let data = Data::sample();
    for second in 1..=rows {
        data.run(
            &format!("r{second}"),
            &format!("2026-06-07T00:00:{second:02}Z"),
            5,
        );
    }
    data
}

/// Returns the counts of hits, joins and misses from `/metrics`.
async fn counts(app: &App) -> [u64; 3] {
    let mut counts = [0; 3];
    for (count, from) in counts.iter_mut().zip(["held", "joined", "read"]) {
        let name = format!("publisher_feed_pages_total{{from=\"{from}\"}}");
        *count = app.metric(&name).await;
    }
    counts
}

async fn post(app: &App, rows: &str) {
    let answer = app.admin(Method::POST, RUNS, rows).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[actix_web::test]
async fn two_hundred_validators_that_request_the_same_page_cost_one_read() {
    let app = Rc::new(App::start(data(5)).await);
    // Two URLs of the same page.
    let ways = [
        page(1, 3),
        format!("{FEED}?limit=3&since_ran_at=2026-06-07T01:00:01%2B01:00&since_id="),
    ];
    let answers = join_all((0..200).map(|number| {
        let (app, path) = (Rc::clone(&app), ways[number % 2].clone());
        async move { app.get(&path).await }
    }));
    let answers = answers.await;
    assert!(answers.iter().all(|answer| answer.body == answers[0].body));
    let [hits, joins, misses] = counts(&app).await;
    assert_eq!((hits + joins, misses), (199, 1));
    let tag = answers[0].header("etag");
    let again = app.get_with(&page(1, 3), &[("if-none-match", tag)]).await;
    assert_eq!(again.status, 304);
    assert_eq!(
        counts(&app).await,
        [hits + 1, joins, 1],
        "304 reads nothing"
    );
    Rc::try_unwrap(app).ok().unwrap().stop().await;
}

#[actix_web::test]
async fn a_row_is_in_the_next_page_after_its_acknowledgement() {
    let app = App::start(data(1)).await;
    for number in 0..50 {
        assert_eq!(
            app.get(&page(0, 1000)).await.json()["items"]
                .as_array()
                .unwrap()
                .len(),
            number + 1
        );
        post(&app, &row(&format!("new{number}"), 30)).await;
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_full_page_is_cached_until_a_row_is_inserted_into_it() {
    let app = App::start(data(6)).await;
    // The first write after a start finds rows that this process did not write, and invalidates all pages.
    post(&app, &row("first", 40)).await;
    let (full, tail) = (page(1, 2), page(4, 50));
    let before = [app.get(&full).await, app.get(&tail).await];
    let [hits, _, misses] = counts(&app).await;
    // After the full page, within the last page.
    post(&app, &row("behind", 41)).await;
    assert_eq!(app.get(&full).await.body, before[0].body);
    assert_eq!(counts(&app).await, [hits + 1, 0, misses]);
    let after = app.get(&tail).await;
    assert!(after.text().contains("behind"));
    assert_eq!(counts(&app).await, [hits + 1, 0, misses + 1]);
    // A row before both pages changes neither.
    post(&app, &row("before", 0)).await;
    app.get(&full).await;
    app.get(&tail).await;
    assert_eq!(counts(&app).await, [hits + 3, 0, misses + 1]);
    // Within the full page.
    post(&app, &row("a", 2)).await;
    assert!(app.get(&full).await.text().contains("\"id\":\"a\""));
    assert_eq!(counts(&app).await, [hits + 3, 0, misses + 2]);
    // An epoch is on every page.
    let put = app
        .admin(Method::PUT, "/v1/admin/merkle-epochs/7", "{}")
        .await;
    assert_eq!(put.status, 200);
    for path in [&full, &tail] {
        assert_eq!(app.get(path).await.json()["merkle_epoch_latest"], 7);
    }
    app.stop().await;
}

#[actix_web::test]
async fn writes_of_other_processes_are_seen_at_the_next_poll() {
    let app = App::start(data(1)).await;
    assert!(!app.get(&page(0, 50)).await.text().contains("stranger"));
    app.data.run("stranger", "2026-06-07T00:00:30Z", 5);
    wait_until("the row of another process", async || {
        app.clock.advance(Duration::from_millis(500));
        app.get(&page(0, 50)).await.text().contains("stranger")
    })
    .await;
    // A write of this process reveals other processes' writes without a poll.
    app.data.run("another", "2026-06-07T00:00:31Z", 5);
    post(&app, &row("own", 32)).await;
    let page = app.get(&page(0, 50)).await;
    assert!(page.text().contains("another") && page.text().contains("own"));
    app.stop().await;
}

/// Another process that writes.
struct Other(Option<Writer>);

impl Other {
    fn of(app: &App) -> Self {
        let store = app.data.database.open(settings(&[]).store);
        Self(Some(store.writer(WriterSettings {
            busy_timeout: Duration::from_secs(20),
            wal_soft_bytes: u64::MAX,
            wal_hard_bytes: u64::MAX,
            long_wait: Duration::ZERO,
        })))
    }

    fn insert(&mut self, row: &str) {
        let mut writer = self.0.take().unwrap();
        let run = EvalRun::from_json(row).unwrap();
        // Commits block.
        let committed = thread::spawn(move || {
            let committed = writer.commit(&[Operation::InsertEvalRuns(vec![run])]);
            committed.unwrap();
            writer
        });
        self.0 = Some(committed.join().unwrap());
    }
}

#[actix_web::test]
async fn writes_of_other_processes_drop_only_the_pages_that_their_rows_fall_into() {
    let app = App::start(data(6)).await;
    let mut other = Other::of(&app);
    let shows = async |path: String, id: &str| {
        wait_until(id, async || {
            app.clock.advance(Duration::from_millis(500));
            app.get(&path).await.text().contains(id)
        })
        .await;
    };
    // With its first write a process begins a lineage, and all pages are read anew.
    other.insert(&row("first", 20));
    shows(page(6, 50), "first").await;
    let (one, two) = (page(0, 2), page(2, 2));
    for path in [&one, &two] {
        app.get(path).await;
    }
    let mut reads = Vec::new();
    for (second, path, id) in [(21, page(6, 50), "behind"), (1, one.clone(), "between")] {
        other.insert(&row(id, second));
        shows(path, id).await;
        let [.., before] = counts(&app).await;
        app.get(&two).await;
        let [.., after] = counts(&app).await;
        reads.push(after - before);
    }
    assert_eq!(reads, [0, 0], "the other page was read again");
    app.stop().await;
}

#[actix_web::test]
async fn a_cache_of_no_bytes_reads_for_every_request() {
    let mut settings = settings(&[]);
    settings.feed.max_cached_bytes = 0;
    let app = App::start_with(data(3), Mode::Pass, settings).await;
    for _ in 0..3 {
        app.get(&page(0, 50)).await;
    }
    assert_eq!(counts(&app).await, [0, 0, 3]);
    app.stop().await;
}

#[actix_web::test]
async fn a_request_is_counted_once_also_if_its_page_must_be_encoded_first() {
    let data = Data::sample();
    data.sample_runs(100, "2026-06-07T00:00:01Z");
    let app = App::start(data).await;
    app.get(&page(1, 200)).await;
    assert_eq!(counts(&app).await, [0, 0, 1]);
    let short = page(2, 200);
    app.get(&short).await;
    for (at, (path, codings, status)) in [
        (page(1, 200), "gzip", 200),
        (page(1, 200), "gzip", 200),
        (page(1, 200), "zstd, identity;q=0", 200),
        (page(1, 200), "br, identity;q=0", 406),
        (short.clone(), "gzip", 200),
        (short.clone(), "gzip, identity;q=0", 200),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = app.get_with(&path, &[("accept-encoding", codings)]).await;
        assert_eq!(answer.status, status);
        assert_eq!(counts(&app).await, [at as u64 + 1, 0, 2], "{codings}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_page_is_encoded_for_a_client_that_accepts_it_and_keeps_its_tags() {
    let data = Data::sample();
    data.sample_runs(100, "2026-06-07T00:00:01Z");
    let app = App::start(data).await;
    let identity = app.get(&page(1, 200)).await;
    let digits = identity.header("etag").trim_matches('"').to_owned();
    assert_eq!(identity.header("vary"), "accept-encoding");
    for (codings, coding) in [("gzip, br", "gzip"), ("zstd, gzip", "zstd")] {
        let coded = app
            .get_with(&page(1, 200), &[("accept-encoding", codings)])
            .await;
        assert_eq!(coded.header("content-encoding"), coding);
        assert_eq!(coded.header("etag"), format!("\"{digits}-{coding}\""));
        assert!(coded.body.len() * 2 < identity.body.len());
        let mut body = Vec::new();
        match coding {
            "gzip" => drop(
                flate2::read::GzDecoder::new(&*coded.body)
                    .read_to_end(&mut body)
                    .unwrap(),
            ),
            _ => body = zstd::decode_all(&*coded.body).unwrap(),
        }
        assert_eq!(body, identity.body);
        // An earlier row changes neither the bytes of the page nor its tag.
        post(&app, &row(&format!("before-{coding}"), 0)).await;
        let headers = [
            ("accept-encoding", codings),
            ("if-none-match", coded.header("etag")),
        ];
        assert_eq!(app.get_with(&page(1, 200), &headers).await.status, 304);
    }
    app.stop().await;
}

#[actix_web::test]
async fn the_bytes_of_pages_that_clients_do_not_read_are_bounded() {
    let data = Data::sample();
    data.sample_runs(1000, "2026-06-07T00:00:01Z");
    let settings = feed::Settings {
        queue_timeout: Duration::from_millis(50),
        read_timeout: Duration::from_secs(60),
        max_cached_bytes: 3_000_000,
        max_in_flight_bytes: 1_000_000,
        holdback: Duration::ZERO,
    };
    let store = data.database.open(store::Settings {
        pool_size: 4,
        busy_timeout: Duration::from_secs(5),
    });
    let feed = FeedHandle::new(
        store,
        settings,
        Arc::new(SystemClock),
        Metrics::new().unwrap(),
    );
    let all = PageLimit::new(1000).unwrap();
    let key = |ms: u32, limit| {
        let cursor = Cursor::tuple(&format!("2026-06-07T00:00:00.{ms:03}Z"), None);
        PageKey::new(After::Place(cursor.unwrap()), limit)
    };
    let mut unsent = Vec::new();
    // Keeps the bodies, as connections do that still send them; their pages may be evicted meanwhile.
    let error = loop {
        match feed.page(&key(unsent.len() as u32, all), CLIENT).await {
            Ok((page, _)) => unsent.push(page.representation.identity().body()),
            Err(error) => break error,
        }
    };
    assert!(matches!(*error, FeedError::Busy), "{error}");
    let bytes: usize = unsent.iter().map(|body| body.len()).sum();
    let longest = unsent[0].len();
    assert!((3_000_000..3_000_000 + longest).contains(&bytes), "{bytes}");
    assert_eq!(feed.usage().page_bytes, 0, "all pages are evicted");
    let small = PageLimit::new(7).unwrap();
    assert!(feed.page(&key(999, small), CLIENT).await.is_ok());
    unsent.clear();
    let (page, source) = feed.page(&key(999, all), CLIENT).await.unwrap();
    assert_eq!(source, Source::Miss);
    let cached = feed.cached(&key(999, all)).unwrap();
    assert_eq!(cached.representation, page.representation);
}
