//! What a follower stores: the board and the feed of its upstream, with the upstream's numbers if it tells them. Then
//! cursors and positions of clients mean the same at both, so the lineages are the upstream's as well, and none begins
//! here.
//!
//! A table of its own, `followed`, marks the database: no other one is ever overwritten by what an upstream says.
//!
//! If the upstream does not know the lineages that are stored here, all eval runs are looked for anew. Until it tells
//! their new numbers they have negative ones: they are in the order of (ran_at, id) as before, and not in the order of
//! commits. When the upstream has no further eval runs, those that it did not tell are deleted.

use std::{collections::HashMap, path::Path, time::Duration};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::{
    open::{OpenError, open_writer},
    read, write,
};
use crate::{
    domain::{
        Invalid, challenge::Challenge, cursor::Cursor, eval_run::EvalRun, lineages::Lineages,
        position::Position, seq_cursor::SeqCursor,
    },
    store::{
        BoardStamp, Counts, RefusedItem, StoreError, WriteError, Written,
        operation::{Mirror, MirroredPage, Operation},
    },
};

/// The greatest number that an eval run may have.
const MAX_SEQ: i64 = i64::MAX / 4;

/// How far a follower has got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrored {
    /// Behind the last eval run that the upstream told with its number; the start, if there is none, or if another
    /// process has written since.
    pub cursor: SeqCursor,
    /// The last eval run in the order of (ran_at, id).
    pub newest: Option<Cursor>,
    /// The state of the board.
    pub board: BoardStamp,
    /// Whether the board was copied at least once.
    pub has_board: bool,
    /// Whether the feed was copied to its end at least once.
    pub has_feed: bool,
}

/// A part of what an upstream has. Before it was copied once, a follower has nothing to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Board,
    Feed,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Board => "board",
            Self::Feed => "feed",
        }
    }

    /// Returns whether it was copied at least once. One look at a table of two rows.
    fn is_copied(self, connection: &Connection) -> rusqlite::Result<bool> {
        connection
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM copied WHERE part = ?1)")?
            .query_row([self.name()], |row| row.get(0))
    }

    /// Checks that it was copied at least once.
    ///
    /// # Errors
    /// [`StoreError::NotCopied`], or [`StoreError::Sqlite`].
    pub(super) fn expect_copied(self, connection: &Connection) -> Result<(), StoreError> {
        let is_copied = self.is_copied(connection)?;
        is_copied.then_some(()).ok_or(StoreError::NotCopied)
    }

    fn set_copied(self, connection: &Connection) -> rusqlite::Result<()> {
        connection
            .prepare_cached("INSERT INTO copied VALUES (?1) ON CONFLICT DO NOTHING")?
            .execute([self.name()])
            .map(drop)
    }
}

/// Why a database cannot be that of a follower.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// It has content that did not come from an upstream.
    #[error(
        "{0}: has data that were not copied from another publisher: --follow needs a database of its own"
    )]
    HasData(String),
    /// It was written to while it did not follow.
    #[error("{0}: was written to since it followed {1}: to follow again, use another database")]
    Written(String, String),
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// SQLite says why.
    #[error("{0}: {1}")]
    Sqlite(String, rusqlite::Error),
    /// Its lineages are invalid.
    #[error("{0}: {1}")]
    Store(String, StoreError),
}

