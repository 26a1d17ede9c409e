//! Has anybody written to the file?

use std::{path::PathBuf, time::Duration};

use rusqlite::{Connection, OpenFlags};

use super::{StoreError, read};

/// A connection of its own, for `PRAGMA data_version` speaks of the commits of all others.
#[derive(Debug)]
pub struct ChangeDetector {
    path: PathBuf,
    busy_timeout: Duration,
    connection: Option<Connection>,
    seen: Option<i64>,
}

impl ChangeDetector {
    /// Watches the file at `path`; opens it at the first look.
    pub fn new(path: PathBuf, busy_timeout: Duration) -> Self {
        Self {
            path,
            busy_timeout,
            connection: None,
            seen: None,
        }
    }

    /// The board's version, where anything at all has been committed since the last look (and at
    /// the first one).
    ///
    /// # Errors
    /// [`StoreError::Sqlite`]; the next look opens the file anew.
    pub fn changed_board_version(&mut self) -> Result<Option<i64>, StoreError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                self.seen = None;
                let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                let connection = Connection::open_with_flags(&self.path, flags)?;
                connection.busy_timeout(self.busy_timeout)?;
                connection
            }
        };
        let now = connection.pragma_query_value(None, "data_version", |row| row.get(0))?;
        let version = if self.seen == Some(now) {
            None
        } else {
            Some(read::board_version(&connection)?)
        };
        self.seen = Some(now);
        self.connection = Some(connection);
        Ok(version)
    }
}
