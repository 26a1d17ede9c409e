//! An import: the group commit of `writer`, chunk by chunk, in one transaction that has the lock of all writers from its
//! beginning. So nothing can change between a look and a call.

use std::{
    collections::HashMap,
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio_postgres::types::Type;

use super::{
    call::{CallError, Known, publisher_commit},
    connect::{Connector, Session, SessionLimits},
    decide::{Decision, decide},
    error::PostgresError,
    look::look,
    runtime::Runtime,
    writer::is_doubtful,
};
use crate::store::{
    Counts, Operation, StoreError, Written,
    import::{ImportFault, ImportItem},
};

/// The most of an import that is in memory at once.
const CHUNK_BYTES: usize = 4 * 1024 * 1024;
const CHUNK_ITEMS: usize = 10_000;
/// How long an import waits for other writers.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the server may take for one chunk, or for the commit.
const STEP_TIMEOUT: Duration = Duration::from_secs(120);

/// A session that imports. Dropping it rolls back what is not committed.
pub(crate) struct PostgresImport {
    runtime: Runtime,
    session: Session,
    warned: Arc<AtomicBool>,
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
    /// Opens a session.
    ///
    /// # Errors
    /// Those of [`Connector::connect`].
    pub(super) fn open(connector: &Connector, runtime: &Runtime) -> Result<Self, PostgresError> {
        let warned = Arc::new(AtomicBool::new(false));
        let limits = SessionLimits {
            lock: LOCK_TIMEOUT,
            statement: STEP_TIMEOUT,
        };
        let deadline = Instant::now() + STEP_TIMEOUT;
        let connected = connector.connect(limits, deadline, on_warning(&warned));
        let session = runtime.block_on(deadline, connected)?;
        Ok(Self {
            runtime: runtime.clone(),
            session,
            warned,
            chunk: Chunk::default(),
            counts: Counts::default(),
            greatest_seq: 0,
        })
    }

    /// Begins a transaction, and waits for the lock of all writers.
    ///
    /// # Errors
    /// [`ImportFault::Store`].
    pub(crate) fn begin(&mut self) -> Result<(), ImportFault> {
        let client = self.session.client();
        let begun = self.runtime.block_on(step(), async {
            client
                .batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED; SELECT publisher_lineage()")
                .await?;
            let last = client.query_typed_one("SELECT last_seq FROM feed_version", &[]);
            Ok(last.await?.try_get(0)?)
        });
        self.greatest_seq = begun.map_err(StoreError::from)?;
        Ok(())
    }

    /// Takes an item in. It may be sent later.
    ///
    /// # Errors
    /// [`ImportFault`], also of an item that was taken in before.
    pub(crate) fn put(&mut self, number: u64, item: ImportItem) -> Result<(), ImportFault> {
        let (operation, bytes) = match item {
            ImportItem::Challenge(challenge) => (Operation::PutChallenges(vec![challenge]), 1024),
            ImportItem::EvalRun { seq, run } => {
                if let Some(seq) = seq {
                    self.chunk.seqs.entry(run.id.clone()).or_insert(seq);
                }
                let bytes = run.body.len();
                (Operation::InsertEvalRuns(vec![run]), bytes)
            }
            ImportItem::MerkleEpoch { epoch, body: Some(body) } => {
                let bytes = body.len();
                (Operation::PutMerkleEpoch { epoch, body }, bytes)
            }
            ImportItem::MerkleEpoch { epoch, body: None } => {
                self.flush()?;
                return self.put_epoch_number(epoch);
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
    pub(crate) fn raise_last_seq(&mut self, last: i64) -> Result<(), ImportFault> {
        self.flush()?;
        // The sequence follows at the next write.
        self.execute(
            "UPDATE feed_version SET last_seq = $1 WHERE last_seq < $1",
            last,
        )?;
        Ok(())
    }

    /// Commits, and returns what the transaction changed.
    ///
    /// # Errors
    /// [`ImportFault`]; [`ImportFault::Unknown`] if the transaction may be stored.
    pub(crate) fn commit(&mut self) -> Result<Counts, ImportFault> {
        self.flush()?;
        let client = self.session.client();
        let committed = self.runtime.block_on(step(), async {
            // A commit that writes nothing would not wait for the synchronous standby.
            client
                .batch_execute("SELECT pg_logical_emit_message(true, 'publisher', '')")
                .await?;
            Ok(client.batch_execute("COMMIT").await.map_err(CallError::of))
        });
        match committed.map_err(|error| ImportFault::Unknown(error.to_string()))? {
            Ok(()) if self.warned.load(Ordering::Acquire) => Err(ImportFault::Unknown(
                "the wait for the synchronous standby was cancelled".to_owned(),
            )),
            Ok(()) => Ok(mem::take(&mut self.counts)),
            Err(error) => Err(fault(error)),
        }
    }

    /// Stores the items of the chunk.
    fn flush(&mut self) -> Result<(), ImportFault> {
        let chunk = mem::take(&mut self.chunk);
        if chunk.operations.is_empty() {
            return Ok(());
        }
        let client = self.session.client();
        let looked = async { Ok(look(client, &chunk.operations).await) };
        let looked = self.runtime.block_on(step(), looked);
        let stored = looked.map_err(StoreError::from)??;
        let mut decision = decide(&chunk.operations, &stored);
        for (result, number) in mem::take(&mut decision.results).into_iter().zip(&chunk.numbers) {
            let counts = result.map_err(|refused| ImportFault::Item {
                number: *number,
                error: refused.error,
            })?;
            self.counts.inserted += counts.inserted;
            self.counts.unchanged += counts.unchanged;
        }
        let seqs = given_seqs(&decision, &chunk.seqs, &mut self.greatest_seq);
        let lock_timeout_ms = i32::try_from(LOCK_TIMEOUT.as_millis()).unwrap_or(i32::MAX);
        let call = publisher_commit(client, &decision, &seqs, Known::default(), lock_timeout_ms);
        let called = self.runtime.block_on(step(), async { Ok(call.await) });
        match called.map_err(StoreError::from)? {
            Ok(_) => Ok(()),
            // Not committed yet, whatever happened.
            Err(CallError::Unknown(reason)) => Err(ImportFault::Broken(reason)),
            Err(error) => Err(fault(error)),
        }
    }

    /// Stores an epoch of which only the number is known, which never conflicts.
    fn put_epoch_number(&mut self, epoch: i64) -> Result<(), ImportFault> {
        let insert = "INSERT INTO merkle_epochs (epoch) VALUES ($1) ON CONFLICT DO NOTHING";
        self.counts.add(match self.execute(insert, epoch)? {
            0 => Written::Unchanged,
            _ => Written::Inserted,
        });
        Ok(())
    }

    fn execute(&self, statement: &str, number: i64) -> Result<u64, ImportFault> {
        let client = self.session.client();
        let executed = self.runtime.block_on(step(), async {
            let executed = client.execute_typed(statement, &[(&number, Type::INT8)]);
            Ok(executed.await?)
        });
        Ok(executed.map_err(StoreError::from)?)
    }
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

fn step() -> Instant {
    Instant::now() + STEP_TIMEOUT
}
