//! Truth without I/O: what a challenge, an eval run, a cursor and an entity-tag are.
//!
//! A value of one of these types that exists is valid; its constructor is the only parser.

pub mod byte_range;
pub mod challenge;
pub mod clock;
pub mod coding;
pub mod cursor;
pub mod entity_tag;
pub mod eval_run;
pub mod feed_detail;
pub mod feed_envelope;
pub mod formula;
pub mod jwk_set;
pub mod lineages;
pub mod media_range;
pub mod merkle_epoch;
pub mod number;
mod object;
pub mod position;
mod python_json;
pub mod ran_at;
pub mod readable;
pub mod seq_cursor;
pub mod signature;
mod weight;

use std::fmt;

use object::{parse_object, plain};

/// What is wrong with one field of one item, in words for its sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Invalid {
    /// The field's name as it stands in the JSON, or empty if the item as a whole is wrong.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Invalid {
    /// An error: `field` is wrong because of `reason`.
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            reason: reason.into(),
        }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            write!(f, "{}", self.reason)
        } else {
            write!(f, "{}: {}", self.field, self.reason)
        }
    }
}

/// The most bytes of the JSON of one challenge or Merkle epoch.
pub const MAX_ITEM_BYTES: usize = 1024 * 1024;

/// Checks the length of one item, the same for every way in.
fn check_length(what: &str, bytes: usize, max_bytes: usize) -> Result<(), Invalid> {
    if bytes > max_bytes {
        let reason = format!("{what} may have at most {max_bytes} bytes");
        return Err(Invalid::new("", reason));
    }
    Ok(())
}

/// The most bytes an identifier (a challenge's or a row's) may have.
pub const MAX_ID_BYTES: usize = 256;

/// Checks an identifier: 1 to [`MAX_ID_BYTES`] bytes that are safe in a line of text and in a URL.
///
/// Control characters, U+2028 and U+2029 end a line for one reader or another of logs, CSV and NDJSON. `.` and
/// `..` as the last segment of a path are removed by clients and proxies, also percent-encoded (RFC 3986 §5.2.4).
///
/// # Errors
/// [`Invalid`] naming `field`.
pub fn check_id(field: &str, id: &str) -> Result<(), Invalid> {
    if id.is_empty() || id.len() > MAX_ID_BYTES {
        return Err(Invalid::new(
            field,
            format!("must have 1 to {MAX_ID_BYTES} bytes"),
        ));
    }
    let ends_line = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    if id.chars().any(ends_line) {
        return Err(Invalid::new(
            field,
            "must not contain control characters or line separators",
        ));
    }
    if matches!(id, "." | "..") {
        return Err(Invalid::new(field, "must not be a dot segment of a path"));
    }
    Ok(())
}
