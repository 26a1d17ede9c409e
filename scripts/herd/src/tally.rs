//! What one kind of client counts during a run: of all, over time and by target.

use std::time::Duration;

use hdrhistogram::{AdditionError, CreationError};
use tokio::time::Instant;

use crate::{
    answer::{Answer, Failed},
    buckets::Buckets,
    by_target::ByTarget,
    course::{Course, Phase},
    failures::Reason,
    latencies::Latencies,
    link::NoNext,
    progress::Progress,
    requests::Requests,
    run::{News, OfTarget, Role, Slice, Waits},
    target::Target,
    waits::Wait,
};

/// Counters. A poll is due, started, sent at least once, and finally answered or failed.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    began: Instant,
    clients: u32,
    due: u64,
    answered: u64,
    failed: u64,
    missed: u64,
    /// The requests of all polls. What begins, ends or fails is counted by the methods of this type, which count it over
    /// time and by target as well.
    pub requests: Requests,
    rows: u64,
    latency: Latencies,
    scheduling_delay: Latencies,
    news: Latencies,
    waits: Option<Waits>,
    buckets: Buckets,
    targets: ByTarget,
}

impl Tally {
    /// Makes empty counters of a run that started at `began`.
    ///
    /// # Errors
    /// If a histogram cannot be created, which is a bug.
    pub(super) fn new(began: Instant, duration: Duration) -> Result<Self, CreationError> {
        Ok(Self {
            began,
            clients: 0,
            due: 0,
            answered: 0,
            failed: 0,
            missed: 0,
            requests: Requests::new()?,
            rows: 0,
            latency: Latencies::new(3)?,
            scheduling_delay: Latencies::new(3)?,
            news: Latencies::new(3)?,
            waits: None,
            buckets: Buckets::new(began, duration)?,
            targets: ByTarget::default(),
        })
    }

    /// Counts each of so many targets by itself, if there is more than one.
    ///
    /// # Errors
    /// If a histogram cannot be created, which is a bug.
    pub(super) fn split(&mut self, targets: usize) -> Result<(), CreationError> {
        self.targets = ByTarget::new(targets)?;
        Ok(())
    }

    /// Counts a client.
    pub(super) fn client(&mut self) {
        self.clients += 1;
    }

    /// Counts a poll that was due at `due` and starts now.
    pub(super) fn started(&mut self, due: Instant, now: Instant) {
        self.due += 1;
        self.scheduling_delay.record(now - due);
        self.buckets.count(due, |bucket| bucket.due += 1);
        self.targets.count(|target| target.due += 1);
    }

    /// Counts an attempt that begins now.
    pub(super) fn begun(&mut self, now: Instant) {
        self.requests.begun();
        let in_flight = self.requests.in_flight;
        self.buckets.count(now, |bucket| {
            bucket.attempts += 1;
            bucket.in_flight = bucket.in_flight.max(in_flight);
        });
    }

    /// Counts the end of an attempt that began at `begun`, and its response, if it is complete.
    pub(super) fn ended(
        &mut self,
        begun: Instant,
        now: Instant,
        answer: Option<&Answer>,
        course: &Course,
    ) {
        self.requests.ended(now - begun, answer, course);
        if !course.is_written() {
            self.buckets.count(begun, |bucket| bucket.unsent += 1);
        }
    }

    /// Takes back an attempt that has ended without being written: the server knows nothing of it.
    pub(super) fn taken_back(&mut self, begun: Instant) {
        self.requests.taken_back();
        self.buckets.count(begun, |bucket| {
            bucket.attempts -= 1;
            bucket.unsent -= 1;
        });
    }

    /// Counts a request that does not count as answered, and what it waited for at last.
    pub(super) fn unanswered(&mut self, now: Instant, failed: &Failed, phase: Phase) {
        self.requests.unanswered(failed, phase);
        self.failed_with(failed.reason, now);
    }

    /// Counts a failure over time and by target.
    fn failed_with(&mut self, reason: Reason, at: Instant) {
        self.buckets.count(at, |bucket| {
            *bucket.failures.entry(reason).or_default() += 1;
        });
        self.targets.count(|target| {
            *target.failures.entry(reason).or_default() += 1;
        });
    }

    /// Counts the response to a poll that was due at `due`.
    pub(super) fn answered(&mut self, due: Instant, now: Instant) {
        self.answered += 1;
        self.latency.record(now - due);
        self.buckets.count(now, |bucket| bucket.answered += 1);
        self.buckets
            .count(due, |bucket| bucket.latency.record(now - due));
        self.targets.count(|target| {
            target.answered += 1;
            target.latency.record(now - due);
        });
    }

    /// Counts a failed poll that was due at `due`.
    pub(super) fn failed(&mut self, due: Instant) {
        self.failed += 1;
        self.latency.record_or_unanswered(None);
        self.buckets
            .count(due, |bucket| bucket.latency.record_or_unanswered(None));
        self.targets.count(|target| {
            target.failed += 1;
            target.latency.record_or_unanswered(None);
        });
    }

    /// Counts a poll that was due at `due`, has no room, and fails.
    pub(super) fn turned_away(&mut self, due: Instant) {
        self.due += 1;
        self.buckets.count(due, |bucket| bucket.due += 1);
        self.targets.count(|target| target.due += 1);
        self.requests.held_back.max_polls += 1;
        self.not_sent(due, "there was no room for more polls without an answer");
        self.failed(due);
    }

