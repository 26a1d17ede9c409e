//! Everything that is stored, at one moment, row by row: for exports and backups.

use std::{
    fmt,
    time::{Duration, Instant},
};

use futures_util::TryStreamExt;
use tokio_postgres::Row;

use super::{
    connect::{Connector, Session, SessionLimits},
    error::PostgresError,
    rows::{self, CHALLENGE_COLUMNS},
    runtime::Runtime,
};
use crate::{
    domain::challenge::Challenge,
    store::{StoreError, StoredEpoch, StoredEvalRun},
};

/// How long the server may take for the next row: it may have to sort them all before the first one.
const ROW_TIMEOUT: Duration = Duration::from_secs(600);

/// A read transaction, in which everything is of one moment.
pub(crate) struct PostgresContents {
    runtime: Runtime,
    session: Session,
}

impl PostgresContents {
    /// Opens a session and begins the transaction.
    ///
    /// # Errors
    /// Those of [`Connector::connect`], or of PostgreSQL.
    pub(super) fn open(connector: &Connector, runtime: &Runtime) -> Result<Self, PostgresError> {
        let limits = SessionLimits {
            lock: Duration::ZERO,
            statement: Duration::ZERO,
        };
        let deadline = Instant::now() + ROW_TIMEOUT;
        let session = runtime.block_on(deadline, async {
            let session = connector.connect(limits, deadline, |_| {}).await?;
            let begin = "SET idle_in_transaction_session_timeout = 0; \
                         BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
            session.client().batch_execute(begin).await?;
            Ok(session)
        })?;
        Ok(Self {
            runtime: runtime.clone(),
            session,
        })
    }

    /// Returns the published challenges, in the board's order.
    pub(crate) fn active_challenges(&self) -> Result<Vec<Challenge>, StoreError> {
        let mut challenges = Vec::new();
        let order = "WHERE status = 'active' ORDER BY tier, challenge_id";
        self.challenges::<StoreError>(order, |challenge| {
            challenges.push(challenge);
            Ok(())
        })?;
        Ok(challenges)
    }

    /// Hands every challenge of every status to `each`, by its id.
    pub(crate) fn every_challenge<E: From<StoreError>>(
        &self,
        each: impl FnMut(Challenge) -> Result<(), E>,
    ) -> Result<(), E> {
        self.challenges("ORDER BY challenge_id", each)
    }

    fn challenges<E: From<StoreError>>(
        &self,
        order: &str,
        mut each: impl FnMut(Challenge) -> Result<(), E>,
    ) -> Result<(), E> {
        let query = format!("SELECT {CHALLENGE_COLUMNS} FROM challenges {order}");
        self.every(&query, |row| each(rows::challenge(row)?))
    }

    /// Hands the stored bytes of every row, unpublished ones included, to `each_row`, in the feed's order.
    pub(crate) fn every_eval_run<E: From<StoreError>>(
        &self,
        mut each_row: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.every("SELECT body FROM eval_runs ORDER BY ran_at, id", |row| {
            let body: &str = row.try_get(0).map_err(StoreError::from)?;
            each_row(body.as_bytes())
        })
    }

    /// Hands every row, unpublished ones included, to `each`, in the order of insertion.
    pub(crate) fn every_eval_run_in_order<E: From<StoreError>>(
        &self,
        mut each: impl FnMut(StoredEvalRun) -> Result<(), E>,
    ) -> Result<(), E> {
        let query = "SELECT seq, id, ran_at, schema_version, body FROM eval_runs ORDER BY seq";
        self.every(query, |row| each(stored_eval_run(row).map_err(StoreError::from)?))
    }

    /// Hands every epoch to `each`, in their order.
    pub(crate) fn every_merkle_epoch<E: From<StoreError>>(
        &self,
        mut each: impl FnMut(StoredEpoch) -> Result<(), E>,
    ) -> Result<(), E> {
        self.every("SELECT epoch, body FROM merkle_epochs ORDER BY epoch", |row| {
            each(stored_epoch(row).map_err(StoreError::from)?)
        })
    }

    /// Returns the greatest epoch.
    pub(crate) fn merkle_epoch_latest(&self) -> Result<Option<i64>, StoreError> {
        self.number("SELECT max(epoch) FROM merkle_epochs")
    }

    /// Returns the greatest `seq` that was ever given; 0 if none was.
    pub(crate) fn last_seq(&self) -> Result<i64, StoreError> {
        let last = self.number("SELECT last_seq FROM feed_version")?;
        Ok(last.unwrap_or_default())
    }

    fn number(&self, query: &str) -> Result<Option<i64>, StoreError> {
        let mut number = None;
        self.every::<StoreError>(query, |row| {
            number = row.try_get(0)?;
            Ok(())
        })?;
        Ok(number)
    }

    /// Hands each row of a query to `each`. Rows are read as they are used: memory does not grow with their number.
    pub(super) fn every<E: From<StoreError>>(
        &self,
        query: &str,
        mut each: impl FnMut(&Row) -> Result<(), E>,
    ) -> Result<(), E> {
        let client = self.session.client();
        let none: [(&str, tokio_postgres::types::Type); 0] = [];
        let rows = self.block_on(async { Ok(client.query_typed_raw(query, none).await?) })?;
        let mut rows = Box::pin(rows);
        while let Some(row) = self.block_on(async { Ok(rows.try_next().await?) })? {
            each(&row)?;
        }
        Ok(())
    }

    fn block_on<T>(
        &self,
        future: impl Future<Output = Result<T, PostgresError>>,
    ) -> Result<T, StoreError> {
        let deadline = Instant::now() + ROW_TIMEOUT;
        Ok(self.runtime.block_on(deadline, future)?)
    }
}

fn stored_eval_run(row: &Row) -> Result<StoredEvalRun, tokio_postgres::Error> {
    Ok(StoredEvalRun {
        seq: row.try_get(0)?,
        id: row.try_get(1)?,
        ran_at: row.try_get(2)?,
        schema_version: row.try_get(3)?,
        body: row.try_get(4)?,
    })
}

fn stored_epoch(row: &Row) -> Result<StoredEpoch, tokio_postgres::Error> {
    Ok(StoredEpoch {
        epoch: row.try_get(0)?,
        body: row.try_get(1)?,
    })
}

impl fmt::Debug for PostgresContents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresContents").finish_non_exhaustive()
    }
}
