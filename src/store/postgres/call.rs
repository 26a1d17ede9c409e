//! The call of `publisher_commit()`: what it is given, and what its answer means.

use std::time::Duration;

use tokio_postgres::{
    Client, Error,
    error::{Severity, SqlState},
    types::Type,
};

use super::{decide::Decision, error::ServerError, row};
use crate::{
    domain::challenge::Challenge,
    store::{BoardStamp, FeedStamp},
};

const CALL: &str = "SELECT * FROM publisher_commit(\
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24)";
/// What publisher_commit() raises if something else was stored since the look.
const CHANGED: &str = "PB001";

/// How far this process has seen the database: a database that is not as far was restored.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Known {
    ordinal: i64,
    last_seq: i64,
}

impl Known {
    /// What a commit has left.
    pub(super) fn of(stamp: &FeedStamp) -> Self {
        Self {
            ordinal: stamp.lineage.ordinal.into(),
            last_seq: stamp.last_seq,
        }
    }
}

/// The feed before and after a commit.
#[derive(Debug)]
pub(super) struct Stamps {
    pub(super) before: FeedStamp,
    pub(super) after: FeedStamp,
    pub(super) board: BoardStamp,
    /// How long the call waited for other writers.
    pub(super) lock_wait: Duration,
}

/// Why there is no answer of success.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// Nothing is stored, and another look and decision may help.
    #[error("{0}")]
    Changed(ServerError),
    /// Nothing is stored.
    #[error("{0}")]
    NotStored(ServerError),
    /// The decision may be stored.
    #[error("{0}")]
    Unknown(String),
}

/// Stores a decision, also an empty one: what it rests on may be visible here, and not yet be durable on the synchronous
/// standby. The call waits for that. `seqs` is empty, or has the number of each eval run. `lock_timeout_ms` is how long it may
/// wait for other writers.
///
/// # Errors
/// [`CallError`].
pub(super) async fn publisher_commit(
    client: &Client,
    decision: &Decision<'_>,
    seqs: &[i64],
    known: Known,
    lock_timeout_ms: i32,
) -> Result<Stamps, CallError> {
    let runs = &decision.runs;
    let ids: Vec<&str> = runs.iter().map(|run| run.id.as_str()).collect();
    let ran_ats: Vec<&str> = runs.iter().map(|run| run.ran_at.as_str()).collect();
    let schema_versions: Vec<i64> = runs.iter().map(|run| run.schema_version).collect();
    let bodies: Vec<&str> = runs.iter().map(|run| run.body.as_str()).collect();
    let columns = Columns::of(&decision.challenges);
    let (epochs, epoch_bodies): (Vec<i64>, Vec<&str>) = decision.epochs.iter().copied().unzip();
    let answer = client
        .query_typed(
            CALL,
            &[
                (&lock_timeout_ms, Type::INT4),
                (&known.ordinal, Type::INT8),
                (&known.last_seq, Type::INT8),
                (&seqs, Type::INT8_ARRAY),
                (&ids, Type::TEXT_ARRAY),
                (&ran_ats, Type::TEXT_ARRAY),
                (&schema_versions, Type::INT8_ARRAY),
                (&bodies, Type::TEXT_ARRAY),
                (&columns.ids, Type::TEXT_ARRAY),
                (&columns.revisions, Type::INT8_ARRAY),
                (&columns.statuses, Type::TEXT_ARRAY),
                (&columns.tiers, Type::INT8_ARRAY),
                (&columns.difficulty_labels, Type::TEXT_ARRAY),
                (&columns.score_multipliers, Type::FLOAT8_ARRAY),
                (&columns.kinds, Type::TEXT_ARRAY),
                (&columns.storages, Type::TEXT_ARRAY),
                (&columns.cnf_sha256s, Type::TEXT_ARRAY),
                (&columns.cnf_bytes, Type::INT8_ARRAY),
                (&columns.num_vars, Type::INT8_ARRAY),
                (&columns.num_clauses, Type::INT8_ARRAY),
                (&columns.announced_time_limits_secs, Type::INT8_ARRAY),
                (&columns.solve_on_submits_enabled, Type::BOOL_ARRAY),
                (&epochs, Type::INT8_ARRAY),
                (&epoch_bodies, Type::TEXT_ARRAY),
            ],
        )
        .await;
    let stamps = answer.map_err(CallError::of)?;
    let stamp = |it| row::stamp(it).map_err(|error| CallError::Unknown(error.to_string()));
    match stamps.as_slice() {
        [before, after] => Ok(Stamps {
            before: stamp(before)?,
            board: row::board_stamp(after)
                .map_err(|error| CallError::Unknown(error.to_string()))?,
            after: stamp(after)?,
            lock_wait: {
                let micros: i64 = after.try_get("lock_wait_us").unwrap_or_default();
                Duration::from_micros(micros.try_into().unwrap_or_default())
            },
        }),
        _ => Err(CallError::Unknown(
            "publisher_commit() returned no state".to_owned(),
        )),
    }
}

