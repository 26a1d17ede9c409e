//! Notices commits of other connections to the database file.

use std::time::Duration;

use rusqlite::config::DbConfig;

use super::{
    StoreError,
    file::{DatabaseFile, FileConnection},
    open::{open_reader, open_writer},
    read::{self, Version},
};

/// The state of the database at one poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DatabaseState {
    /// The version of the board.
    pub(crate) board: Version,
    /// The version of the feed.
    pub(crate) feed: Version,
    /// Which history the database tells.
    pub(crate) lineage: String,
}

/// A connection of its own: `PRAGMA data_version` tells the commits of all other connections.
#[derive(Debug)]
pub(crate) struct ChangeDetector {
    file: DatabaseFile,
    writable: bool,
    busy_timeout: Duration,
    connection: Option<FileConnection>,
    data_version: Option<i64>,
}

impl ChangeDetector {
    /// Watches the file. With `writable`, a file that takes its place is migrated. Blocks while it opens the
    /// database; if that fails, the first poll tries again.
    pub(crate) fn new(file: DatabaseFile, writable: bool, busy_timeout: Duration) -> Self {
        let mut detector = Self {
            file,
            writable,
            busy_timeout,
            connection: None,
            data_version: None,
        };
        detector.connection = detector.open().ok();
        detector
    }

    /// Returns the state of the database at the first poll, and whenever anything has been committed since
    /// the last one.
    ///
    /// # Errors
    /// [`StoreError`]; unless its files have a fault, the next poll opens the database anew.
    pub(crate) fn poll(&mut self) -> Result<Option<DatabaseState>, StoreError> {
        // If this fails the connection remains: as long as it is open, SQLite deletes no side file.
        let is_current = self.connection.as_ref().map(FileConnection::is_whole);
        let connection = match (is_current.transpose()?, self.connection.take()) {
            (Some(true), Some(connection)) => connection,
            _ => {
                self.data_version = None;
                self.open()?
            }
        };
        let state = self.read(&connection);
        if matches!(state, Err(StoreError::Sqlite(_))) {
            // Somebody may have touched the files meanwhile: then the connection is kept as well.
            if let Err(fault) = connection.is_whole() {
                self.connection = Some(connection);
                return Err(fault.into());
            }
        } else {
            self.connection = Some(connection);
        }
        state
    }

    fn open(&self) -> Result<FileConnection, StoreError> {
        let path = self.file.path();
        let connection = self.file.open(|| {
            if self.writable {
                open_writer(path, self.busy_timeout)
            } else {
                open_reader(path, self.busy_timeout)
            }
        })?;
        connection.pragma_update(None, "query_only", "ON")?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        Ok(connection)
    }

    fn read(&mut self, connection: &FileConnection) -> Result<Option<DatabaseState>, StoreError> {
        let data_version = connection.pragma_query_value(None, "data_version", |row| row.get(0))?;
        if self.data_version == Some(data_version) {
            return Ok(None);
        }
        let transaction = connection.unchecked_transaction()?;
        let state = DatabaseState {
            board: read::board_version(&transaction)?,
            feed: read::feed_stamp(&transaction)?.version,
            lineage: read::lineage(&transaction)?,
        };
        self.data_version = Some(data_version);
        Ok(Some(state))
    }
}
