//! Counters and histograms of one kind of client during a run.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::{AdditionError, CreationError};
use tokio::time::Instant;

use crate::{
    answer::{Answer, Failed},
    buckets::Buckets,
    by_target::ByTarget,
    course::{Course, Phase},
    failures::{Failures, Reason},
    latencies::Latencies,
    limits::Limit,
    link::NoNext,
    progress::Progress,
    retry::Failure,
    run::{HeldBack, News, OfTarget, Role, Slice, Waits},
    target::Target,
};

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// It was the first request of the client, which does not wait.
    First,
    /// The response had something new.
    Changed,
    /// The response had nothing new, and came at the end of the wait.
    Unchanged,
    /// The server refused it, with Retry-After.
    Refused,
    /// The response had nothing new, and came within a second of the end of the last wait.
    AtOnce,
}

/// Counters. A poll is due, started, sent at least once, and finally answered or failed.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    began: Instant,
    clients: u32,
    due: u64,
    answered: u64,
    failed: u64,
    missed: u64,
    attempts: u64,
    unsent: u64,
    sent_again: u64,
    in_flight: u64,
    statuses: BTreeMap<u16, u64>,
    failures: Failures,
    timed_out: BTreeMap<Phase, u64>,
    reopened: u64,
    held_back: HeldBack,
    retries_after_timeout: u64,
    retries_after_other: u64,
    body_bytes: u64,
    saved_bytes: u64,
    rows: u64,
    latency: Latencies,
    service: Latencies,
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
            rows: 0,
            latency: Latencies::new(3)?,
            service: Latencies::new(3)?,
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

    /// Counts a request that has to wait for a limit of the run.
    pub(super) fn held_back(&mut self, by: Limit) {
        *match by {
            Limit::Connections => &mut self.held_back.max_connections,
            Limit::Rate => &mut self.held_back.max_rate,
        } += 1;
    }

    /// Counts a request that is sent now.
    pub(super) fn sent(&mut self, now: Instant) {
        self.attempts += 1;
        self.in_flight += 1;
        let in_flight = self.in_flight;
        self.buckets.count(now, |bucket| {
            bucket.attempts += 1;
            bucket.in_flight = bucket.in_flight.max(in_flight);
        });
    }

    /// Counts the end of a request that was sent at `sent`, and its response, if it is complete.
    pub(super) fn ended(
        &mut self,
        sent: Instant,
        now: Instant,
        answer: Option<&Answer>,
        course: &Course,
    ) {
        self.in_flight -= 1;
        self.unsent += u64::from(!course.is_written());
        self.body_bytes += course.body_bytes();
        if let Some(answer) = answer {
            *self.statuses.entry(answer.status.as_u16()).or_default() += 1;
            self.service.record(now - sent);
        }
    }

    /// Takes back a request that has ended without being written: the server knows nothing of it.
    pub(super) fn taken_back(&mut self, sent: Instant) {
        self.attempts -= 1;
        self.unsent -= 1;
        self.buckets.count(sent, |bucket| bucket.attempts -= 1);
    }

    /// Counts a request that the server has not processed, and that is sent again.
    pub(super) fn sent_again(&mut self) {
        self.sent_again += 1;
    }

    /// Counts a request that does not count as answered, and what it waited for at last.
    pub(super) fn unanswered(&mut self, now: Instant, failed: &Failed, phase: Phase) {
        if failed.reason == Reason::TimedOut {
            *self.timed_out.entry(phase).or_default() += 1;
        }
        self.failures.add(failed.reason, &failed.detail);
        self.buckets.count(now, |bucket| {
            *bucket.failures.entry(failed.reason).or_default() += 1;
        });
        self.targets.count(|target| {
            *target.failures.entry(failed.reason).or_default() += 1;
        });
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
        self.held_back.max_polls += 1;
        self.not_sent(due, "there was no room for more polls without an answer");
        self.failed(due);
    }

    /// Counts a poll that was due at `due` and never sent.
    pub(super) fn not_sent(&mut self, due: Instant, detail: &str) {
        self.failures.add(Reason::NotSent, detail);
        self.buckets.count(due, |bucket| {
            *bucket.failures.entry(Reason::NotSent).or_default() += 1;
        });
        self.targets.count(|target| {
            *target.failures.entry(Reason::NotSent).or_default() += 1;
        });
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

    /// Counts a 304 in place of a body of `bytes`.
    pub(super) fn saved(&mut self, bytes: u64) {
        self.saved_bytes += bytes;
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
        let waits = self.waits.get_or_insert_default();
        *match wait {
            Wait::First => &mut waits.first,
            Wait::Changed => &mut waits.changed,
            Wait::Unchanged => &mut waits.unchanged,
            Wait::Refused => &mut waits.refused,
            Wait::AtOnce => &mut waits.at_once,
        } += 1;
        waits.most_of_a_client = waits.most_of_a_client.max(answers);
        if closes {
            waits.closing += 1;
            let at = (now - self.began).as_secs_f64();
            waits.first_closing_at.get_or_insert(at);
            waits.last_closing_at = Some(at);
        }
    }

    /// Counts a response that leads nowhere.
    pub(super) fn lost(&mut self, reason: &NoNext) {
        let waits = self.waits.get_or_insert_default();
        waits.without_next += 1;
        let first = &mut waits.first_without_next;
        first.get_or_insert_with(|| reason.to_string());
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
            rows,
            latency,
            service,
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
        self.rows += rows;
        self.latency.merge(latency)?;
        self.service.merge(service)?;
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
            in_flight: self.in_flight,
            timeouts: self.failures.of(Reason::TimedOut),
            retries: self.retries_after_timeout + self.retries_after_other,
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
        Role {
            clients: self.clients,
            due: self.due,
            answered: self.answered,
            failed: self.failed,
            missed: self.missed,
            attempts: self.attempts,
            unsent: self.unsent,
            sent_again: self.sent_again,
            statuses: self.statuses.clone(),
            in_flight: self.in_flight,
            failures: self.failures.clone(),
            timed_out_with: self.timed_out.clone(),
            reopened: self.reopened,
            held_back_by: self.held_back,
            retries_after_timeout: self.retries_after_timeout,
            retries_after_other: self.retries_after_other,
            body_bytes: self.body_bytes,
            saved_bytes: self.saved_bytes,
            rows: self.rows,
            latency: self.latency.latency(),
            service: self.service.latency(),
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

impl Waits {
    fn merge(&mut self, other: &Self) {
        self.first += other.first;
        self.changed += other.changed;
        self.unchanged += other.unchanged;
        self.refused += other.refused;
        self.at_once += other.at_once;
        self.most_of_a_client = self.most_of_a_client.max(other.most_of_a_client);
        self.without_next += other.without_next;
        if self.first_without_next.is_none() {
            self.first_without_next
                .clone_from(&other.first_without_next);
        }
        self.cut_off += other.cut_off;
        self.closing += other.closing;
        let both = [self.first_closing_at, other.first_closing_at].into_iter();
        self.first_closing_at = both.flatten().reduce(f64::min);
        let both = [self.last_closing_at, other.last_closing_at].into_iter();
        self.last_closing_at = both.flatten().reduce(f64::max);
    }
}
