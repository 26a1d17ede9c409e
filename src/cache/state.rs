//! The single-flight machine: when a build may start, what its end means, and which waiters are answered.
//!
//! Pure: no I/O, no clock of its own, no thread. Every method takes the present instant and returns
//! a [`Step`] that tells the actor what to do. Its promises, which its tests check over arbitrary interleavings:
//!
//! - at most one [`BuildToken`] is out at any time; a build that outlives its timeout keeps its token,
//!   so even then there is no second one beside it;
//! - every waiter is answered exactly once, at the latest when the build that it waits for ends or
//!   passes its deadline (a writer may wait for the build in flight and for the one after it);
//! - what is published was never read before what it replaces;
//! - once staleness has been noticed, a build is running or a retry is scheduled until it is cured.

use std::time::{Duration, Instant};

use super::Settings;
use crate::metrics::BuildOutcome;

/// The wait before the first retry, at the most; doubled with each further failure.
const FIRST_BACKOFF: Duration = Duration::from_secs(2);
/// The longest wait before a retry.
const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// Permission to run one build. Its holder must bring it to [`SingleFlight::finish`].
#[must_use = "a token that is lost blocks every further build"]
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BuildToken {
    generation: u64,
    began: Instant,
    deadline: Instant,
}

impl BuildToken {
    /// Returns when the build is overdue.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }
}

/// What a waiter is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A snapshot that satisfies it is published.
    Published,
    /// No snapshot is published, and none will be before `retry_after`.
    Unavailable {
        /// How long until it is worth asking again.
        retry_after: Duration,
    },
}

/// A change worth one line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HealthChange {
    /// The first failure after a success.
    Failing,
    /// The first success after failures.
    Recovered {
        /// How many builds failed or were overdue in a row.
        failures: u32,
    },
}

/// What the actor has to do now, in this order: publish, answer, start.
#[must_use]
#[derive(Debug)]
pub(crate) struct Step<W> {
    /// Publish the snapshot just built; it is fresh until then.
    pub publish: Option<Instant>,
    /// Waiters to answer.
    pub answers: Vec<(W, Answer)>,
    /// Start a build.
    pub start: Option<BuildToken>,
    /// Log this.
    pub change: Option<HealthChange>,
}

