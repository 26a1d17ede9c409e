//! An eval run: a row that its producer signed, stored and published to the byte (WIRE.md).

use serde::Deserialize;

use super::{
    Invalid, check_id, check_length,
    cursor::{Cursor, Seen},
    parse_object,
    ran_at::RanAt,
};

/// The most bytes one row's JSON may have.
pub const MAX_ROW_BYTES: usize = 64 * 1024;
/// Rows below this `eval_output_schema_version` are stored, and never published.
pub const FIRST_PUBLISHED_SCHEMA_VERSION: i64 = 5;

/// A row, and the values of it that decide its position in the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvalRun {
    /// Unique; see [`check_id`].
    pub id: String,
    /// The time at which it ran, in the stored form.
    pub ran_at: RanAt,
    /// `eval_output_schema_version`.
    pub schema_version: i64,
    /// The whole row exactly as it came: a re-written number would break its signature.
    pub body: String,
}

/// The keys that are read; all others are the producer's business.
#[derive(Deserialize)]
struct Keys {
    id: String,
    ran_at: String,
    eval_output_schema_version: i64,
}

impl EvalRun {
    /// Reads one row.
    ///
    /// # Errors
    /// [`Invalid`] naming the field: `id`, `ran_at` or `eval_output_schema_version` is missing or of a wrong
    /// type, the time is outside of [`RanAt::of_run`]'s, some parser could not read the row
    /// ([`readable::check`]), or the row is no object or longer than [`MAX_ROW_BYTES`].
    ///
    /// [`readable::check`]: super::readable::check
    pub fn from_json(json: &str) -> Result<Self, Invalid> {
        let json = json.trim_ascii();
        check_length("a row", json.len(), MAX_ROW_BYTES)?;
        let keys: Keys = parse_object(json)?;
        check_id("id", &keys.id)?;
        let ran_at = RanAt::of_run(&keys.ran_at)
            .map_err(|error| Invalid::new("ran_at", error.to_string()))?;
        Ok(Self {
            id: keys.id,
            ran_at,
            schema_version: keys.eval_output_schema_version,
            body: json.to_owned(),
        })
    }

    /// Returns whether clients see it.
    pub fn is_published(&self) -> bool {
        self.schema_version >= FIRST_PUBLISHED_SCHEMA_VERSION
    }

    /// Returns its position in the feed.
    pub fn sort_key(&self) -> Cursor {
        Cursor {
            ran_at: self.ran_at.clone(),
            seen: Seen::Through(self.id.clone()),
        }
    }
}
