//! A position in the history of a database: a number that only grows, and the lineage that it belongs to. Clients
//! take its text, `E.N`, as opaque (WIRE.md).

use std::{cmp::Ordering, fmt, str::FromStr};

/// A lineage: a history of a database, from its creation or restore to the next restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lineage {
    /// Greater than that of every lineage before: a server that does not know it yet is behind.
    pub ordinal: u32,
    /// Random. Two copies of a database that are restored apart have the same ordinals.
    pub id: u64,
}

/// A number within a lineage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// Which history the number belongs to.
    pub lineage: Lineage,
    /// The number; at least 0.
    pub number: i64,
}

/// The text is no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a position")]
pub struct NotAPosition;

impl Lineage {
    /// The lineage of a row of the database.
    ///
    /// # Errors
    /// [`NotAPosition`] if the id is not 16 hex digits or the ordinal is out of range.
    pub fn of_row(ordinal: i64, id: &str) -> Result<Self, NotAPosition> {
        Ok(Self {
            ordinal: u32::try_from(ordinal).map_err(|_| NotAPosition)?,
            id: parse_id(id)?,
        })
    }

    /// Returns its id as it is stored: 16 hex digits.
    pub fn id_text(&self) -> String {
        format!("{:016x}", self.id)
    }
}

impl Position {
    /// Returns how this stands to what a client has. Later lineages are newer. Of two different ones with the same
    /// ordinal nothing is known: `None`.
    pub fn order(self, other: Self) -> Option<Ordering> {
        let (ours, theirs) = (self.lineage, other.lineage);
        if ours.ordinal == theirs.ordinal && ours.id != theirs.id {
            return None;
        }
        let key = |position: Self| (position.lineage.ordinal, position.number);
        Some(key(self).cmp(&key(other)))
    }
}

impl fmt::Display for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.ordinal, self.id)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.lineage, self.number)
    }
}

impl FromStr for Position {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<Self, NotAPosition> {
        let (ordinal, rest) = text.split_once('-').ok_or(NotAPosition)?;
        let (id, number) = rest.split_once('.').ok_or(NotAPosition)?;
        Ok(Self {
            lineage: Lineage {
                ordinal: digits(ordinal)?,
                id: parse_id(id)?,
            },
            number: digits(number)?,
        })
    }
}

/// Parses an integer as it is written: digits without a sign or a leading zero, so that each position has one text.
fn digits<T: FromStr>(text: &str) -> Result<T, NotAPosition> {
    let only_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if !only_digits || (text.len() > 1 && text.starts_with('0')) {
        return Err(NotAPosition);
    }
    text.parse().map_err(|_| NotAPosition)
}

/// Parses 16 lower-case hex digits.
fn parse_id(text: &str) -> Result<u64, NotAPosition> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != 16 || !text.bytes().all(is_digit) {
        return Err(NotAPosition);
    }
    u64::from_str_radix(text, 16).map_err(|_| NotAPosition)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_position_is_read_as_it_is_written(ordinal: u32, id: u64, number in 0..=i64::MAX) {
            let position = Position { lineage: Lineage { ordinal, id }, number };
            prop_assert_eq!(position.to_string().parse(), Ok(position));
        }

        #[test]
        fn each_position_has_one_text(text in "[0-9]{1,3}-[0-9a-fA-F]{15,17}\\.[-+]?[0-9]{1,3}") {
            if let Ok(position) = text.parse::<Position>() {
                prop_assert_eq!(position.to_string(), text);
            }
        }
    }

    #[test]
    fn positions_are_ordered_by_lineage_and_then_by_number() {
        let at = |ordinal, id, number| Position {
            lineage: Lineage { ordinal, id },
            number,
        };
        for (one, other, expected) in [
            (at(1, 1, 5), at(1, 1, 5), Some(Ordering::Equal)),
            (at(1, 1, 4), at(1, 1, 5), Some(Ordering::Less)),
            (at(2, 9, 4), at(1, 1, 5), Some(Ordering::Greater)),
            (at(1, 1, 5), at(2, 9, 4), Some(Ordering::Less)),
            (at(1, 1, 5), at(1, 2, 5), None),
        ] {
            assert_eq!(one.order(other), expected, "{one} {other}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "0",
            ".",
            "1-0123456789abcdef",
            "1-0123456789abcdef.",
            "-0123456789abcdef.1",
            "1-0123456789ABCDEF.1",
            "1-0123456789abcdef.+1",
            "1-0123456789abcdef.-1",
            "01-0123456789abcdef.1",
            "1-0123456789abcdef.01",
            "1-0123456789abcdef.9223372036854775808",
            "4294967296-0123456789abcdef.1",
            " 1-0123456789abcdef.1",
        ] {
            assert_eq!(text.parse::<Position>(), Err(NotAPosition), "{text}");
        }
    }
}
