//! Whether an answer comes from the upstream itself, by the time slot that its link names (WIRE.md, "Waiting"). Pure.
//!
//! A cache that answers for an upstream which is away repeats old answers: their slots are over. The slots of an upstream
//! that lives go on with its clock. They may begin again elsewhere, if the clock is set or the length of a slot changes:
//! then they are believed once they go on.

use std::time::{Duration, Instant};

/// How many slots the same one may be named for: it is the next one from the last twelfth of the one before, and a little
/// time passes on the way.
const LONGEST_SLOTS: u64 = 3;
/// The least and the greatest time of that, in seconds.
const LONGEST_SECS: (u64, u64) = (60, 1800);

/// What the slot of an answer tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    /// It was made after every answer before it.
    New,
    /// It may be as old as the last answer: the slot is the same, or none is named.
    Unknown,
    /// A cache has kept it.
    Old,
}

/// The slots of the answers so far.
#[derive(Debug, Default)]
pub(super) struct Slots {
    last: Option<Last>,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    slot: u64,
    since: Instant,
    goes_on: bool,
}

impl Slots {
    /// Notes the slot of an answer. `unix_secs` is the time since 1970: slots are counted from then, which tells their
    /// length.
    pub(super) fn note(&mut self, slot: Option<u64>, now: Instant, unix_secs: u64) -> Age {
        let Some(slot) = slot else {
            return Age::Unknown;
        };
        let new = |goes_on| Last {
            slot,
            since: now,
            goes_on,
        };
        let Some(last) = self.last else {
            self.last = Some(new(true));
            return Age::Unknown;
        };
        if slot > last.slot {
            self.last = Some(new(true));
            return Age::New;
        }
        // The clocks of servers behind one address may differ a little.
        let is_near = slot == last.slot || slot + 1 == last.slot && last.goes_on;
        if !is_near {
            self.last = Some(new(false));
            return Age::Old;
        }
        let longest = LONGEST_SLOTS * (unix_secs / slot.max(1));
        let longest = longest.clamp(LONGEST_SECS.0, LONGEST_SECS.1);
        let passed = now.saturating_duration_since(last.since);
        if last.goes_on && passed <= Duration::from_secs(longest) {
            Age::Unknown
        } else {
            Age::Old
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Slots of 25 s, from the one that is present.
    fn noted(answers: &[(u64, Option<u64>)]) -> Vec<Age> {
        let (begun, mut slots) = (Instant::now(), Slots::default());
        let unix_secs = 1_775_000_000;
        let mut note = |(secs, slot): &(u64, Option<u64>)| {
            let slot = slot.map(|slot| slot.saturating_add(unix_secs / 25 - 70));
            slots.note(slot, begun + Duration::from_secs(*secs), unix_secs + secs)
        };
        answers.iter().map(&mut note).collect()
    }

    #[test]
    fn slots_of_a_live_upstream_go_on() {
        let answers = [
            (0, Some(70)),
            (3, Some(70)),
            (25, Some(71)),
            (26, Some(70)),
            (27, None),
            (50, Some(72)),
        ];
        let expected = [
            Age::Unknown,
            Age::Unknown,
            Age::New,
            Age::Unknown,
            Age::Unknown,
            Age::New,
        ];
        assert_eq!(noted(&answers), expected);
    }

    #[test]
    fn an_answer_that_is_repeated_is_old_however_often() {
        let answers = [
            (0, Some(70)),
            (1, Some(68)),
            (2, Some(68)),
            (99, Some(68)),
            (100, Some(67)),
        ];
        assert_eq!(noted(&answers)[1..], [Age::Old; 4]);
        // Also the last one, after a while.
        let answers = [
            (0, Some(70)),
            (75, Some(70)),
            (76, Some(70)),
            (9999, Some(70)),
        ];
        assert_eq!(noted(&answers)[1..], [Age::Unknown, Age::Old, Age::Old]);
    }

    #[test]
    fn slots_that_begin_again_elsewhere_are_believed_once_they_go_on() {
        let answers = [
            (0, Some(u64::MAX)),
            (1, Some(40)),
            (2, Some(40)),
            (40, Some(41)),
            (41, Some(41)),
        ];
        let expected = [Age::Unknown, Age::Old, Age::Old, Age::New, Age::Unknown];
        assert_eq!(noted(&answers), expected);
    }
}
