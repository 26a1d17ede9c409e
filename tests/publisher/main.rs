//! The publisher's behaviour, over real HTTP and on real database files. A file a behaviour.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    unreachable_pub
)]

mod admin;
mod app;
mod client;
mod codings;
mod command_line;
mod conditional;
mod crashes;
mod cursor;
mod description;
mod disk;
mod door;
mod door_bounds;
mod door_framing;
mod door_fuzz;
mod faults;
mod feed_pages;
mod feed_tail;
mod front;
mod herd;
mod hostile;
mod licences;
mod other_processes;
mod service;
mod single_flight;
mod sockets;
mod stopping;
mod transfer;
mod wire;
mod wire_board;
mod wire_feed;
mod writes;
