//! The times at which the polls of one client are due, fixed before the run starts.

use std::time::Duration;

use fastrand::Rng;

/// Parameters of a client's times, relative to the start of the run.
#[derive(Debug, Clone, PartialEq)]
pub struct Times {
    /// Time of the first poll.
    pub first: Duration,
    /// Time between two polls; not zero.
    pub interval: Duration,
    /// Maximum deviation of a poll from its time, as a share of the interval. Later times do not move, so
    /// that the rate stays constant.
    pub jitter: f64,
    /// Times of additional polls, without jitter.
    pub bursts: Vec<Duration>,
    /// End of the run: nothing is due from here on.
    pub end: Duration,
}

impl Times {
    /// Returns the times of all polls, in order.
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
        // The first poll has no jitter: clients may have to start at the same moment, and not before the run.
        if at == self.first || reach.is_zero() {
            return at;
        }
        (at + reach.mul_f64(2.0 * rng.f64())).saturating_sub(reach)
    }
}
