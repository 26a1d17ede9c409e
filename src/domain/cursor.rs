//! A client's position in the feed, and the size of its pages (WIRE.md, leaderboard/recent).

use std::num::NonZeroU16;

use super::{
    MAX_ID_BYTES,
    ran_at::{NotATime, RanAt},
};

/// A position in the feed's order (ran_at, id): every row after it is still to be sent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    /// The instant of the last row seen.
    pub ran_at: RanAt,
    /// Which rows of that very millisecond have been seen.
    pub seen: Seen,
}

/// The second half of a [`Cursor`]. The derived order is that of the feed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Seen {
    /// The rows up to and including this id; the empty string is before every id.
    Through(String),
    /// All rows of that millisecond: the legacy rule `ran_at > since`.
    All,
}

impl Cursor {
    /// The tuple cursor of v1.1.0: an absent id is the empty string.
    ///
    /// # Errors
    /// [`NotATime`] if `since_ran_at` is no ISO-8601 time.
    pub fn tuple(since_ran_at: &str, since_id: Option<&str>) -> Result<Self, NotATime> {
        Ok(Self {
            ran_at: RanAt::parse_query(since_ran_at)?,
            seen: Seen::through(since_id.unwrap_or_default()),
        })
    }

    /// The cursor of v1.0.x: without an id every row of that millisecond counts as seen; with one,
    /// even an empty one, the tuple rule holds.
    ///
    /// # Errors
    /// [`NotATime`] if `since` is no ISO-8601 time.
    pub fn legacy(since: &str, since_id: Option<&str>) -> Result<Self, NotATime> {
        let seen = match since_id {
            Some(id) => Seen::through(id),
            None => Seen::All,
        };
        Ok(Self {
            ran_at: RanAt::parse_query(since)?,
            seen,
        })
    }

    /// The position of a stored row.
    ///
    /// # Errors
    /// [`NotATime`] if `ran_at` is no ISO-8601 time.
    pub fn of_row(ran_at: &str, id: String) -> Result<Self, NotATime> {
        Ok(Self {
            ran_at: RanAt::parse(ran_at)?,
            seen: Seen::Through(id),
        })
    }

    /// Returns how many bytes its text has.
    pub fn bytes(&self) -> usize {
        self.ran_at.as_str().len() + self.id().map_or(0, str::len)
    }

    /// Returns the id up to which rows of that millisecond have been seen.
    pub fn id(&self) -> Option<&str> {
        match &self.seen {
            Seen::Through(id) => Some(id),
            Seen::All => None,
        }
    }
}

impl Seen {
    /// Drops what no row can depend on. The prefix that is kept has at least [`MAX_ID_BYTES`] bytes and a
    /// stored id has at most so many, so an id that is greater than the prefix is greater than the whole.
    fn through(id: &str) -> Self {
        Self::Through(id[..id.ceil_char_boundary(MAX_ID_BYTES)].to_owned())
    }
}

/// How many rows a page may have: 1 to 1000, 200 if the client does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageLimit(NonZeroU16);

/// The text is no integer from 1 to 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("limit must be an integer from 1 to {}", PageLimit::MAX_ROWS)]
pub struct NotALimit;

impl PageLimit {
    /// The most rows of one page.
    pub const MAX_ROWS: u16 = 1000;
    /// The rows of a page if the client gives no limit.
    pub const DEFAULT_ROWS: u16 = 200;

    /// A limit of `rows` rows.
    ///
    /// # Errors
    /// [`NotALimit`] outside 1 to 1000.
    pub fn new(rows: u16) -> Result<Self, NotALimit> {
        match NonZeroU16::new(rows) {
            Some(rows) if rows.get() <= Self::MAX_ROWS => Ok(Self(rows)),
            _ => Err(NotALimit),
        }
    }

    /// Reads the `limit` parameter: decimal digits and nothing else.
    ///
    /// # Errors
    /// [`NotALimit`] for anything but an integer from 1 to 1000.
    pub fn parse(text: &str) -> Result<Self, NotALimit> {
        if !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(NotALimit);
        }
        Self::new(text.parse().map_err(|_| NotALimit)?)
    }

    /// Returns the number of rows.
    pub fn rows(self) -> usize {
        usize::from(self.0.get())
    }
}

impl Default for PageLimit {
    fn default() -> Self {
        Self(NonZeroU16::MIN.saturating_add(Self::DEFAULT_ROWS - 1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Ids as they may be stored: at most [`MAX_ID_BYTES`] bytes, alike for most of their length.
    fn stored() -> impl Strategy<Value = String> {
        (240_usize..=256, "[ab\u{e9}\u{1f600}]{0,8}").prop_map(|(same, rest)| {
            let mut id = "a".repeat(same) + &rest;
            id.truncate(id.floor_char_boundary(MAX_ID_BYTES));
            id
        })
    }

    proptest! {
        #[test]
        fn a_long_id_is_cut_without_changing_which_rows_follow(
            asked in (240_usize..=256, "[ab\u{e9}\u{1f600}]{0,300}"),
            ids in prop::collection::vec(stored(), 1..20),
        ) {
            let whole = "a".repeat(asked.0) + &asked.1;
            let cursor = Cursor::tuple("2026-06-07", Some(&whole)).map_err(|e| TestCaseError::fail(e.to_string()))?;
            let cut = cursor.id().unwrap_or_default();
            prop_assert!(cut.len() < MAX_ID_BYTES + 4);
            for id in ids {
                prop_assert_eq!(id.as_str() > cut, id > whole, "{}", id);
            }
        }
    }
}
