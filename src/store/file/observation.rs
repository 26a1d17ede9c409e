//! The files of a database at one moment. They are only asked for by name, never opened: closing a file drops the
//! locks that SQLite has on it in the same process (POSIX).

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::{FaultKind, FileFault, log_file};
use crate::store::{open::checkpoint, write::begin_lineage};

/// How many files of databases that were replaced are kept beside a database.
const MAX_SET_ASIDE: u32 = 100;

/// How often a log must be found too short before it counts as truncated.
const LOG_BYTES_CHECKS: u32 = 3;
const LOG_BYTES_INTERVAL: Duration = Duration::from_millis(10);

/// Device and inode. While a connection has the file open, the numbers are not used again.
pub(super) type FileId = (u64, u64);

/// The files of a database at one moment.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Observation {
    database: (PathBuf, Option<FileId>),
    log: Option<FileId>,
    index: Option<FileId>,
}

/// How the files are related to those of before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Relation {
    /// The same files.
    Same,
    /// Another database; these side files of the one before are left.
    Other(Vec<PathBuf>),
}

impl Observation {
    /// Looks at the files of the database at `path`.
    ///
    /// # Errors
    /// [`FileFault`] if the database is missing or empty.
    pub(super) fn of(path: &Path) -> Result<Self, FileFault> {
        let path = target(path);
        let fault = |kind| FileFault::new(&path, kind);
        let database = fs::metadata(&path).map_err(|_| fault(FaultKind::Deleted))?;
        if database.len() == 0 {
            return Err(fault(FaultKind::Truncated));
        }
        let id_beside = |suffix| {
            fs::metadata(beside(&path, suffix))
                .ok()
                .as_ref()
                .and_then(file_id)
        };
        let (log, index) = (id_beside("-wal"), id_beside("-shm"));
        Ok(Self {
            database: (path, file_id(&database)),
            log,
            index,
        })
    }

    /// Returns which file the database is.
    pub(super) fn id(&self) -> Option<FileId> {
        self.database.1
    }

    pub(super) fn same_database(&self, before: &Self) -> bool {
        self.database.1 == before.database.1
    }

    /// Compares the files with those that open connections have.
    ///
    /// # Errors
    /// [`FileFault`] if a side file is missing or was replaced, and the database was not.
    pub(super) fn relation(&self, before: &Self) -> Result<Relation, FileFault> {
        let same = self.same_database(before);
        let sides = [
            ("-wal", before.log, self.log),
            ("-shm", before.index, self.index),
        ];
        let mut left = Vec::new();
        for (suffix, before, now) in sides {
            let path = beside(&self.database.0, suffix);
            match (before, now) {
                (Some(before), Some(now)) if before == now && !same => left.push(path),
                (Some(before), Some(now)) if before != now && same => {
                    return Err(FileFault::new(&path, FaultKind::Replaced));
                }
                (Some(_), None) if same => {
                    return Err(FileFault::new(&path, FaultKind::Deleted));
                }
                _ => {}
            }
        }
        Ok(if same {
            Relation::Same
        } else {
            Relation::Other(left)
        })
    }
}

/// Renames a side file of a database that was replaced, so that no connection to the new one finds it.
///
/// # Errors
/// [`FaultKind::Foreign`] if it cannot be renamed.
pub(crate) fn set_aside(side_file: &Path) -> Result<(), FileFault> {
    let failed = || FileFault::new(side_file, FaultKind::Foreign);
    let mut names = (1..=MAX_SET_ASIDE).map(|number| beside(side_file, &format!(".old-{number}")));
    let free = names.find(|name| !name.exists()).ok_or_else(failed)?;
    fs::rename(side_file, &free).map_err(|_| failed())?;
    log::warn!(
        "{} is of another database than the one in use, and has the name {} now",
        side_file.display(),
        free.display()
    );
    Ok(())
}

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
            begin_lineage(&transaction)?;
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

fn recorded_mark(connection: &Connection) -> rusqlite::Result<Option<String>> {
    connection.query_row("SELECT file_mark FROM feed_version", [], |row| row.get(0))
}

/// How far the log was written at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogEnd {
    salts: [u8; 8],
    bytes: u64,
    frame_bytes: u64,
}

