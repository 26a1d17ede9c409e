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

    proptest! {
        #[test]
        fn a_cursor_is_read_as_it_is_written(ordinal: u32, id: u64, number in 0..=i64::MAX) {
            let lineage = Lineage { ordinal, id };
            let cursor = SeqCursor::At(Position { lineage, number });
            prop_assert_eq!(SeqCursor::parse(&cursor.to_string()), Ok(cursor));
        }
    }
}
