//! Tests of the publisher over real HTTP, with real database files. Each module tests one area. Its doc comment is
//! the specification: one bullet per behaviour, with the words of the test names.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    unreachable_pub
)]

mod accepted;
mod admin;
mod admin_reads;
mod alarms;
mod app;
mod backup;
mod between;
mod browser;
mod caches;
mod chaos;
#[path = "chaos/tests.rs"]
mod chaos_tests;
mod check;
mod client;
mod client_address;
mod cnf;
mod cnf_files;
mod cnf_strays;
mod cnf_upload;
mod codings;
mod command_line;
mod conditional;
mod containers;
mod cursor;
mod database;
mod database_files;
mod description;
mod disk;
mod door;
mod door_bounds;
mod door_framing;
mod door_fuzz;
mod edge_cache;
mod events;
mod export_all;
mod faults;
mod feed_pages;
mod feed_reads;
mod fetch;
mod file;
mod follow;
mod follow_between;
mod follow_foreign;
mod foreign;
mod fragile;
mod front;
mod golden;
mod herd;
mod holdback;
mod hostile;
mod import_export;
mod import_locking;
mod keys;
mod log_output;
mod operations;
mod other_processes;
mod page;
mod page_live;
mod page_looks;
mod ports;
mod process;
mod prune;
mod refresh_flag;
mod replicas;
mod seq_pulls;
mod service;
mod shell;
mod signals;
mod slow_clients;
mod snapshot_file;
mod sockets;
mod stopping;
mod vitals;
mod waiting;
mod wal;
mod wire;
mod wire_board;
mod wire_feed;
mod wire_seq;
mod writes;
