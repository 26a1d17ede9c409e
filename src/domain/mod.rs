//! Truth without I/O: what a challenge, an eval run, a cursor and an entity-tag are.
//!
//! A value of one of these types that exists is valid; its constructor is the only parser.

pub mod challenge;
pub mod clock;
pub mod coding;
pub mod cursor;
pub mod entity_tag;
pub mod eval_run;
pub mod feed_envelope;
pub mod ran_at;

use std::fmt;

use serde::Deserialize;

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

/// The most bytes an identifier (a challenge's or a row's) may have.
pub const MAX_ID_BYTES: usize = 256;

/// Checks an identifier: 1 to [`MAX_ID_BYTES`] bytes, no control characters.
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
    if id.chars().any(char::is_control) {
        return Err(Invalid::new(field, "must not contain control characters"));
    }
    Ok(())
}

/// Returns the text between backticks.
fn quoted(text: &str) -> &str {
    text.split('`').nth(1).unwrap_or_default()
}

/// Returns serde_json's words without the position, which counts from the item's own first byte.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}

/// Reads a JSON object into a struct. serde would read one from an array as well.
fn parse_object<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, Invalid> {
    if !json.trim_ascii_start().starts_with('{') {
        return Err(Invalid::new("", "must be a JSON object"));
    }
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let reason = plain(error.inner());
        let field = match error.path().iter().next() {
            Some(field) => field.to_string(),
            // A field that is missing, unknown or there twice has no path, only a name.
            None => quoted(&reason).to_owned(),
        };
        Invalid::new(field, reason)
    })?;
    match deserializer.end() {
        Ok(()) => Ok(value),
        Err(error) => Err(Invalid::new("", plain(&error))),
    }
}
