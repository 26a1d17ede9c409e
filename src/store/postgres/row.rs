//! What rows stand for.

use std::{error::Error, str};

use tokio_postgres::{
    Row,
    types::{FromSql, Type},
};

use super::error::PostgresError;
use crate::{
    domain::{
        challenge::{Challenge, Status, Storage},
        lineages::{KnownLineage, Lineages},
        position::{Lineage, NotAPosition, Position},
        seq_cursor::SeqCursor,
    },
    store::{BoardStamp, FeedStamp, StoreError, Version, state::Pruned},
};

/// The bytes of a text, without a check of its encoding: the server has made it.
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> FromSql<'a> for Bytes<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TEXT
    }
}

/// Returns a column of a row.
///
/// # Errors
/// [`PostgresError::Server`] if its type is another one.
pub(super) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: &str) -> Result<T, PostgresError> {
    Ok(row.try_get(column)?)
}

/// Reads a row with the columns of a challenge.
///
/// # Errors
/// [`StoreError::Corrupt`] if another program wrote invalid values.
pub(super) fn challenge(row: &Row) -> Result<Challenge, StoreError> {
    let challenge_id: String = get(row, "challenge_id")?;
    let corrupt = |column| StoreError::Corrupt {
        challenge_id: challenge_id.clone(),
        column,
    };
    let number = |column: &'static str| {
        let number: Option<i64> = get(row, column)?;
        let number = number.map(u64::try_from).transpose();
        number.map_err(|_| corrupt(column))
    };
    let needed = |column: &'static str| number(column)?.ok_or_else(|| corrupt(column));
    let score_multiplier: f64 = get(row, "score_multiplier")?;
    Ok(Challenge {
        status: Status::parse(get(row, "status")?).ok_or_else(|| corrupt("status"))?,
        tier: needed("tier")?,
        difficulty_label: get(row, "difficulty_label")?,
        score_multiplier,
        kind: get(row, "kind")?,
        storage: Storage::parse(get(row, "storage")?).ok_or_else(|| corrupt("storage"))?,
        cnf_sha256: get(row, "cnf_sha256")?,
        cnf_bytes: number("cnf_bytes")?,
        num_vars: needed("num_vars")?,
        num_clauses: needed("num_clauses")?,
        announced_time_limit_secs: number("announced_time_limit_secs")?,
        solve_on_submit_enabled: get(row, "solve_on_submit_enabled")?,
        challenge_id,
    })
}

/// Reads the columns `version` and `change_id`.
pub(super) fn version(row: &Row) -> Result<Version, PostgresError> {
    Ok(Version {
        count: get(row, "version")?,
        change_id: get(row, "change_id")?,
    })
}

/// Reads a lineage of the two columns.
pub(super) fn lineage(row: &Row, ordinal: &str, id: &str) -> Result<Lineage, StoreError> {
    Ok(Lineage::of_row(get(row, ordinal)?, get(row, id)?)?)
}

/// Reads a row of `publisher_stamp()`.
pub(super) fn stamp(row: &Row) -> Result<FeedStamp, StoreError> {
    Ok(FeedStamp {
        version: version(row)?,
        merkle_epoch_latest: get(row, "merkle_epoch_latest")?,
        end: SeqCursor::At(Position {
            lineage: lineage(row, "end_ordinal", "end_lineage")?,
            number: get(row, "end_seq")?,
        }),
        lineage: lineage(row, "ordinal", "lineage")?,
        last_seq: get(row, "last_seq")?,
        last_row: 0,
    })
}

/// Reads the state of the board of such a row, with the version of the board beside.
pub(super) fn board_stamp(row: &Row) -> Result<BoardStamp, StoreError> {
    Ok(BoardStamp {
        version: Version {
            count: get(row, "board_version")?,
            change_id: get(row, "board_change_id")?,
        },
        lineage: lineage(row, "ordinal", "lineage")?,
    })
}

/// Reads the row of `pruned`.
pub(super) fn pruned(row: &Row) -> Result<Pruned, PostgresError> {
    Ok(Pruned {
        before: get(row, "before")?,
        through_seq: get(row, "through_seq")?,
    })
}

/// Reads the rows of `lineages`.
pub(super) fn lineages(rows: &[Row]) -> Result<Lineages, StoreError> {
    let known = rows.iter().map(|row| {
        Ok(KnownLineage {
            lineage: lineage(row, "ordinal", "id")?,
            first_seq: get(row, "first_seq")?,
            shared_through: get(row, "shared_through")?,
            is_restore: get(row, "is_restore")?,
        })
    });
    let known = known.collect::<Result<_, StoreError>>()?;
    Ok(Lineages::new(known).ok_or(NotAPosition)?)
}
