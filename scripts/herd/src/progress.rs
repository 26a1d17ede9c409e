//! The figures of the progress line, of one shard or of all.

use hdrhistogram::AdditionError;

use crate::latencies::Latencies;

/// The figures so far.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    /// Polls answered so far.
    pub answered: u64,
    /// Requests in flight.
    pub in_flight: u64,
    /// Timeouts so far.
    pub timeouts: u64,
    /// Retries so far.
    pub retries: u64,
    /// Latencies so far.
    pub latency: Latencies,
}

impl Progress {
    /// Adds those of another shard.
    ///
    /// # Errors
    /// See [`Latencies::merge`].
    pub(super) fn merge(&mut self, other: &Self) -> Result<(), AdditionError> {
        self.answered += other.answered;
        self.in_flight += other.in_flight;
        self.timeouts += other.timeouts;
        self.retries += other.retries;
        self.latency.merge(&other.latency)
    }
}
