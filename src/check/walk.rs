//! Pulls over many pages of the feed, as clients make them.

use std::collections::HashSet;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::value::RawValue;

use super::{
    page::{self, Row},
    report::{Finding, differs, fails},
    representation::json,
    session::Session,
};
use crate::domain::cursor::Cursor;

/// The path of the feed.
pub(super) const PATH: &str = "/v1/leaderboard/recent";
/// Before every row.
pub(super) const START: &str = "1970-01-01T00:00:00Z";

/// What a pull has got.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub(super) rows: Vec<Row>,
    /// Whether it has come to the end of the feed.
    pub(super) is_complete: bool,
    /// How many pages it took.
    pub(super) pages: u32,
}

/// Returns the path of a page after a cursor of (ran_at, id).
pub(super) fn page_path(ran_at: &str, id: &str, limit: usize) -> String {
    let [ran_at, id] = [ran_at, id].map(encoded);
    format!("{PATH}?since_ran_at={ran_at}&since_id={id}&limit={limit}")
}

/// Returns the path of a page in the order of commits.
pub(super) fn seq_path(cursor: &str, limit: usize) -> String {
    format!("{PATH}?since_seq={}&limit={limit}", encoded(cursor))
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Pulls up to `max_rows` rows in pages of `limit` rows by the cursor of (ran_at, id). Hands the rows of each page to
/// `each`.
///
/// # Errors
/// [`Finding`] if a page is malformed, or a row does not stand behind the one before it.
pub(super) fn by_place(
    session: &mut Session,
    limit: usize,
    max_rows: usize,
    each: &mut dyn FnMut(&[&RawValue]),
) -> Result<Walk, Finding> {
    let mut walk = Walk::default();
    let mut path = page_path(START, "", limit);
    while walk.rows.len() < max_rows {
        let answer = json(session, &path).map_err(|finding| finding.at(&path))?;
        let page = page::by_place(&answer.body, limit).map_err(|finding| finding.at(&path))?;
        each(&page.items);
        for row in page.rows {
            if let Some(before) = walk.rows.last()
                && before.place >= row.place
            {
                let what = if before.place == row.place {
                    "comes twice"
                } else {
                    "comes too late"
                };
                let (row, before) = (told(&row.place), told(&before.place));
                return fails(format!("{path}: {row} {what}, behind {before}"));
            }
            walk.rows.push(row);
        }
        walk.pages += 1;
        let Some(next) = page.next else {
            walk.is_complete = true;
            break;
        };
        path = page_path(next.ran_at.as_str(), next.id().unwrap_or_default(), limit);
    }
    walk.cut(max_rows);
    Ok(walk)
}

/// Pulls up to `max_rows` rows in pages of `limit` rows in the order of commits.
///
/// # Errors
/// [`Finding`] if a page is malformed, a row comes twice, or the cursor stands still.
pub(super) fn by_commit(
    session: &mut Session,
    limit: usize,
    max_rows: usize,
) -> Result<Walk, Finding> {
    let mut walk = Walk::default();
    let mut seen = HashSet::new();
    let mut cursor = "0".to_owned();
    while walk.rows.len() < max_rows {
        let path = seq_path(&cursor, limit);
        let answer = json(session, &path).map_err(|finding| finding.at(&path))?;
        let page = page::by_commit(&answer.body, limit).map_err(|finding| finding.at(&path))?;
        let count = page.rows.len();
        for row in page.rows {
            if !seen.insert(row.id().to_owned()) {
                return fails(format!("{path}: {:?} comes twice", row.id()));
            }
            walk.rows.push(row);
        }
        walk.pages += 1;
        if count < limit {
            walk.is_complete = true;
            break;
        }
        if page.next == cursor {
            return fails(format!("{path}: the cursor stands still"));
        }
        cursor = page.next;
    }
    walk.cut(max_rows);
    Ok(walk)
}

impl Walk {
    /// Drops the rows beyond those that were wanted.
    fn cut(&mut self, max_rows: usize) {
        if self.rows.len() > max_rows {
            self.rows.truncate(max_rows);
            self.is_complete = false;
        }
    }

    /// Checks that a later pull has got the same rows in the same order, and perhaps more of them at the end.
    ///
    /// # Errors
    /// [`Finding`] naming the first row that differs.
    pub(super) fn check_same(&self, later: &Self) -> Result<(), Finding> {
        let pairs = self.rows.iter().zip(&later.rows);
        if let Some((index, (row, other))) = pairs.enumerate().find(|(_, (a, b))| a != b) {
            let what = if row.place == other.place {
                format!("{} has other bytes", told(&row.place))
            } else {
                format!("{} and {}", told(&row.place), told(&other.place))
            };
            return differs(format!("row {index} differs between two pulls: {what}"));
        }
        if later.is_complete && later.rows.len() < self.rows.len() {
            let missing = &self.rows[later.rows.len()].place;
            return differs(format!("the later pull ends before {}", told(missing)));
        }
        Ok(())
    }

    /// Returns what it has got, in words.
    pub(super) fn told(&self) -> String {
        let end = if self.is_complete {
            "the whole feed"
        } else {
            "the oldest ones"
        };
        format!("{} rows, {end}", self.rows.len())
    }
}

/// Names a row.
pub(super) fn told(place: &Cursor) -> String {
    format!("{} {:?}", place.ran_at, place.id().unwrap_or_default())
}
