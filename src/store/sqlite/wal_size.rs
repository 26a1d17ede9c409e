//! Keeps the write-ahead log (WAL) bounded.
//!
//! SQLite copies the WAL back into the database after every 1,000 pages, as far as readers allow, and
//! restarts it only at a moment when no reader uses it. If readers overlap without end, that moment never
//! comes and the WAL grows without bound. So, past a soft limit, the writer waits briefly for that moment;
//! past a hard limit, as long as a read can take. While it waits no reader is delayed, and new readers do not
//! use the WAL any more, so it waits only for readers that were there. Readers of this program end at their
//! timeout. A reader of another process that never ends keeps the WAL for as long as it lives.

use std::time::Duration;

use rusqlite::Connection;

use super::{file::DatabaseFile, open::checkpoint};
use crate::store::WriterSettings;

const BRIEF_WAIT: Duration = Duration::from_millis(50);
const ATTEMPT: Duration = Duration::from_millis(250);

/// Watches the size of one WAL.
#[derive(Debug)]
pub(super) struct WalSize {
    file: DatabaseFile,
    settings: WriterSettings,
    /// The size at which to try next: after a failure, the WAL must first grow by a quarter.
    next_bytes: u64,
}

impl WalSize {
    /// Watches the WAL of the file.
    pub(super) fn new(file: &DatabaseFile, mut settings: WriterSettings) -> Self {
        // A hard limit that is lower than the soft one would never be looked at.
        settings.wal_soft_bytes = settings.wal_soft_bytes.min(settings.wal_hard_bytes);
        Self {
            file: file.clone(),
            settings,
            next_bytes: settings.wal_soft_bytes,
        }
    }

    /// Checkpoints if the WAL has grown past a limit. Call it after a commit; costs one `stat` while the WAL
    /// is small.
    pub(super) fn keep_bounded(&mut self, connection: &Connection) {
        let bytes = self.file.wal_bytes();
        if bytes < self.next_bytes {
            return;
        }
        let wait = if bytes < self.settings.wal_hard_bytes {
            BRIEF_WAIT
        } else {
            log::warn!(
                "the write-ahead log has {bytes} bytes: waiting for readers, so that it can be checkpointed"
            );
            self.settings.long_wait
        };
        let truncated = checkpoint_within(connection, wait);
        // If this fails the connection works as well: it only waits too long or too short.
        let _ = connection.busy_timeout(self.settings.busy_timeout);
        self.next_bytes = match truncated {
            Ok(true) => self.settings.wal_soft_bytes,
            Ok(false) | Err(_) => bytes + self.settings.wal_soft_bytes / 4,
        };
    }
}

/// Tries for up to `wait`, in several attempts: under readers that come and go, one long attempt was seen to
/// use up its whole wait when the next one took milliseconds.
fn checkpoint_within(connection: &Connection, wait: Duration) -> rusqlite::Result<bool> {
    let mut left = wait;
    while !left.is_zero() {
        let attempt = left.min(ATTEMPT);
        connection.busy_timeout(attempt)?;
        if checkpoint(connection)? {
            return Ok(true);
        }
        left -= attempt;
    }
    Ok(false)
}
