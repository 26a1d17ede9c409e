//! One page: the stored bytes of its rows joined, and the cursor after it (WIRE.md).

use std::sync::Arc;

use serde::Serialize;

use super::{FeedError, pages::Page, tail::Span};
use crate::{
    answer::Representation,
    domain::cursor::{Cursor, PageLimit},
    metrics::Origin,
    store::{pool::Reader, read},
};

const BEGIN: &[u8] = br#"{"items":["#;
/// More than what follows the rows, but for a very long id.
const TAIL_BYTES: usize = 256;

/// What follows the rows, in the wire's order.
#[derive(Serialize)]
struct Tail<'a> {
    next_since: Option<&'a str>,
    next_since_ran_at: Option<&'a str>,
    next_since_id: Option<&'a str>,
    merkle_epoch_latest: Option<i64>,
}

/// Reads a page. The rows are joined as they are stored, and never parsed.
///
/// # Errors
/// [`FeedError::Store`] where the database fails, [`FeedError::Time`] where it holds no valid time.
pub fn read(reader: &Reader, cursor: &Cursor, limit: PageLimit) -> Result<Page, FeedError> {
    let mut rows = Rows::default();
    let end = read::feed_page(reader, cursor, limit, |row| rows.push(row))?;
    let last = match end.next {
        Some(row) => Some(Cursor::tuple(&row.ran_at, Some(&row.id)).map_err(|_| FeedError::Time)?),
        None => None,
    };
    rows.end(last, end.merkle_epoch_latest, Origin::Read)
}

/// The same page out of the tail: `span` of one whose stamp has this epoch.
///
/// # Errors
/// [`FeedError::Json`], which does not happen.
pub fn joined(span: &Span<'_>, merkle_epoch_latest: Option<i64>) -> Result<Page, FeedError> {
    let mut rows = Rows::default();
    rows.0.reserve(span.bytes() + TAIL_BYTES);
    for slice in &span.slices {
        rows.push(slice);
    }
    rows.end(span.last.cloned(), merkle_epoch_latest, Origin::Tail)
}

/// A page that is being written.
struct Rows(Vec<u8>);

impl Default for Rows {
    fn default() -> Self {
        Self(BEGIN.to_vec())
    }
}

impl Rows {
    fn push(&mut self, row: &[u8]) {
        if self.0.len() > BEGIN.len() {
            self.0.push(b',');
        }
        self.0.extend_from_slice(row);
    }

    fn end(
        self,
        last: Option<Cursor>,
        merkle_epoch_latest: Option<i64>,
        origin: Origin,
    ) -> Result<Page, FeedError> {
        let mut body = self.0;
        body.extend_from_slice(b"],");
        let ran_at = last.as_ref().map(|row| row.ran_at.as_str());
        let tail = serde_json::to_vec(&Tail {
            next_since: ran_at,
            next_since_ran_at: ran_at,
            next_since_id: last.as_ref().and_then(Cursor::id),
            merkle_epoch_latest,
        })?;
        // Both are objects: the tail's members continue those of the page.
        body.extend_from_slice(&tail[1..]);
        // It may be held for long, and would keep as much again that it grew through.
        body.shrink_to_fit();
        Ok(Page {
            representation: Arc::new(Representation::new(body)),
            last,
            origin,
        })
    }
}
