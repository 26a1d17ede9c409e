//! Counters of the pollers over time, in buckets of equal length.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::{AdditionError, CreationError};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{failures::Reason, latencies::Latencies, quantile::Latency};

/// Buckets of a run, unless they would be shorter than [`SHORTEST`].
const MOST: u32 = 240;
const SHORTEST: Duration = Duration::from_millis(100);

/// A time bucket of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// Start of the bucket, in seconds of the run.
    pub at: f64,
    /// Length of the bucket, in seconds.
    pub seconds: f64,
    /// Polls due in the bucket.
    pub due: u64,
    /// Polls answered in the bucket.
    pub answered: u64,
    /// Attempts that began in the bucket.
    pub attempts: u64,
    /// Attempts that began in the bucket, and of which nothing was written.
    #[serde(default)]
    pub unsent: u64,
    /// Requests that failed in the bucket, by reason.
    pub failures: BTreeMap<Reason, u64>,
    /// Requests in flight, at most: the sum of the maxima of the threads, each of which may have its maximum at another moment
    /// of the bucket. With one thread it is the maximum.
    pub in_flight: u64,
    /// Latency of the polls due in the bucket.
    pub latency: Latency,
    /// Polls due in the bucket that got a response, by the latency bands of the run ([`crate::run::Run::bands_ms`]); zeros at the
    /// end are left out.
    pub histogram: Vec<u64>,
    /// Polls due in the bucket that never got a response.
    pub unanswered: u64,
}

impl Slice {
    /// Returns the requests of which something was written.
    pub fn sent(&self) -> u64 {
        self.attempts.saturating_sub(self.unsent)
    }
}

/// The buckets of a run.
#[derive(Debug, Clone)]
pub(super) struct Buckets {
    began: Instant,
    length: Duration,
    all: Vec<Bucket>,
}

/// The counters of one bucket.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    /// Polls due.
    pub due: u64,
    /// Polls answered.
    pub answered: u64,
    /// Attempts.
    pub attempts: u64,
    /// Attempts of which nothing was written.
    pub unsent: u64,
    /// Requests that failed, by reason.
    pub failures: BTreeMap<Reason, u64>,
    /// Maximum of the requests in flight.
    pub in_flight: u64,
    /// Latencies of the polls due.
    pub latency: Latencies,
}

impl Buckets {
    /// Makes empty buckets of a run that begins at `began`.
    ///
    /// # Errors
    /// If a histogram cannot be created, which is a bug.
    pub(super) fn new(began: Instant, duration: Duration) -> Result<Self, CreationError> {
        let length = (duration / MOST).max(SHORTEST);
        let count = duration.as_nanos().div_ceil(length.as_nanos());
        let all = (0..count).map(|_| {
            Ok(Bucket {
                due: 0,
                answered: 0,
                attempts: 0,
                unsent: 0,
                failures: BTreeMap::new(),
                in_flight: 0,
                latency: Latencies::new(2)?,
            })
        });
        Ok(Self {
            began,
            length,
            all: all.collect::<Result<_, _>>()?,
        })
    }

    /// Counts in the bucket of `at`; ignores times after the last bucket.
    pub(super) fn count(&mut self, at: Instant, count: impl FnOnce(&mut Bucket)) {
        let index = (at - self.began).as_nanos() / self.length.as_nanos();
        let bucket = usize::try_from(index).ok();
        if let Some(bucket) = bucket.and_then(|index| self.all.get_mut(index)) {
            count(bucket);
        }
    }

    /// Adds those of another shard of the same run.
    ///
    /// # Errors
    /// See [`Latencies::merge`].
    pub(super) fn merge(&mut self, other: &Self) -> Result<(), AdditionError> {
        for (bucket, other) in self.all.iter_mut().zip(&other.all) {
            bucket.merge(other)?;
        }
        Ok(())
    }

    /// Returns the results.
    pub(super) fn slices(&self) -> Vec<Slice> {
        let seconds = self.length.as_secs_f64();
        let slices = self.all.iter().enumerate().map(|(at, bucket)| Slice {
            at: at as f64 * seconds,
            seconds,
            due: bucket.due,
            answered: bucket.answered,
            attempts: bucket.attempts,
            unsent: bucket.unsent,
            failures: bucket.failures.clone(),
            in_flight: bucket.in_flight,
            latency: bucket.latency.latency(),
            histogram: bucket.latency.histogram(),
            unanswered: bucket.latency.unanswered(),
        });
        slices.collect()
    }
}

impl Bucket {
    fn merge(&mut self, other: &Self) -> Result<(), AdditionError> {
        self.due += other.due;
        self.answered += other.answered;
        self.attempts += other.attempts;
        self.unsent += other.unsent;
        for (reason, count) in &other.failures {
            *self.failures.entry(*reason).or_default() += count;
        }
        self.in_flight += other.in_flight;
        self.latency.merge(&other.latency)
    }
}
