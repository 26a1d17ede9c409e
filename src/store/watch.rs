//! Has anybody written to the file?

use std::{path::PathBuf, time::Duration};

use rusqlite::{Connection, OpenFlags};

use super::{
    StoreError,
    file::{FileIdentity, identity},
    read::{self, FeedStamp},
};

/// How a look found things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The count of changes to the board.
    pub board_version: i64,
    /// The state of the feed.
    pub feed: FeedStamp,
    /// Whether another file has taken the place of the one that was there before.
    pub replaced: bool,
}

/// A connection of its own, for `PRAGMA data_version` speaks of the commits of all others.
#[derive(Debug)]
pub struct ChangeDetector {
    path: PathBuf,
    busy_timeout: Duration,
    file: FileIdentity,
    connection: Option<(Connection, FileIdentity)>,
    seen: Option<i64>,
}

impl ChangeDetector {
    /// Watches the file at `path`, as it is now; opens it at the first look.
    pub fn new(path: PathBuf, busy_timeout: Duration) -> Self {
        Self {
            file: identity(&path),
            path,
            busy_timeout,
            connection: None,
            seen: None,
        }
    }

    /// How board and feed are, where anything at all has been committed since the last look (and at
    /// the first one).
    ///
    /// # Errors
    /// [`StoreError::Sqlite`]; the next look opens the file anew.
    pub fn changed(&mut self) -> Result<Option<Found>, StoreError> {
        let file = identity(&self.path);
        let known = self.connection.take().filter(|(_, open)| *open == file);
        let (connection, _) = match known {
            Some(known) => known,
            None => {
                self.seen = None;
                let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                let connection = Connection::open_with_flags(&self.path, flags)?;
                connection.busy_timeout(self.busy_timeout)?;
                (connection, file)
            }
        };
        let now = connection.pragma_query_value(None, "data_version", |row| row.get(0))?;
        let found = if self.seen == Some(now) {
            None
        } else {
            Some(Found {
                board_version: read::board_version(&connection)?,
                feed: read::feed_stamp(&connection)?,
                replaced: self.file != file,
            })
        };
        self.seen = Some(now);
        self.file = file;
        self.connection = Some((connection, file));
        Ok(found)
    }
}
