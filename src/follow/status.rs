//! What is known of the upstream: when it last confirmed that board and feed are as they are here.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{domain::clock::Clock, store::Check};

/// A part that is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Board,
    Feed,
}

/// The state of the copy, for health checks and metrics. Cheap to clone.
#[derive(Debug, Clone)]
pub struct UpstreamStatus {
    clock: Arc<dyn Clock>,
    confirmed_at: Arc<Mutex<[Option<Instant>; 2]>>,
}

impl UpstreamStatus {
    /// If there is something to serve, it counts as confirmed at the start of the process: a restart must not take a
    /// server out of service that could do without its upstream before.
    pub(super) fn new(clock: Arc<dyn Clock>, has_content: bool) -> Self {
        let confirmed_at = has_content.then(|| clock.now());
        Self {
            clock,
            confirmed_at: Arc::new(Mutex::new([confirmed_at; 2])),
        }
    }

    pub(super) fn confirmed(&self, part: Part) {
        self.confirmed_at()[part as usize] = Some(self.clock.now());
    }

    /// Returns since when the copy of board or feed, whichever is older, is not confirmed; `None` if one of them never
    /// was.
    pub fn lag(&self) -> Option<Duration> {
        let [board, feed] = *self.confirmed_at();
        let oldest = board?.min(feed?);
        Some(self.clock.now().saturating_duration_since(oldest))
    }

    /// Checks that the copy is complete, and was confirmed not too long ago.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self, max_age: Duration) -> Check {
        match self.lag() {
            None => Err("not copied yet".into()),
            Some(lag) if lag > max_age => {
                Err(format!("not confirmed for {} s", lag.as_secs()).into())
            }
            Some(_) => Ok(()),
        }
    }

    fn confirmed_at(&self) -> MutexGuard<'_, [Option<Instant>; 2]> {
        let confirmed_at = self.confirmed_at.lock();
        confirmed_at.unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::ManualClock;

    #[test]
    fn the_part_that_was_confirmed_longest_ago_counts() {
        let clock = ManualClock::default();
        let status = UpstreamStatus::new(Arc::new(clock.clone()), false);
        let max_age = Duration::from_secs(600);
        status.confirmed(Part::Board);
        assert_eq!(status.check(max_age), Err("not copied yet".into()));
        status.confirmed(Part::Feed);
        clock.advance(max_age);
        status.confirmed(Part::Board);
        assert_eq!(
            (status.lag(), status.check(max_age)),
            (Some(max_age), Ok(()))
        );
        clock.advance(Duration::from_secs(1));
        assert_eq!(status.check(max_age), Err("not confirmed for 601 s".into()));
        let restarted = UpstreamStatus::new(Arc::new(clock.clone()), true);
        assert_eq!(restarted.lag(), Some(Duration::ZERO));
    }
}
