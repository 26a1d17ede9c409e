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
    begun_at: Instant,
    confirmed_at: Arc<Mutex<[Option<Instant>; 2]>>,
}

impl UpstreamStatus {
    /// What was copied before, of board and feed, counts as confirmed at the start of the process: a restart must not
    /// take a server out of service that could do without its upstream before.
    pub(super) fn new(clock: Arc<dyn Clock>, copied: [bool; 2]) -> Self {
        let begun_at = clock.now();
        let confirmed_at = copied.map(|is_copied| is_copied.then_some(begun_at));
        Self {
            clock,
            begun_at,
            confirmed_at: Arc::new(Mutex::new(confirmed_at)),
        }
    }

    /// Notes an answer that caches have kept for `age`: it confirms what was so before.
    pub(super) fn confirmed(&self, part: Part, age: Duration) {
        let now = self.clock.now();
        // Nothing is older than the process.
        let at = now.checked_sub(age).unwrap_or(self.begun_at);
        let at = at.max(self.begun_at);
        let confirmed_at = &mut self.confirmed_at()[part as usize];
        *confirmed_at = Some(confirmed_at.map_or(at, |before| before.max(at)));
    }

    /// Returns how long ago the copy of board or feed was confirmed, whichever is longer ago; since the start of the
    /// process, if one of them never was.
    pub fn lag(&self) -> Duration {
        let confirmed_at = *self.confirmed_at();
        let [board, feed] = confirmed_at.map(|at| at.unwrap_or(self.begun_at));
        self.clock.now().saturating_duration_since(board.min(feed))
    }

    /// Checks that the copy is complete, and was confirmed not too long ago.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self, max_age: Duration) -> Check {
        if self.confirmed_at().contains(&None) {
            return Err("not copied yet".into());
        }
        let lag = self.lag();
        let is_recent = lag <= max_age;
        is_recent
            .then_some(())
            .ok_or_else(|| format!("not confirmed for {} s", lag.as_secs()).into())
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
        const NOW: Duration = Duration::ZERO;
        let clock = ManualClock::default();
        let status = UpstreamStatus::new(Arc::new(clock.clone()), [false; 2]);
        let max_age = Duration::from_secs(600);
        status.confirmed(Part::Board, NOW);
        clock.advance(Duration::from_secs(7));
        assert_eq!(status.lag(), Duration::from_secs(7));
        assert_eq!(status.check(max_age), Err("not copied yet".into()));
        status.confirmed(Part::Feed, NOW);
        clock.advance(max_age);
        status.confirmed(Part::Board, NOW);
        // A cache has kept it for so long.
        status.confirmed(Part::Feed, max_age);
        assert_eq!((status.lag(), status.check(max_age)), (max_age, Ok(())));
        clock.advance(Duration::from_secs(1));
        assert_eq!(status.check(max_age), Err("not confirmed for 601 s".into()));
        let restarted = UpstreamStatus::new(Arc::new(clock.clone()), [true; 2]);
        assert_eq!(restarted.lag(), Duration::ZERO);
    }
}
