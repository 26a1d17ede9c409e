//! The publisher's behaviour, over real HTTP and on real database files. A file a behaviour.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    missing_docs,
    unreachable_pub
)]

mod app;
mod command_line;
mod conditional;
mod cursor;
mod faults;
mod herd;
mod single_flight;
mod sockets;
mod transfer;
mod wire_board;
mod wire_feed;
