//! Counters of the requests of one kind of client during a run: each attempt to get a response, and what became of it.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::{AdditionError, CreationError};

use crate::{
    answer::{Answer, Failed},
    course::{Course, Phase},
    failures::{Failures, Reason},
    latencies::Latencies,
    limits::{HeldBack, Limit},
    retry::Failure,
};

/// The counters; their meaning is that of the fields of [`crate::run::Role`] with the same names.
#[derive(Debug, Clone)]
pub(super) struct Requests {
    /// Attempts.
    pub attempts: u64,
    /// Attempts of which nothing was written.
    pub unsent: u64,
    /// Attempts that the server has not processed, and that were followed by another one.
    pub sent_again: u64,
    /// Attempts in flight.
    pub in_flight: u64,
    /// Responses by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests that do not count as answered, by reason.
    pub failures: Failures,
    /// Timeouts, by what the request waited for.
    pub timed_out: BTreeMap<Phase, u64>,
    /// Connections that the server had closed and that were opened again.
    pub reopened: u64,
    /// What limits held back.
    pub held_back: HeldBack,
    /// Retries after timeouts.
    pub retries_after_timeout: u64,
    /// Retries after other failures.
    pub retries_after_other: u64,
    /// Bytes of bodies received.
    pub body_bytes: u64,
    /// Bytes of bodies saved by 304s.
    pub saved_bytes: u64,
    /// Times from when a request was sent to its response.
    pub service: Latencies,
}

impl Requests {
    /// Makes empty counters.
    ///
    /// # Errors
    /// If a histogram cannot be created, which is a bug.
    pub(super) fn new() -> Result<Self, CreationError> {
        Ok(Self {
            attempts: 0,
            unsent: 0,
            sent_again: 0,
            in_flight: 0,
            statuses: BTreeMap::new(),
            failures: Failures::default(),
            timed_out: BTreeMap::new(),
            reopened: 0,
            held_back: HeldBack::default(),
            retries_after_timeout: 0,
            retries_after_other: 0,
            body_bytes: 0,
            saved_bytes: 0,
            service: Latencies::new(3)?,
        })
    }

    /// Counts a request that has to wait for a limit of the run.
    pub(super) fn held_back(&mut self, by: Limit) {
        self.held_back.count(by);
    }

    /// Counts an attempt that begins.
    pub(super) fn begun(&mut self) {
        self.attempts += 1;
        self.in_flight += 1;
    }

    /// Counts the end of an attempt that took this long, and its response, if it is complete.
    pub(super) fn ended(&mut self, took: Duration, answer: Option<&Answer>, course: &Course) {
        self.in_flight -= 1;
        self.unsent += u64::from(!course.is_written());
        self.body_bytes += course.body_bytes();
        if let Some(answer) = answer {
            *self.statuses.entry(answer.status.as_u16()).or_default() += 1;
            self.service.record(took);
        }
    }

    /// Takes back an attempt that has ended without being written: the server knows nothing of it.
    pub(super) fn taken_back(&mut self) {
        self.attempts -= 1;
        self.unsent -= 1;
    }

    /// Counts a request that the server has not processed, and that is sent again.
    pub(super) fn sent_again(&mut self) {
        self.sent_again += 1;
    }

    /// Counts a request that does not count as answered, and what it waited for at last.
    pub(super) fn unanswered(&mut self, failed: &Failed, phase: Phase) {
        if failed.reason == Reason::TimedOut {
            *self.timed_out.entry(phase).or_default() += 1;
        }
        self.failures.add(failed.reason, &failed.detail);
    }

    /// Counts a connection that the server had closed and that is opened again.
    pub(super) fn reopened(&mut self) {
        self.reopened += 1;
    }

    /// Counts a retry.
    pub(super) fn retried(&mut self, after: Failure) {
        match after {
            Failure::TimedOut => self.retries_after_timeout += 1,
            Failure::Broken | Failure::Refused { .. } => self.retries_after_other += 1,
        }
    }

    /// Counts a 304 in place of a body of `bytes`.
    pub(super) fn saved(&mut self, bytes: u64) {
        self.saved_bytes += bytes;
    }

    /// Returns the number of timeouts.
    pub(super) fn timeouts(&self) -> u64 {
        self.failures.of(Reason::TimedOut)
    }

    /// Returns the number of retries.
    pub(super) fn retries(&self) -> u64 {
        self.retries_after_timeout + self.retries_after_other
    }

    /// Adds those of another shard of the same run.
    ///
    /// # Errors
    /// See [`Latencies::merge`].
    pub(super) fn merge(&mut self, other: &Self) -> Result<(), AdditionError> {
        // Names every field, so that none is forgotten.
        let Self {
            attempts,
            unsent,
            sent_again,
            in_flight,
            statuses,
            failures,
            timed_out,
            reopened,
            held_back,
            retries_after_timeout,
            retries_after_other,
            body_bytes,
            saved_bytes,
            service,
        } = other;
        self.attempts += attempts;
        self.unsent += unsent;
        self.sent_again += sent_again;
        self.in_flight += in_flight;
        for (status, count) in statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        self.failures.merge(failures);
        for (phase, count) in timed_out {
            *self.timed_out.entry(*phase).or_default() += count;
        }
        self.reopened += reopened;
        self.held_back.merge(*held_back);
        self.retries_after_timeout += retries_after_timeout;
        self.retries_after_other += retries_after_other;
        self.body_bytes += body_bytes;
        self.saved_bytes += saved_bytes;
        self.service.merge(service)
    }
}