impl CallError {
    /// Only an error of severity ERROR of the server says that the transaction was rolled back. All others (FATAL, a
    /// connection that ends) may come behind the commit.
    pub(super) fn of(error: Error) -> Self {
        let error = ServerError::from(error);
        let Some(reason) = error.db_error() else {
            return Self::Unknown(error.to_string());
        };
        let code = reason.code();
        let is_error = reason.parsed_severity() == Some(Severity::Error);
        // Poolers use class 08 for the loss of their connection.
        let is_unsure =
            *code == SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN || code.code().starts_with("08");
        if !is_error || is_unsure {
            return Self::Unknown(error.to_string());
        }
        let is_repeatable = [
            &SqlState::T_R_SERIALIZATION_FAILURE,
            // With a program that locks rows, or a table, before it has the lock of all writers.
            &SqlState::T_R_DEADLOCK_DETECTED,
        ];
        if code.code() == CHANGED || is_repeatable.contains(&code) {
            Self::Changed(error)
        } else {
            Self::NotStored(error)
        }
    }
}

/// The challenges of a decision, column by column.
#[derive(Debug, Default)]
struct Columns<'a> {
    ids: Vec<&'a str>,
    revisions: Vec<Option<i64>>,
    statuses: Vec<&'static str>,
    tiers: Vec<i64>,
    difficulty_labels: Vec<Option<&'a str>>,
    score_multipliers: Vec<f64>,
    kinds: Vec<Option<&'a str>>,
    storages: Vec<&'static str>,
    cnf_sha256s: Vec<&'a str>,
    cnf_bytes: Vec<Option<i64>>,
    num_vars: Vec<i64>,
    num_clauses: Vec<i64>,
    announced_time_limits_secs: Vec<Option<i64>>,
    solve_on_submits_enabled: Vec<bool>,
}

impl<'a> Columns<'a> {
    fn of(challenges: &[(&'a Challenge, Option<i64>)]) -> Self {
        let mut columns = Self::default();
        for (challenge, revision) in challenges {
            columns.ids.push(&challenge.challenge_id);
            columns.revisions.push(*revision);
            columns.statuses.push(challenge.status.as_str());
            columns.tiers.push(bigint(challenge.tier));
            columns
                .difficulty_labels
                .push(challenge.difficulty_label.as_deref());
            columns.score_multipliers.push(challenge.score_multiplier);
            columns.kinds.push(challenge.kind.as_deref());
            columns.storages.push(challenge.storage.as_str());
            columns.cnf_sha256s.push(&challenge.cnf_sha256);
            columns.cnf_bytes.push(challenge.cnf_bytes.map(bigint));
            columns.num_vars.push(bigint(challenge.num_vars));
            columns.num_clauses.push(bigint(challenge.num_clauses));
            let limit = challenge.announced_time_limit_secs;
            columns.announced_time_limits_secs.push(limit.map(bigint));
            columns
                .solve_on_submits_enabled
                .push(challenge.solve_on_submit_enabled);
        }
        columns
    }
}

/// Converts a number of a challenge, none of which is greater: see its parser.
fn bigint(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
