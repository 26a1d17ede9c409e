//! When the polls of one client are due: fixed before the run begins, whatever the server does.

use std::time::Duration;

use fastrand::Rng;

/// What a client's times are made of. Offsets count from the beginning of the run.
#[derive(Debug, Clone, PartialEq)]
pub struct Times {
    /// When the first poll is due.
    pub first: Duration,
    /// From one poll to the next; not zero.
    pub interval: Duration,
    /// How far a poll may be from its time, either way, as a share of the interval. The times after
    /// it do not move: the rate stays what it is.
    pub jitter: f64,
    /// Polls beside those, to the moment.
    pub bursts: Vec<Duration>,
    /// From when on nothing is due.
    pub end: Duration,
}

impl Times {
    /// When polls are due, in order.
    pub fn due(&self, rng: &mut Rng) -> Vec<Duration> {
        let mut due: Vec<Duration> = self
            .bursts
            .iter()
            .copied()
            .filter(|at| *at < self.end)
            .collect();
        let mut at = self.first;
        while at < self.end {
            due.push(self.jittered(at, rng));
            at += self.interval;
        }
        due.sort();
        due
    }

    fn jittered(&self, at: Duration, rng: &mut Rng) -> Duration {
        let reach = self.interval.mul_f64(self.jitter);
        // The first poll keeps its time: a barrier is one, and nothing is due before the beginning.
        if at == self.first || reach.is_zero() {
            return at;
        }
        (at + reach.mul_f64(2.0 * rng.f64())).saturating_sub(reach)
    }
}
