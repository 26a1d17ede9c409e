//! Tests of the publisher with PostgreSQL: with a real server, started by the tests. Where `initdb` is missing they
//! print SKIPPED and pass. Each module tests one area. Its doc comment is the specification: one bullet per
//! behaviour, with the words of the test names.
//!
//! What is to be the same with SQLite is tested by the same files, of `tests/publisher`: there and here the module
//! `database` makes the database of a test.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    unreachable_pub
)]

#[path = "../publisher/admin.rs"]
mod admin;
#[path = "../publisher/admin_reads.rs"]
mod admin_reads;
#[allow(dead_code)]
#[path = "../publisher/app.rs"]
mod app;
#[path = "../publisher/caches.rs"]
mod caches;
#[path = "../publisher/chaos/mod.rs"]
mod chaos;
#[path = "../publisher/client.rs"]
mod client;
mod cluster;
mod cluster_tests;
#[path = "../publisher/codings.rs"]
mod codings;
#[path = "../publisher/conditional.rs"]
mod conditional;
mod database;
#[path = "../publisher/events.rs"]
mod events;
#[path = "../publisher/feed_pages.rs"]
mod feed_pages;
mod follow;
#[path = "../publisher/golden.rs"]
mod golden;
#[path = "../publisher/holdback.rs"]
mod holdback;
mod operators;
#[path = "../publisher/ports.rs"]
mod ports;
#[allow(dead_code)]
#[path = "../publisher/process.rs"]
mod process;
#[path = "../publisher/prune.rs"]
mod prune;
mod replicas;
mod snapshot_file;
#[allow(dead_code)]
#[path = "../publisher/database.rs"]
mod sqlite;
mod store;
#[path = "../publisher/vitals.rs"]
mod vitals;
#[path = "../publisher/waiting.rs"]
mod waiting;
#[allow(dead_code)]
#[path = "../publisher/wire.rs"]
mod wire;
#[path = "../publisher/wire_board.rs"]
mod wire_board;
#[path = "../publisher/wire_feed.rs"]
mod wire_feed;
#[path = "../publisher/wire_seq.rs"]
mod wire_seq;
#[path = "../publisher/writes.rs"]
mod writes;
mod writing;
