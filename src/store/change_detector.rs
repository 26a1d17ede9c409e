//! Notices commits of other connections to the database file.

use std::{path::PathBuf, time::Duration};

use rusqlite::OpenFlags;

use super::{
    StoreError,
    file::{FileConnection, FileIdentity, identity},
    read::{self, FeedStamp},
};

/// The state of the database at one poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DatabaseState {
    /// The count of changes to the board.
    pub(crate) board_version: i64,
    /// The state of the feed.
    pub(crate) feed: FeedStamp,
    /// Whether another file has replaced the file of the poll before.
    pub(crate) replaced: bool,
}

/// A connection of its own: `PRAGMA data_version` tells the commits of all other connections.
#[derive(Debug)]
pub(crate) struct ChangeDetector {
    path: PathBuf,
    busy_timeout: Duration,
    file: FileIdentity,
    connection: Option<FileConnection>,
    data_version: Option<i64>,
}

impl ChangeDetector {
    /// Watches the file at `path` as it is now. Opens it at the first poll.
    pub(crate) fn new(path: PathBuf, busy_timeout: Duration) -> Self {
        Self {
            file: identity(&path),
            path,
            busy_timeout,
            connection: None,
            data_version: None,
        }
    }

    /// Returns the state of the database at the first poll, and whenever anything has been committed since
    /// the last one.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`]; the next poll opens the file anew.
    pub(crate) fn poll(&mut self) -> Result<Option<DatabaseState>, StoreError> {
        let known = self.connection.take();
        let connection = match known.filter(|known| known.is_current(&self.path)) {
            Some(known) => known,
            None => {
                self.data_version = None;
                let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                let connection = FileConnection::open(&self.path, || {
                    rusqlite::Connection::open_with_flags(&self.path, flags)
                })?;
                connection.busy_timeout(self.busy_timeout)?;
                connection
            }
        };
        let file = connection.identity();
        let data_version = connection.pragma_query_value(None, "data_version", |row| row.get(0))?;
        let state = if self.data_version == Some(data_version) {
            None
        } else {
            Some(DatabaseState {
                board_version: read::board_version(&connection)?,
                feed: read::feed_stamp(&connection)?,
                replaced: self.file != file,
            })
        };
        self.data_version = Some(data_version);
        self.file = file;
        self.connection = Some(connection);
        Ok(state)
    }
}
