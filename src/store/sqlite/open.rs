//! Opening a database: is it ours, is it of a schema that we know, may we write to it?
//!
//! Every question is asked before anything is changed, so that a wrong path does no harm.

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags};

use super::{
    file::{FileFault, check_log, record_file},
    migrations::{SCHEMA_VERSION, STEPS, migrate, set_wal_mode},
};

/// How often a log is looked at before it counts as that of another database.
const LOG_CHECKS: u32 = 10;
const LOG_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Why a database was not opened. Nothing has been changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file holds something else.
    #[error("{path}: is not an SQLite database")]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// An SQLite database with tables, none of them made by this program.
    #[error("{path}: is an SQLite database of another program")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A database of this program from which something was removed.
    #[error(
        "{path}: lacks the {object} of this program: restore a backup, or create it again as in sql/*.sql"
    )]
    Lacking {
        /// The file.
        path: PathBuf,
        /// The first table with column, index or trigger that is missing.
        object: String,
    },
    /// A later release wrote it.
    #[error(
        "{path}: has schema version {found}, and this program knows versions up to {SCHEMA_VERSION}: use a newer cathedral-publisher"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its `user_version`.
        found: i64,
    },
    /// An earlier release wrote it, and it is opened for reading only.
    #[error(
        "{path}: has schema version {found}, and this program needs {SCHEMA_VERSION}: open it for writing once"
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// Its `user_version`.
        found: i64,
    },
    /// It is the copy of another publisher's, and not to be written by anybody else.
    #[error(
        "{path}: is a copy of {upstream} that `serve --follow` keeps: serve it with --follow {upstream}, or write to the upstream; `serve --promote` makes it a database of its own, which cannot follow again"
    )]
    Followed {
        /// The file.
        path: PathBuf,
        /// The publisher that it is a copy of.
        upstream: String,
    },
    /// The file or its folder is not writable.
    #[error("{path}: cannot be written")]
    NotWritable {
        /// The file.
        path: PathBuf,
    },
    /// There is no such file, or no such folder, or it may not be read.
    #[error("{path}: cannot be opened: no such file or folder, or no permission")]
    CannotOpen {
        /// The file.
        path: PathBuf,
    },
    /// There is a folder of that name.
    #[error("{path}: is a folder")]
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// A side file belongs to another database.
    #[error(transparent)]
    File(#[from] FileFault),
    /// Anything else that SQLite says.
    #[error("{path}: {source}")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// A migration failed, and was rolled back.
    #[error("{path}: cannot be migrated from schema version {found} to {SCHEMA_VERSION}: {source}")]
    Migration {
        /// The file.
        path: PathBuf,
        /// Its `user_version`.
        found: i64,
        /// What SQLite says.
        source: rusqlite::Error,
    },
}

/// Opens the database at `path` for writing; creates or migrates it if needed.
///
/// The connection is in WAL mode, so that readers and the writer never wait for each other, and it
/// commits with `synchronous=FULL`: what was committed survives a loss of power. If another process migrates the
/// database at the same time, waits for it for up to a minute.
///
/// # Errors
/// [`OpenError`], each with the path in its text.
pub fn open_writer(path: &Path, busy_timeout: Duration) -> Result<Connection, OpenError> {
    let failed = |source: rusqlite::Error| sqlite_error(path, source);
    wait_for_log(path)?;
    create_private(path)?;
    let mut connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(failed)?;
    connection.busy_timeout(busy_timeout).map_err(failed)?;
    let found = check_schema(&connection, path)?;
    if connection.is_readonly(MAIN_DB).map_err(failed)? {
        return Err(OpenError::NotWritable {
            path: path.to_owned(),
        });
    }
    set_wal_mode(&connection, path)?;
    // The default with WAL is NORMAL, which may lose the last commits when the power fails.
    connection
        .pragma_update(None, "synchronous", "FULL")
        .map_err(failed)?;
    if found < SCHEMA_VERSION {
        migrate(&mut connection, path, busy_timeout)?;
    }
    record_file(&connection, path).map_err(failed)?;
    Ok(connection)
}

/// Opens an existing database for reading, and changes nothing in it.
///
/// # Errors
/// [`OpenError`]; a file that is not there is [`OpenError::CannotOpen`].
pub fn open_reader(path: &Path, busy_timeout: Duration) -> Result<Connection, OpenError> {
    let read_only = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let (connection, found) = open_any_version(path, read_only, busy_timeout)?;
    if found < SCHEMA_VERSION {
        let path = path.to_owned();
        return Err(OpenError::Older { path, found });
    }
    Ok(connection)
}