/// Marks a database as that of a follower of `upstream`: an empty one, or one that followed before.
///
/// # Errors
/// [`ClaimError`].
pub fn claim(path: &Path, upstream: &str, busy_timeout: Duration) -> Result<(), ClaimError> {
    let name = || path.display().to_string();
    let failed = |error| ClaimError::Sqlite(name(), error);
    let mut connection = open_writer(path, busy_timeout)?;
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    transaction
        .execute_batch(include_str!("../../../sql/queries/followed.sql"))
        .map_err(failed)?;
    let claimed: Option<(String, Option<String>)> = transaction
        .query_row("SELECT upstream, lineage FROM followed", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()
        .map_err(failed)?;
    match claimed {
        None => {
            let is_empty = "SELECT NOT EXISTS (SELECT 1 FROM challenges)
                AND NOT EXISTS (SELECT 1 FROM eval_runs) AND NOT EXISTS (SELECT 1 FROM merkle_epochs)";
            let is_empty = transaction.query_row(is_empty, [], |row| row.get(0));
            if !is_empty.map_err(failed)? {
                return Err(ClaimError::HasData(name()));
            }
        }
        Some((before, Some(lineage))) => {
            let current = read::lineage(&transaction);
            if current.map_err(|error| ClaimError::Store(name(), error))? != lineage {
                return Err(ClaimError::Written(name(), before));
            }
        }
        Some((_, None)) => {}
    }
    transaction
        .execute(
            "INSERT INTO followed (only_row, upstream) VALUES (1, ?1)
             ON CONFLICT (only_row) DO UPDATE SET upstream = ?1",
            [upstream],
        )
        .and_then(|_| transaction.commit())
        .map_err(failed)
}

/// Returns how far a follower has got. One transaction.
pub(super) fn mirrored(connection: &Connection) -> Result<Mirrored, StoreError> {
    let transaction = connection.unchecked_transaction()?;
    let newest: Option<(String, String)> = transaction
        .prepare_cached(
            "SELECT ran_at, id FROM eval_runs WHERE schema_version >= 5
             ORDER BY ran_at DESC, id DESC LIMIT 1",
        )?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(Mirrored {
        cursor: cursor(&transaction, &read::lineages(&transaction)?)?,
        newest: newest.and_then(|(ran_at, id)| Cursor::of_row(&ran_at, id).ok()),
        board: read::board_stamp(&transaction)?,
        has_board: Part::Board.is_copied(&transaction)?,
        has_feed: Part::Feed.is_copied(&transaction)?,
    })
}

/// Returns whether the lineages are to stay as they are, or as the operations say: those of an upstream.
pub(super) fn keeps_lineages(
    connection: &Connection,
    operations: &[Operation],
) -> Result<bool, StoreError> {
    let mut mirrored = operations.iter().filter_map(|operation| match operation {
        Operation::Mirror(mirrored) => Some(mirrored),
        Operation::PutChallenges(_)
        | Operation::ReplaceChallenge { .. }
        | Operation::InsertEvalRuns(_)
        | Operation::PutMerkleEpoch { .. } => None,
    });
    if mirrored.clone().any(|it| matches!(it, Mirror::Page(_))) {
        return Ok(true);
    }
    Ok(mirrored.next().is_some() && lineage(connection)?.is_some())
}

/// Carries it out in the open transaction; if it is refused the caller must roll back.
pub(super) fn apply(connection: &Connection, mirrored: &Mirror) -> Result<Counts, RefusedItem> {
    let applied = match mirrored {
        Mirror::Board {
            challenges,
            position,
        } => put_board(connection, challenges.as_deref(), *position),
        Mirror::Page(page) => put_page(connection, page),
        Mirror::Rows {
            rows,
            merkle_epoch_latest,
            is_last,
        } => put_rows(connection, rows, *merkle_epoch_latest, *is_last),
    };
    applied.map_err(|error| RefusedItem { index: 0, error })
}

/// Returns the id of the lineage that the upstream's numbers belong to; `None` if the numbers are given here.
fn lineage(connection: &Connection) -> Result<Option<String>, StoreError> {
    Ok(connection
        .prepare_cached("SELECT lineage FROM followed")?
        .query_row([], |row| row.get(0))?)
}

fn set_lineage(connection: &Connection, id: Option<&str>) -> rusqlite::Result<()> {
    let set = "UPDATE followed SET lineage = ?1 WHERE lineage IS NOT ?1";
    connection.prepare_cached(set)?.execute([id]).map(drop)
}

fn cursor(connection: &Connection, lineages: &Lineages) -> Result<SeqCursor, StoreError> {
    let current = lineages.current().map(|current| current.id_text());
    if current.is_none() || lineage(connection)? != current {
        return Ok(SeqCursor::Start);
    }
    Ok(lineages.canonical(read::last_seq(connection)?))
}

fn put_board(
    connection: &Connection,
    challenges: Option<&[Challenge]>,
    position: Option<Position>,
) -> Result<Counts, WriteError> {
    let before = read::board_version(connection)?.count;
    let mut counts = Counts::default();
    if let Some(challenges) = challenges {
        let mut stored = HashMap::new();
        read::every_challenge::<StoreError>(connection, |challenge| {
            stored.insert(challenge.challenge_id.clone(), challenge);
            Ok(())
        })?;
        for challenge in challenges {
            if stored.remove(&challenge.challenge_id).as_ref() == Some(challenge) {
                counts.add(Written::Unchanged);
            } else {
                write::insert_challenge(connection, challenge)?;
                counts.add(Written::Inserted);
            }
        }
        for id in stored.keys() {
            connection
                .prepare_cached("DELETE FROM challenges WHERE challenge_id = ?1")?
                .execute([id])?;
            counts.add(Written::Inserted);
        }
        Part::Board.set_copied(connection)?;
    }
    if let Some(position) = position
        && lineage(connection)?.is_some()
    {
        let lineages = read::lineages(connection)?;
        let mut known = lineages.known().iter();
        if known.all(|known| known.lineage != position.lineage) {
            return Err(refused("the lineage of the board is not known yet"));
        }
        // A position of before the last restore says nothing of the present count.
        let is_present = lineages.last_restore() <= Some(position.lineage);
        if is_present && position.number > before {
            connection.execute(
                "UPDATE board_version SET version = ?1, change_id = random()",
                [position.number],
            )?;
        }
    }
    Ok(counts)
}

fn put_page(connection: &Connection, page: &MirroredPage) -> Result<Counts, WriteError> {
    let (known, last_seq) = (read::lineages(connection)?, read::last_seq(connection)?);
    // The start may be asked for at any time: all is read anew.
    if page.asked != SeqCursor::Start && cursor(connection, &known)? != page.asked {
        return Err(refused("another page was stored meanwhile"));
    }
    let (lineages, SeqCursor::At(next)) = (&page.detail.lineages, page.detail.next) else {
        return Err(refused("the page has no cursor"));
    };
    let after = lineages.resolve(page.asked, MAX_SEQ, 0);
    let after =
        after.map_err(|_| refused("the page does not know the cursor that was asked for"))?;
    let seqs = page.rows.iter().map(|(seq, _)| *seq);
    let last = seqs.clone().next_back().unwrap_or(after);
    let are_ascending = [after]
        .into_iter()
        .chain(seqs.clone())
        .is_sorted_by(|a, b| a < b);
    if !are_ascending || next.number < last || next.number > MAX_SEQ {
        return Err(refused("the numbers of the page do not ascend"));
    }
    if page.asked == SeqCursor::Start {
        set_numbers_aside(connection)?;
        // What was pruned here had other numbers, and comes again.
        connection.execute("DELETE FROM pruned", [])?;
    } else if after < last_seq {
        connection.execute("DELETE FROM eval_runs WHERE seq > ?1", [after])?;
        let pruned = "UPDATE pruned SET through_seq = ?1 WHERE through_seq > ?1";
        connection.execute(pruned, [after])?;
    }
    if *lineages != known {
        write::put_lineages(connection, lineages)?;
        if lineages.last_restore() != known.last_restore() {
            // The count of the upstream's board may be less than before.
            connection.execute(
                "UPDATE board_version SET version = 0, change_id = random()",
                [],
            )?;
        }
    }
    let mut counts = Counts::default();
    for (seq, run) in &page.rows {
        put_numbered(connection, *seq, run)?;
        counts.add(Written::Inserted);
    }
    if page.is_last {
        connection.execute("DELETE FROM eval_runs WHERE seq < 0", [])?;
        Part::Feed.set_copied(connection)?;
    }
    set_last_seq(connection, next.number)?;
    set_epoch(connection, page.detail.merkle_epoch_latest)?;
    let current = lineages.current().map(|current| current.id_text());
    set_lineage(connection, current.as_deref())?;
    Ok(counts)
}

fn put_rows(
    connection: &Connection,
    rows: &[EvalRun],
    merkle_epoch_latest: Option<i64>,
    is_last: bool,
) -> Result<Counts, WriteError> {
    if lineage(connection)?.is_some() {
        // From now on numbers are given here.
        number_again(connection)?;
        write::begin_history(connection, 0)?;
        set_lineage(connection, None)?;
    }
    let mut counts = Counts::default();
    for run in rows {
        match write::insert_eval_run(connection, run) {
            Ok(written) => counts.add(written),
            Err(WriteError::Conflict { .. }) => {}
            Err(error @ (WriteError::Invalid(_) | WriteError::Store(_))) => return Err(error),
        }
    }
    set_epoch(connection, merkle_epoch_latest)?;
    if is_last {
        Part::Feed.set_copied(connection)?;
    }
    Ok(counts)
}

/// Stores an eval run of the upstream, or gives one that is stored its number.
fn put_numbered(connection: &Connection, seq: i64, run: &EvalRun) -> Result<(), WriteError> {
    let stored: Option<(i64, bool)> = connection
        .prepare_cached("SELECT seq, body = ?2 FROM eval_runs WHERE id = ?1")?
        .query_row(params![run.id, run.body], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    match stored {
        Some((before, true)) if before < 0 => {
            connection
                .prepare_cached("UPDATE eval_runs SET seq = ?2 WHERE seq = ?1")?
                .execute([before, seq])?;
            return Ok(());
        }
        Some((before, false)) if before < 0 => {
            connection.execute("DELETE FROM eval_runs WHERE seq = ?1", [before])?;
        }
        Some(_) => return Err(WriteError::Conflict { id: run.id.clone() }),
        None => {}
    }
    write::insert_eval_run_at(connection, Some(seq), run)?;
    Ok(())
}

/// Makes every number negative, and leaves none twice.
fn set_numbers_aside(connection: &Connection) -> rusqlite::Result<()> {
    connection
        .execute(
            "UPDATE eval_runs SET seq = (SELECT min(0, coalesce(min(seq), 0)) FROM eval_runs) - seq
             WHERE seq > 0",
            [],
        )
        .map(drop)
}

/// Gives the eval runs that have a negative number new ones.
fn number_again(connection: &Connection) -> rusqlite::Result<()> {
    let mut aside =
        connection.prepare("SELECT seq FROM eval_runs WHERE seq < 0 ORDER BY seq DESC")?;
    let aside = aside.query_map([], |row| row.get(0))?;
    let aside = aside.collect::<rusqlite::Result<Vec<i64>>>()?;
    let last = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'eval_runs'";
    let mut last: i64 = connection.query_row(last, [], |row| row.get(0))?;
    for seq in aside {
        last += 1;
        connection
            .prepare_cached("UPDATE eval_runs SET seq = ?2 WHERE seq = ?1")?
            .execute([seq, last])?;
    }
    set_last_seq(connection, last)
}

fn set_last_seq(connection: &Connection, last: i64) -> rusqlite::Result<()> {
    let updated = connection
        .prepare_cached("UPDATE sqlite_sequence SET seq = ?1 WHERE name = 'eval_runs'")?
        .execute([last])?;
    if updated == 0 {
        connection.execute(
            "INSERT INTO sqlite_sequence VALUES ('eval_runs', ?1)",
            [last],
        )?;
    }
    Ok(())
}

/// Makes this the greatest epoch.
fn set_epoch(connection: &Connection, latest: Option<i64>) -> Result<(), WriteError> {
    connection
        .prepare_cached("DELETE FROM merkle_epochs WHERE epoch > ?1")?
        .execute([latest.unwrap_or(-1)])?;
    if let Some(latest) = latest {
        write::put_merkle_epoch(connection, latest, None)?;
    }
    Ok(())
}

fn refused(reason: &str) -> WriteError {
    Invalid::new("", reason).into()
}

#[cfg(test)]
mod tests;
