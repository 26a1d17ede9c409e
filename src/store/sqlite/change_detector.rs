//! Notices commits of other connections to the database file.

use std::time::Duration;

use rusqlite::{Connection, config::DbConfig};

use super::{
    file::{DatabaseFile, FileConnection},
    history::Reached,
    mirror::claim::expect_copy,
    open::{open_reader, open_writer},
    read,
};
use crate::store::{DatabaseState, StoreError};

/// A connection of its own: `PRAGMA data_version` tells the commits of all other connections.
#[derive(Debug)]
pub struct ChangeDetector {
    file: DatabaseFile,
    writable: bool,
    busy_timeout: Duration,
    follows: bool,
    connection: Option<FileConnection>,
    data_version: Option<i64>,
}

impl ChangeDetector {
    /// Watches the file. With `writable`, a file that takes its place is migrated. If it `follows`, only a copy of
    /// another publisher has a state. Blocks while it opens the database; if that fails, the first poll tries again.
    pub(crate) fn new(
        file: DatabaseFile,
        writable: bool,
        busy_timeout: Duration,
        follows: bool,
    ) -> Self {
        let mut detector = Self {
            file,
            writable,
            busy_timeout,
            follows,
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
        let connection = match self.connection.take() {
            Some(connection) => self.usable(connection)?,
            None => None,
        };
        let connection = match connection {
            Some(connection) => connection,
            None => {
                self.data_version = None;
                self.open()?
            }
        };
        let state = self.read(&connection);
        let failed = matches!(state, Err(StoreError::Sqlite(_)));
        if !failed {
            self.connection = Some(connection);
        } else if let Some(usable) = self.usable(connection)? {
            // Nobody touched the files; the next poll opens them anew all the same.
            drop(usable);
        }
        state
    }

    /// Returns the connection if it has the files open that are at the path. If these have a fault it is kept: while
    /// it is open, SQLite deletes no side file.
    fn usable(&mut self, connection: FileConnection) -> Result<Option<FileConnection>, StoreError> {
        match connection.is_whole(None) {
            Ok((true, _)) => Ok(Some(connection)),
            Ok((false, _)) => {
                // Wherever the old database is now, it is complete without its log.
                self.save(&connection);
                self.file.condition().history.forget();
                Ok(None)
            }
            Err(fault) => {
                if fault.is_lost_log() {
                    self.save(&connection);
                }
                self.connection = Some(connection);
                Err(fault.into())
            }
        }
    }

    /// Writes what only open connections still have of the log into the database.
    fn save(&self, connection: &FileConnection) {
        if !self.writable {
            return;
        }
        let saved = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        if let Err(error) = saved {
            log::error!(
                "the write-ahead log was lost before it was written into the database: {error}"
            );
        }
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
        if self.follows {
            expect_copy(connection)?;
        }
        let history = &self.file.condition().history;
        let (mut state, mut reached) = read_state(connection)?;
        if self.writable && history.is_behind(reached) {
            // Or a commit of this process was faster than this poll: that is told with the write lock.
            history.check_apart(connection)?;
            (state, reached) = read_state(connection)?;
        }
        history.reached(reached);
        self.data_version = Some(data_version);
        Ok(Some(state))
    }
}

fn read_state(connection: &Connection) -> Result<(DatabaseState, Reached), StoreError> {
    let transaction = connection.unchecked_transaction()?;
    let reached = Reached::of(&transaction)?;
    let state = DatabaseState {
        board: read::board_stamp(&transaction)?,
        feed: read::feed_stamp(&transaction)?,
        restored: read::last_restore(&transaction)?,
        newest_run_secs: read::newest_run_secs(&transaction)?,
    };
    Ok((state, reached))
}