impl<W> Default for Step<W> {
    fn default() -> Self {
        Self {
            publish: None,
            answers: Vec::new(),
            start: None,
            change: None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Building { deadline: Instant },
    Overdue,
    BackingOff { until: Instant },
}

#[derive(Debug, Clone, Copy)]
struct Published {
    generation: u64,
    fresh_until: Instant,
}

/// The machine. `W` is whatever the actor answers a waiter by.
#[derive(Debug)]
pub(crate) struct SingleFlight<W> {
    settings: Settings,
    jitter: fastrand::Rng,
    phase: Phase,
    /// Counts invalidations: a build satisfies the invalidations that came before it began.
    generation: u64,
    published: Option<Published>,
    /// Failures in a row.
    failures: u32,
    /// Each with the generation that it needs.
    waiters: Vec<(u64, W)>,
}

impl<W> SingleFlight<W> {
    /// A machine with nothing published. `jitter` spreads the retries of several servers.
    pub(crate) fn new(settings: Settings, jitter: fastrand::Rng) -> Self {
        Self {
            settings,
            jitter,
            phase: Phase::Idle,
            generation: 0,
            published: None,
            failures: 0,
            waiters: Vec::new(),
        }
    }

    /// Handles a request that found the snapshot stale, or found no snapshot.
    pub(crate) fn refresh(&mut self, now: Instant) -> Step<W> {
        let mut step = Step::default();
        self.start_if_needed(now, &mut step);
        step
    }

    /// The database answers again: a retry need not wait any longer.
    pub(crate) fn retry(&mut self, now: Instant) -> Step<W> {
        let mut step = Step::default();
        if matches!(self.phase, Phase::BackingOff { .. }) {
            self.phase = Phase::Idle;
            self.start_if_needed(now, &mut step);
        }
        step
    }

    /// Returns whether a build is in flight that has time left.
    pub(crate) fn is_building(&self) -> bool {
        matches!(self.phase, Phase::Building { .. })
    }

    /// Queues a request that found nothing published, until any snapshot is.
    pub(crate) fn wait(&mut self, now: Instant, waiter: W) -> Step<W> {
        let mut step = Step::default();
        self.enqueue(now, 0, waiter, &mut step);
        step
    }

    /// The database has changed: what was read before now no longer counts as fresh. A waiter is
    /// answered once a snapshot that was read after this is published, or a build has failed.
    pub(crate) fn invalidate(&mut self, now: Instant, waiter: Option<W>) -> Step<W> {
        self.generation += 1;
        let mut step = Step::default();
        match waiter {
            Some(waiter) => self.enqueue(now, self.generation, waiter, &mut step),
            None => self.start_if_needed(now, &mut step),
        }
        step
    }

    /// Ends a build, in time or not.
    pub(crate) fn finish(
        &mut self,
        now: Instant,
        token: BuildToken,
        outcome: BuildOutcome,
    ) -> Step<W> {
        let mut step = Step::default();
        match outcome {
            BuildOutcome::Built => {
                let fresh_until = token.began + self.settings.ttl;
                step.publish = Some(fresh_until);
                self.published = Some(Published {
                    generation: token.generation,
                    fresh_until,
                });
                if self.failures > 0 {
                    step.change = Some(HealthChange::Recovered {
                        failures: self.failures,
                    });
                }
                self.failures = 0;
                self.phase = Phase::Idle;
                step.answers = self
                    .waiters
                    .extract_if(.., |(needs, _)| *needs <= token.generation)
                    .map(|(_, waiter)| (waiter, Answer::Published))
                    .collect();
                // Age alone starts no build: without a request a stale snapshot does no harm.
                if token.generation < self.generation {
                    self.start_if_needed(now, &mut step);
                }
            }
            BuildOutcome::Failed => {
                // An overdue build was counted when it passed its deadline.
                if self.phase != Phase::Overdue {
                    self.count_failure(&mut step);
                }
                let wait = self.backoff();
                self.phase = Phase::BackingOff { until: now + wait };
                self.give_up_waiters(now, &mut step);
            }
        }
        step
    }

    /// Handles the alarm. Does nothing if the instant of [`SingleFlight::wake_at`] has not come.
    pub(crate) fn woken(&mut self, now: Instant) -> Step<W> {
        let mut step = Step::default();
        match self.phase {
            Phase::Building { deadline } if now >= deadline => {
                self.phase = Phase::Overdue;
                self.count_failure(&mut step);
                self.give_up_waiters(now, &mut step);
            }
            Phase::BackingOff { until } if now >= until => {
                self.phase = Phase::Idle;
                self.start_if_needed(now, &mut step);
            }
            Phase::Idle | Phase::Building { .. } | Phase::Overdue | Phase::BackingOff { .. } => {}
        }
        step
    }

    /// Returns when [`SingleFlight::woken`] must be called next, unless something else happens first.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Building { deadline } => Some(deadline),
            Phase::BackingOff { until } => Some(until),
            Phase::Idle | Phase::Overdue => None,
        }
    }

    fn enqueue(&mut self, now: Instant, needs: u64, waiter: W, step: &mut Step<W>) {
        if self.published.is_some_and(|p| p.generation >= needs) {
            step.answers.push((waiter, Answer::Published));
            return;
        }
        self.waiters.push((needs, waiter));
        self.start_if_needed(now, step);
        if !matches!(self.phase, Phase::Building { .. }) {
            self.give_up_waiters(now, step);
        }
    }

    fn start_if_needed(&mut self, now: Instant, step: &mut Step<W>) {
        let fresh = self
            .published
            .is_some_and(|p| p.generation == self.generation && now < p.fresh_until);
        if self.phase == Phase::Idle && !fresh {
            let deadline = now + self.settings.rebuild_timeout;
            self.phase = Phase::Building { deadline };
            step.start = Some(BuildToken {
                generation: self.generation,
                began: now,
                deadline,
            });
        }
    }

    fn give_up_waiters(&mut self, now: Instant, step: &mut Step<W>) {
        let retry_after = match self.phase {
            Phase::BackingOff { until } => until.saturating_duration_since(now),
            Phase::Idle | Phase::Building { .. } | Phase::Overdue => FIRST_BACKOFF,
        };
        let answer = Answer::Unavailable { retry_after };
        step.answers
            .extend(self.waiters.drain(..).map(|(_, waiter)| (waiter, answer)));
    }

    fn count_failure(&mut self, step: &mut Step<W>) {
        if self.failures == 0 {
            step.change = Some(HealthChange::Failing);
        }
        self.failures = self.failures.saturating_add(1);
    }

    /// Returns the wait before a retry. Exponential with jitter: from half of the nominal wait to the whole of it.
    fn backoff(&mut self) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(16);
        let nominal = (FIRST_BACKOFF * 2_u32.pow(doublings)).min(MAX_BACKOFF);
        nominal.mul_f64(0.5 + self.jitter.f64() / 2.0)
    }
}

#[cfg(test)]
mod tests;
