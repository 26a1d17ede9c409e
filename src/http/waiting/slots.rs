//! Time slots: multiples of one length since 1970, by the server's wall clock.

use std::time::{Duration, SystemTime};

/// A slot gets its successor's URL when less than this part of it is left, or a client would be answered again at
/// once.
const MARGIN: u32 = 12;

/// A time slot, by its number since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::http) struct Slot(u64);

/// The slots of one length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) struct Slots {
    length: Duration,
}

impl Slot {
    /// Parses the number: digits and nothing else.
    pub(in crate::http) fn parse(text: &str) -> Option<Self> {
        let only_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| only_digits).map(Self)
    }

    /// Returns the number.
    pub(in crate::http) fn number(self) -> u64 {
        self.0
    }
}

impl Slots {
    /// Slots of this length, at least a second.
    pub(in crate::http) fn new(length: Duration) -> Self {
        Self {
            length: length.max(Duration::from_secs(1)),
        }
    }

    /// The time over which answers at the end of a slot are spread, and the least that a slot lasts for which a
    /// client is told to wait.
    pub(in crate::http) fn margin(self) -> Duration {
        self.length / MARGIN
    }

    /// Returns the slot that a client should wait for next: the current one, or the one after it if that ends soon.
    pub(in crate::http) fn next(self, wall: SystemTime) -> Slot {
        let (current, left) = self.current(wall);
        Slot(if left < self.margin() {
            current + 1
        } else {
            current
        })
    }

    /// Returns how long a request waits for the end of the slot, at most a slot and the margin; `None` if the slot is
    /// over. A slot that lies far ahead is of a server whose clock or slots differ: between two such servers, a client
    /// that goes from one to the other waits at one of them at least.
    pub(in crate::http) fn left(self, slot: Slot, wall: SystemTime) -> Option<Duration> {
        let (current, left) = self.current(wall);
        match slot.0.checked_sub(current)? {
            0 => Some(left),
            _ => Some(left.min(self.margin()) + self.length),
        }
    }

    /// The number of the current slot, and how long it still lasts.
    fn current(self, wall: SystemTime) -> (u64, Duration) {
        let since = wall.duration_since(SystemTime::UNIX_EPOCH);
        let (since, length) = (since.unwrap_or_default().as_nanos(), self.length.as_nanos());
        let left = u64::try_from(length - since % length).unwrap_or(u64::MAX);
        let number = u64::try_from(since / length).unwrap_or(u64::MAX - 1);
        (number, Duration::from_nanos(left))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SLOTS: Slots = Slots {
        length: Duration::from_secs(25),
    };

    fn at(millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
    }

    #[test]
    fn a_request_waits_for_the_end_of_its_slot() {
        let left = |slot, millis| SLOTS.left(Slot(slot), at(millis));
        assert_eq!(left(4, 100_000), Some(Duration::from_secs(25)));
        assert_eq!(left(4, 124_999), Some(Duration::from_millis(1)));
        assert_eq!(left(4, 125_000), None, "it is over");
        let longest = Some(SLOTS.length + SLOTS.margin());
        assert_eq!(
            left(6, 124_999),
            Some(SLOTS.length + Duration::from_millis(1))
        );
        assert_eq!(left(u64::MAX, 0), longest);
        assert_eq!(left(0, 0), Some(Duration::from_secs(25)));
    }

    proptest! {
        #[test]
        fn a_slot_that_a_client_is_given_lasts_for_a_while_and_not_too_long(millis in 0..u64::from(u32::MAX)) {
            let left = SLOTS.left(SLOTS.next(at(millis)), at(millis));
            let left = left.ok_or_else(|| TestCaseError::fail("it is over"))?;
            prop_assert!(left >= SLOTS.margin(), "{left:?}");
            prop_assert!(left <= SLOTS.length + SLOTS.margin(), "{left:?}");
        }

        #[test]
        fn no_slot_lasts_longer_than_a_slot_and_the_margin(slot: u64, millis in 0..u64::from(u32::MAX)) {
            let left = SLOTS.left(Slot(slot), at(millis)).unwrap_or_default();
            prop_assert!(left <= SLOTS.length + SLOTS.margin(), "{left:?}");
        }
    }

    #[test]
    fn a_slot_is_digits_and_nothing_else() {
        assert_eq!(Slot::parse("17"), Some(Slot(17)));
        for text in ["", "-1", "+1", " 1", "1.5", "99999999999999999999"] {
            assert_eq!(Slot::parse(text), None, "{text}");
        }
    }
}
