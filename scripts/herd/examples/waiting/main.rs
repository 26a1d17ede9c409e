//! What waiting for a change costs, compared with polling. Each scenario prints a small table and fails if a number
//! falls short.
//!
//!     cargo run --release -p herd --example waiting -- SCENARIO [NUMBER]
//!
//! | scenario | what it does | NUMBER |
//! |---|---|---|
//! | `waiters` | clients wait: memory, processor time without a change, and one change until it has reached the last one; polls beside them | clients (10,000) |
//! | `hour` | the production mix by polling and by waiting, directly and through nginx with the shipped configuration and its cache | seconds of each run (90) |
//! | `quiet` | 5,000 clients wait and nothing changes: how often each is answered | seconds (60) |
//! | `stop` | SIGTERM while clients wait | clients (5,000) |
//! | `vanish` | all clients disappear: what is left of them in the server | clients (10,000) |
//!
//! `scripts/waiting.sh` runs all of them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub
)]

#[path = "../../../../tests/publisher/client.rs"]
mod client;
#[path = "../lab/mod.rs"]
#[allow(dead_code)]
mod lab;

mod hour;
mod limits;
mod report;
mod server;
mod waiters;

use std::process::ExitCode;

use report::Report;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let scenario = arguments.next().unwrap_or_default();
    let number: Option<u32> = arguments.next().map(|text| text.parse().unwrap());
    let mut report = Report::default();
    match scenario.as_str() {
        "waiters" => waiters::waiters(number.unwrap_or(10_000), &mut report),
        "hour" => hour::hour(number.unwrap_or(90), &mut report),
        "quiet" => limits::quiet(number.unwrap_or(60), &mut report),
        "stop" => limits::stop(number.unwrap_or(5_000), &mut report),
        "vanish" => limits::vanish(number.unwrap_or(10_000), &mut report),
        _ => {
            println!("scenarios: waiters, hour, quiet, stop, vanish");
            return ExitCode::from(2);
        }
    }
    report.end()
}
