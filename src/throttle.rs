//! Bounds how often events of one kind are told, such as lines of the log.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// More kinds than this are forgotten when their period is over.
const MAX_KINDS: usize = 1024;

/// Admits so many events of each kind in a period, and counts the others. If there were too many, admits one in each
/// period from then on, until a period has one at most: what goes on for hours must not fill the log.
#[derive(Debug)]
pub struct Throttle<K> {
    most: u32,
    period: Duration,
    kinds: Mutex<HashMap<K, Window>>,
}

/// The period that an event began.
#[derive(Debug)]
struct Window {
    begun: Instant,
    /// How many events it admits.
    most: u32,
    admitted: u32,
    suppressed: u64,
}

impl<K: Eq + Hash> Throttle<K> {
    /// A throttle that has seen nothing.
    pub fn new(most: u32, period: Duration) -> Self {
        Self {
            most,
            period,
            kinds: Mutex::default(),
        }
    }

    /// Returns how many events of this kind were suppressed since the last one that was admitted; `None` if this one
    /// is suppressed as well.
    pub fn admit(&self, kind: K, now: Instant) -> Option<u64> {
        let new = || Window {
            begun: now,
            most: self.most,
            admitted: 0,
            suppressed: 0,
        };
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        if kinds.len() >= MAX_KINDS {
            kinds.retain(|_, window| now.saturating_duration_since(window.begun) < self.period);
        }
        let window = kinds.entry(kind).or_insert_with(new);
        if now.saturating_duration_since(window.begun) >= self.period {
            window.begun = now;
            window.most = if window.suppressed > 0 { 1 } else { self.most };
            window.admitted = 0;
        }
        if window.admitted < window.most {
            window.admitted += 1;
            Some(std::mem::take(&mut window.suppressed))
        } else {
            window.suppressed += 1;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_events_of_each_period_are_admitted_and_the_others_are_counted() {
        let throttle = Throttle::new(2, Duration::from_secs(1));
        let begun = Instant::now();
        let told = [0, 1, 999].map(|at| throttle.admit("a", begun + Duration::from_millis(at)));
        assert_eq!(told, [Some(0), Some(0), None]);
        assert_eq!(throttle.admit("b", begun), Some(0));
        assert_eq!(throttle.admit("a", begun), None);
        // A clock that goes back is no reason to panic.
        assert_eq!(throttle.admit("a", begun), None);
    }

    #[test]
    fn of_events_that_go_on_one_is_admitted_in_each_period_until_a_period_has_one_at_most() {
        let throttle = Throttle::new(2, Duration::from_secs(1));
        let begun = Instant::now();
        let told = |second: u64, events: usize| {
            let now = begun + Duration::from_secs(second);
            let told: Vec<_> = (0..events).map(|_| throttle.admit("a", now)).collect();
            told
        };
        assert_eq!(told(0, 4), [Some(0), Some(0), None, None]);
        assert_eq!(told(1, 3), [Some(2), None, None]);
        assert_eq!(told(2, 2), [Some(2), None]);
        assert_eq!(told(3, 1), [Some(1)]);
        assert_eq!(told(4, 3), [Some(0), Some(0), None]);
    }
}
