//! The connection that stays open while a database is served.

use std::{
    ops::{Deref, DerefMut},
    path::Path,
    time::Duration,
};

use rusqlite::{Connection, config::DbConfig};

use super::{
    file::{DatabaseFile, FaultKind, FileConnection, FileFault, set_aside},
    open::{OpenError, checkpoint, open_reader, open_writer},
};

/// A connection that is opened first and closed last. While it is open SQLite deletes no side file, and its end
/// checkpoints the write-ahead log.
#[derive(Debug)]
pub struct KeptOpen {
    connection: FileConnection,
    file: DatabaseFile,
}

impl KeptOpen {
    /// Opens the database at `path`. Unless it is `read_only`, creates or migrates it if needed.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(path: &Path, read_only: bool, busy_timeout: Duration) -> Result<Self, OpenError> {
        let file = DatabaseFile::new(path, read_only);
        let connection = connect(&file, busy_timeout)?;
        Ok(Self {
            connection: file.open::<OpenError>(|| Ok(connection))?,
            file,
        })
    }

    /// Does as [`KeptOpen::open`], but creates no database, and fills no empty file.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_existing(file: &DatabaseFile, busy_timeout: Duration) -> Result<Self, OpenError> {
        Ok(Self {
            connection: file.open(|| connect(file, busy_timeout))?,
            file: file.clone(),
        })
    }

    /// Returns the database file.
    pub fn file(&self) -> &DatabaseFile {
        &self.file
    }

    /// Checks that what was written can be found: the files are those that were opened.
    ///
    /// # Errors
    /// [`FileFault`].
    pub(crate) fn check(&self) -> Result<(), FileFault> {
        if self.connection.is_whole(None)?.0 {
            return Ok(());
        }
        Err(FileFault::new(self.file.path(), FaultKind::Replaced))
    }

    /// Copies the write-ahead log into the database and removes it, if no other process uses it. If the files
    /// are not those that were opened, leaves them as they are. Everything that was acknowledged is durable
    /// without this: an error is only logged.
    pub fn close(self) {
        let usable = match self.connection.is_current() {
            Ok(is_current) => is_current,
            // Only this process still has what the log contained.
            Err(fault) if fault.is_lost_log() => true,
            // What was acknowledged is in the log of this process.
            Err(fault) if fault.is_replaced_log() => match set_aside(fault.path()) {
                Ok(()) => true,
                Err(fault) => {
                    log::warn!("{fault}");
                    false
                }
            },
            Err(_) => false,
        };
        if !usable {
            log::warn!("the files of the database were replaced: they are left as they are");
            return;
        }
        let checkpointed = checkpoint(&self.connection)
            .and_then(|done| keep_log(&self.connection, !done).map(|()| done));
        match checkpointed {
            Ok(true) => {}
            Ok(false) => {
                log::info!(
                    "another process uses the database: the write-ahead log was not removed"
                );
            }
            Err(error) => log::warn!("the write-ahead log remains: {error}"),
        }
    }
}

fn connect(file: &DatabaseFile, busy_timeout: Duration) -> Result<Connection, OpenError> {
    let path = file.path();
    let connection = if file.is_read_only() {
        open_reader(path, busy_timeout)?
    } else {
        open_writer(path, busy_timeout)?
    };
    // Only `close` decides whether the log goes into the database.
    keep_log(&connection, true).map_err(|source| OpenError::Sqlite {
        path: path.to_owned(),
        source,
    })?;
    Ok(connection)
}

/// Decides whether the log remains when the last connection is closed.
fn keep_log(connection: &Connection, keep: bool) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep)?;
    Ok(())
}

impl Deref for KeptOpen {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for KeptOpen {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}
