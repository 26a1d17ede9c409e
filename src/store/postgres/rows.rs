//! Rows of PostgreSQL, read into the types of the domain.

use tokio_postgres::Row;

use crate::{
    domain::{
        challenge::{Challenge, Status, Storage},
        position::{Lineage, Position},
        seq_cursor::SeqCursor,
    },
    store::{FeedStamp, StoreError, Version},
};

/// The columns of a challenge.
pub(super) const CHALLENGE_COLUMNS: &str = "challenge_id, status, tier, difficulty_label, score_multiplier, kind, \
     storage, cnf_sha256, cnf_bytes, num_vars, num_clauses, announced_time_limit_secs, solve_on_submit_enabled";

/// Reads a row of [`CHALLENGE_COLUMNS`].
///
/// # Errors
/// [`StoreError::Corrupt`] for a value that no CHECK lets in; one of PostgreSQL if the row has other columns.
pub(super) fn challenge(row: &Row) -> Result<Challenge, StoreError> {
    let challenge_id: String = row.try_get("challenge_id")?;
    let corrupt = |column| StoreError::Corrupt {
        challenge_id: challenge_id.clone(),
        column,
    };
    let optional = |column| match row.try_get::<_, Option<i64>>(column)? {
        Some(value) => Ok(Some(u64::try_from(value).map_err(|_| corrupt(column))?)),
        None => Ok::<_, StoreError>(None),
    };
    let number = |column| optional(column)?.ok_or_else(|| corrupt(column));
    Ok(Challenge {
        status: Status::parse(row.try_get("status")?).ok_or_else(|| corrupt("status"))?,
        tier: number("tier")?,
        difficulty_label: row.try_get("difficulty_label")?,
        score_multiplier: row.try_get("score_multiplier")?,
        kind: row.try_get("kind")?,
        storage: Storage::parse(row.try_get("storage")?).ok_or_else(|| corrupt("storage"))?,
        cnf_sha256: row.try_get("cnf_sha256")?,
        cnf_bytes: optional("cnf_bytes")?,
        num_vars: number("num_vars")?,
        num_clauses: number("num_clauses")?,
        announced_time_limit_secs: optional("announced_time_limit_secs")?,
        solve_on_submit_enabled: row.try_get("solve_on_submit_enabled")?,
        challenge_id,
    })
}

/// Reads a row of `publisher_stamp()`.
///
/// # Errors
/// [`StoreError::Lineage`] if another program wrote an invalid lineage; one of PostgreSQL if the row has other columns.
pub(super) fn feed_stamp(row: &Row) -> Result<FeedStamp, StoreError> {
    let lineage = |ordinal, id| -> Result<Lineage, StoreError> {
        Ok(Lineage::of_row(row.try_get(ordinal)?, row.try_get(id)?)?)
    };
    Ok(FeedStamp {
        version: Version {
            count: row.try_get("version")?,
            change_id: row.try_get("change_id")?,
        },
        merkle_epoch_latest: row.try_get("merkle_epoch_latest")?,
        end: SeqCursor::At(Position {
            lineage: lineage("end_ordinal", "end_lineage")?,
            number: row.try_get("end_seq")?,
        }),
        lineage: lineage("ordinal", "lineage")?,
        last_seq: row.try_get("last_seq")?,
    })
}
