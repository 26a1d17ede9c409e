//! The form of feed pages (WIRE.md, the feed, the order of commits).

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::{
    report::{Finding, fails},
    session::excerpt,
};
use crate::domain::{
    cursor::Cursor, eval_run::FIRST_PUBLISHED_SCHEMA_VERSION, feed_envelope, ran_at::RanAt,
};

/// What is kept of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) place: Cursor,
    /// The SHA-256 of its bytes.
    digest: [u8; 32],
}

impl Row {
    pub(super) fn id(&self) -> &str {
        self.place.id().unwrap_or_default()
    }
}

/// A page.
#[derive(Debug)]
pub(super) struct Page<'a, N> {
    /// The rows as they were sent.
    pub(super) items: Vec<&'a RawValue>,
    /// The same, in the same order.
    pub(super) rows: Vec<Row>,
    pub(super) next: N,
}

/// Reads a page in the order of (ran_at, id). After a full page there is a cursor: that of its last row.
///
/// # Errors
/// [`Finding`] if it is not as this program would write it.
pub(super) fn by_place(body: &[u8], limit: usize) -> Result<Page<'_, Option<Cursor>>, Finding> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        items: Vec<&'a RawValue>,
        next_since: Option<String>,
        next_since_ran_at: Option<String>,
        next_since_id: Option<String>,
        merkle_epoch_latest: Option<i64>,
    }
    let page: Body<'_> = read(body)?;
    let rows = rows(&page.items)?;
    check_count(rows.len(), limit)?;
    let last = rows
        .last()
        .filter(|_| rows.len() == limit)
        .map(|row| row.place.clone());
    let expected = last.as_ref().map(|place| place.ran_at.as_str());
    let id = last.as_ref().and_then(Cursor::id);
    let given = [&page.next_since, &page.next_since_ran_at].map(Option::as_deref);
    if given != [expected; 2] || page.next_since_id.as_deref() != id {
        let [since, ran_at] = given;
        return fails(format!(
            "{} rows with limit={limit}: next_since {since:?}, next_since_ran_at {ran_at:?}, next_since_id {:?}, \
             expected {expected:?} twice and {id:?}",
            rows.len(),
            page.next_since_id,
        ));
    }
    let end = feed_envelope::end(last.as_ref(), page.merkle_epoch_latest);
    let end = end.map_err(|error| Finding::Fails(error.to_string()))?;
    check_bytes(body, &page.items, &end)?;
    Ok(Page {
        items: page.items,
        rows,
        next: last,
    })
}

/// Reads a page in the order of commits, and the cursor that it gives.
///
/// # Errors
/// [`Finding`].
pub(super) fn by_commit(body: &[u8], limit: usize) -> Result<Page<'_, String>, Finding> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        items: Vec<&'a RawValue>,
        next_since_seq: String,
    }
    let page: Body<'_> = read(body)?;
    let rows = rows(&page.items)?;
    check_count(rows.len(), limit)?;
    if page.next_since_seq.is_empty() {
        return fails("next_since_seq is empty");
    }
    Ok(Page {
        items: page.items,
        rows,
        next: page.next_since_seq,
    })
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Finding> {
    serde_json::from_slice(body)
        .map_err(|error| Finding::Fails(format!("{error}: {}", excerpt(body))))
}

fn check_count(count: usize, limit: usize) -> Result<(), Finding> {
    if count > limit {
        return fails(format!("{count} rows with limit={limit}"));
    }
    Ok(())
}

fn rows(items: &[&RawValue]) -> Result<Vec<Row>, Finding> {
    #[derive(Deserialize)]
    struct Keys {
        id: String,
        ran_at: String,
        eval_output_schema_version: i64,
    }
    let row = |(index, item): (usize, &&RawValue)| {
        let at = |what: String| Finding::Fails(format!("row {index} of a page: {what}"));
        let keys: Keys = serde_json::from_str(item.get()).map_err(|error| at(error.to_string()))?;
        let version = keys.eval_output_schema_version;
        if version < FIRST_PUBLISHED_SCHEMA_VERSION {
            return Err(at(format!("{:?} has schema version {version}", keys.id)));
        }
        let ran_at = RanAt::parse(&keys.ran_at);
        let ran_at = ran_at.map_err(|error| at(format!("ran_at {:?} {error}", keys.ran_at)))?;
        Ok(Row {
            place: Cursor {
                ran_at,
                seen: crate::domain::cursor::Seen::Through(keys.id),
            },
            digest: Sha256::digest(item.get()).into(),
        })
    };
    items.iter().enumerate().map(row).collect()
}

/// Checks that the page has no spaces between tokens, and its keys in order.
fn check_bytes(body: &[u8], items: &[&RawValue], end: &[u8]) -> Result<(), Finding> {
    let mut rest = body;
    let mut is_same = true;
    let mut eat = |part: &[u8]| match rest.strip_prefix(part) {
        Some(after) => rest = after,
        None => is_same = false,
    };
    eat(feed_envelope::BEGIN);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            eat(&[feed_envelope::SEPARATOR]);
        }
        eat(item.get().as_bytes());
    }
    eat(end);
    if is_same && rest.is_empty() {
        return Ok(());
    }
    fails("the page has spaces between its parts, further keys, or its keys in another order")
}
