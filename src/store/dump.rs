//! Everything that is stored, at one moment: for exports.

use std::{path::Path, time::Duration};

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::{
    StoreError,
    postgres::{PostgresStore, dump::PostgresDump},
    sqlite::{open::open_reader, read},
};
use crate::domain::{Invalid, challenge::Challenge, eval_run::EvalRun, ran_at::RanAt};

const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A row of `eval_runs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredEvalRun {
    /// The order of insertion.
    pub seq: i64,
    /// Unique.
    pub id: String,
    /// In the stored form.
    pub ran_at: String,
    /// `eval_output_schema_version`.
    pub schema_version: i64,
    /// The stored bytes.
    pub body: String,
}

impl TryFrom<StoredEvalRun> for EvalRun {
    type Error = Invalid;

    fn try_from(stored: StoredEvalRun) -> Result<Self, Invalid> {
        let ran_at = RanAt::parse(&stored.ran_at);
        Ok(Self {
            id: stored.id,
            ran_at: ran_at.map_err(|error| Invalid::new("ran_at", error.to_string()))?,
            schema_version: stored.schema_version,
            body: stored.body,
        })
    }
}

/// A row of `merkle_epochs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredEpoch {
    /// Its number.
    pub epoch: i64,
    /// The stored bytes; `None` if only the number is known.
    #[serde(deserialize_with = "Option::deserialize")]
    pub body: Option<String>,
}

/// A read transaction. Its methods block; their errors are [`StoreError`], or whatever the closure returns. Memory does
/// not grow with the tables.
#[derive(Debug)]
pub enum Dump {
    /// Of a file.
    Sqlite(Connection),
    /// Of a server.
    Postgres(Box<PostgresDump>),
}

impl Dump {
    /// Opens a file.
    ///
    /// # Errors
    /// [`StoreError::Open`], [`StoreError::Sqlite`].
    pub fn of_file(path: &Path) -> Result<Self, StoreError> {
        let connection = open_reader(path, BUSY_TIMEOUT)?;
        connection.execute_batch("BEGIN")?;
        Ok(Self::Sqlite(connection))
    }

    /// Connects to a server.
    ///
    /// # Errors
    /// [`StoreError::Postgres`].
    pub fn of_server(store: PostgresStore) -> Result<Self, StoreError> {
        Ok(Self::Postgres(Box::new(PostgresDump::open(store)?)))
    }

    /// Returns the published challenges, in the board's order.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn active_challenges(&self) -> Result<Vec<Challenge>, StoreError> {
        match self {
            Self::Sqlite(connection) => read::active_challenges(connection),
            Self::Postgres(dump) => dump.active_challenges(),
        }
    }

    /// Hands every challenge of every status to `each`, by its id.
    ///
    /// # Errors
    /// See [`Dump`].
    pub fn every_challenge<E: From<StoreError>>(
        &self,
        each: impl FnMut(Challenge) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::Sqlite(connection) => read::every_challenge(connection, each),
            Self::Postgres(dump) => dump.every_challenge(each),
        }
    }

    /// Hands the stored bytes of every row, unpublished ones included, to `each_row`, in the feed's order.
    ///
    /// # Errors
    /// See [`Dump`].
    pub fn every_eval_run<E: From<StoreError>>(
        &self,
        each_row: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::Sqlite(connection) => read::every_eval_run(connection, each_row),
            Self::Postgres(dump) => dump.every_eval_run(each_row),
        }
    }

    /// Hands every row, unpublished ones included, to `each`, in the order of insertion.
    ///
    /// # Errors
    /// See [`Dump`].
    pub fn every_eval_run_in_order<E: From<StoreError>>(
        &self,
        each: impl FnMut(StoredEvalRun) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::Sqlite(connection) => read::every_eval_run_in_order(connection, each),
            Self::Postgres(dump) => dump.every_eval_run_in_order(each),
        }
    }

    /// Hands every epoch to `each`, in their order.
    ///
    /// # Errors
    /// See [`Dump`].
    pub fn every_merkle_epoch<E: From<StoreError>>(
        &self,
        each: impl FnMut(StoredEpoch) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::Sqlite(connection) => read::every_merkle_epoch(connection, each),
            Self::Postgres(dump) => dump.every_merkle_epoch(each),
        }
    }

    /// Returns the greatest epoch stored.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn merkle_epoch_latest(&self) -> Result<Option<i64>, StoreError> {
        match self {
            Self::Sqlite(connection) => read::merkle_epoch_latest(connection),
            Self::Postgres(dump) => dump.merkle_epoch_latest(),
        }
    }

    /// Returns the greatest `seq` that was ever given; 0 if none was.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn last_seq(&self) -> Result<i64, StoreError> {
        match self {
            Self::Sqlite(connection) => read::last_seq(connection),
            Self::Postgres(dump) => dump.last_seq(),
        }
    }
}
