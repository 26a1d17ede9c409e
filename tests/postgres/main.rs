//! Tests of the publisher with PostgreSQL: with a real server, started by the tests. Where `initdb` is missing they
//! print SKIPPED and pass. Each module tests one area. Its doc comment is the specification: one bullet per
//! behaviour, with the words of the test names.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    unreachable_pub
)]

#[allow(dead_code, reason = "tests to come use the rest")]
mod cluster;
mod cluster_tests;
mod snapshot_file;
mod store;
mod writing;
