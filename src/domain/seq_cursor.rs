//! A client's position in the feed in the order of commits (WIRE.md, `since_seq`).

use std::fmt;

use super::position::Position;

/// A position in the order of commits: every eval run after it is still to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SeqCursor {
    /// Before the first eval run: `0`.
    Start,
    /// Behind the eval run whose `seq` is this number: `E.N`.
    At(Position),
}

/// The text is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("since_seq must be 0 or a cursor from next_since_seq")]
pub struct NotASeqCursor;

impl SeqCursor {
    /// Reads the `since_seq` parameter. Each cursor has one text.
    ///
    /// # Errors
    /// [`NotASeqCursor`].
    pub fn parse(text: &str) -> Result<Self, NotASeqCursor> {
        match text {
            "0" => Ok(Self::Start),
            text => text.parse().map(Self::At).map_err(|_| NotASeqCursor),
        }
    }

    /// Returns whether a feed that ends at `end` may have eval runs after this cursor. It has none if the cursor is
    /// there or behind it in the same lineage, as after the newest eval runs were deleted.
    pub fn may_precede(self, end: Self) -> bool {
        match (self, end) {
            (Self::At(cursor), Self::At(end)) => {
                cursor.lineage != end.lineage || cursor.number < end.number
            }
            (Self::Start, _) | (Self::At(_), Self::Start) => self != end,
        }
    }
}

impl fmt::Display for SeqCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("0"),
            Self::At(position) => position.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::position::Lineage;

    #[test]
    fn the_start_is_a_cursor_and_other_texts_are_refused() {
        assert_eq!(SeqCursor::parse("0"), Ok(SeqCursor::Start));
        assert_eq!(SeqCursor::Start.to_string(), "0");
        for text in ["", "00", "+0", "1", "0.0", "null", "E.N", "1-ab.1"] {
            assert_eq!(SeqCursor::parse(text), Err(NotASeqCursor), "{text}");
        }
    }

    #[test]
    fn only_a_feed_that_ends_later_or_in_another_lineage_may_have_more() {
        let at = |id, number| {
            let lineage = Lineage { ordinal: 1, id };
            SeqCursor::At(Position { lineage, number })
        };
        for (cursor, end, expected) in [
            (at(1, 4), at(1, 5), true),
            (at(1, 5), at(1, 5), false),
            (at(1, 6), at(1, 5), false),
            (at(2, 6), at(1, 5), true),
            (SeqCursor::Start, at(1, 0), true),
            (SeqCursor::Start, SeqCursor::Start, false),
        ] {
            assert_eq!(cursor.may_precede(end), expected, "{cursor} {end}");
        }
    }

    proptest! {
        #[test]
        fn a_cursor_is_read_as_it_is_written(ordinal: u32, id: u64, number in 0..=i64::MAX) {
            let lineage = Lineage { ordinal, id };
            let cursor = SeqCursor::At(Position { lineage, number });
            prop_assert_eq!(SeqCursor::parse(&cursor.to_string()), Ok(cursor));
        }
    }
}
