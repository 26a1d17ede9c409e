//! Removes old eval runs from a server. Each transaction has the lock of all writers from its beginning.

use std::{
    fmt,
    time::{Duration, Instant},
};

use tokio_postgres::{Client, types::Type};

use super::{
    call::CallError,
    connect::SessionLimits,
    error::PostgresError,
    import::commit,
    row::get,
    store::PostgresStore,
    writer::{NOT_AWAITED, WriteSession},
};
use crate::{
    domain::ran_at::RanAt,
    store::{StoreError, import::ImportFault, prune::Which, state::Pruned},
};

/// How long a transaction waits for other writers.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the server may take for a transaction, and to count.
const STEP_TIMEOUT: Duration = Duration::from_secs(120);

/// A session that prunes.
pub struct PostgresPrune {
    store: PostgresStore,
    session: WriteSession,
}

impl PostgresPrune {
    /// Connects.
    ///
    /// # Errors
    /// [`StoreError::Postgres`].
    pub fn open(store: PostgresStore) -> Result<Self, StoreError> {
        let limits = SessionLimits {
            lock: LOCK_TIMEOUT,
            statement: STEP_TIMEOUT,
        };
        let deadline = step();
        let opened =
            async { Ok::<_, StoreError>(WriteSession::open(&store, limits, deadline).await?) };
        let session = store.0.runtime.block_on(deadline, opened)?;
        Ok(Self { store, session })
    }

    pub(in crate::store) fn count(&self, before: &RanAt) -> Result<u64, StoreError> {
        const COUNT: &str =
            "SELECT (SELECT count(*) FROM eval_runs WHERE schema_version >= 5 AND ran_at < $1)
            + (SELECT count(*) FROM eval_runs WHERE schema_version < 5 AND ran_at < $1) AS old";
        let before = before.as_str();
        self.block_on(async |client| {
            let count = client
                .query_typed_one(COUNT, &[(&before, Type::TEXT)])
                .await?;
            Ok(get::<i64>(&count, "old")?.unsigned_abs())
        })
    }

    pub(in crate::store) fn remove(
        &mut self,
        before: &RanAt,
        which: Which,
        most: u32,
    ) -> Result<u64, ImportFault> {
        let removed = self.block_on(async |client| delete(client, before, which, most).await)?;
        let handle = self.store.0.runtime.handle();
        let session = &self.session;
        let committed = async { Ok::<_, StoreError>(commit(session, handle).await) };
        match self.store.0.runtime.block_on(step(), committed) {
            Ok(Ok(())) if !session.has_warned() => Ok(removed),
            Ok(Ok(())) => Err(ImportFault::Unknown(NOT_AWAITED.to_owned())),
            Ok(Err(CallError::Changed(error) | CallError::NotStored(error))) => {
                Err(StoreError::from(PostgresError::from(error)).into())
            }
            Ok(Err(CallError::Unknown(reason))) => Err(ImportFault::Unknown(reason)),
            Err(error) => Err(ImportFault::Unknown(error.to_string())),
        }
    }

    fn block_on<T>(
        &self,
        run: impl AsyncFnOnce(&Client) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let runtime = &self.store.0.runtime;
        runtime.block_on(step(), run(self.session.session.client()))
    }
}

/// Begins a transaction, and deletes. What runs there sees everything that was committed before it got the lock.
async fn delete(
    client: &Client,
    before: &RanAt,
    which: Which,
    most: u32,
) -> Result<u64, StoreError> {
    let delete = format!(
        "WITH gone AS (
            DELETE FROM eval_runs AS e USING (
                SELECT seq FROM eval_runs WHERE {} AND ran_at < $1 ORDER BY ran_at, id LIMIT $2
            ) AS old WHERE e.seq = old.seq RETURNING e.seq
        )
        SELECT count(*) AS removed, max(seq) AS through_seq FROM gone",
        which.condition()
    );
    let (before, most) = (before.as_str(), i64::from(most));
    let begin = "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT publisher_lineage()";
    client.batch_execute(begin).await?;
    let parameters = [(&before as _, Type::TEXT), (&most as _, Type::INT8)];
    let gone = client.query_typed_one(&delete, &parameters).await?;
    let removed: i64 = get(&gone, "removed")?;
    if let Some(through_seq) = get(&gone, "through_seq")? {
        let before = before.to_owned();
        let pruned = Pruned {
            before,
            through_seq,
        };
        note(client, &pruned).await?;
    }
    Ok(removed.unsigned_abs())
}

/// Notes that eval runs were pruned.
pub(super) async fn note(client: &Client, pruned: &Pruned) -> Result<(), StoreError> {
    let note = include_str!("../../../sql/queries/note_pruned.sql");
    let parameters = [
        (&pruned.before as _, Type::TEXT),
        (&pruned.through_seq as _, Type::INT8),
    ];
    client.execute_typed(note, &parameters).await?;
    Ok(())
}

fn step() -> Instant {
    Instant::now() + STEP_TIMEOUT
}

impl fmt::Debug for PostgresPrune {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresPrune").finish_non_exhaustive()
    }
}
