//! Counts how a request to the upstream ended: whether an answer is acceptable is known only when it is to be stored.

use super::copy::Stop;
use crate::metrics::{FollowMetrics, FollowOutcome, FollowRejected};

/// The outcome of one request, which is counted when this is dropped.
#[derive(Debug)]
pub(super) struct Counted {
    metrics: FollowMetrics,
    outcome: FollowOutcome,
    body_bytes: u64,
}

impl Counted {
    /// An answer with a body of this length. It counts as rejected until something else is noted.
    pub(super) fn new(metrics: &FollowMetrics, body_bytes: u64) -> Self {
        Self {
            metrics: metrics.clone(),
            outcome: FollowOutcome::Rejected,
            body_bytes,
        }
    }

    /// Notes how the request ended.
    pub(super) fn note(&mut self, outcome: FollowOutcome) {
        self.outcome = outcome;
    }

    /// Notes why nothing is stored of the answer. If it is at fault, it counts as rejected.
    pub(super) fn not_stored(&mut self, stop: &Stop) {
        if stop.is_rejection() {
            self.outcome = FollowOutcome::Rejected;
            self.metrics.rejected(FollowRejected::Numbers);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.requested(self.outcome, self.body_bytes);
    }
}
