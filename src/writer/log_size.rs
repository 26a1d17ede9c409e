//! Keeps the write-ahead log bounded.
//!
//! SQLite copies the log back into the database after every 1,000 pages, as far as readers allow,
//! and starts it over only at a moment when no reader uses it: under readers that overlap without
//! end that moment never comes, and the log grows without bound. So, past a soft limit, the writer
//! waits for that moment, briefly; past a hard limit, as long as a read can take. While it waits no
//! reader is delayed, and new ones do not use the log any more, so it waits only for those that were
//! there. Readers of this program end at their timeout; one of another process that never ends holds
//! the log open for as long as it lives.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::Connection;

use crate::store::{
    file::{bytes_of, log_path},
    open::empty_log,
};

/// When the writer waits for readers to let go of the log, and how long.
#[derive(Debug, Clone, Copy)]
pub struct LogLimits {
    /// From this many bytes on, wait briefly.
    pub soft_bytes: u64,
    /// From this many bytes on, wait long.
    pub hard_bytes: u64,
    /// The long wait: at least as long as a read may take.
    pub long_wait: Duration,
}

const BRIEF_WAIT: Duration = Duration::from_millis(50);
const ATTEMPT: Duration = Duration::from_millis(250);

/// Watches the size of one log.
#[derive(Debug)]
pub struct LogSize {
    log: PathBuf,
    limits: LogLimits,
    /// The size at which to try next: after a failure, the log must first grow by a quarter.
    next_bytes: u64,
}

impl LogSize {
    /// Watches the log of the database at `path`.
    pub fn new(path: &Path, limits: LogLimits) -> Self {
        Self {
            log: log_path(path),
            limits,
            next_bytes: limits.soft_bytes,
        }
    }

    /// To be called after a commit; costs one `stat` while the log is small.
    pub fn keep_bounded(&mut self, connection: &Connection, busy_timeout: Duration) {
        let bytes = bytes_of(&self.log);
        if bytes < self.next_bytes {
            return;
        }
        let wait = if bytes < self.limits.hard_bytes {
            BRIEF_WAIT
        } else {
            log::warn!("the write-ahead log has {bytes} bytes: waiting for readers to let it go");
            self.limits.long_wait
        };
        let truncated = truncate_within(connection, wait);
        // The connection works without this as well: it would only wait too long or too short.
        let _ = connection.busy_timeout(busy_timeout);
        self.next_bytes = match truncated {
            Ok(true) => self.limits.soft_bytes,
            Ok(false) | Err(_) => bytes + self.limits.soft_bytes / 4,
        };
    }
}

/// Tries for up to `wait`, in several attempts: under readers that come and go one long attempt was
/// seen to run out its whole wait where the next one took milliseconds.
fn truncate_within(connection: &Connection, wait: Duration) -> rusqlite::Result<bool> {
    let mut left = wait;
    while !left.is_zero() {
        let attempt = left.min(ATTEMPT);
        if truncate(connection, attempt)? {
            return Ok(true);
        }
        left -= attempt;
    }
    Ok(false)
}

/// False where readers held it beyond `wait`.
fn truncate(connection: &Connection, wait: Duration) -> rusqlite::Result<bool> {
    connection.busy_timeout(wait)?;
    empty_log(connection)
}
