//! Marks: which file a database is in, and which file a log was written for. Both are recorded in the database.

use std::{fs, path::Path, time::UNIX_EPOCH};

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::{
    FaultKind, FileFault, log_file,
    observation::{beside, bytes_of, file_id, target},
};
use crate::store::sqlite::{open::checkpoint, write::begin_lineage};

/// Checks that the log beside the database, if it has content, belongs to it: the log names the file that it was
/// written for. If it names none, the database must be in the file in which it was last opened for writing; that is
/// read from the database alone, without the log.
///
/// # Errors
/// [`FaultKind::Foreign`], or [`FaultKind::Deleted`] or [`FaultKind::Truncated`] if a log is there without a database.
pub(crate) fn check_log(path: &Path) -> Result<(), FileFault> {
    let path = target(path);
    let log = beside(&path, "-wal");
    if bytes_of(&log) <= log_file::HEADER_BYTES as u64 {
        return Ok(());
    }
    match fs::metadata(&path) {
        Err(_) => return Err(FileFault::new(&path, FaultKind::Deleted)),
        Ok(found) if found.len() == 0 => {
            return Err(FileFault::new(&path, FaultKind::Truncated));
        }
        Ok(_) => {}
    }
    let Some(found) = file_mark(&path) else {
        return Ok(());
    };
    // If the log or the database cannot be read, the next connection says why.
    let named = log_file::last_mark(&log).ok().flatten();
    let named = named.or_else(|| recorded_without_log(&path).ok().flatten());
    if named.is_some_and(|named| named != found) {
        return Err(FileFault::new(&log, FaultKind::Foreign));
    }
    Ok(())
}

/// Checks that a database which has just taken the place of another one is complete: it may still be copied.
///
/// # Errors
/// [`FaultKind::Incomplete`].
pub(super) fn check_complete(path: &Path) -> Result<(), FileFault> {
    let path = target(path);
    // SQLite compares the size of the file with the number of pages in its header.
    let read = open_immutable(&path).and_then(|connection| {
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
    });
    read.map_err(|_| FileFault::new(&path, FaultKind::Incomplete))
}

/// Records in the database which file it is in, if that has changed, and writes it through the log. A database that
/// was put there from elsewhere gets a new lineage: the numbers that it draws may have been drawn before.
///
/// # Errors
/// An error of SQLite.
pub(crate) fn record_file(connection: &Connection, path: &Path) -> rusqlite::Result<()> {
    let found = file_mark(&target(path));
    if found.is_none() || recorded_mark(connection)? == found {
        return Ok(());
    }
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    // Another process may have been faster.
    let recorded = recorded_mark(&transaction)?;
    if recorded != found {
        if recorded.is_some() {
            begin_lineage(&transaction, 0, true)?;
        }
        write_mark(&transaction, found.as_deref())?;
    }
    transaction.commit()?;
    if !checkpoint(connection)? {
        log::warn!(
            "{}: another process reads it: the database was not checkpointed after it was put there",
            path.display()
        );
    }
    Ok(())
}

/// Opens a database that no process writes to, without its log, and without making side files.
///
/// # Errors
/// An error of SQLite.
pub(crate) fn open_immutable(path: &Path) -> rusqlite::Result<Connection> {
    let path = path.as_os_str().as_encoded_bytes();
    let uri = format!(
        "file:{}?immutable=1",
        percent_encode(path, NON_ALPHANUMERIC)
    );
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(uri, flags)
}

fn recorded_without_log(path: &Path) -> rusqlite::Result<Option<String>> {
    let connection = open_immutable(path)?;
    recorded_mark(&connection)
}

/// Writes the mark of the file that the database is in, or will be in.
///
/// # Errors
/// An error of SQLite.
pub(crate) fn write_mark(connection: &Connection, mark: Option<&str>) -> rusqlite::Result<()> {
    connection.execute("UPDATE feed_version SET file_mark = ?1", [mark])?;
    connection.execute("UPDATE board_version SET file_mark = ?1", [mark])?;
    Ok(())
}

/// Removes the mark from a copy that is in no file which anybody uses: it begins no lineage when it is opened.
///
/// # Errors
/// An error of SQLite.
pub(crate) fn remove_mark(connection: &Connection) -> rusqlite::Result<()> {
    let has_mark =
        "SELECT count(*) > 0 FROM pragma_table_info('feed_version') WHERE name = 'file_mark'";
    if connection.query_row(has_mark, [], |row| row.get(0))? {
        write_mark(connection, None)?;
    }
    Ok(())
}

fn recorded_mark(connection: &Connection) -> rusqlite::Result<Option<String>> {
    connection.query_row("SELECT file_mark FROM feed_version", [], |row| row.get(0))
}

/// Tells one file from another, even after the process ended: the inode, and when it was created, since inodes
/// are used again. Without the device, whose number may be another one after a restart of the machine.
pub(crate) fn file_mark(path: &Path) -> Option<String> {
    let metadata = fs::metadata(path).ok()?;
    let (_, inode) = file_id(&metadata)?;
    let created = metadata.created().ok()?.duration_since(UNIX_EPOCH).ok();
    Some(format!(
        "{inode}.{}",
        created.unwrap_or_default().as_nanos()
    ))
}
