//! The JSON around the eval runs of one feed page (WIRE.md, leaderboard/recent).

use serde::Serialize;

use super::{cursor::Cursor, seq_cursor::SeqCursor};

/// What stands before the rows.
pub const BEGIN: &[u8] = br#"{"items":["#;
/// What stands between two rows.
pub const SEPARATOR: u8 = b',';

/// What follows the rows, in the wire's order.
#[derive(Serialize)]
struct End<'a> {
    next_since: Option<&'a str>,
    next_since_ran_at: Option<&'a str>,
    next_since_id: Option<&'a str>,
    merkle_epoch_latest: Option<i64>,
}

/// Returns what stands after the rows. `last` is the sort key of the last row of a full page; a page that
/// ends with the feed has none.
///
/// # Errors
/// Never in practice: serde_json serialises strings and numbers without errors.
pub fn end(
    last: Option<&Cursor>,
    merkle_epoch_latest: Option<i64>,
) -> Result<Vec<u8>, serde_json::Error> {
    let ran_at = last.map(|row| row.ran_at.as_str());
    let mut text = b"],".to_vec();
    let object = serde_json::to_vec(&End {
        next_since: ran_at,
        next_since_ran_at: ran_at,
        next_since_id: last.and_then(Cursor::id),
        merkle_epoch_latest,
    })?;
    // The members continue the object that `BEGIN` opens.
    text.extend_from_slice(&object[1..]);
    Ok(text)
}

/// Returns what stands after the rows of a page in the order of commits.
pub fn end_by_seq(next: SeqCursor) -> Vec<u8> {
    // A cursor has no character that JSON escapes.
    format!(r#"],"next_since_seq":"{next}"}}"#).into_bytes()
}
