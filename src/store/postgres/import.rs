//! An import: the group commit of `writer`, chunk by chunk, in one transaction that has the lock of all writers from its
//! beginning. So nothing can change between a look and a call.

use std::{
    collections::HashMap,
    fmt, mem,
    time::{Duration, Instant},
};

use tokio::{pin, runtime::Handle, time::timeout};
use tokio_postgres::{
    Client,
    types::{ToSql, Type},
};

use super::{
    call::{CallError, Known, publisher_commit},
    connect::SessionLimits,
    decide::{Decision, decide},
    error::{PostgresError, ServerError},
    look::look,
    prune, row,
    store::PostgresStore,
    writer::{NOT_AWAITED, WriteSession},
};
use crate::{
    domain::lineages::Lineages,
    store::{
        Counts, Operation, StoreError, Written,
        import::{ImportFault, ImportItem},
        sqlite::page_copy::Contents,
        state::Pruned,
    },
};

/// The most of an import that is in memory at once.
const CHUNK_BYTES: usize = 4 * 1024 * 1024;
const CHUNK_ITEMS: usize = 10_000;
/// How long an import waits for other writers.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the server may take for one chunk.
const STEP_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a commit may take, and how long it may take to cancel it.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(30);
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// A session that imports. Dropping it rolls back what is not committed.
pub struct PostgresImport {
    store: PostgresStore,
    session: Option<Box<WriteSession>>,
    chunk: Chunk,
    counts: Counts,
    /// The greatest `seq` that was ever given.
    greatest_seq: i64,
}

/// Items that are not sent yet.
#[derive(Debug, Default)]
struct Chunk {
    operations: Vec<Operation>,
    /// The numbers of the items in the input.
    numbers: Vec<u64>,
    /// The numbers that eval runs had where they come from, by id.
    seqs: HashMap<String, i64>,
    bytes: usize,
}

impl PostgresImport {
    /// An import that is not connected yet.
    pub fn new(store: PostgresStore) -> Self {
        Self {
            store,
            session: None,
            chunk: Chunk::default(),
            counts: Counts::default(),
            greatest_seq: 0,
        }
    }

    /// Connects, and creates or migrates the schema.
    ///
    /// # Errors
    /// [`StoreError::Postgres`].
    pub(in crate::store) fn prepare(&mut self) -> Result<(), StoreError> {
        let limits = SessionLimits {
            lock: LOCK_TIMEOUT,
            statement: STEP_TIMEOUT,
        };
        let deadline = step();
        let opened =
            async { Ok::<_, StoreError>(WriteSession::open(&self.store, limits, deadline).await?) };
        self.session = Some(Box::new(self.store.0.runtime.block_on(deadline, opened)?));
        Ok(())
    }

    /// Begins a transaction, and waits for the lock of all writers.
    ///
    /// # Errors
    /// [`StoreError::Postgres`].
    pub(in crate::store) fn begin(&mut self) -> Result<(), StoreError> {
        // Reading the input may have taken hours.
        if self
            .session
            .as_ref()
            .is_none_or(|session| session.is_closed())
        {
            self.prepare()?;
        }
        let begin = "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT publisher_lineage()";
        let last = "SELECT last_seq FROM feed_version";
        self.greatest_seq = self.block_on(async |client| {
            client.batch_execute(begin).await?;
            Ok(client.query_typed_one(last, &[]).await?.try_get(0)?)
        })?;
        Ok(())
    }

    /// Takes an item in. It may be sent later.
    ///
    /// # Errors
    /// [`ImportFault`], also of an item that was taken in before.
    pub(in crate::store) fn put(
        &mut self,
        number: u64,
        item: ImportItem,
    ) -> Result<(), ImportFault> {
        let (operation, bytes) = match item {
            ImportItem::Challenge(challenge) => {
                let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
                let bytes = text(&challenge.kind) + text(&challenge.difficulty_label);
                (Operation::PutChallenges(vec![challenge]), bytes)
            }
            ImportItem::EvalRun { seq, run } => {
                if let Some(seq) = seq {
                    self.chunk.seqs.entry(run.id.clone()).or_insert(seq);
                }
                let bytes = run.body.len();
                (Operation::InsertEvalRuns(vec![run]), bytes)
            }
            ImportItem::MerkleEpoch { epoch, body } => {
                let bytes = body.len();
                (Operation::PutMerkleEpoch { epoch, body }, bytes)
            }
        };
        self.chunk.operations.push(operation);
        self.chunk.numbers.push(number);
        self.chunk.bytes += bytes;
        if self.chunk.bytes >= CHUNK_BYTES || self.chunk.operations.len() >= CHUNK_ITEMS {
            self.flush()?;
        }
        Ok(())
    }

