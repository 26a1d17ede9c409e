//! What is written, inside a transaction that the caller owns, and when it conflicts.

use rusqlite::{Connection, OptionalExtension, params};

use super::read::{challenge_by_id, last_seq};
use crate::{
    domain::{challenge::Challenge, eval_run::EvalRun, lineages::Lineages},
    store::{StoreError, WriteError, Written, operation, state::Pruned},
};

/// Creates or replaces a challenge. Its status may only go forward.
///
/// # Errors
/// [`WriteError::Invalid`] if the status would go back, [`WriteError::Store`].
pub fn put_challenge(connection: &Connection, new: &Challenge) -> Result<Written, WriteError> {
    let stored = challenge_by_id(connection, &new.challenge_id)?;
    store_challenge(connection, new, operation::put(new, stored.as_ref())?)
}

/// Replaces a challenge if it is still `old`, as it was read before.
///
/// # Errors
/// [`WriteError::Invalid`] if it is another one, or the status would go back; [`WriteError::Store`].
pub fn replace_challenge(
    connection: &Connection,
    old: &Challenge,
    new: &Challenge,
) -> Result<Written, WriteError> {
    let stored = challenge_by_id(connection, &new.challenge_id)?;
    let written = operation::replace(new, old, stored.as_ref())?;
    store_challenge(connection, new, written)
}

fn store_challenge(
    connection: &Connection,
    new: &Challenge,
    written: Written,
) -> Result<Written, WriteError> {
    if written == Written::Inserted {
        insert_challenge(connection, new)?;
    }
    Ok(written)
}

/// Stores a challenge, whatever is stored of it.
///
/// # Errors
/// An error of SQLite.
pub(super) fn insert_challenge(connection: &Connection, new: &Challenge) -> rusqlite::Result<()> {
    connection
        .prepare_cached(include_str!("../../../sql/queries/put_challenge.sql"))?
        .execute(params![
            new.challenge_id,
            new.status.as_str(),
            new.tier,
            new.difficulty_label,
            new.score_multiplier,
            new.kind,
            new.storage.as_str(),
            new.cnf_sha256,
            new.cnf_bytes,
            new.num_vars,
            new.num_clauses,
            new.announced_time_limit_secs,
            new.solve_on_submit_enabled,
        ])?;
    Ok(())
}

/// Stores a row. The same id with the same bytes changes nothing.
///
/// # Errors
/// [`WriteError::Conflict`] for the same id with other bytes, [`WriteError::Store`].
pub fn insert_eval_run(connection: &Connection, run: &EvalRun) -> Result<Written, WriteError> {
    insert_eval_run_at(connection, None, run)
}

/// Stores a row with a given `seq`, or the next one.
///
/// # Errors
/// Those of [`insert_eval_run`]; one of SQLite if another row has the `seq`.
pub fn insert_eval_run_at(
    connection: &Connection,
    seq: Option<i64>,
    run: &EvalRun,
) -> Result<Written, WriteError> {
    let inserted = connection
        .prepare_cached(
            // Not ON CONFLICT DO NOTHING, which uses up a seq.
            "INSERT INTO eval_runs (id, ran_at, schema_version, body, seq) SELECT ?1, ?2, ?3, ?4, ?5
             WHERE NOT EXISTS (SELECT 1 FROM eval_runs WHERE id = ?1)",
        )?
        .execute(params![
            run.id,
            run.ran_at.as_str(),
            run.schema_version,
            run.body,
            seq
        ])?;
    if inserted == 1 {
        return Ok(Written::Inserted);
    }
    let same: bool = connection
        .prepare_cached("SELECT body = ?2 FROM eval_runs WHERE id = ?1")?
        .query_row(params![run.id, run.body], |row| row.get(0))?;
    if same {
        Ok(Written::Unchanged)
    } else {
        Err(WriteError::Conflict { id: run.id.clone() })
    }
}

/// So many lineages are known of those that the database continues.
const MAX_LINEAGES: u32 = 1000;