/// Checks that the log has as many bytes as SQLite has written to it, and that the end that it had `before` is still in
/// it: who writes to a log that was truncated meanwhile leaves a hole. Returns the end that it has now.
///
/// # Errors
/// [`FaultKind::Truncated`].
pub(super) fn check_log_end(
    connection: &Connection,
    path: &Path,
    before: Option<LogEnd>,
) -> Result<Option<LogEnd>, FileFault> {
    let log = beside(&target(path), "-wal");
    let is_short = || {
        // If SQLite cannot answer, the next statement says why.
        let (written, _) = written_log_bytes(connection).ok()?;
        let found = bytes_of(&log);
        // Another process may have checkpointed and truncated it in between.
        Some(found < written && written_log_bytes(connection).ok()?.0 == written)
    };
    // Several times, since another process may even have written as much again.
    let mut checks = 0;
    while is_short() == Some(true) {
        checks += 1;
        if checks == LOG_BYTES_CHECKS {
            return Err(FileFault::new(&log, FaultKind::Truncated));
        }
        std::thread::sleep(LOG_BYTES_INTERVAL);
    }
    let salts = log_file::salts(&log);
    let has_no_header = matches!(&salts, Err(error) if error.kind() == ErrorKind::InvalidData);
    let lacks_end = |before: LogEnd| {
        log_file::has_frame(&log, before.bytes - before.frame_bytes, before.salts).is_ok_and(|has| !has)
            // The log may have begun anew between the two.
            && log_file::salts(&log).is_ok_and(|salts| salts == before.salts)
    };
    let before =
        before.filter(|before| before.bytes > 0 && salts.as_ref().ok() == Some(&before.salts));
    if has_no_header || before.is_some_and(lacks_end) {
        return Err(FileFault::new(&log, FaultKind::Truncated));
    }
    let Ok((bytes, frame_bytes)) = written_log_bytes(connection) else {
        return Ok(None);
    };
    Ok(salts.ok().map(|salts| LogEnd {
        salts,
        bytes,
        frame_bytes,
    }))
}

/// Returns the bytes that SQLite has written to the log, and those of a frame.
fn written_log_bytes(connection: &Connection) -> rusqlite::Result<(u64, u64)> {
    let frames: i64 = connection.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get(1))?;
    let page: u64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    let frame = log_file::FRAME_HEADER_BYTES as u64 + page;
    let bytes = match u64::try_from(frames) {
        // Not in WAL mode, or nothing is in the log.
        Err(_) | Ok(0) => 0,
        Ok(frames) => log_file::HEADER_BYTES as u64 + frames * frame,
    };
    Ok((bytes, frame))
}

/// Returns the size of the log of the database at `path`; 0 if it does not exist.
pub(super) fn wal_bytes(path: &Path) -> u64 {
    bytes_of(&beside(&target(path), "-wal"))
}

/// What SQLite appends to the name of a database for its side files.
pub(crate) const SIDE_FILES: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Returns whether both paths name one file. They need not exist.
pub(crate) fn is_same_file(a: &Path, b: &Path) -> bool {
    let id = |path: &Path| fs::metadata(path).ok().as_ref().and_then(file_id);
    if let (Some(a), Some(b)) = (id(a), id(b)) {
        return a == b;
    }
    let absolute = |path: &Path| {
        let path = std::path::absolute(target(path)).ok()?;
        let folder = fs::canonicalize(path.parent()?).ok()?;
        Some(folder.join(path.file_name()?))
    };
    absolute(a).is_some_and(|a| Some(a) == absolute(b))
}

/// Returns the file that a symbolic link names: SQLite puts the side files beside it.
pub(crate) fn target(path: &Path) -> PathBuf {
    let is_link = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    if is_link && let Ok(target) = fs::canonicalize(path) {
        return target;
    }
    path.to_owned()
}

/// Returns the path of a side file.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn bytes_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

#[cfg(unix)]
fn file_id(metadata: &fs::Metadata) -> Option<FileId> {
    use std::os::unix::fs::MetadataExt;
    Some((metadata.dev(), metadata.ino()))
}

/// Returns nothing: elsewhere a file that is open cannot be replaced.
#[cfg(not(unix))]
fn file_id(_: &fs::Metadata) -> Option<FileId> {
    None
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
