//! For how long an upstream has been behind the copy. Pure.
//!
//! A replica that lags knows the copy's cursor later, so the follower asks again, as WIRE.md says of all clients. An older
//! database that somebody has put in place of the upstream's never knows it: after the hour that a replica may lag, it is
//! copied anew.

use std::time::{Duration, Instant};

/// How long a replica may be behind (WIRE.md, "The order of commits"), and a little longer.
const LONGEST: Duration = Duration::from_secs(3600 + 60);

/// How long the upstream has answered only that it is behind the copy.
#[derive(Debug, Default)]
pub(super) struct Behind {
    since: Option<Instant>,
}

impl Behind {
    /// The upstream knows the copy's cursor.
    pub(super) fn caught_up(&mut self) {
        self.since = None;
    }

    /// The upstream says that it is behind. Returns whether it was for so long that it is an older database.
    pub(super) fn is_for_good(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let is_for_good = now.saturating_duration_since(since) > LONGEST;
        if is_for_good {
            self.since = None;
        }
        is_for_good
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_that_is_behind_for_more_than_an_hour_is_an_older_database() {
        let (begun, mut behind) = (Instant::now(), Behind::default());
        let at = |secs| begun + Duration::from_secs(secs);
        assert!(!behind.is_for_good(at(0)) && !behind.is_for_good(at(3660)));
        assert!(behind.is_for_good(at(3661)));
        // Once.
        assert!(!behind.is_for_good(at(3662)));
        behind.caught_up();
        assert!(!behind.is_for_good(at(9000)) && !behind.is_for_good(at(9001)));
    }
}
