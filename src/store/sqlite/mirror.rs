//! What a follower stores: the board and the feed of its upstream, with the upstream's numbers if it tells them. Then
//! cursors and positions of clients mean the same at both, so the lineages are the upstream's as well, and none begins
//! here.
//!
//! A table of its own, `followed`, marks the database: no other one is ever overwritten by what an upstream says.
//!
//! If the upstream does not know the lineages that are stored here, all eval runs are looked for anew. Until it tells
//! their new numbers they have negative ones: they are in the order of (ran_at, id) as before, and not in the order of
//! commits. When the upstream has no further eval runs, those that it did not tell are deleted.

mod board;
pub mod claim;

use rusqlite::{Connection, OptionalExtension, params};

use super::{read, write};
use crate::{
    domain::{
        cursor::Cursor, eval_run::EvalRun, lineages::Lineages, position::Position,
        seq_cursor::SeqCursor,
    },
    store::{
        BoardStamp, Counts, RefusedItem, StoreError, WriteError, Written,
        operation::{Mirror, MirrorRefused, MirroredPage, Operation},
        state::Pruned,
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
    /// Where the upstream was with the board that is stored, if that is known in its present history.
    pub board_position: Option<Position>,
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

/// Returns whether cursors of the database mean anything to clients: it is not that of a follower, or something was
/// copied. Before that it has a lineage of its own, which the upstream's takes the place of.
pub(super) fn has_numbers(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(claim::upstream_of(connection)?.is_none()
        || Part::Feed.is_copied(connection)?
        || connection.query_row("SELECT lineage IS NOT NULL FROM followed", [], |row| {
            row.get(0)
        })?)
}

/// Returns the ids of those eval runs that are stored with other bytes.
pub(super) fn conflicting(
    connection: &Connection,
    rows: &[EvalRun],
) -> Result<Vec<String>, StoreError> {
    let mut other = connection.prepare_cached("SELECT body <> ?2 FROM eval_runs WHERE id = ?1")?;
    let mut ids = Vec::new();
    for run in rows {
        let is_other = other.query_row(params![run.id, run.body], |row| row.get(0));
        if is_other.optional()?.unwrap_or(false) {
            ids.push(run.id.clone());
        }
    }
    Ok(ids)
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
    let lineages = read::lineages(&transaction)?;
    Ok(Mirrored {
        cursor: cursor(&transaction, &lineages)?,
        board_position: board::position(&transaction, &lineages)?,
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
        } => board::put(connection, challenges.as_deref(), *position),
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

fn put_page(connection: &Connection, page: &MirroredPage) -> Result<Counts, WriteError> {
    let (known, last_seq) = (read::lineages(connection)?, read::last_seq(connection)?);
    // The start may be asked for at any time: all is read anew.
    if page.asked != SeqCursor::Start && cursor(connection, &known)? != page.asked {
        return Err(MirrorRefused::Overtaken.into());
    }
    let (lineages, SeqCursor::At(next)) = (&page.detail.lineages, page.detail.next) else {
        return Err(refused("the page has no cursor"));
    };
    let after = lineages.resolve(page.asked, MAX_SEQ, 0);
    let after =
        after.map_err(|_| refused("the page does not know the cursor that was asked for"))?;
    // Those of eval runs that were left out included.
    let seqs = &page.detail.seqs;
    let last = seqs.last().copied().unwrap_or(after);
    let are_ascending = [&after].into_iter().chain(seqs).is_sorted_by(|a, b| a < b);
    if !are_ascending || last > MAX_SEQ {
        return Err(refused("the numbers of the page do not ascend"));
    }
    // A greater number would leave out what the upstream has not told.
    if lineages.canonical(last) != page.detail.next {
        return Err(refused(
            "the cursor of the page is not that of its last eval run",
        ));
    }
    if page.asked != SeqCursor::Start && lineages.current() < known.current() {
        return Err(refused("the page is older than what is stored"));
    }
    if page.asked != SeqCursor::Start && may_have_parted(&known, lineages, last_seq, seqs) {
        return Err(MirrorRefused::Parted.into());
    }
    let mut last_seq_now = next.number;
    let pruned = match &page.kept_from {
        Some(kept_from) => {
            let through = lineages.resolve(kept_from.cursor, MAX_SEQ, 0);
            let through = through.map_err(|_| refused("Kept-From is of another database"))?;
            if through > MAX_SEQ {
                return Err(refused("Kept-From has a number that is too great"));
            }
            if page.is_last {
                // The upstream's last eval runs may be among those that were removed.
                last_seq_now = last_seq_now.max(through);
            }
            Some(Pruned {
                before: kept_from.ran_at.clone(),
                // Of what lies behind the page, the next page tells.
                through_seq: through.min(last_seq_now),
            })
        }
        None => None,
    };
    if page.asked == SeqCursor::Start {
        set_numbers_aside(connection)?;
        board::forget_position(connection)?;
        // What was pruned here had other numbers, and comes again.
        connection.execute("DELETE FROM pruned", [])?;
    } else if after < last_seq {
        connection.execute("DELETE FROM eval_runs WHERE seq > ?1", [after])?;
        let pruned = "UPDATE pruned SET through_seq = ?1 WHERE through_seq > ?1";
        connection.execute(pruned, [after])?;
    }
    if *lineages != known {
        write::put_lineages(connection, lineages)?;
        if lineages.current() != known.current() {
            // The count of the upstream's board may be less than before: after a restore, or after the promotion of a
            // standby that was behind.
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
    if let Some(pruned) = pruned {
        write::note_pruned(connection, &pruned)?;
    }
    set_last_seq(connection, last_seq_now)?;
    set_epoch(connection, page.detail.merkle_epoch_latest)?;
    let current = lineages.current().map(|current| current.id_text());
    set_lineage(connection, current.as_deref())?;
    Ok(counts)
}

/// Returns whether a lineage begins that may lack the last eval runs of the copy. A promoted standby of PostgreSQL may be
/// behind, and its lineage begins behind its sequence, which is up to 32 ahead: there may be numbers in between that
/// only the lost primary has given. It has not lost the copy's last eval runs if it has one behind them that is older
/// than the lineage.
fn may_have_parted(known: &Lineages, told: &Lineages, last_seq: i64, seqs: &[i64]) -> bool {
    let is_new = |id| known.known().iter().all(|it| it.lineage != id);
    told.known().iter().any(|began| {
        let continues = began.shared_through.is_none() && !began.is_restore;
        let has_gap = began.first_seq > last_seq + 1;
        let has_older = seqs
            .iter()
            .any(|seq| (last_seq + 1..began.first_seq).contains(seq));
        continues && is_new(began.lineage) && has_gap && !has_older
    })
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
            Err(
                error @ (WriteError::Invalid(_) | WriteError::Mirror(_) | WriteError::Store(_)),
            ) => {
                return Err(error);
            }
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

fn refused(reason: &'static str) -> WriteError {
    MirrorRefused::Numbers(reason).into()
}

#[cfg(test)]
mod tests;
