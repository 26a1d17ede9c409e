//! How long a follower pauses between two requests. Pure.

use std::time::Duration;

/// The first pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest one.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The longest pause that an upstream may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// The pauses after failures: twice as long each time, at random up to a half more or less.
#[derive(Debug)]
pub(super) struct Pace {
    failures: u32,
    random: fastrand::Rng,
}

impl Pace {
    pub(super) fn new(random: fastrand::Rng) -> Self {
        let failures = 0;
        Self { failures, random }
    }

    /// Notes a success.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Notes a failure, and returns the pause: at least what the upstream asks for.
    pub(super) fn failed(&mut self, retry_after: Option<Duration>) -> Duration {
        let doublings = self.failures.min(16);
        self.failures = self.failures.saturating_add(1);
        let nominal = (FIRST_PAUSE * 2_u32.pow(doublings)).min(LONGEST_PAUSE);
        let pause = nominal.mul_f64(0.5 + self.random.f64());
        pause.max(retry_after.unwrap_or_default().min(LONGEST_ASKED))
    }

    /// Returns the pause between two polls: `poll`, or longer if the answer may be cached for so long; at random up to a
    /// tenth more.
    pub(super) fn poll(&mut self, poll: Duration, fresh_for: Option<Duration>) -> Duration {
        let fresh_for = fresh_for.unwrap_or_default().min(LONGEST_ASKED);
        poll.max(fresh_for).mul_f64(1.0 + self.random.f64() / 10.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: f64) -> Duration {
        Duration::from_secs_f64(secs)
    }

    #[test]
    fn pauses_double_up_to_thirty_seconds_and_begin_again_after_a_success() {
        let mut pace = Pace::new(fastrand::Rng::with_seed(1));
        for nominal in [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0] {
            let pause = pace.failed(None);
            assert!(pause >= secs(nominal / 2.0) && pause <= secs(nominal * 1.5));
        }
        pace.succeeded();
        assert!(pace.failed(None) <= secs(1.5));
        for _ in 0..100_000 {
            assert!(pace.failed(None) <= secs(45.0));
        }
    }

    #[test]
    fn an_upstream_may_ask_for_longer_pauses_within_limits() {
        let mut pace = Pace::new(fastrand::Rng::with_seed(1));
        assert_eq!(pace.failed(Some(secs(100.0))), secs(100.0));
        assert_eq!(pace.failed(Some(secs(1e9))), LONGEST_ASKED);
        let polled = |pause: Duration, nominal| {
            assert!(
                pause >= secs(nominal) && pause <= secs(nominal * 1.11),
                "{pause:?}"
            );
        };
        polled(pace.poll(secs(15.0), None), 15.0);
        polled(pace.poll(secs(15.0), Some(secs(60.0))), 60.0);
        polled(pace.poll(secs(15.0), Some(secs(1.0))), 15.0);
        polled(pace.poll(secs(15.0), Some(secs(1e9))), 300.0);
    }
}
