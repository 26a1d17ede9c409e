//! How fast the pollers poll, and for how long: an interval, a rate or stages, checked against the limits of the run.

use std::{sync::Arc, time::Duration};

use crate::{
    config::RunOptions,
    curve::Curve,
    invalid::PlanError,
    plan::{moments, share},
    quantity::LONGEST_SECS,
    schedule::{Pace, Times},
};

/// When the pollers poll.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// Number of clients.
    pub clients: u32,
    /// Time between two polls of one client; zero for a closed loop.
    interval: Duration,
    /// Stages in place of the interval.
    curve: Option<Arc<Curve>>,
    /// Random deviation of a poll from its time, as a share of the interval.
    jitter: f64,
    /// Time over which the clients start.
    pub ramp: Duration,
    /// Times at which all clients send one more poll.
    bursts: Vec<Duration>,
    /// Maximum number of polls of all clients together.
    pub polls: Option<u64>,
    /// Time in which polls are due.
    pub duration: Duration,
}

impl Schedule {
    /// Checks the options. `timeout`: how long the last response may take.
    ///
    /// # Errors
    /// [`PlanError`] if the rate is higher than `--max-rate`, and if times do not fit each other.
    pub(super) fn new(options: &RunOptions, timeout: Duration) -> Result<Self, PlanError> {
        let given = &options.schedule;
        let (clients, polls) = (given.clients, options.requests);
        let interval = match given.rate {
            Some(rate) => Duration::from_secs_f64(f64::from(clients) / rate),
            None => Duration::from_millis(given.interval_ms.unwrap_or_default()),
        };
        let curve = (!given.stage.is_empty()).then(|| Arc::new(Curve::new(&given.stage)));
        let mut schedule = Self {
            clients,
            interval,
            jitter: f64::from(given.jitter_percent) / 100.0,
            ramp: given.ramp_ms.map_or(interval, Duration::from_millis),
            bursts: Vec::new(),
            polls,
            duration: Duration::ZERO,
            curve,
        };
        schedule.check_rate(options.max_rate)?;
        let duration = options.duration_secs;
        schedule.duration = match (&schedule.curve, duration.map(Duration::from_secs), polls) {
            (Some(curve), duration, _) => of_stages(curve, duration)?,
            (None, Some(duration), _) => duration,
            (None, None, Some(polls)) => schedule.until_last(polls, timeout)?,
            (None, None, None) => Duration::ZERO,
        };
        schedule.bursts = moments(&given.burst_at, schedule.duration, "burst-at")?;
        if !schedule.bursts.is_empty() && clients > options.max_rate {
            return Err(too_large(clients, options.max_rate));
        }
        Ok(schedule)
    }

    /// A rate above the limit would be sent late, and look like a slow server.
    fn check_rate(&self, limit: u32) -> Result<(), PlanError> {
        let rate = match &self.curve {
            Some(curve) => curve.highest_rate(),
            None => self.rate().unwrap_or(0.0),
        };
        // A rate of 500 is one of 500.0000001 by way of the interval.
        if rate > f64::from(limit) * (1.0 + 1e-6) {
            return Err(PlanError::TooFast { rate, limit });
        }
        let bursts = self.curve.iter().flat_map(|curve| curve.bursts());
        match bursts.map(|(_, polls)| *polls).find(|polls| *polls > limit) {
            Some(polls) => Err(too_large(polls, limit)),
            None => Ok(()),
        }
    }

    /// Returns how long so many polls take, and the last response to them.
    fn until_last(&self, polls: u64, timeout: Duration) -> Result<Duration, PlanError> {
        let rounds = polls.div_ceil(self.clients.into()) as f64;
        let secs = self.ramp.as_secs_f64() + self.interval.as_secs_f64() * rounds;
        if secs > LONGEST_SECS as f64 {
            return Err(PlanError::TooManyPolls { polls });
        }
        Ok(Duration::from_secs_f64(secs) + timeout)
    }

    /// Returns when the polls of client `number` are due.
    pub fn times(&self, number: u32) -> Times {
        let mut bursts = self.bursts.clone();
        let pace = match &self.curve {
            None => Pace::Every {
                first: self.first(number),
                interval: self.interval,
            },
            Some(curve) => {
                for (at, polls) in curve.bursts() {
                    let own = dealt((*polls).into(), number, self.clients);
                    bursts.extend((0..own).map(|_| *at));
                }
                bursts.sort();
                Pace::Stages {
                    curve: Arc::clone(curve),
                    number,
                    clients: self.clients,
                }
            }
        };
        Times {
            pace,
            jitter: self.jitter,
            bursts,
            polls: self.polls_of(number),
            end: self.duration,
        }
    }

    /// Returns whether a poll follows the response to the one before.
    pub fn is_closed(&self) -> bool {
        self.curve.is_none() && self.interval.is_zero()
    }

    /// Returns the polls per second of all clients together; `None` if they differ, or depend on the server.
    pub(super) fn rate(&self) -> Option<f64> {
        let is_constant = self.curve.is_none() && !self.is_closed();
        is_constant.then(|| f64::from(self.clients) / self.interval.as_secs_f64())
    }

    /// Returns the start of client `number`.
    pub fn first(&self, number: u32) -> Duration {
        share(self.ramp, number, self.clients)
    }

    /// Returns the maximum number of polls of client `number`.
    pub fn polls_of(&self, number: u32) -> Option<u64> {
        let polls = self.polls?;
        Some(dealt(polls, number, self.clients))
    }
}

/// Returns how many of `all`, dealt in turn, client `number` of `clients` gets.
fn dealt(all: u64, number: u32, clients: u32) -> u64 {
    let clients = u64::from(clients.max(1));
    all / clients + u64::from(u64::from(number) < all % clients)
}

fn of_stages(curve: &Curve, duration: Option<Duration>) -> Result<Duration, PlanError> {
    let stages = curve.length();
    if stages.is_zero() {
        return Err(PlanError::Stages(
            "bursts take no time: add 'hold 5s at 0/s'",
        ));
    }
    if stages > Duration::from_secs(LONGEST_SECS) {
        return Err(PlanError::Stages("all together take longer than a day"));
    }
    if curve.bursts().iter().any(|(at, _)| *at >= stages) {
        return Err(PlanError::Stages(
            "a burst at the end of the run: add 'hold 5s at 0/s' after it",
        ));
    }
    match duration {
        Some(duration) if duration > stages => Err(PlanError::LongerThanStages {
            duration: duration.as_secs(),
            stages: stages.as_secs_f64(),
        }),
        Some(duration) => Ok(duration),
        None => Ok(stages),
    }
}

fn too_large(polls: u32, limit: u32) -> PlanError {
    PlanError::TooLargeABurst { polls, limit }
}
