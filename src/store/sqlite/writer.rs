//! Group commit: one transaction, and so one wait for the disk, for all operations of a group.

use rusqlite::{Connection, TransactionBehavior, config::DbConfig};

use super::{
    file::{DatabaseFile, FileConnection, FileFault},
    history::Reached,
    mirror::{
        self,
        claim::{self, FollowerToken},
    },
    open::{OpenError, open_writer},
    read,
    wal_size::WalSize,
    write,
};
use crate::store::{
    CommitError, Committed, Counts, RefusedItem, StoreError, WriteError, WriterSettings, Written,
    operation::Operation,
};

/// The one write connection. Opened at the first commit, and anew after a failure.
#[derive(Debug)]
pub struct WriteConnection {
    file: DatabaseFile,
    settings: WriterSettings,
    /// If the database is that of a follower.
    follows: Option<FollowerToken>,
    connection: Option<FileConnection>,
    wal_size: WalSize,
}

impl WriteConnection {
    /// A connection that is not open yet.
    pub(super) fn new(
        file: DatabaseFile,
        settings: WriterSettings,
        follows: Option<FollowerToken>,
    ) -> Self {
        Self {
            follows,
            wal_size: WalSize::new(&file, settings),
            file,
            settings,
            connection: None,
        }
    }

    /// Carries all operations out in one transaction. A rejected operation is rolled back alone, to its
    /// savepoint. Blocks until the commit is durable (`synchronous=FULL`).
    ///
    /// # Errors
    /// [`CommitError::Unknown`] if the files were touched during the commit.
    pub(in crate::store) fn commit(
        &mut self,
        operations: &[Operation],
    ) -> Result<Committed, CommitError> {
        self.try_commit(operations).map_err(|error| {
            self.connection = None;
            if let Failure::Store(error) = &error {
                self.file.condition().failed(error);
            }
            let reason = error.to_string();
            match error {
                Failure::Touched(_) => CommitError::Unknown(reason),
                Failure::File(_) | Failure::Open(_) | Failure::Store(_) => {
                    CommitError::NotStored(reason)
                }
            }
        })
    }

    fn try_commit(&mut self, operations: &[Operation]) -> Result<Committed, Failure> {
        let known = match self.connection.take() {
            Some(known) => match known.is_whole(None)? {
                (true, end) => Some((known, end)),
                (false, _) => None,
            },
            None => None,
        };
        let opened_now = known.is_none();
        let (connection, log_end) = match known {
            Some(known) => known,
            None => (self.open()?, None),
        };
        let connection = self.connection.insert(connection);
        let mut transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let history = &self.file.condition().history;
        if opened_now
            && operations
                .iter()
                .any(|it| !matches!(it, Operation::Mirror(_)))
        {
            claim::expect_own(&transaction, self.file.path())?;
        }
        if let Some(claimed) = self.follows {
            claimed.check(&transaction)?;
        }
        let keeps_lineages = mirror::keeps_lineages(&transaction, operations)?;
        if keeps_lineages {
            history.keep_lineages();
        } else {
            history.begin_write(&transaction)?;
        }
        let before = read::feed_stamp(&transaction)?;
        let mut results = Vec::with_capacity(operations.len());
        for operation in operations {
            let savepoint = transaction.savepoint()?;
            let result = apply(operation, &savepoint);
            if result.is_ok() {
                savepoint.commit()?;
            } else if let Err(error) = savepoint.finish() {
                // SQLite has rolled back the whole transaction: the disk is full, or failed.
                return Err(match result {
                    Err(RefusedItem {
                        error: WriteError::Store(reason),
                        ..
                    }) => reason.into(),
                    _ => error.into(),
                });
            }
            results.push(result);
        }
        let after = read::feed_stamp(&transaction)?;
        let board = read::board_stamp(&transaction)?;
        let reached = Reached::of(&transaction)?;
        transaction.commit()?;
        if !keeps_lineages {
            history.wrote(reached);
        }
        // What went into a file that nobody finds any more is not durable.
        match connection.is_whole(log_end) {
            Ok((true, _)) => {}
            Ok((false, _)) => return Err(Failure::Touched("another database".to_owned())),
            Err(fault) => return Err(Failure::Touched(fault.to_string())),
        }
        self.wal_size.keep_bounded(connection);
        Ok(Committed {
            results,
            before,
            after,
            board,
            lock_wait: None,
        })
    }

    fn open(&self) -> Result<FileConnection, Failure> {
        self.file.open(|| {
            let connection = open_writer(self.file.path(), self.settings.busy_timeout)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            Ok(connection)
        })
    }
}

/// Carries an operation out in the open transaction; if it is refused the caller must roll back.
pub(in crate::store) fn apply(
    operation: &Operation,
    connection: &Connection,
) -> Result<Counts, RefusedItem> {
    match operation {
        Operation::PutChallenges(challenges) => each(challenges, |challenge| {
            write::put_challenge(connection, challenge)
        }),
        Operation::ReplaceChallenge { old, new } => {
            each(&[()], |()| write::replace_challenge(connection, old, new))
        }
        Operation::InsertEvalRuns(runs) => {
            each(runs, |run| write::insert_eval_run(connection, run))
        }
        Operation::PutMerkleEpoch { epoch, body } => each(&[()], |()| {
            write::put_merkle_epoch(connection, *epoch, Some(body))
        }),
        Operation::Mirror(mirrored) => mirror::apply(connection, mirrored),
    }
}

fn each<T>(
    items: &[T],
    write: impl Fn(&T) -> Result<Written, WriteError>,
) -> Result<Counts, RefusedItem> {
    let mut counts = Counts::default();
    for (index, item) in items.iter().enumerate() {
        counts.add(write(item).map_err(|error| RefusedItem { index, error })?);
    }
    Ok(counts)
}

/// Why a whole transaction failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The operations are committed, and may not be found again.
    #[error("the files were touched during the commit: {0}")]
    Touched(String),
    #[error(transparent)]
    File(#[from] FileFault),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}
