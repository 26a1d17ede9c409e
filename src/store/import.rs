//! An import into either store: transactions of many items.

use std::path::PathBuf;

use super::{
    Counts, StoreError, WriteError, Written, postgres::import::PostgresImport,
    sqlite::import::SqliteImport,
};
use crate::domain::{challenge::Challenge, eval_run::EvalRun};

/// An item to import.
#[derive(Debug)]
pub enum ImportItem {
    /// Created, or replaced.
    Challenge(Challenge),
    /// Stored unless it is there.
    EvalRun {
        /// Its number where it comes from. It keeps it if it comes after all that were ever given here.
        seq: Option<i64>,
        /// The row.
        run: EvalRun,
    },
    /// Stored unless it is there.
    MerkleEpoch {
        /// Its number.
        epoch: i64,
        /// Its JSON.
        body: String,
    },
}

/// Why a transaction of an import was not committed. Unless it is [`ImportFault::Unknown`], nothing of it is stored.
#[derive(Debug, thiserror::Error)]
pub enum ImportFault {
    /// An item is rejected.
    #[error("item {number}: {error}")]
    Item {
        /// The number that it was given.
        number: u64,
        /// Why.
        error: WriteError,
    },
    /// The database failed, or could not be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The connection broke before the commit.
    #[error("{0}")]
    Broken(String),
    /// The outcome is unknown.
    #[error("the outcome of the commit is unknown, import again: {0}")]
    Unknown(String),
}

impl ImportFault {
    /// Returns whether there was no room on the disk of an SQLite file.
    pub fn is_disk_full(&self) -> bool {
        let Self::Store(StoreError::Sqlite(error)) = self else {
            return false;
        };
        error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
    }
}

/// Imports through a connection of its own. Its methods block.
#[derive(Debug)]
pub enum ImportSession {
    /// Into a file.
    Sqlite(SqliteImport),
    /// Into a server.
    Postgres(PostgresImport),
}

impl ImportSession {
    /// Checks that the database can be used, if it exists. Nothing is locked.
    ///
    /// # Errors
    /// [`ImportFault`].
    pub fn prepare(&mut self) -> Result<(), ImportFault> {
        match self {
            Self::Sqlite(import) => Ok(import.prepare().map_err(StoreError::from)?),
            Self::Postgres(import) => Ok(import.prepare()?),
        }
    }

    /// Returns the folder for items that wait: beside the database, if that is a file.
    pub fn folder(&self) -> PathBuf {
        match self {
            Self::Sqlite(import) => import.folder(),
            Self::Postgres(_) => std::env::temp_dir(),
        }
    }

    /// Begins a transaction: other writers wait from now on. Creates the database if it does not exist.
    ///
    /// # Errors
    /// [`ImportFault`].
    pub fn begin(&mut self) -> Result<(), ImportFault> {
        match self {
            Self::Sqlite(import) => import.begin(),
            Self::Postgres(import) => Ok(import.begin()?),
        }
    }

    /// Takes an item in. `number` names it in errors. It may be written later: an error may be of an earlier item.
    ///
    /// # Errors
    /// [`ImportFault`].
    pub fn put(&mut self, number: u64, item: ImportItem) -> Result<(), ImportFault> {
        match self {
            Self::Sqlite(import) => import.put(number, &item),
            Self::Postgres(import) => import.put(number, item),
        }
    }

    /// Stores an epoch of which only the number is known, unless it is there. It is not counted.
    ///
    /// # Errors
    /// [`ImportFault`].
    pub fn put_epoch_number(&mut self, epoch: i64) -> Result<Written, ImportFault> {
        match self {
            Self::Sqlite(import) => import.put_epoch_number(epoch),
            Self::Postgres(import) => import.put_epoch_number(epoch),
        }
    }

    /// Makes eval runs that are inserted from now on have a greater `seq` than `last`.
    ///
    /// # Errors
    /// [`ImportFault`].
    pub fn raise_last_seq(&mut self, last: i64) -> Result<(), ImportFault> {
        match self {
            Self::Sqlite(import) => Ok(import.raise_last_seq(last)?),
            Self::Postgres(import) => import.raise_last_seq(last),
        }
    }

    /// Commits, and returns what became of the items of the transaction.
    ///
    /// # Errors
    /// [`ImportFault`].
    pub fn commit(&mut self) -> Result<Counts, ImportFault> {
        match self {
            Self::Sqlite(import) => import.commit(),
            Self::Postgres(import) => import.commit(),
        }
    }

    /// Closes the database after the last commit.
    pub fn close(self) {
        match self {
            Self::Sqlite(import) => import.close(),
            Self::Postgres(_) => {}
        }
    }
}
