//! Group commit: one transaction, and so one wait for the disk, for all operations that are queued.

use std::time::Duration;

use rusqlite::{TransactionBehavior, config::DbConfig};

use super::{
    Settings,
    operation::{Operation, Rejected},
    wal_size::WalSize,
};
use crate::{
    feed::FeedCache,
    store::{
        StoreError,
        file::{DatabaseFile, FileConnection, FileFault},
        history::Reached,
        open::{OpenError, open_writer},
        read,
        write::Counts,
    },
};

/// The database to write to, and what a commit needs to know and to tell.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// The database.
    pub(super) file: DatabaseFile,
    pub(super) settings: Settings,
    /// How long a commit waits for readers if the WAL is past its hard limit.
    pub(super) long_wait: Duration,
    /// Is told of every row.
    pub(super) feed: FeedCache,
}

/// The one write connection. Opened at the first commit, and anew after a failure.
#[derive(Debug)]
pub(super) struct WriteConnection {
    target: Target,
    connection: Option<FileConnection>,
    wal_size: WalSize,
}

impl WriteConnection {
    /// A connection that is not open yet.
    pub(super) fn new(target: Target) -> Self {
        Self {
            wal_size: WalSize::new(&target),
            target,
            connection: None,
        }
    }

    /// Carries all operations out in one transaction. A rejected operation is rolled back alone, to its
    /// savepoint. Blocks until the commit is durable (`synchronous=FULL`).
    ///
    /// The results are in the order of the operations. If the transaction fails nothing is stored, and each result
    /// says so; if the files were touched during the commit, each result says that the outcome is unknown. Clients
    /// of the feed see the rows from then on.
    pub(super) fn commit(&mut self, operations: &[Operation]) -> Vec<Result<Counts, Rejected>> {
        self.try_commit(operations).unwrap_or_else(|error| {
            self.connection = None;
            if let CommitError::Store(error) = &error {
                self.target.file.condition().failed(error);
            }
            let reason = error.to_string();
            log::warn!(
                "a commit of {} operations failed: {reason}",
                operations.len()
            );
            let is_unknown = matches!(error, CommitError::Touched(_));
            let rejected = || {
                if is_unknown {
                    Rejected::Unknown
                } else {
                    Rejected::Store(reason.clone())
                }
            };
            operations.iter().map(|_| Err(rejected())).collect()
        })
    }

    fn try_commit(
        &mut self,
        operations: &[Operation],
    ) -> Result<Vec<Result<Counts, Rejected>>, CommitError> {
        let known = match self.connection.take() {
            Some(known) => match known.is_whole(None)? {
                (true, end) => Some((known, end)),
                (false, _) => None,
            },
            None => None,
        };
        let (connection, log_end) = match known {
            Some(known) => known,
            None => (open(&self.target)?, None),
        };
        let connection = self.connection.insert(connection);
        let mut transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let history = &self.target.file.condition().history;
        history.begin_write(&transaction)?;
        let before = read::feed_stamp(&transaction)?;
        let mut stored = Vec::with_capacity(operations.len());
        let mut results = Vec::with_capacity(operations.len());
        for operation in operations {
            let savepoint = transaction.savepoint()?;
            let result = operation.apply(&savepoint);
            if result.is_ok() {
                savepoint.commit()?;
                stored.push(operation);
            } else if let Err(error) = savepoint.finish() {
                // SQLite has rolled back the whole transaction: the disk is full, or failed.
                return Err(match result {
                    Err(Rejected::Store(reason)) => CommitError::RolledBack(reason),
                    _ => error.into(),
                });
            }
            results.push(result);
        }
        let after = read::feed_stamp(&transaction)?;
        let reached = Reached::of(&transaction)?;
        let feed = self.target.feed.begin_write();
        transaction.commit()?;
        history.wrote(reached);
        let rows = stored.iter().flat_map(|operation| operation.rows());
        feed.committed(before, after, rows);
        // What went into a file that nobody finds any more is not durable.
        match connection.is_whole(log_end) {
            Ok((true, _)) => {}
            Ok((false, _)) => return Err(CommitError::Touched("another database".to_owned())),
            Err(fault) => return Err(CommitError::Touched(fault.to_string())),
        }
        self.wal_size.keep_bounded(connection);
        Ok(results)
    }
}

fn open(target: &Target) -> Result<FileConnection, CommitError> {
    let busy_timeout = target.settings.busy_timeout;
    target.file.open(|| {
        let connection = open_writer(target.file.path(), busy_timeout)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        Ok(connection)
    })
}

/// Why a whole transaction failed.
#[derive(Debug, thiserror::Error)]
enum CommitError {
    /// The operations are committed, and may not be found again.
    #[error("the files were touched during the commit: {0}")]
    Touched(String),
    #[error("{0}")]
    RolledBack(String),
    #[error(transparent)]
    File(#[from] FileFault),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for CommitError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}
