//! One page: the stored bytes of its rows joined, and the cursor after it (WIRE.md).

use std::sync::Arc;

use serde::Serialize;

use super::{FeedError, pages::Page};
use crate::{
    domain::cursor::{Cursor, PageLimit},
    representation::Representation,
    store::{pool::Reader, read},
};

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
    let mut body = br#"{"items":["#.to_vec();
    let start = body.len();
    let end = read::feed_page(reader, cursor, limit, |row| {
        if body.len() > start {
            body.push(b',');
        }
        body.extend_from_slice(row);
    })?;
    body.extend_from_slice(b"],");
    let next = end.next.as_ref();
    let tail = serde_json::to_vec(&Tail {
        next_since: next.map(|row| row.ran_at.as_str()),
        next_since_ran_at: next.map(|row| row.ran_at.as_str()),
        next_since_id: next.map(|row| row.id.as_str()),
        merkle_epoch_latest: end.merkle_epoch_latest,
    })?;
    // Both are objects: the tail's members continue those of the page.
    body.extend_from_slice(&tail[1..]);
    // It may be held for long, and would keep as much again that it grew through.
    body.shrink_to_fit();
    let last = match next {
        Some(row) => Some(Cursor::tuple(&row.ran_at, Some(&row.id)).map_err(|_| FeedError::Time)?),
        None => None,
    };
    Ok(Page {
        representation: Arc::new(Representation::new(body)),
        last,
    })
}
