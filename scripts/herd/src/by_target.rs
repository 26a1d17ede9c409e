//! Counters of each target, if polls go to more than one.
//!
//! Which target a poll goes to is known to the poller, and what becomes of each of its requests to the exchange. So the
//! target is a variable of the task that carries out the poll.

use std::{collections::BTreeMap, future::Future};

use hdrhistogram::{AdditionError, CreationError};
use serde::{Deserialize, Serialize};

use crate::{failures::Reason, latencies::Latencies, quantile::Latency, target::Target};

tokio::task_local! {
    /// The index of the target of the poll that this task carries out.
    static TARGET: usize;
}

/// Carries out a poll; what is counted meanwhile is counted for the target of this index.
pub(super) async fn poll<T>(target: usize, poll: impl Future<Output = T>) -> T {
    TARGET.scope(target, poll).await
}

/// Like [`poll`], for what takes no time.
pub(super) fn count<T>(target: usize, count: impl FnOnce() -> T) -> T {
    TARGET.sync_scope(target, count)
}

/// Results of the polls to one target. A poll that its client skipped counts for the target whose response the client waited
/// for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OfTarget {
    /// Its URL, without secrets.
    pub url: String,
    /// Polls that were due.
    pub due: u64,
    /// Polls that got an answer.
    pub answered: u64,
    /// Polls that failed.
    pub failed: u64,
    /// Requests that failed, by reason; retries count.
    pub failures: BTreeMap<Reason, u64>,
    /// Time from when a poll was due to its response, to two digits.
    pub latency: Latency,
}

/// The counters of all targets; empty if there is only one. Each has a histogram of two digits: about 16 kB for each target
/// and shard, of at most 1000 targets.
#[derive(Debug, Clone, Default)]
pub(super) struct ByTarget(Vec<Counters>);

/// The counters of one target.
#[derive(Debug, Clone)]
pub(super) struct Counters {
    /// Polls due.
    pub due: u64,
    /// Polls answered.
    pub answered: u64,
    /// Polls without a response.
    pub failed: u64,
    /// Requests that failed, by reason.
    pub failures: BTreeMap<Reason, u64>,
    /// Latencies of the polls.
    pub latency: Latencies,
}

impl ByTarget {
    /// Makes the counters of so many targets.
    ///
    /// # Errors
    /// If a histogram cannot be created, which is a bug.
    pub(super) fn new(targets: usize) -> Result<Self, CreationError> {
        let targets = if targets > 1 { targets } else { 0 };
        let all = (0..targets).map(|_| {
            Ok(Counters {
                due: 0,
                answered: 0,
                failed: 0,
                failures: BTreeMap::new(),
                latency: Latencies::new(2)?,
            })
        });
        Ok(Self(all.collect::<Result<_, _>>()?))
    }

    /// Counts for the target of this task.
    pub(super) fn count(&mut self, count: impl FnOnce(&mut Counters)) {
        if self.0.is_empty() {
            return;
        }
        let index = TARGET.try_with(|target| *target).ok();
        if let Some(counters) = index.and_then(|index| self.0.get_mut(index)) {
            count(counters);
        }
    }

    /// Adds those of another shard of the same run.
    ///
    /// # Errors
    /// See [`Latencies::merge`].
    pub(super) fn merge(&mut self, other: &Self) -> Result<(), AdditionError> {
        for (own, other) in self.0.iter_mut().zip(&other.0) {
            own.due += other.due;
            own.answered += other.answered;
            own.failed += other.failed;
            for (reason, count) in &other.failures {
                *own.failures.entry(*reason).or_default() += count;
            }
            own.latency.merge(&other.latency)?;
        }
        Ok(())
    }

    /// Returns the results, in the order of the plan.
    pub(super) fn results(&self, targets: &[Target]) -> Vec<OfTarget> {
        let results = self.0.iter().zip(targets);
        let results = results.map(|(counters, target)| OfTarget {
            url: target.shown.clone(),
            due: counters.due,
            answered: counters.answered,
            failed: counters.failed,
            failures: counters.failures.clone(),
            latency: counters.latency.latency(),
        });
        results.collect()
    }
}
