//! A group commit, and what is told of it.

use std::time::{Duration, Instant};

use crate::{
    feed::FeedHandle,
    metrics::{CommitOutcome, Metrics},
    store::{BoardStamp, CommitError, Counts, Store, Writer, WriterSettings, operation::Operation},
};

use super::outcome::Rejected;

/// A commit that fails after this time has waited for something.
const GIVEN_UP: Duration = Duration::from_secs(1);

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
            Err(CommitError::NotStored(_) | CommitError::Refused(_)) => CommitOutcome::NotStored,
            Err(CommitError::Unknown(_)) => CommitOutcome::Unknown,
        });
        let committed = match committed {
            Ok(committed) => committed,
            // One of them must not fail the others.
            Err(CommitError::Refused(_)) if operations.len() > 1 => {
                let (first, second) = operations.split_at(operations.len() / 2);
                return self.commit(first).followed_by(self.commit(second));
            }
            Err(error) => {
                let gave_up = begun.elapsed() >= GIVEN_UP;
                return failed(operations, &error, gave_up);
            }
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
        if operations.iter().any(Operation::may_replace_rows) {
            self.feed.observe(committed.after);
        } else {
            let rows = stored.flat_map(Operation::rows);
            self.feed.committed(committed.before, committed.after, rows);
        }
        let results = committed.results.into_iter();
        Done {
            results: results
                .map(|result| result.map_err(Rejected::from))
                .collect(),
            board: Some(committed.board),
            gave_up: false,
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
    /// Whether the database was waited for in vain: what is queued meanwhile would wait as long.
    pub(super) gave_up: bool,
}

impl Done {
    fn followed_by(mut self, next: Self) -> Self {
        self.results.extend(next.results);
        self.board = next.board.or(self.board);
        self.gave_up |= next.gave_up;
        self
    }
}

fn failed(operations: &[Operation], error: &CommitError, gave_up: bool) -> Done {
    log::warn!(
        "a commit of {} operations failed: {error}",
        operations.len()
    );
    let rejected = || match error {
        CommitError::NotStored(reason) => Rejected::Store(reason.clone()),
        CommitError::Refused(reason) => Rejected::Refused(reason.clone()),
        CommitError::Unknown(_) => Rejected::Unknown,
    };
    Done {
        results: operations.iter().map(|_| Err(rejected())).collect(),
        board: None,
        gave_up,
    }
}
