//! Counts and histograms of one kind of client, while it runs.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::{CreationError, Histogram};
use tokio::time::Instant;

use crate::{
    exchange::Ended,
    retry::Failure,
    run::{Latency, Point, Role, Slice},
};

/// Slices that a run is cut into, where they are not too short for that.
const SLICES: u32 = 240;
const SHORTEST_SLICE: Duration = Duration::from_millis(100);
/// Points of the distribution for each doubling of latency.
const POINTS_A_DOUBLING: u32 = 8;

/// Times in microseconds, beside the things that never came.
#[derive(Debug)]
struct Times {
    came: Histogram<u64>,
    never: u64,
}

impl Times {
    fn new(digits: u8) -> Result<Self, CreationError> {
        Ok(Self {
            came: Histogram::new(digits)?,
            never: 0,
        })
    }

    fn record(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX / 4);
        // Fails only where it may not grow.
        let _ = self.came.record(micros.max(1));
    }

    fn record_or_never(&mut self, time: Option<Duration>) {
        match time {
            Some(time) => self.record(time),
            None => self.never += 1,
        }
    }

    /// The time within which this share of all came, in milliseconds.
    fn quantile_ms(&self, share: f64) -> Option<f64> {
        let came = self.came.len();
        let rank = (share * (came + self.never) as f64).ceil() as u64;
        if came == 0 || rank > came {
            return None;
        }
        let micros = self.came.value_at_quantile(rank as f64 / came as f64);
        Some(micros as f64 / 1e3)
    }

    fn latency(&self) -> Latency {
        Latency {
            p50_ms: self.quantile_ms(0.5),
            p90_ms: self.quantile_ms(0.9),
            p99_ms: self.quantile_ms(0.99),
            p999_ms: self.quantile_ms(0.999),
            max_ms: self.quantile_ms(1.0),
        }
    }

    fn distribution(&self) -> Vec<Point> {
        let all = (self.came.len() + self.never).max(1) as f64;
        let step = 2_f64.powf(1.0 / f64::from(POINTS_A_DOUBLING));
        let mut points = Vec::new();
        let (mut micros, most) = (50.0_f64, self.came.max() as f64 * step);
        while micros < most {
            let within = self.came.count_between(0, micros as u64);
            points.push(Point {
                ms: micros / 1e3,
                share: within as f64 / all,
            });
            micros *= step;
        }
        points
    }
}

/// The counts. A poll is due, taken up, sent at least once, and in the end answered or failed.
#[derive(Debug)]
pub(super) struct Tally {
    began: Instant,
    clients: u32,
    due: u64,
    answered: u64,
    failed: u64,
    missed: u64,
    attempts: u64,
    in_flight: u64,
    statuses: BTreeMap<u16, u64>,
    timeouts: u64,
    broken: u64,
    first_broken: Option<String>,
    retries_after_timeout: u64,
    retries_after_other: u64,
    body_bytes: u64,
    saved_bytes: u64,
    rows: u64,
    latency: Times,
    service: Times,
    late: Times,
    slice: Duration,
    slices: Vec<Stretch>,
}

/// A slice while it is counted.
#[derive(Debug)]
struct Stretch {
    due: u64,
    answered: u64,
    attempts: u64,
    timeouts: u64,
    errors: u64,
    in_flight: u64,
    latency: Times,
}

/// What the live line shows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Glance {
    /// Polls answered so far.
    pub answered: u64,
    /// Requests under way.
    pub in_flight: u64,
    /// Time-outs so far.
    pub timeouts: u64,
    /// Retries so far.
    pub retries: u64,
    /// Half of the polls so far took less, in milliseconds.
    pub p50_ms: Option<f64>,
    /// 99 of 100.
    pub p99_ms: Option<f64>,
}

impl Tally {
    /// Nothing yet, of a run that began at `began`.
    ///
    /// # Errors
    /// Where a histogram cannot be made, which is a mistake in this file.
    pub(super) fn new(
        clients: u32,
        began: Instant,
        duration: Duration,
    ) -> Result<Self, CreationError> {
        let slice = (duration / SLICES).max(SHORTEST_SLICE);
        let count = duration.as_nanos().div_ceil(slice.as_nanos());
        let stretches = (0..count).map(|_| {
            Ok(Stretch {
                due: 0,
                answered: 0,
                attempts: 0,
                timeouts: 0,
                errors: 0,
                in_flight: 0,
                latency: Times::new(2)?,
            })
        });
        Ok(Self {
            began,
            clients,
            due: 0,
            answered: 0,
            failed: 0,
            missed: 0,
            attempts: 0,
            in_flight: 0,
            statuses: BTreeMap::new(),
            timeouts: 0,
            broken: 0,
            first_broken: None,
            retries_after_timeout: 0,
            retries_after_other: 0,
            body_bytes: 0,
            saved_bytes: 0,
            rows: 0,
            latency: Times::new(3)?,
            service: Times::new(3)?,
            late: Times::new(3)?,
            slice,
            slices: stretches.collect::<Result<_, _>>()?,
        })
    }

    /// A poll that was due at `due` is taken up now.
    pub(super) fn taken_up(&mut self, due: Instant, now: Instant) {
        self.due += 1;
        self.late.record(now - due);
        self.stretch(due, |stretch| stretch.due += 1);
    }

