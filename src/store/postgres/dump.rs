//! Everything that is stored, at one moment, row by row: for exports and backups.

use std::{
    fmt,
    time::{Duration, Instant},
};

use futures_util::TryStreamExt;
use tokio_postgres::Row;

use super::{
    connect::{Session, SessionLimits},
    error::PostgresError,
    migrations,
    row::{self, Bytes},
    store::PostgresStore,
};
use crate::{
    domain::{challenge::Challenge, lineages::Lineages},
    store::{
        StoreError, Version,
        dump::{StoredEpoch, StoredEvalRun},
        state::Pruned,
    },
};

/// How long the server may take for the next row: it may have to sort them all before the first one.
/// How long to wait for a program that has locked a table.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);
const ROW_TIMEOUT: Duration = Duration::from_secs(600);

/// A read transaction, in which everything is of one moment.
pub struct PostgresDump {
    store: PostgresStore,
    session: Session,
}

impl PostgresDump {
    /// Opens a session and begins the transaction.
    ///
    /// # Errors
    /// [`StoreError::Postgres`].
    pub(in crate::store) fn open(store: PostgresStore) -> Result<Self, StoreError> {
        let limits = SessionLimits {
            lock: LOCK_TIMEOUT,
            statement: Duration::ZERO,
        };
        let deadline = Instant::now() + ROW_TIMEOUT;
        let session = store.0.runtime.block_on(deadline, async {
            let session = store.0.connector.connect(limits, deadline, |_| {}).await?;
            migrations::check(session.client()).await?;
            let begin = "SET idle_in_transaction_session_timeout = 0; \
                         BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
            session
                .client()
                .batch_execute(begin)
                .await
                .map_err(PostgresError::from)?;
            Ok::<_, StoreError>(session)
        })?;
        Ok(Self { store, session })
    }

    /// Returns the published challenges, in the board's order.
    pub(in crate::store) fn active_challenges(&self) -> Result<Vec<Challenge>, StoreError> {
        let mut challenges = Vec::new();
        let order = "WHERE status = 'active' ORDER BY tier, challenge_id";
        self.challenges::<StoreError>(order, |challenge| {
            challenges.push(challenge);
            Ok(())
        })?;
        Ok(challenges)
    }

    /// Hands every challenge of every status to `each`, by its id.
    pub(in crate::store) fn every_challenge<E: From<StoreError>>(
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
        let query = format!("SELECT * FROM challenges {order}");
        self.every(&query, |row| each(row::challenge(row)?))
    }

    /// Hands the stored bytes of every row, unpublished ones included, to `each_row`, in the feed's order.
    pub(in crate::store) fn every_eval_run<E: From<StoreError>>(
        &self,
        mut each_row: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.every("SELECT body FROM eval_runs ORDER BY ran_at, id", |row| {
            let Bytes(body) = row::get(row, "body").map_err(StoreError::from)?;
            each_row(body)
        })
    }

    /// Hands every row, unpublished ones included, to `each`, in the order of insertion.
    pub(in crate::store) fn every_eval_run_in_order<E: From<StoreError>>(
        &self,
        mut each: impl FnMut(StoredEvalRun) -> Result<(), E>,
    ) -> Result<(), E> {
        let query = "SELECT seq, id, ran_at, schema_version, body FROM eval_runs ORDER BY seq";
        self.every(query, |row| {
            each(stored_eval_run(row).map_err(StoreError::from)?)
        })
    }

    /// Hands every epoch to `each`, in their order.
    pub(in crate::store) fn every_merkle_epoch<E: From<StoreError>>(
        &self,
        mut each: impl FnMut(StoredEpoch) -> Result<(), E>,
    ) -> Result<(), E> {
        self.every(
            "SELECT epoch, body FROM merkle_epochs ORDER BY epoch",
            |row| each(stored_epoch(row).map_err(StoreError::from)?),
        )
    }

    /// Returns the greatest epoch.
    pub(in crate::store) fn merkle_epoch_latest(&self) -> Result<Option<i64>, StoreError> {
        self.number("SELECT max(epoch) AS number FROM merkle_epochs")
    }

    /// Returns the lineages that the database knows.
    pub(in crate::store) fn lineages(&self) -> Result<Lineages, StoreError> {
        let client = self.session.client();
        let rows = async { Ok(client.query_typed("SELECT * FROM lineages", &[]).await?) };
        row::lineages(&self.block_on(rows)?)
    }

    /// Returns what was pruned, if anything was.
    pub(in crate::store) fn pruned(&self) -> Result<Option<Pruned>, StoreError> {
        let mut pruned = None;
        self.every::<StoreError>("SELECT before, through_seq FROM pruned", |row| {
            pruned = Some(row::pruned(row)?);
            Ok(())
        })?;
        Ok(pruned)
    }

    /// Returns the versions of the board and of the feed, with the names of their tables.
    pub(in crate::store) fn versions(&self) -> Result<Vec<(&'static str, Version)>, StoreError> {
        let mut versions = Vec::new();
        for table in ["board_version", "feed_version"] {
            self.every::<StoreError>(&format!("SELECT * FROM {table}"), |row| {
                versions.push((table, row::version(row)?));
                Ok(())
            })?;
        }
        Ok(versions)
    }

    /// Returns the greatest `seq` that was ever given; 0 if none was.
    pub(in crate::store) fn last_seq(&self) -> Result<i64, StoreError> {
        let last = self.number("SELECT last_seq AS number FROM feed_version")?;
        Ok(last.unwrap_or_default())
    }

    fn number(&self, query: &str) -> Result<Option<i64>, StoreError> {
        let mut number = None;
        self.every::<StoreError>(query, |row| {
            number = row::get(row, "number")?;
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
        let future = async { Ok(future.await?) };
        self.store.0.runtime.block_on(deadline, future)
    }
}

fn stored_eval_run(row: &Row) -> Result<StoredEvalRun, PostgresError> {
    Ok(StoredEvalRun {
        seq: row::get(row, "seq")?,
        id: row::get(row, "id")?,
        ran_at: row::get(row, "ran_at")?,
        schema_version: row::get(row, "schema_version")?,
        body: row::get(row, "body")?,
    })
}

fn stored_epoch(row: &Row) -> Result<StoredEpoch, PostgresError> {
    Ok(StoredEpoch {
        epoch: row::get(row, "epoch")?,
        body: row::get(row, "body")?,
    })
}

impl fmt::Debug for PostgresDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresDump").finish_non_exhaustive()
    }
}
