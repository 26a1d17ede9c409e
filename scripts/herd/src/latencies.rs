//! A histogram of latencies, in which polls without a response are the slowest.

use std::time::Duration;

use hdrhistogram::{AdditionError, CreationError, Histogram};
use serde::{Deserialize, Serialize};

use crate::{
    bands::{band, ends_ms},
    quantile::Latency,
};

/// Points of the distribution per doubling of the latency.
const POINTS_PER_DOUBLING: u32 = 8;

/// A point of a cumulative distribution.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The time, in milliseconds.
    pub ms: f64,
    /// The share of polls within that time, from 0 to 1.
    pub share: f64,
}

/// Latencies in microseconds, and the number of polls without a response.
#[derive(Debug, Clone)]
pub(super) struct Latencies {
    recorded: Histogram<u64>,
    unanswered: u64,
}

impl Latencies {
    /// No polls yet; `digits` significant ones.
    ///
    /// # Errors
    /// If the histogram cannot be created, which is a bug.
    pub(super) fn new(digits: u8) -> Result<Self, CreationError> {
        Ok(Self {
            recorded: Histogram::new(digits)?,
            unanswered: 0,
        })
    }

    /// Counts a poll that took this long.
    pub(super) fn record(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX / 4);
        // Fails only for a histogram that cannot grow.
        let _ = self.recorded.record(micros.max(1));
    }

    /// Counts a poll that took this long, or one without a response.
    pub(super) fn record_or_unanswered(&mut self, time: Option<Duration>) {
        match time {
            Some(time) => self.record(time),
            None => self.unanswered += 1,
        }
    }

    /// Adds those of another shard.
    ///
    /// # Errors
    /// If the histogram cannot grow, which is a bug.
    pub(super) fn merge(&mut self, other: &Self) -> Result<(), AdditionError> {
        self.unanswered += other.unanswered;
        self.recorded.add(&other.recorded)
    }

    /// Returns how many polls got a response.
    pub(super) fn recorded(&self) -> u64 {
        self.recorded.len()
    }

    /// Returns how many polls did not.
    pub(super) fn unanswered(&self) -> u64 {
        self.unanswered
    }

    /// Returns the number of responses in each latency band, up to the last band that has any.
    pub(super) fn histogram(&self) -> Vec<u64> {
        let ends = ends_ms();
        let mut counts = Vec::new();
        for recorded in self.recorded.iter_recorded() {
            let band = band(&ends, recorded.value_iterated_to() as f64 / 1e3);
            counts.resize(counts.len().max(band + 1), 0);
            if let Some(count) = counts.get_mut(band) {
                *count += recorded.count_since_last_iteration();
            }
        }
        counts
    }

    /// Returns the quantile over all polls in milliseconds: infinite if it falls among polls without a response, `None` if
    /// there were no polls.
    pub(super) fn quantile_ms(&self, share: f64) -> Option<f64> {
        let recorded = self.recorded.len();
        let all = recorded + self.unanswered;
        let rank = (share * all as f64).ceil() as u64;
        if recorded == 0 || rank > recorded {
            return (all > 0).then_some(f64::INFINITY);
        }
        let micros = self
            .recorded
            .value_at_quantile(rank as f64 / recorded as f64);
        Some(micros as f64 / 1e3)
    }

    /// Returns the quantiles.
    pub(super) fn latency(&self) -> Latency {
        Latency::of(|share| self.quantile_ms(share))
    }

    /// Returns the distribution of the responses.
    pub(super) fn distribution(&self) -> Vec<Point> {
        let all = (self.recorded.len() + self.unanswered).max(1) as f64;
        let step = 2_f64.powf(1.0 / f64::from(POINTS_PER_DOUBLING));
        let mut points = Vec::new();
        let (mut micros, most) = (50.0_f64, self.recorded.max() as f64 * step);
        while micros < most {
            let within = self.recorded.count_between(0, micros as u64);
            points.push(Point {
                ms: micros / 1e3,
                share: within as f64 / all,
            });
            micros *= step;
        }
        points
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

    use super::*;

    #[test]
    fn no_latency_is_too_long_to_be_recorded_or_added_and_the_largest_is_kept() {
        let mut short = Latencies::new(3).unwrap();
        for micros in [0, 1, 250, 999] {
            short.record(Duration::from_micros(micros));
        }
        let mut long = Latencies::new(3).unwrap();
        long.record(Duration::from_secs(86_400));
        long.record_or_unanswered(None);
        // In both orders: the histogram of the short ones has to grow.
        for (first, second) in [(&short, &long), (&long, &short)] {
            let mut both = first.clone();
            both.merge(second).unwrap();
            let slowest = Some(f64::INFINITY);
            assert_eq!((both.recorded(), both.quantile_ms(1.0)), (5, slowest));
            let longest = both.quantile_ms(5.0 / 6.0).unwrap();
            assert!((longest / 86_400_000.0 - 1.0).abs() < 0.001, "{longest}");
            assert_eq!(both.quantile_ms(0.5), Some(0.25));
            // The unanswered one is in the whole, and within no time.
            let within = both.distribution().last().unwrap().share;
            assert!((within - 5.0 / 6.0).abs() < 1e-9, "{within}");
        }
    }
}
