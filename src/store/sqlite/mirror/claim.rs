//! Which database files are those of followers: a table of its own marks them. Nobody else writes to such a file, and one
//! process at a time follows with it.
//!
//! A lock file keeps a second process away. Somebody may delete it, so a token in the database decides: the process that has
//! claimed the database last writes to it, and every transaction of another one is refused. The database file itself is
//! not locked: closing it would drop the locks of SQLite (<https://sqlite.org/howtocorrupt.html>, 2.2).

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    path::Path,
    time::Duration,
};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::{Part, number_again};
use crate::store::{
    StoreError,
    sqlite::{
        file::{beside, target},
        open::{OpenError, open_writer},
        read, write,
    },
};

/// The suffix of the file that a follower locks. It stays when the process ends.
const LOCK_SUFFIX: &str = "-follower";

/// Why a database cannot be that of a follower.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// It has content that did not come from an upstream.
    #[error(
        "{0}: has data that were not copied from another publisher: --follow needs a database of its own"
    )]
    HasData(String),
    /// It was written to while it did not follow.
    #[error(
        "{0}: was written to since it followed {1}: to follow again, use a new file: all of it is copied again"
    )]
    Written(String, String),
    /// It has two names: each has a write-ahead log of its own, and SQLite damages the database.
    #[error("{0}: has another name (a hard link): use a copy, or delete the other name")]
    Linked(String),
    /// Another process follows with it.
    #[error("{0}: another process follows with it: each follower needs a file of its own")]
    Taken(String),
    /// The lock that tells other followers of this one cannot be taken.
    #[error("{0}-follower: {1}")]
    Lock(String, io::Error),
    /// It is to become a database of its own, and was not copied to the end once.
    #[error("{0}: the copy of {1} is not complete: nothing was changed")]
    Incomplete(String, String),
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// SQLite says why.
    #[error("{0}: {1}")]
    Sqlite(String, rusqlite::Error),
    /// Its lineages are invalid.
    #[error("{0}: {1}")]
    Store(String, StoreError),
}

/// A database that this process follows with. Keeps other followers away until it is dropped.
#[derive(Debug)]
pub struct Claim {
    /// Names this process in the database.
    pub token: FollowerToken,
    _lock: File,
}

/// Names a process that has claimed a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowerToken(i64);

impl FollowerToken {
    /// Checks that no other process has claimed the database since. One look at a table of one row.
    ///
    /// # Errors
    /// [`StoreError::TakenOver`], [`StoreError::Sqlite`]; also if it is no copy any more.
    pub(in crate::store) fn check(self, connection: &Connection) -> Result<(), StoreError> {
        expect_copy(connection)?;
        let holder = connection
            .prepare_cached("SELECT token FROM follower")?
            .query_row([], |row| row.get(0))
            .optional()?;
        (holder == Some(self.0))
            .then_some(())
            .ok_or(StoreError::TakenOver)
    }
}

/// Marks a database as that of a follower of `upstream`: an empty one, or one that followed before. A process that has
/// claimed it before does not write to it any more.
///
/// # Errors
/// [`ClaimError`].
pub fn claim(path: &Path, upstream: &str, busy_timeout: Duration) -> Result<Claim, ClaimError> {
    let name = || path.display().to_string();
    let failed = |error| ClaimError::Sqlite(name(), error);
    if has_other_names(path) {
        return Err(ClaimError::Linked(name()));
    }
    let (lock, token) = (lock(path)?, FollowerToken(fastrand::i64(..)));
    let mut connection = open_writer(path, busy_timeout)?;
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    transaction
        .execute_batch(include_str!("../../../../sql/queries/followed.sql"))
        .map_err(failed)?;
    let claimed: Option<(String, Option<String>)> = transaction
        .query_row("SELECT upstream, lineage FROM followed", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()
        .map_err(failed)?;
    match claimed {
        None => {
            let is_empty = "SELECT NOT EXISTS (SELECT 1 FROM challenges)
                AND NOT EXISTS (SELECT 1 FROM eval_runs) AND NOT EXISTS (SELECT 1 FROM merkle_epochs)";
            let is_empty = transaction.query_row(is_empty, [], |row| row.get(0));
            if !is_empty.map_err(failed)? {
                return Err(ClaimError::HasData(name()));
            }
        }
        Some((before, Some(lineage))) => {
            let current = read::lineage(&transaction);
            if current.map_err(|error| ClaimError::Store(name(), error))? != lineage {
                return Err(ClaimError::Written(name(), before));
            }
        }
        Some((_, None)) => {}
    }
    transaction
        .execute(
            "INSERT INTO followed (only_row, upstream) VALUES (1, ?1)
             ON CONFLICT (only_row) DO UPDATE SET upstream = ?1",
            [upstream],
        )
        .and_then(|_| {
            transaction.execute(
                "INSERT INTO follower VALUES (1, ?1) ON CONFLICT (only_row) DO UPDATE SET token = ?1",
                [token.0],
            )
        })
        .and_then(|_| transaction.commit())
        .map_err(failed)?;
    Ok(Claim { token, _lock: lock })
}

#[cfg(unix)]
fn has_other_names(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| std::os::unix::fs::MetadataExt::nlink(&found) > 1)
}