    /// Makes eval runs that are inserted from now on have a greater `seq` than `last`.
    ///
    /// # Errors
    /// [`ImportFault`].
    pub(in crate::store) fn raise_last_seq(&mut self, last: i64) -> Result<(), ImportFault> {
        self.flush()?;
        // The sequence follows at the next write.
        self.execute(
            "UPDATE feed_version SET last_seq = $1 WHERE last_seq < $1",
            last,
        )?;
        Ok(())
    }

    /// Notes that eval runs were pruned.
    ///
    /// # Errors
    /// [`StoreError::Postgres`].
    pub(in crate::store) fn note_pruned(&self, pruned: &Pruned) -> Result<(), StoreError> {
        self.block_on(async |client| prune::note(client, pruned).await)
    }

    /// Deletes everything. Returns what was there, and the lineages of the database. Eval runs that are put from now on
    /// keep their numbers.
    ///
    /// # Errors
    /// [`StoreError::Postgres`].
    pub(in crate::store) fn clear(&mut self) -> Result<(Contents, Lineages), StoreError> {
        const COUNT: &str =
            "SELECT (SELECT count(*) FROM challenges), (SELECT count(*) FROM eval_runs),
                                    (SELECT count(*) FROM merkle_epochs)";
        const CLEAR: &str =
            "DELETE FROM challenges; DELETE FROM eval_runs; DELETE FROM merkle_epochs;
                             DELETE FROM pruned; UPDATE feed_version SET last_seq = 0";
        let cleared = self.block_on(async |client| {
            let count = client.query_typed_one(COUNT, &[]).await?;
            let lineages = client.query_typed("SELECT * FROM lineages", &[]).await?;
            let lineages = row::lineages(&lineages)?;
            client.batch_execute(CLEAR).await?;
            let count = |column: usize| {
                let count: i64 = count.try_get(column)?;
                Ok::<_, StoreError>(count.unsigned_abs())
            };
            let current = lineages.current();
            let contents = Contents {
                challenges: count(0)?,
                eval_runs: count(1)?,
                merkle_epochs: count(2)?,
                lineage: current.map(|lineage| lineage.id_text()),
            };
            Ok((contents, lineages))
        })?;
        self.greatest_seq = 0;
        Ok(cleared)
    }

    /// Replaces the lineages that the database knows, and begins one: that of a restore. Its ordinal is greater than those
    /// of `before`. Returns its id.
    ///
    /// # Errors
    /// [`StoreError::Postgres`].
    pub(in crate::store) fn begin_lineage(
        &mut self,
        known: &Lineages,
        before: &Lineages,
    ) -> Result<String, StoreError> {
        // No file has an empty mark, so publisher_lineage() begins a new one.
        const PUT: &str =
            "INSERT INTO lineages (ordinal, id, first_seq, shared_through, is_restore, mark)
                           VALUES ($1, $2, $3, $4, $5, '')";
        let current = before
            .current()
            .map_or(0_i64, |lineage| lineage.ordinal.into());
        self.block_on(async |client| {
            client.batch_execute("DELETE FROM lineages").await?;
            for known in known.known() {
                let (ordinal, id) = (i64::from(known.lineage.ordinal), known.lineage.id_text());
                let values: [(&(dyn ToSql + Sync), Type); 5] = [
                    (&ordinal, Type::INT8),
                    (&id, Type::TEXT),
                    (&known.first_seq, Type::INT8),
                    (&known.shared_through, Type::INT8),
                    (&known.is_restore, Type::BOOL),
                ];
                client.execute_typed(PUT, &values).await?;
            }
            let begin = "SELECT (publisher_lineage($1)).id";
            let begun = client
                .query_typed_one(begin, &[(&current, Type::INT8)])
                .await;
            Ok(begun?.try_get(0)?)
        })
    }

    /// Commits, and returns what the transaction changed.
    ///
    /// # Errors
    /// [`ImportFault`]; [`ImportFault::Unknown`] if the transaction may be stored.
    pub(in crate::store) fn commit(&mut self) -> Result<Counts, ImportFault> {
        self.flush()?;
        // A commit that writes nothing would not wait for the synchronous standby.
        let write = "SELECT pg_logical_emit_message(true, 'publisher', '')";
        self.block_on(async |client| Ok(client.batch_execute(write).await?))?;
        let handle = self.store.0.runtime.handle();
        let committed = self.block_on_session(async |session| Ok(commit(session, handle).await));
        match committed {
            Ok(Ok(()))
                if !self
                    .session
                    .as_ref()
                    .is_some_and(|session| session.has_warned()) =>
            {
                Ok(mem::take(&mut self.counts))
            }
            Ok(Ok(())) => Err(ImportFault::Unknown(NOT_AWAITED.to_owned())),
            Ok(Err(CallError::Changed(error) | CallError::NotStored(error))) => {
                Err(stored_nothing(error))
            }
            Ok(Err(CallError::Unknown(reason))) => Err(ImportFault::Unknown(reason)),
            Err(error) => Err(ImportFault::Unknown(error.to_string())),
        }
    }

