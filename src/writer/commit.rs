//! Group commit: one transaction, and so one wait for the disk, for all that piled up.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use rusqlite::{Connection, TransactionBehavior};

use super::{
    log_size::{LogLimits, LogSize},
    operation::{Counts, Operation, Refused},
};
use crate::{
    feed::changes::FeedChanges,
    store::{
        StoreError,
        file::{FileIdentity, identity},
        open::{OpenError, open_writer},
        pool::ReadPool,
        read,
    },
};

/// Where and how to write.
#[derive(Debug, Clone)]
pub struct WriteSettings {
    /// The database.
    pub path: PathBuf,
    /// The longest wait for another process that is writing.
    pub busy_timeout: Duration,
    /// The bounds of the write-ahead log.
    pub log: LogLimits,
    /// Write over this pool's one connection, which readers share, instead of one of its own: only
    /// for showing the difference.
    pub shared: Option<ReadPool>,
    /// Is told of every row.
    pub feed: FeedChanges,
}

/// The one write connection. Opened at the first commit, and anew after a failure.
#[derive(Debug)]
pub struct WriteConnection {
    settings: WriteSettings,
    connection: Option<(Connection, FileIdentity)>,
    log_size: LogSize,
}

impl WriteConnection {
    /// A connection that is not open yet.
    pub fn new(settings: WriteSettings) -> Self {
        Self {
            log_size: LogSize::new(&settings.path, settings.log),
            settings,
            connection: None,
        }
    }

    /// Carries all operations out in one transaction. One that is refused is rolled back alone, to
    /// its savepoint. Blocks until the commit is durable (`synchronous=FULL`).
    ///
    /// The results are in the order of the operations. Where the transaction itself fails none is
    /// stored, and each one says so. Readers of the feed see the rows from then on.
    pub fn commit(&mut self, operations: &[Operation]) -> Vec<Result<Counts, Refused>> {
        self.try_commit(operations).unwrap_or_else(|error| {
            self.connection = None;
            let reason = error.to_string();
            log::warn!(
                "a commit of {} operations failed: {reason}",
                operations.len()
            );
            let refused = || Err(Refused::Store(reason.clone()));
            operations.iter().map(|_| refused()).collect()
        })
    }

    fn try_commit(
        &mut self,
        operations: &[Operation],
    ) -> Result<Vec<Result<Counts, Refused>>, CommitError> {
        let path = &self.settings.path;
        if let Some((_, opened)) = &self.connection
            && *opened != identity(path)
        {
            self.connection = None;
        }
        let mut shared;
        let connection = match (&self.settings.shared, &mut self.connection) {
            (Some(pool), _) => {
                shared = pool.reader(Instant::now() + self.settings.busy_timeout)?;
                &mut *shared
            }
            (None, Some((connection, _))) => connection,
            (None, none) => {
                // Asked before opening: where the file changes in between, the end notices.
                &mut none.insert((open(&self.settings)?, identity(path))).0
            }
        };
        let mut transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let feed = self.settings.feed.writing();
        let before = read::feed_stamp(&transaction)?;
        let mut stored = Vec::with_capacity(operations.len());
        let mut results = Vec::with_capacity(operations.len());
        for operation in operations {
            let savepoint = transaction.savepoint()?;
            let result = operation.apply(&savepoint);
            if result.is_ok() {
                savepoint.commit()?;
                stored.push(operation);
            } else {
                // Rolls back to the savepoint, and reports where even that fails.
                savepoint.finish()?;
            }
            results.push(result);
        }
        let after = read::feed_stamp(&transaction)?;
        transaction.commit()?;
        let rows = stored.iter().flat_map(|operation| operation.rows());
        feed.committed(before, after, rows);
        self.log_size
            .keep_bounded(connection, self.settings.busy_timeout);
        // What went into a file that nobody finds any more is not durable.
        match &self.connection {
            Some((_, opened)) if *opened != identity(path) => Err(CommitError::Gone),
            Some(_) | None => Ok(results),
        }
    }
}

/// A connection to the file that is there: one that was deleted must not come back empty.
fn open(settings: &WriteSettings) -> Result<Connection, CommitError> {
    if !settings.path.exists() {
        return Err(CommitError::Gone);
    }
    Ok(open_writer(&settings.path, settings.busy_timeout)?)
}

/// Why a whole transaction failed.
#[derive(Debug, thiserror::Error)]
enum CommitError {
    #[error("the database is gone, or another file took its place")]
    Gone,
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}
