//! What a follower asks of its upstream, and what came of it. All are 0 if nothing is followed.

use std::time::Duration;

use prometheus::{Gauge, IntCounter, IntCounterVec, Opts, Registry};

use super::registered;

/// How a request to the upstream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FollowOutcome {
    /// With a new answer.
    Ok,
    /// With 304.
    NotModified,
    /// With another status.
    Status,
    /// With no complete answer: it cannot be reached, or the answer was truncated.
    Failed,
    /// Not in time.
    TimedOut,
    /// With an answer that is not what a publisher may say.
    Rejected,
}

/// What a part of an answer was rejected for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FollowRejected {
    /// The whole: it is not the body that its entity-tag names.
    Tag,
    /// The whole: its content coding is unknown or broken.
    Coding,
    /// The whole: it is too long.
    Size,
    /// The whole: it does not have the form of the wire contract.
    Form,
    /// The whole: its items are not in order.
    Order,
    /// The whole: its numbers or lineages do not fit what is stored.
    Numbers,
    /// One eval run: it is invalid.
    Row,
    /// One eval run: its signature does not verify.
    Signature,
    /// One eval run: its id is stored with other bytes.
    Conflict,
}

/// The metrics of a follower. Cheap to clone; clones count together.
#[derive(Debug, Clone)]
pub struct FollowMetrics {
    lag_seconds: Gauge,
    requests: [IntCounter; FollowOutcome::ALL.len()],
    bytes: IntCounter,
    rejected: [IntCounter; FollowRejected::ALL.len()],
}

impl FollowMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let by = |label: &str, name: &str, help: &str| {
            let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registered(registry, counters)
        };
        let requests = by(
            "outcome",
            "publisher_follow_requests_total",
            "Requests to the upstream, by outcome: ok, not_modified, status (another one), failed (not reached, or truncated), timed_out, rejected (not what a publisher may say).",
        )?;
        let rejected = by(
            "reason",
            "publisher_follow_rejected_total",
            "Answers of the upstream that were rejected (tag, coding, size, form, order, numbers), and single eval runs (row, signature, conflict).",
        )?;
        Ok(Self {
            lag_seconds: registered(
                registry,
                Gauge::new(
                    "publisher_follow_lag_seconds",
                    "Time since the upstream last confirmed that board and feed are as they are here; since the start of the process, if it never did.",
                )?,
            )?,
            requests: FollowOutcome::ALL
                .map(|outcome| requests.with_label_values(&[outcome.label()])),
            bytes: registered(
                registry,
                IntCounter::new(
                    "publisher_follow_bytes_total",
                    "Bytes of bodies from the upstream, as they were sent.",
                )?,
            )?,
            rejected: FollowRejected::ALL
                .map(|reason| rejected.with_label_values(&[reason.label()])),
        })
    }

    /// Sets how long ago the upstream confirmed what is here.
    pub fn set_lag(&self, lag: Duration) {
        self.lag_seconds.set(lag.as_secs_f64());
    }

    /// Counts a request, and the bytes of its answer's body.
    pub fn requested(&self, outcome: FollowOutcome, body_bytes: u64) {
        self.requests[outcome as usize].inc();
        self.bytes.inc_by(body_bytes);
    }

    /// Counts what was rejected.
    pub fn rejected(&self, reason: FollowRejected) {
        self.rejected[reason as usize].inc();
    }
}

impl FollowOutcome {
    const ALL: [Self; 6] = [
        Self::Ok,
        Self::NotModified,
        Self::Status,
        Self::Failed,
        Self::TimedOut,
        Self::Rejected,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotModified => "not_modified",
            Self::Status => "status",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Rejected => "rejected",
        }
    }
}

impl FollowRejected {
    const ALL: [Self; 9] = [
        Self::Tag,
        Self::Coding,
        Self::Size,
        Self::Form,
        Self::Order,
        Self::Numbers,
        Self::Row,
        Self::Signature,
        Self::Conflict,
    ];

    /// Returns its label, which is also the word for it in the log.
    pub fn label(self) -> &'static str {
        match self {
            Self::Tag => "tag",
            Self::Coding => "coding",
            Self::Size => "size",
            Self::Form => "form",
            Self::Order => "order",
            Self::Numbers => "numbers",
            Self::Row => "row",
            Self::Signature => "signature",
            Self::Conflict => "conflict",
        }
    }
}
