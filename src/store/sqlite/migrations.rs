//! The schema, and how a database gets it. Of several processes that open a database at once, one migrates it and the
//! others wait.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use super::open::{OpenError, check_schema, sqlite_error};

/// The schema, by steps: `user_version` counts how many of them a file has had.
pub(super) const STEPS: &[&str] = &[
    include_str!("../../../sql/0001_initial.sql"),
    include_str!("../../../sql/0002_versions.sql"),
    include_str!("../../../sql/0003_since_seq.sql"),
    include_str!("../../../sql/0004_prune.sql"),
];
/// The `user_version` of a database that has had all steps.
pub(super) const SCHEMA_VERSION: i64 = STEPS.len() as i64;

/// How long to wait for another process that migrates the same database: building an index takes seconds for millions
/// of rows.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(60);
/// How long to wait between attempts to set WAL mode: SQLite does not wait by itself there.
const WAL_PAUSE: Duration = Duration::from_millis(10);

/// Puts the database in WAL mode. While another process does the same or reads it for the first time, tries again for
/// as long as a migration may take.
///
/// # Errors
/// [`OpenError`].
pub(super) fn set_wal_mode(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let deadline = Instant::now() + MIGRATION_TIMEOUT;
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && Instant::now() < deadline =>
            {
                std::thread::sleep(WAL_PAUSE);
            }
            set => return set.map_err(|error| sqlite_error(path, error)),
        }
    }
}

/// Applies the steps that the database lacks, in one transaction.
///
/// # Errors
/// [`OpenError`]; then the database is as it was.
pub(super) fn migrate(
    connection: &mut Connection,
    path: &Path,
    busy_timeout: Duration,
) -> Result<(), OpenError> {
    let failed = |error| sqlite_error(path, error);
    connection.busy_timeout(MIGRATION_TIMEOUT).map_err(failed)?;
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    // Another process may have been faster.
    let found = check_schema(&transaction, path)?;
    let done = usize::try_from(found).unwrap_or_default();
    for sql in STEPS.iter().skip(done) {
        let migrated = transaction.execute_batch(sql);
        migrated.map_err(|error| OpenError::Migration {
            path: path.to_owned(),
            found,
            source: without_sql(error),
        })?;
    }
    transaction
        .pragma_update(None, "user_version", SCHEMA_VERSION)
        .map_err(failed)?;
    transaction.commit().map_err(failed)?;
    connection.busy_timeout(busy_timeout).map_err(failed)
}

/// The error without the text of the statements, which is that of a whole step.
fn without_sql(error: rusqlite::Error) -> rusqlite::Error {
    if let rusqlite::Error::SqlInputError { error, msg, .. } = error {
        return rusqlite::Error::SqliteFailure(error, Some(msg));
    }
    error
}
