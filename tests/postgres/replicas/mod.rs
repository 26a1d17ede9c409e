//! Several publishers of one database, as processes, while servers are killed, stopped, promoted and cut off. Each test
//! checks a promise in seconds; `scripts/replicas.sh` runs the same tests at full length and prints their table.
//!
//! | file | what it knows |
//! |---|---|
//! | `fleet` | the publishers, and what is stored |
//! | `load` | clients that write and pull meanwhile, and the comparison at the end |
//! | `link` | a connection to the database that can be cut, and whose bytes are counted |
//! | `order` | `since_seq` gives every row exactly once, and would not without the lock |
//! | `failover` | kill -9 of publishers and of PostgreSQL, promotions |
//! | `stalls` | PostgreSQL, the network or a publisher stands still |
//! | `news` | what one writes, the others serve |
//! | `start` | many start at once on an empty database |
//! | `closing` | all of it behind nginx |
//! | `rates` | rows per second beside SQLite |

mod closing;
mod failover;
mod fleet;
mod link;
mod load;
mod news;
mod order;
mod rates;
mod stalls;
mod start;

use std::{fs::OpenOptions, io::Write, path::Path, time::Duration};

/// Whether the tests run at full length.
pub fn is_full() -> bool {
    std::env::var_os("REPLICAS_FULL").is_some()
}

/// Returns the size of a test: the first one in `cargo test`, the second one in `scripts/replicas.sh`.
pub fn size<T>(short: T, full: T) -> T {
    if is_full() { full } else { short }
}

pub fn seconds(short: u64, full: u64) -> Duration {
    Duration::from_secs(size(short, full))
}

pub fn publisher() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_cathedral-publisher"))
}

/// Returns the bound of a wait that is promised to end within `promised`: ten times as long in `cargo test`, where other
/// tests use the same processors.
pub fn within(promised: Duration) -> Duration {
    size(promised * 10, promised)
}

/// Writes a line of the table that `scripts/replicas.sh` prints, and fails if the number falls short.
#[track_caller]
pub fn promise(row: &str, check: &str, found: &str, holds: bool) {
    if let Some(table) = std::env::var_os("REPLICAS_TABLE") {
        let verdict = if holds { "holds" } else { "FALLS SHORT" };
        let line = format!("{row}\t{check}\t{found}\t{verdict}\n");
        let file = OpenOptions::new().append(true).create(true).open(table);
        file.unwrap().write_all(line.as_bytes()).unwrap();
    }
    assert!(holds, "{check}: {found}");
}

/// Returns the value below which so many hundredths of the values lie.
pub fn percentile(values: &mut [Duration], hundredths: usize) -> Duration {
    values.sort_unstable();
    let index = (values.len() * hundredths).div_ceil(100).max(1) - 1;
    values[index]
}

pub fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}