/// As [`open_reader`], also if an earlier release wrote the database. Returns its schema version as well; 0 if it
/// is empty. With `SQLITE_OPEN_READ_WRITE`, side files that nobody else uses are removed when the connection is
/// closed; with `SQLITE_OPEN_READ_ONLY` SQLite makes them and cannot remove them.
///
/// # Errors
/// Those of [`open_reader`].
pub(super) fn open_any_version(
    path: &Path,
    access: OpenFlags,
    busy_timeout: Duration,
) -> Result<(Connection, i64), OpenError> {
    let failed = |source: rusqlite::Error| sqlite_error(path, source);
    wait_for_log(path)?;
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(busy_timeout).map_err(failed)?;
    connection
        .pragma_update(None, "query_only", "ON")
        .map_err(failed)?;
    let found = check_schema(&connection, path)?;
    Ok((connection, found))
}

/// Checks that the log belongs to the database. Another process may have opened a copy a moment ago, and be about
/// to record that.
pub(super) fn wait_for_log(path: &Path) -> Result<(), FileFault> {
    for _ in 0..LOG_CHECKS {
        if check_log(path).is_ok() {
            return Ok(());
        }
        std::thread::sleep(LOG_CHECK_INTERVAL);
    }
    check_log(path)
}

/// Creates an empty file that only its owner may read and write, unless the file exists. SQLite gives the side files
/// the same mode.
pub(super) fn create_private(path: &Path) -> Result<(), OpenError> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(OpenError::CannotOpen {
            path: path.to_owned(),
        }),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Returns the schema version of a database whose tables this program made, or that is empty.
pub(super) fn check_schema(connection: &Connection, path: &Path) -> Result<i64, OpenError> {
    let failed = |source: rusqlite::Error| sqlite_error(path, source);
    // All of it is read in one state: another process may be migrating the database.
    let state = connection
        .is_autocommit()
        .then(|| connection.unchecked_transaction());
    let _state = state.transpose().map_err(failed)?;
    let found: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(failed)?;
    if found > SCHEMA_VERSION {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found,
        });
    }
    let objects: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(failed)?;
    let foreign = || OpenError::Foreign {
        path: path.to_owned(),
    };
    let version = usize::try_from(found).map_err(|_| foreign())?;
    if version == 0 && objects > 0 {
        return Err(foreign());
    }
    if let Some(object) = missing_object(connection, version).map_err(failed)? {
        let path = path.to_owned();
        // Other programs count the versions of their schemas from 1 as well.
        return Err(match has_our_tables(connection) {
            Ok(true) => OpenError::Lacking { path, object },
            Ok(false) | Err(_) => OpenError::Foreign { path },
        });
    }
    Ok(found)
}

fn has_our_tables(connection: &Connection) -> rusqlite::Result<bool> {
    let ours = "SELECT count(*) = 3 FROM sqlite_schema
                WHERE type = 'table' AND name IN ('challenges', 'eval_runs', 'merkle_epochs')";
    connection.query_row(ours, [], |row| row.get(0))
}

/// Returns a table, column, index or trigger of that version of the schema that the database lacks. Objects that were
/// added are of no interest.
fn missing_object(connection: &Connection, version: usize) -> rusqlite::Result<Option<String>> {
    let objects = |connection: &Connection| {
        let mut statement = connection.prepare(
            "SELECT o.type || ' ' || o.name || coalesce('.' || c.name, '') FROM sqlite_schema AS o
             LEFT JOIN pragma_table_info(o.name) AS c ON o.type = 'table'",
        )?;
        let names = statement.query_map([], |row| row.get::<_, String>(0))?;
        names.collect::<rusqlite::Result<BTreeSet<_>>>()
    };
    let expected = Connection::open_in_memory()?;
    for sql in STEPS.iter().take(version) {
        expected.execute_batch(sql)?;
    }
    Ok(objects(&expected)?
        .difference(&objects(connection)?)
        .next()
        .cloned())
}

pub(super) fn sqlite_error(path: &Path, source: rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::NotADatabase { path },
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => OpenError::NotWritable { path },
        // What SQLite says of a folder is that its disk has failed.
        _ if path.is_dir() => OpenError::Folder { path },
        Some(ErrorCode::CannotOpen) => OpenError::CannotOpen { path },
        _ => OpenError::Sqlite { path, source },
    }
}

/// Copies the write-ahead log back into the database and truncates it. Returns false if readers used it for
/// longer than the connection's busy timeout.
///
/// # Errors
/// An error of the disk.
pub fn checkpoint(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
        Ok(row.get::<_, i64>(0)? == 0)
    })
}
