//! The store on PostgreSQL, without a server in front.

mod connecting;
mod failing;
mod migrating;
mod reading;
mod watching;

use std::{
    ffi::OsStr,
    time::{Duration, Instant},
};

pub use cathedral_publisher::store::postgres::Options;
use cathedral_publisher::store::{
    location::Location,
    postgres::{PostgresStore, url::PostgresUrl},
};

/// Longer than any step takes on a busy machine.
pub const LONG: Duration = Duration::from_secs(60);

pub fn url(text: &str) -> PostgresUrl {
    match Location::parse(OsStr::new(text)).unwrap() {
        Location::Postgres(url) => url,
        Location::Sqlite(path) => panic!("{path:?} is no URL"),
    }
}

pub fn options(text: &str) -> Options {
    Options {
        url: url(text),
        listen_url: None,
        password_file: None,
        ca_file: None,
        read_only: false,
        pool_size: 3,
    }
}

pub fn soon() -> Instant {
    Instant::now() + LONG
}

pub fn open(text: &str) -> PostgresStore {
    PostgresStore::open(options(text), soon()).unwrap()
}

/// Inserts published eval runs `id` at this second, one for each id.
pub fn insert(ids: &[&str], second: u32) -> String {
    let rows: Vec<String> = ids
        .iter()
        .map(|id| {
            format!("('{id}', '2026-06-07T00:00:{second:02}.000Z', 5, '{{\"id\":\"{id}\"}}')")
        })
        .collect();
    format!(
        "INSERT INTO eval_runs (id, ran_at, schema_version, body) VALUES {}",
        rows.join(",")
    )
}

/// A challenge that is published.
pub fn put(id: &str, tier: u32) -> String {
    format!(
        "INSERT INTO challenges VALUES ('{id}', 'active', {tier}, NULL, 1.5, 'k', 'file', repeat('a', 64), 7, 8, 9, NULL, true)"
    )
}

/// Waits until `condition` holds.
#[track_caller]
pub fn eventually(mut condition: impl FnMut() -> bool) {
    let deadline = soon();
    while !condition() {
        assert!(Instant::now() < deadline, "not in time");
        std::thread::sleep(Duration::from_millis(20));
    }
}
