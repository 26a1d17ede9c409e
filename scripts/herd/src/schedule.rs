//! The times at which the polls of one client are due, fixed before the run starts: a function of the plan, the
//! number of the client and the seed, whatever thread asks.

use std::{sync::Arc, time::Duration};

use fastrand::Rng;

use crate::curve::Curve;

/// Parameters of a client's times, relative to the start of the run.
#[derive(Debug, Clone, PartialEq)]
pub struct Times {
    /// Times of its regular polls.
    pub pace: Pace,
    /// Maximum deviation of a poll from its time, as a share of the client's interval. Later times do not move, so
    /// that the rate stays constant.
    pub jitter: f64,
    /// Times of additional polls, in order, without jitter.
    pub bursts: Vec<Duration>,
    /// Maximum number of polls; `None` for no limit.
    pub polls: Option<u64>,
    /// End of the run: nothing is due from here on.
    pub end: Duration,
}

/// Times of a client's regular polls.
#[derive(Debug, Clone, PartialEq)]
pub enum Pace {
    /// At equal intervals.
    Every {
        /// Time of the first poll.
        first: Duration,
        /// Time between two polls; not zero.
        interval: Duration,
    },
    /// Its share of the polls of all clients: they are dealt in turn.
    Stages {
        /// The polls of all clients.
        curve: Arc<Curve>,
        /// Number of the client, which is that of its first poll.
        number: u32,
        /// Number of clients.
        clients: u32,
    },
}

/// The times, in order. Takes constant memory and, for each poll, at most logarithmic time.
#[derive(Debug)]
pub struct Due {
    times: Times,
    rng: Rng,
    /// Number of regular polls so far.
    regular: u64,
    /// The next regular poll, if it is known.
    next: Option<Duration>,
    /// Number of bursts so far.
    bursts: usize,
}

impl Times {
    /// Returns the times of all polls. The same random numbers give the same times.
    pub fn due(self, rng: Rng) -> Due {
        let mut due = Due {
            times: self,
            rng,
            regular: 0,
            next: None,
            bursts: 0,
        };
        due.next = due.regular();
        due
    }
}

impl Pace {
    /// Returns when poll `number` of the client is due; its polls begin with 0, and a fraction is a time between two.
    fn at(&self, number: f64) -> Option<Duration> {
        match self {
            Self::Every { first, interval } => {
                let secs = interval.as_secs_f64() * number;
                Duration::try_from_secs_f64(secs).ok()?.checked_add(*first)
            }
            Self::Stages {
                curve,
                number: first,
                clients,
            } => curve.due(f64::from(*first) + f64::from(*clients) * number),
        }
    }
}

impl Due {
    /// Returns the next regular time.
    fn regular(&mut self) -> Option<Duration> {
        let number = self.regular as f64;
        // Within the run or not, whatever the jitter: it does not change the number of polls.
        self.times
            .pace
            .at(number)
            .filter(|at| *at < self.times.end)?;
        self.regular += 1;
        // The first poll has no jitter: clients may have to start at the same moment, and not before the run.
        let jitter = self.times.jitter;
        if number == 0.0 || jitter == 0.0 {
            return self.times.pace.at(number);
        }
        let moved = number + jitter * (2.0 * self.rng.f64() - 1.0);
        let last = self.times.end.saturating_sub(Duration::from_nanos(1));
        Some(self.times.pace.at(moved).unwrap_or(last).min(last))
    }
}

impl Iterator for Due {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if let Some(polls) = &mut self.times.polls {
            *polls = polls.checked_sub(1)?;
        }
        let burst = self.times.bursts.get(self.bursts).copied();
        let burst = burst.filter(|at| *at < self.times.end);
        match (burst, self.next) {
            (Some(burst), next) if next.is_none_or(|next| burst <= next) => {
                self.bursts += 1;
                Some(burst)
            }
            (_, next) => {
                if next.is_some() {
                    self.next = self.regular();
                }
                next
            }
        }
    }
}

/// Returns the random numbers of client `number`: those of two clients, and of two seeds, differ.
pub fn rng(seed: u64, number: u32) -> Rng {
    let mut mixed = Rng::with_seed(seed);
    let of_seed = mixed.u64(..);
    Rng::with_seed(of_seed ^ u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}
