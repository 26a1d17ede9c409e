//! Bounds how often events of one kind are told, such as lines of the log.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// More kinds than this are forgotten when their period is over.
const MAX_KINDS: usize = 1024;

/// Admits so many events of each kind per period, and counts the others.
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
            window.admitted = 0;
        }
        if window.admitted < self.most {
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
        let next = begun + Duration::from_secs(1);
        let told = [next, next, next].map(|now| throttle.admit("a", now));
        assert_eq!(told, [Some(2), Some(0), None]);
        // A clock that goes back is no reason to panic.
        assert_eq!(throttle.admit("a", begun), None);
    }
}