    /// Stores the items of the chunk.
    fn flush(&mut self) -> Result<(), ImportFault> {
        let chunk = mem::take(&mut self.chunk);
        if chunk.operations.is_empty() {
            return Ok(());
        }
        let stored = self.block_on(async |client| look(client, &chunk.operations).await)?;
        let mut decision = decide(&chunk.operations, &stored);
        for (result, number) in mem::take(&mut decision.results)
            .into_iter()
            .zip(&chunk.numbers)
        {
            self.counts += result.map_err(|refused| ImportFault::Item {
                number: *number,
                error: refused.error,
            })?;
        }
        let seqs = given_seqs(&decision, &chunk.seqs, &mut self.greatest_seq);
        let lock_timeout_ms = i32::try_from(LOCK_TIMEOUT.as_millis()).unwrap_or(i32::MAX);
        let known = Known::default();
        let called = self.block_on(async |client| {
            Ok(publisher_commit(client, &decision, &seqs, known, lock_timeout_ms).await)
        });
        match called? {
            Ok(_) => Ok(()),
            Err(CallError::Changed(error) | CallError::NotStored(error)) => {
                Err(stored_nothing(error))
            }
            // The commit has not been asked for yet.
            Err(CallError::Unknown(reason)) => Err(ImportFault::Broken(reason)),
        }
    }

    /// Stores an epoch of which only the number is known, which never conflicts.
    ///
    /// # Errors
    /// [`ImportFault`], also of an item that was taken in before.
    pub(in crate::store) fn put_epoch_number(
        &mut self,
        epoch: i64,
    ) -> Result<Written, ImportFault> {
        self.flush()?;
        let insert = "INSERT INTO merkle_epochs (epoch) VALUES ($1) ON CONFLICT DO NOTHING";
        Ok(match self.execute(insert, epoch)? {
            0 => Written::Unchanged,
            _ => Written::Inserted,
        })
    }

    fn execute(&self, statement: &str, number: i64) -> Result<u64, ImportFault> {
        Ok(self.block_on(async |client| {
            let executed = client
                .execute_typed(statement, &[(&number, Type::INT8)])
                .await;
            Ok(executed?)
        })?)
    }

    fn block_on<T>(
        &self,
        run: impl AsyncFnOnce(&Client) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.block_on_session(async |session| run(session.session.client()).await)
    }

    fn block_on_session<T>(
        &self,
        run: impl AsyncFnOnce(&WriteSession) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let session = self.session.as_ref().ok_or(PostgresError::NotPrepared)?;
        self.store.0.runtime.block_on(step(), run(session))
    }
}

/// Commits. If there is no answer in time, cancels: a server that waits for its synchronous standby would keep the lock of
/// all writers.
pub(super) async fn commit(session: &WriteSession, handle: &Handle) -> Result<(), CallError> {
    let commit = session.session.client().batch_execute("COMMIT");
    pin!(commit);
    let answer = match timeout(COMMIT_TIMEOUT, &mut commit).await {
        Ok(answer) => answer,
        Err(_) => {
            session.session.cancel(handle);
            let late = timeout(CANCEL_TIMEOUT, commit).await;
            late.map_err(|_| CallError::Unknown("no answer in time".to_owned()))?
        }
    };
    answer.map_err(CallError::of)
}

/// Returns the numbers that new eval runs get: their own if it comes after all that were ever given, else the next one.
/// Empty if the input has none.
fn given_seqs(
    decision: &Decision<'_>,
    seqs: &HashMap<String, i64>,
    greatest: &mut i64,
) -> Vec<i64> {
    if seqs.is_empty() {
        return Vec::new();
    }
    let mut give = |id: &str| {
        *greatest = seqs.get(id).map_or(0, |seq| *seq).max(*greatest + 1);
        *greatest
    };
    decision.runs.iter().map(|run| give(&run.id)).collect()
}

fn stored_nothing(error: ServerError) -> ImportFault {
    StoreError::from(PostgresError::from(error)).into()
}

fn step() -> Instant {
    Instant::now() + STEP_TIMEOUT
}

impl fmt::Debug for PostgresImport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresImport").finish_non_exhaustive()
    }
}