/// Begins a new lineage: the numbers that are given from now on may have been given before, in another copy. Its
/// ordinal is at least `least_ordinal`. `is_restore` says whether eval runs may have gone, or come from elsewhere.
///
/// # Errors
/// An error of SQLite.
pub fn begin_lineage(
    connection: &Connection,
    least_ordinal: u32,
    is_restore: bool,
) -> rusqlite::Result<()> {
    let begin = include_str!("../../../sql/queries/begin_lineage.sql");
    connection.execute(begin, params![least_ordinal, is_restore])?;
    let forget = include_str!("../../../sql/queries/forget_lineages.sql");
    connection.execute(forget, [MAX_LINEAGES])?;
    Ok(())
}

/// Begins the lineage of a process that is about to write for the first time. What was done to the file before,
/// perhaps by `cp` while no process had it open, cannot be known: so the numbers of this process are its own.
///
/// # Errors
/// An error of SQLite.
pub fn continue_lineage(connection: &Connection) -> rusqlite::Result<()> {
    begin_lineage(connection, 0, false)
}

/// Begins a new lineage with content that is new to everybody: nothing that was read before is the same, even if the
/// numbers of changes agree.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub(super) fn begin_history(connection: &Connection, least_ordinal: u32) -> Result<(), StoreError> {
    begin_lineage(connection, least_ordinal, true)?;
    for table in ["board_version", "feed_version"] {
        connection.execute(&format!("UPDATE {table} SET change_id = random()"), [])?;
    }
    Ok(())
}

/// Replaces the lineages that the database knows.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub(super) fn put_lineages(connection: &Connection, lineages: &Lineages) -> Result<(), StoreError> {
    connection.execute("DELETE FROM lineages", [])?;
    for known in lineages.known() {
        connection.execute(
            "INSERT INTO lineages (ordinal, id, first_seq, shared_through, is_restore)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                known.lineage.ordinal,
                known.lineage.id_text(),
                known.first_seq,
                known.shared_through,
                known.is_restore
            ],
        )?;
    }
    Ok(())
}

/// Notes that eval runs were pruned.
///
/// # Errors
/// An error of SQLite.
pub(super) fn note_pruned(connection: &Connection, pruned: &Pruned) -> rusqlite::Result<()> {
    let note = include_str!("../../../sql/queries/note_pruned.sql");
    connection
        .prepare_cached(note)?
        .execute(params![pruned.before, pruned.through_seq])?;
    Ok(())
}

/// Makes eval runs that are inserted from now on have a greater `seq` than `last`.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn raise_last_seq(connection: &Connection, last: i64) -> Result<(), StoreError> {
    let before = last_seq(connection)?;
    if last > before {
        let name = "eval_runs";
        let updated = connection.execute(
            "UPDATE sqlite_sequence SET seq = ?2 WHERE name = ?1",
            params![name, last],
        )?;
        if updated == 0 {
            connection.execute(
                "INSERT INTO sqlite_sequence VALUES (?1, ?2)",
                params![name, last],
            )?;
        }
    }
    Ok(())
}

/// Stores an epoch; `body` is `None` if only its number is known, which never conflicts.
///
/// # Errors
/// [`WriteError::Conflict`] for the same epoch with other bytes, [`WriteError::Store`].
pub fn put_merkle_epoch(
    connection: &Connection,
    epoch: i64,
    body: Option<&str>,
) -> Result<Written, WriteError> {
    let stored: Option<Option<String>> = connection
        .prepare_cached("SELECT body FROM merkle_epochs WHERE epoch = ?1")?
        .query_row([epoch], |row| row.get(0))
        .optional()?;
    match (stored, body) {
        (Some(_), None) => return Ok(Written::Unchanged),
        (Some(Some(old)), Some(new)) if old == new => return Ok(Written::Unchanged),
        (Some(Some(_)), Some(_)) => {
            return Err(WriteError::Conflict {
                id: epoch.to_string(),
            });
        }
        (Some(None), Some(_)) | (None, _) => {}
    }
    connection
        .prepare_cached("INSERT OR REPLACE INTO merkle_epochs (epoch, body) VALUES (?1, ?2)")?
        .execute(params![epoch, body])?;
    Ok(Written::Inserted)
}
