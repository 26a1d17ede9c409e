//! The proof that nothing that was acknowledged is lost, and nothing is served that is not stored:
//!
//! - rounds of kill -9 beside backups, restores, deletions and other processes lose nothing
//! - kill -9 of two servers and an import on one file: clients of `since_seq` get every eval run exactly once
//! - whatever call on the database files fails, nothing is lost, and the server recovers
//! - a disk that fails, fills or hangs for a while costs writes 503, and nothing that is in memory
//! - a paused process, a lock of another one and a clock that jumps lose nothing
//!
//! | file | what it knows |
//! |---|---|
//! | `items` | what is written: every item is told by its key |
//! | `model` | what was sent and acknowledged, and hence what must be stored |
//! | `writers`, `readers` | the clients |
//! | `pullers` | clients that follow `since_seq` from round to round |
//! | `server` | a publisher in a process of its own |
//! | `rounds`, `beside` | kill -9 at random moments, and what happens beside the clients |
//! | `settle` | waits until a server shows what others have written and taken away |
//! | `check` | what is stored and served, against the model |
//! | `inject`, `scenario` | calls that fail, and what the server makes of them |
//! | `outside` | pauses, locks, clocks, full disks |
//! | `report` | the table of what was found |
//!
//! `scripts/chaos.sh` runs many rounds of the same.

#[allow(dead_code)]
pub mod beside;
#[allow(dead_code)]
pub mod check;
#[allow(dead_code)]
pub mod inject;
#[allow(dead_code)]
pub mod items;
#[allow(dead_code)]
pub mod model;
#[allow(dead_code)]
pub mod outside;
#[allow(dead_code)]
pub mod pullers;
#[allow(dead_code)]
pub mod readers;
#[allow(dead_code)]
pub mod report;
#[allow(dead_code)]
pub mod rounds;
#[allow(dead_code)]
pub mod scenario;
#[allow(dead_code)]
pub mod server;
#[allow(dead_code)]
pub mod settle;
#[allow(dead_code)]
pub mod writers;

use std::{
    thread,
    time::{Duration, Instant},
};

/// How often a server looks for changes of others, in milliseconds.
pub const POLL_MS: &str = "20";
/// Longer than any step takes on a busy machine.
pub const LONG: Duration = Duration::from_secs(60);

/// Repeats until there is a result, in real time: other processes are waited for. `None` after the limit.
pub fn until<T>(limit: Duration, mut result: impl FnMut() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    loop {
        let found = result();
        if found.is_some() || begun.elapsed() > limit {
            return found;
        }
        thread::sleep(Duration::from_millis(5));
    }
}