    /// Counts a poll that was due at `due` and never sent.
    pub(super) fn not_sent(&mut self, due: Instant, detail: &str) {
        self.requests.failures.add(Reason::NotSent, detail);
        self.failed_with(Reason::NotSent, due);
    }

    /// Counts a poll that was due at `due` and skipped, as its client still waited for a response. Its
    /// latency is measured up to that response at `free`; `None` if there was none. This corrects
    /// for coordinated omission.
    pub(super) fn missed(&mut self, due: Instant, free: Option<Instant>) {
        self.due += 1;
        self.missed += 1;
        let latency = free.map(|free| free - due);
        self.latency.record_or_unanswered(latency);
        self.buckets.count(due, |bucket| {
            bucket.due += 1;
            bucket.latency.record_or_unanswered(latency);
        });
        self.targets.count(|target| {
            target.due += 1;
            target.latency.record_or_unanswered(latency);
        });
    }

    /// Counts rows that were read or acknowledged.
    pub(super) fn rows(&mut self, rows: u64) {
        self.rows += rows;
    }

    /// Records how long writes took to reach a client.
    pub(super) fn news(&mut self, taken: &[Duration]) {
        for time in taken {
            self.news.record(*time);
        }
    }

    /// Counts a response to a client that waits: the `answers`th one of this client. `closes`: it is the first one
    /// of this client after which the server closes the connection.
    pub(super) fn waited(&mut self, wait: Wait, answers: u64, closes: bool, now: Instant) {
        let closes_at = closes.then(|| (now - self.began).as_secs_f64());
        let waits = self.waits.get_or_insert_default();
        waits.answered(wait, answers, closes_at);
    }

    /// Counts a response that leads nowhere.
    pub(super) fn lost(&mut self, reason: &NoNext) {
        self.waits.get_or_insert_default().lost(reason);
    }

    /// Counts a wait, due at `due`, that the end of the run cuts off: it was neither answered nor failed.
    pub(super) fn cut_off(&mut self, due: Instant) {
        self.waits.get_or_insert_default().cut_off += 1;
        self.due -= 1;
        self.buckets.count(due, |bucket| bucket.due -= 1);
    }

    /// Adds the counters of another shard of the same run.
    ///
    /// # Errors
    /// See [`Latencies::merge`].
    pub(super) fn merge(&mut self, other: &Self) -> Result<(), AdditionError> {
        // Names every field, so that none is forgotten.
        let Self {
            began: _,
            clients,
            due,
            answered,
            failed,
            missed,
            requests,
            rows,
            latency,
            scheduling_delay,
            news,
            waits,
            buckets,
            targets,
        } = other;
        self.clients += clients;
        self.due += due;
        self.answered += answered;
        self.failed += failed;
        self.missed += missed;
        self.requests.merge(requests)?;
        self.rows += rows;
        self.latency.merge(latency)?;
        self.scheduling_delay.merge(scheduling_delay)?;
        self.news.merge(news)?;
        if let Some(waits) = waits {
            self.waits.get_or_insert_default().merge(waits);
        }
        self.targets.merge(targets)?;
        self.buckets.merge(buckets)
    }

    /// Returns the figures of the progress line.
    pub(super) fn progress(&self) -> Progress {
        Progress {
            answered: self.answered,
            in_flight: self.requests.in_flight,
            timeouts: self.requests.timeouts(),
            retries: self.requests.retries(),
            latency: self.latency.clone(),
        }
    }

    /// Returns by how much polls started later than they were due.
    pub(super) fn scheduling_delay(&self) -> &Latencies {
        &self.scheduling_delay
    }

    /// Returns the latencies of all polls.
    pub(super) fn latency(&self) -> &Latencies {
        &self.latency
    }

    /// Returns the results.
    pub(super) fn role(&self) -> Role {
        let requests = self.requests.clone();
        Role {
            clients: self.clients,
            due: self.due,
            answered: self.answered,
            failed: self.failed,
            missed: self.missed,
            attempts: requests.attempts,
            unsent: requests.unsent,
            sent_again: requests.sent_again,
            statuses: requests.statuses,
            in_flight: requests.in_flight,
            failures: requests.failures,
            timed_out_with: requests.timed_out,
            reopened: requests.reopened,
            held_back_by: requests.held_back,
            retries_after_timeout: requests.retries_after_timeout,
            retries_after_other: requests.retries_after_other,
            body_bytes: requests.body_bytes,
            saved_bytes: requests.saved_bytes,
            rows: self.rows,
            latency: self.latency.latency(),
            service: requests.service.latency(),
            distribution: self.latency.distribution(),
            news: News {
                seen: self.news.recorded(),
                latency: self.news.latency(),
            },
            waits: self.waits.clone(),
        }
    }

    /// Returns the results over time.
    pub(super) fn slices(&self) -> Vec<Slice> {
        self.buckets.slices()
    }

    /// Returns the results of each target, if there is more than one.
    pub(super) fn targets(&self, targets: &[Target]) -> Vec<OfTarget> {
        self.targets.results(targets)
    }
}
