//! A group commit, and what is told of it.

use std::time::Instant;

use crate::{
    feed::FeedHandle,
    metrics::{CommitOutcome, Metrics},
    store::{BoardStamp, CommitError, Counts, Store, Writer, WriterSettings, operation::Operation},
};

use super::outcome::Rejected;

/// The database to write to, and what a commit needs to know and to tell.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) store: Store,
    pub(super) settings: WriterSettings,
    /// Is told of every row.
    pub(super) feed: FeedHandle,
    pub(super) metrics: Metrics,
}

/// The one write connection, and the feed that it tells of commits.
#[derive(Debug)]
pub(super) struct Committer {
    writer: Writer,
    feed: FeedHandle,
    metrics: Metrics,
}

impl Committer {
    pub(super) fn new(target: &Target) -> Self {
        Self {
            writer: target.store.writer(target.settings),
            feed: target.feed.clone(),
            metrics: target.metrics.clone(),
        }
    }

    /// Carries all operations out in one transaction. Blocks until the commit is durable.
    ///
    /// The results are in the order of the operations. If the transaction fails nothing is stored, and each result
    /// says so; or the outcome is unknown, and each result says that. Clients of the feed see the rows from then on.
    pub(super) fn commit(&mut self, operations: &[Operation]) -> Done {
        let begun = Instant::now();
        let committed = self.writer.commit(operations);
        self.metrics.commit_ended(match &committed {
            Ok(_) => CommitOutcome::Stored,
            Err(CommitError::NotStored(_)) => CommitOutcome::NotStored,
            Err(CommitError::Unknown(_)) => CommitOutcome::Unknown,
        });
        let committed = match committed {
            Ok(committed) => committed,
            Err(error) => return failed(operations, &error),
        };
        let counts = committed.results.iter().flatten();
        let items = counts.map(|counts| counts.inserted).sum();
        let metrics = &self.metrics;
        metrics.committed(operations.len(), items, begun.elapsed());
        if let Some(time) = committed.lock_wait {
            metrics.lock_waited(time);
        }
        let stored = operations.iter().zip(&committed.results);
        let stored =
            stored.filter_map(|(operation, result)| result.as_ref().ok().map(|_| operation));
        let rows = stored.flat_map(Operation::rows);
        self.feed.committed(committed.before, committed.after, rows);
        let results = committed.results.into_iter();
        Done {
            results: results
                .map(|result| result.map_err(Rejected::from))
                .collect(),
            board: Some(committed.board),
        }
    }
}

/// What became of a commit.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// The results, in the order of the operations; empty if they are lost.
    pub(super) results: Vec<Result<Counts, Rejected>>,
    /// The board after it, if it is stored.
    pub(super) board: Option<BoardStamp>,
}

fn failed(operations: &[Operation], error: &CommitError) -> Done {
    log::warn!(
        "a commit of {} operations failed: {error}",
        operations.len()
    );
    let rejected = || match error {
        CommitError::NotStored(reason) => Rejected::Store(reason.clone()),
        CommitError::Unknown(_) => Rejected::Unknown,
    };
    Done {
        results: operations.iter().map(|_| Err(rejected())).collect(),
        board: None,
    }
}
