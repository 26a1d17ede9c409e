//! Reads one page: the stored bytes of its rows joined, and the cursor after it (WIRE.md).

use std::sync::{Arc, Mutex, PoisonError};

use super::{FeedError, budget::ByteBudget, pages::Page};
use crate::{
    answer::Representation,
    domain::{
        cursor::{Cursor, PageLimit},
        feed_envelope,
    },
    store::{pool::Reader, read},
};

/// Pages longer than this are read one at a time: a thousand rows of the greatest length have 64 MiB.
const LARGE_BYTES: usize = 4 * 1024 * 1024;

/// Reads a page and charges its bytes to `budget`. The rows are joined as they are stored, and never parsed.
/// A read that finds its page large waits for `large_page` until no other large one is being read.
///
/// # Errors
/// [`FeedError::Store`] if the database fails, [`FeedError::Time`] if a row has no valid time.
pub(super) fn read(
    reader: &Reader,
    cursor: &Cursor,
    limit: PageLimit,
    budget: &ByteBudget,
    large_page: &Mutex<()>,
) -> Result<Page, FeedError> {
    let mut body = feed_envelope::BEGIN.to_vec();
    let mut large = None;
    let end = read::feed_page(reader, cursor, limit, |row| {
        if body.len() > feed_envelope::BEGIN.len() {
            body.push(feed_envelope::SEPARATOR);
        }
        if large.is_none() && body.len() + row.len() > LARGE_BYTES {
            large = Some(large_page.lock().unwrap_or_else(PoisonError::into_inner));
        }
        body.extend_from_slice(row);
    })?;
    let last = match end.next {
        Some(row) => Some(Cursor::of_row(&row.ran_at, row.id).map_err(|_| FeedError::Time)?),
        None => None,
    };
    body.extend(feed_envelope::end(
        last.as_ref(),
        end.stamp.merkle_epoch_latest,
    )?);
    Ok(Page {
        representation: Arc::new(Representation::without_brotli(budget.charge(body))),
        last,
        version: end.stamp.version,
    })
}