    /// A request goes out.
    pub(super) fn sent(&mut self, now: Instant) {
        self.attempts += 1;
        self.in_flight += 1;
        let in_flight = self.in_flight;
        self.stretch(now, |stretch| {
            stretch.attempts += 1;
            stretch.in_flight = stretch.in_flight.max(in_flight);
        });
    }

    /// A request that was sent at `sent` has ended now.
    pub(super) fn ended(&mut self, sent: Instant, now: Instant, ended: &Ended) {
        self.in_flight -= 1;
        match ended {
            Ended::Answer(answer) => {
                *self.statuses.entry(answer.status).or_default() += 1;
                self.body_bytes += answer.bytes;
                self.service.record(now - sent);
                if matches!(answer.failure(), Some(Failure::Refused { .. })) {
                    self.stretch(now, |stretch| stretch.errors += 1);
                }
            }
            Ended::TimedOut => {
                self.timeouts += 1;
                self.stretch(now, |stretch| stretch.timeouts += 1);
            }
            Ended::Broken(reason) => {
                self.broken += 1;
                self.first_broken.get_or_insert_with(|| reason.clone());
                self.stretch(now, |stretch| stretch.errors += 1);
            }
        }
    }

    /// Another request follows a failed one.
    pub(super) fn retried(&mut self, after: Failure) {
        match after {
            Failure::TimedOut => self.retries_after_timeout += 1,
            Failure::Broken | Failure::Refused { .. } => self.retries_after_other += 1,
        }
    }

    /// A poll that was due at `due` is answered now.
    pub(super) fn answered(&mut self, due: Instant, now: Instant) {
        self.answered += 1;
        self.latency.record(now - due);
        self.stretch(now, |stretch| stretch.answered += 1);
        self.stretch(due, |stretch| stretch.latency.record(now - due));
    }

    /// A poll that was due at `due` gets no answer any more.
    pub(super) fn failed(&mut self, due: Instant) {
        self.failed += 1;
        self.latency.never += 1;
        self.stretch(due, |stretch| stretch.latency.never += 1);
    }

    /// A client that still waited for another answer had no turn at `due`. It has what it wanted
    /// when that answer comes, at `free`; not at all where it never does. This is what corrects the
    /// latency for coordinated omission.
    pub(super) fn missed(&mut self, due: Instant, free: Option<Instant>) {
        self.due += 1;
        self.missed += 1;
        let latency = free.map(|free| free - due);
        self.latency.record_or_never(latency);
        self.stretch(due, |stretch| {
            stretch.due += 1;
            stretch.latency.record_or_never(latency);
        });
    }

    /// A 304 stood for a body of `bytes`.
    pub(super) fn saved(&mut self, bytes: u64) {
        self.saved_bytes += bytes;
    }

    /// Rows were read or acknowledged.
    pub(super) fn rows(&mut self, rows: u64) {
        self.rows += rows;
    }

    /// How it goes.
    pub(super) fn glance(&self) -> Glance {
        Glance {
            answered: self.answered,
            in_flight: self.in_flight,
            timeouts: self.timeouts,
            retries: self.retries_after_timeout + self.retries_after_other,
            p50_ms: self.latency.quantile_ms(0.5),
            p99_ms: self.latency.quantile_ms(0.99),
        }
    }

    /// How late polls were taken up: 99 of 100 less than this.
    pub(super) fn late_p99_ms(&self) -> f64 {
        self.late.quantile_ms(0.99).unwrap_or(0.0)
    }

    /// All of it.
    pub(super) fn role(&self) -> Role {
        Role {
            clients: self.clients,
            due: self.due,
            answered: self.answered,
            failed: self.failed,
            missed: self.missed,
            attempts: self.attempts,
            statuses: self.statuses.clone(),
            timeouts: self.timeouts,
            broken: self.broken,
            first_broken: self.first_broken.clone(),
            retries_after_timeout: self.retries_after_timeout,
            retries_after_other: self.retries_after_other,
            body_bytes: self.body_bytes,
            saved_bytes: self.saved_bytes,
            rows: self.rows,
            latency: self.latency.latency(),
            service: self.service.latency(),
            distribution: self.latency.distribution(),
        }
    }

    /// It over time.
    pub(super) fn slices(&self) -> Vec<Slice> {
        let seconds = self.slice.as_secs_f64();
        let slices = self.slices.iter().enumerate().map(|(at, stretch)| Slice {
            at: at as f64 * seconds,
            seconds,
            due: stretch.due,
            answered: stretch.answered,
            attempts: stretch.attempts,
            timeouts: stretch.timeouts,
            errors: stretch.errors,
            in_flight: stretch.in_flight,
            latency: stretch.latency.latency(),
        });
        slices.collect()
    }

    /// Counts in the slice of `at`; what ends after the last one is in none.
    fn stretch(&mut self, at: Instant, count: impl FnOnce(&mut Stretch)) {
        let index = (at - self.began).as_nanos() / self.slice.as_nanos();
        let stretch = usize::try_from(index).ok();
        if let Some(stretch) = stretch.and_then(|index| self.slices.get_mut(index)) {
            count(stretch);
        }
    }
}