#[cfg(not(unix))]
fn has_other_names(_: &Path) -> bool {
    false
}

/// Locks the file beside the database at `path` that is there for this.
fn lock(path: &Path) -> Result<File, ClaimError> {
    let name = || path.display().to_string();
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(beside(&target(path), LOCK_SUFFIX));
    let file = file.map_err(|error| ClaimError::Lock(name(), error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ClaimError::Taken(name())),
        Err(TryLockError::Error(error)) => Err(ClaimError::Lock(name(), error)),
    }
}

/// Returns the upstream that a database is a copy of; `None` if it is none.
///
/// # Errors
/// An error of SQLite.
pub fn upstream_of(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let has_table =
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'followed')";
    if !connection.query_row(has_table, [], |row| row.get(0))? {
        return Ok(None);
    }
    let upstream = connection.query_row("SELECT upstream FROM followed", [], |row| row.get(0));
    upstream.optional()
}

/// Checks that a database is that of a follower. One look at the schema, and one at a table of one row.
///
/// # Errors
/// [`StoreError::NotACopy`], [`StoreError::Sqlite`].
pub(in crate::store) fn expect_copy(connection: &Connection) -> Result<(), StoreError> {
    let is_copy = upstream_of(connection)?.is_some();
    is_copy.then_some(()).ok_or(StoreError::NotACopy)
}

/// Returns whether a database was a copy, and was made one of its own.
///
/// # Errors
/// An error of SQLite.
pub fn was_released(connection: &Connection) -> rusqlite::Result<bool> {
    let has_table =
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'promoted')";
    connection.query_row(has_table, [], |row| row.get(0))
}

/// Checks that a database is not that of a follower: what was written to it would make it useless as a copy.
///
/// # Errors
/// [`OpenError::Followed`]; an error of SQLite.
pub fn expect_own(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let path = path.to_owned();
    match upstream_of(connection) {
        Ok(None) => Ok(()),
        Ok(Some(upstream)) => Err(OpenError::Followed { path, upstream }),
        Err(source) => Err(OpenError::Sqlite { path, source }),
    }
}

/// Makes the database of a follower one of its own: the table `promoted` remembers what it was a copy of. Returns the upstream that it was a copy of; `None` if it was none.
///
/// # Errors
/// [`ClaimError`], also if a process follows with it.
pub fn release(path: &Path, busy_timeout: Duration) -> Result<Option<String>, ClaimError> {
    let name = || path.display().to_string();
    let failed = |error| ClaimError::Sqlite(name(), error);
    let mut connection = open_writer(path, busy_timeout)?;
    let Some(upstream) = upstream_of(&connection).map_err(failed)? else {
        return Ok(None);
    };
    let _lock = lock(path)?;
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    for part in [Part::Board, Part::Feed] {
        if !part.is_copied(&transaction).map_err(failed)? {
            return Err(ClaimError::Incomplete(name(), upstream));
        }
    }
    // If all eval runs were being read anew, some are without a number of the upstream.
    let is_aside = "SELECT EXISTS (SELECT 1 FROM eval_runs WHERE seq < 0)";
    if transaction
        .query_row(is_aside, [], |row| row.get(0))
        .map_err(failed)?
    {
        number_again(&transaction).map_err(failed)?;
        let begun = write::begin_history(&transaction, 0);
        begun.map_err(|error| ClaimError::Store(name(), error))?;
    }
    transaction
        .execute_batch(
            "DROP TABLE IF EXISTS promoted; ALTER TABLE followed RENAME TO promoted;
             DROP TABLE copied; DROP TABLE IF EXISTS followed_board; DROP TABLE IF EXISTS follower",
        )
        .and_then(|()| transaction.commit())
        .map_err(failed)?;
    Ok(Some(upstream))
}
