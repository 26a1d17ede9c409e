//! An import into either store: transactions of many items.

use std::{path::Path, time::Duration};

use super::{
    Counts, StoreError, WriteError,
    postgres::import::PostgresImport,
    sqlite::{file::FileFault, import::SqliteImport, open::OpenError},
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
        /// `None` if only the number is known, which never conflicts.
        body: Option<String>,
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
    /// The database could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The files of the database were deleted or replaced during the import.
    #[error(transparent)]
    File(#[from] FileFault),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The outcome is unknown.
    #[error("the outcome of the commit is unknown: import again ({0})")]
    Unknown(String),
}

