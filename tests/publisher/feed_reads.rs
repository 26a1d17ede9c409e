//! Reads of the feed while all connections of the pool are in use:
//!
//! - a request that joins a read waits no longer than the time limit of a read

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use cathedral_publisher::{
    domain::{
        clock::SystemClock,
        cursor::{Cursor, PageLimit},
    },
    feed::{self, After, FeedHandle, PageKey},
    metrics::Metrics,
    store::{
        self, Store,
        sqlite::{SqliteStore, file::DatabaseFile},
    },
};
use futures_util::future::join_all;

use crate::app::Data;

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[actix_web::test]
async fn a_request_that_joins_a_read_waits_no_longer_than_the_time_limit_of_a_read() {
    let data = Data::sample();
    let settings = feed::Settings {
        queue_timeout: Duration::from_millis(10),
        read_timeout: Duration::from_millis(50),
        max_cached_bytes: 0,
        max_in_flight_bytes: 1_000_000,
        holdback: Duration::ZERO,
    };
    let settings_of_one = store::Settings {
        pool_size: 1,
        busy_timeout: Duration::from_secs(5),
    };
    let store = SqliteStore::new(
        DatabaseFile::new(&data.path(), false),
        settings_of_one,
        false,
    );
    // The only connection is in use: the read waits for it on a blocking thread.
    let taken = store
        .pool()
        .reader(Instant::now() + Duration::from_secs(60))
        .unwrap();
    let feed = FeedHandle::new(
        Store::Sqlite(store),
        settings,
        Arc::new(SystemClock),
        Metrics::new().unwrap(),
    );
    let cursor = Cursor::tuple("2026-06-07", None).unwrap();
    let key = PageKey::new(After::Place(cursor), PageLimit::default());
    let begun = Instant::now();
    let answers = join_all((0..5).map(|_| feed.page(&key, CLIENT))).await;
    assert!(answers.iter().all(Result::is_err));
    assert!(begun.elapsed() < Duration::from_secs(30));
    drop(taken);
    assert!(feed.page(&key, CLIENT).await.is_ok());
}
