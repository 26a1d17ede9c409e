//! The queries of readers.

use std::hash::{BuildHasher as _, DefaultHasher};

use rusqlite::{Connection, OptionalExtension, Row, ToSql, params, types::ToSqlOutput};

use super::mirror;
use crate::{
    domain::{
        challenge::{Challenge, Status, Storage},
        cursor::{Cursor, PageLimit, Seen},
        lineages::{KnownLineage, Lineages},
        position::{Lineage, NotAPosition},
        ran_at::RanAt,
        seq_cursor::SeqCursor,
    },
    store::{
        Board, BoardStamp, FeedStamp, LastRow, PageEnd, SeqPageEnd, SeqPageError, Since,
        StoreError, Version,
        dump::{StoredEpoch, StoredEvalRun},
        state::{MAX_FOLLOWED, Pruned},
    },
};

/// Returns the published challenges in the board's order (tier, then challenge_id by its bytes).
///
/// # Errors
/// [`StoreError::Sqlite`], or [`StoreError::Corrupt`] if another program wrote invalid values.
pub fn active_challenges(connection: &Connection) -> Result<Vec<Challenge>, StoreError> {
    let mut statement =
        connection.prepare_cached(include_str!("../../../sql/queries/active_challenges.sql"))?;
    let mut rows = statement.query([])?;
    let mut challenges = Vec::new();
    while let Some(row) = rows.next()? {
        challenges.push(challenge(row)?);
    }
    Ok(challenges)
}

fn version(row: &Row<'_>) -> rusqlite::Result<Version> {
    Ok(Version {
        count: row.get(0)?,
        change_id: row.get(1)?,
    })
}

/// Returns the version of the board.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn board_version(connection: &Connection) -> Result<Version, StoreError> {
    Ok(connection
        .prepare_cached("SELECT version, change_id FROM board_version")?
        .query_row([], version)?)
}

/// Returns the state of the board. It is of one moment only in a transaction.
///
/// # Errors
/// Those of [`current_lineage`].
pub fn board_stamp(connection: &Connection) -> Result<BoardStamp, StoreError> {
    Ok(BoardStamp {
        version: board_version(connection)?,
        lineage: current_lineage(connection)?,
    })
}

/// Returns the board: one transaction.
///
/// # Errors
/// Those of [`active_challenges`].
pub fn board(connection: &Connection) -> Result<Board, StoreError> {
    let transaction = connection.unchecked_transaction()?;
    Ok(Board {
        stamp: board_stamp(&transaction)?,
        challenges: active_challenges(&transaction)?,
    })
}

/// Returns one challenge, whatever its status.
///
/// # Errors
/// Those of [`active_challenges`].
pub fn challenge_by_id(connection: &Connection, id: &str) -> Result<Option<Challenge>, StoreError> {
    let mut statement =
        connection.prepare_cached(include_str!("../../../sql/queries/challenge_by_id.sql"))?;
    let mut rows = statement.query([id])?;
    rows.next()?.map(challenge).transpose()
}

/// Returns up to `limit` challenges whose ids follow `after`, in the order of their ids: those of one status, or all.
///
/// # Errors
/// Those of [`active_challenges`].
pub fn challenges(
    connection: &Connection,
    status: Option<Status>,
    after: &str,
    limit: PageLimit,
) -> Result<Vec<Challenge>, StoreError> {
    let mut statement =
        connection.prepare_cached(include_str!("../../../sql/queries/challenges.sql"))?;
    let mut rows = statement.query(params![after, status.map(Status::as_str), limit.rows()])?;
    let mut challenges = Vec::new();
    while let Some(row) = rows.next()? {
        challenges.push(challenge(row)?);
    }
    Ok(challenges)
}

/// Reads a row of the columns that all queries of challenges select, in their order.
fn challenge(row: &Row<'_>) -> Result<Challenge, StoreError> {
    let challenge_id: String = row.get(0)?;
    let corrupt = |column| StoreError::Corrupt {
        challenge_id: challenge_id.clone(),
        column,
    };
    let status = row.get_ref(1)?.as_str().ok().and_then(Status::parse);
    let storage = row.get_ref(6)?.as_str().ok().and_then(Storage::parse);
    Ok(Challenge {
        status: status.ok_or_else(|| corrupt("status"))?,
        tier: row.get(2)?,
        difficulty_label: row.get(3)?,
        score_multiplier: row.get(4)?,
        kind: row.get(5)?,
        storage: storage.ok_or_else(|| corrupt("storage"))?,
        cnf_sha256: row.get(7)?,
        cnf_bytes: row.get(8)?,
        num_vars: row.get(9)?,
        num_clauses: row.get(10)?,
        announced_time_limit_secs: row.get(11)?,
        solve_on_submit_enabled: row.get(12)?,
        challenge_id,
    })
}

impl ToSql for Seen {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::Through(id) => id.to_sql(),
            Self::All => Ok(ToSqlOutput::from(&b""[..])),
        }
    }
}

/// The last time of which rows are read; `None` for all times.
struct Until<'a>(Option<&'a RanAt>);

impl ToSql for Until<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self.0 {
            Some(until) => until.as_str().to_sql(),
            None => Ok(ToSqlOutput::from(&b""[..])),
        }
    }
}

/// Hands the stored bytes of up to `limit` rows after `cursor` to `each_row`, in the feed's order; those up to `until`,
/// if it is given. One transaction; the cost grows with the page, not with the feed.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn feed_page(
    connection: &Connection,
    cursor: &Cursor,
    until: Option<&RanAt>,
    limit: PageLimit,
    mut each_row: impl FnMut(&[u8]),
) -> Result<PageEnd, StoreError> {
    let transaction = connection.unchecked_transaction()?;
    let mut statement =
        transaction.prepare_cached(include_str!("../../../sql/queries/feed_page.sql"))?;
    let mut rows = statement.query(params![
        cursor.ran_at.as_str(),
        cursor.seen,
        limit.rows(),
        Until(until)
    ])?;
    let mut count = 0;
    let mut next = None;
    while let Some(row) = rows.next()? {
        each_row(row.get_ref(2)?.as_bytes().map_err(rusqlite::Error::from)?);
        count += 1;
        if count == limit.rows() {
            next = Some(LastRow {
                ran_at: row.get(0)?,
                id: row.get(1)?,
            });
        }
    }
    Ok(PageEnd {
        next,
        rows: count,
        stamp: feed_stamp(&transaction)?,
    })
}

/// As [`feed_page`], in the order of commits: a row gets its `seq` under SQLite's write lock, so every row with a
/// smaller one that will ever be committed is visible before it.
///
/// # Errors
/// [`SeqPageError`].
pub fn feed_page_by_seq(
    connection: &Connection,
    cursor: SeqCursor,
    limit: PageLimit,
    mut each_row: impl FnMut(&[u8]),
) -> Result<SeqPageEnd, SeqPageError> {
    let transaction = connection.unchecked_transaction()?;
    let lineages = lineages(&transaction)?;
    let now = transaction.query_row("SELECT unixepoch()", [], |row| row.get(0))?;
    let mut position = lineages.resolve(cursor, last_seq(&transaction)?, now)?;
    let kept_from = pruned(&transaction)?.and_then(|pruned| pruned.after(position, &lineages));
    let mut statement =
        transaction.prepare_cached(include_str!("../../../sql/queries/feed_page_by_seq.sql"))?;
    let mut rows = statement.query(params![position, limit.rows()])?;
    let mut seqs = Vec::new();
    while let Some(row) = rows.next()? {
        each_row(row.get_ref(1)?.as_bytes().map_err(rusqlite::Error::from)?);
        position = row.get(0)?;
        seqs.push(position);
    }
    Ok(SeqPageEnd {
        next: lineages.canonical(position),
        rows: seqs.len(),
        seqs,
        stamp: feed_stamp_of(&transaction, &lineages)?,
        lineages,
        kept_from,
    })
}

/// Returns the feed's stamp: a few look-ups, whatever the size of the tables. They are of one moment only in a
/// transaction.
///
/// # Errors
/// Those of [`lineages`].
pub fn feed_stamp(connection: &Connection) -> Result<FeedStamp, StoreError> {
    feed_stamp_of(connection, &lineages(connection)?)
}

fn feed_stamp_of(connection: &Connection, lineages: &Lineages) -> Result<FeedStamp, StoreError> {
    let last: Option<i64> = connection
        .prepare_cached(include_str!("../../../sql/queries/last_published_seq.sql"))?
        .query_row([], |row| row.get(0))?;
    // If the last ones were pruned, clients that have them wait for newer ones.
    let last = last.max(pruned(connection)?.map(|pruned| pruned.through_seq));
    let current = lineages.current().ok_or(NotAPosition)?;
    let last_seq = last_seq(connection)?;
    Ok(FeedStamp {
        version: connection
            .prepare_cached("SELECT version, change_id FROM feed_version")?
            .query_row([], version)?,
        merkle_epoch_latest: merkle_epoch_latest(connection)?,
        end: if last_seq == 0 && !mirror::has_numbers(connection)? {
            SeqCursor::Start
        } else {
            // Below 0 are the rows that a follower has not found again yet.
            lineages.canonical(last.unwrap_or_default().max(0))
        },
        lineage: current,
        last_seq,
        last_row: row_at(connection, last_seq)?,
    })
}

/// Returns what tells the row with this `seq` from others; 0 if there is none.
fn row_at(connection: &Connection, seq: i64) -> Result<u64, StoreError> {
    let mut row = connection.prepare_cached("SELECT id FROM eval_runs WHERE seq = ?1")?;
    let id: Option<String> = row.query_row([seq], |row| row.get(0)).optional()?;
    let hash = |id| std::hash::BuildHasherDefault::<DefaultHasher>::default().hash_one(id);
    Ok(id.map_or(0, hash))
}

/// Returns what was pruned, if anything was.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn pruned(connection: &Connection) -> Result<Option<Pruned>, StoreError> {
    let mut pruned = connection.prepare_cached("SELECT before, through_seq FROM pruned")?;
    let pruned = pruned.query_row([], |row| {
        Ok(Pruned {
            before: row.get(0)?,
            through_seq: row.get(1)?,
        })
    });
    Ok(pruned.optional()?)
}

/// Returns what happened to the feed since it was as `known`. One transaction; the cost grows with the rows that were
/// inserted since.
///
/// # Errors
/// Those of [`lineages`].
pub fn inserted_since(connection: &Connection, known: &FeedStamp) -> Result<Since, StoreError> {
    let transaction = connection.unchecked_transaction()?;
    let stamp = feed_stamp(&transaction)?;
    let mut statement =
        transaction.prepare_cached(include_str!("../../../sql/queries/inserted_since.sql"))?;
    let mut rows = statement.query([known.last_seq, MAX_FOLLOWED + 1])?;
    let (mut count, mut inserted) = (0, Vec::new());
    while let Some(row) = rows.next()? {
        count += 1;
        if row.get(2)? {
            let ran_at = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
            // A row that another program wrote: no page with it can be read either.
            let Ok(key) = Cursor::of_row(ran_at, row.get(1)?) else {
                count = i64::MIN;
                break;
            };
            inserted.push(key);
        }
    }
    let is_all = count <= MAX_FOLLOWED
        && known.is_followed_by(&stamp, count)
        && row_at(&transaction, known.last_seq)? == known.last_row;
    Ok(Since {
        stamp,
        inserted: is_all.then_some(inserted),
    })
}

/// Returns the lineages that the database knows.
///
/// # Errors
/// [`StoreError::Sqlite`]; [`StoreError::Lineage`] if another program wrote one of them.
pub fn lineages(connection: &Connection) -> Result<Lineages, StoreError> {
    let mut statement =
        connection.prepare_cached(include_str!("../../../sql/queries/lineages.sql"))?;
    let mut rows = statement.query([])?;
    let mut known = Vec::new();
    while let Some(row) = rows.next()? {
        let id = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        known.push(KnownLineage {
            lineage: Lineage::of_row(row.get(0)?, id)?,
            first_seq: row.get(2)?,
            shared_through: row.get(3)?,
            is_restore: row.get(4)?,
        });
    }
    Ok(Lineages::new(known).ok_or(NotAPosition)?)
}

/// Returns which history the database tells: random at creation, new after a restore.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn lineage(connection: &Connection) -> Result<String, StoreError> {
    Ok(connection
        .prepare_cached("SELECT id FROM lineages ORDER BY ordinal DESC LIMIT 1")?
        .query_row([], |row| row.get(0))?)
}

/// Returns the lineage that numbers which are given now belong to.
///
/// # Errors
/// [`StoreError::Sqlite`]; [`StoreError::Lineage`] if another program wrote it.
pub fn current_lineage(connection: &Connection) -> Result<Lineage, StoreError> {
    lineage_of_row(
        connection,
        "SELECT ordinal, id FROM lineages ORDER BY ordinal DESC LIMIT 1",
    )
}

/// Returns the lineage that began with the last restore, or with the database.
///
/// # Errors
/// Those of [`current_lineage`].
pub fn last_restore(connection: &Connection) -> Result<Lineage, StoreError> {
    lineage_of_row(
        connection,
        "SELECT ordinal, id FROM lineages WHERE shared_through IS NULL
         ORDER BY is_restore DESC, ordinal DESC LIMIT 1",
    )
}

fn lineage_of_row(connection: &Connection, query: &str) -> Result<Lineage, StoreError> {
    let (ordinal, id): (i64, String) = connection
        .prepare_cached(query)?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Lineage::of_row(ordinal, &id)?)
}

/// Converts an error of SQLite.
fn failed<E: From<StoreError>>(error: rusqlite::Error) -> E {
    E::from(StoreError::from(error))
}

/// Returns the greatest epoch stored.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn merkle_epoch_latest(connection: &Connection) -> Result<Option<i64>, StoreError> {
    Ok(connection
        .prepare_cached("SELECT max(epoch) FROM merkle_epochs")?
        .query_row([], |row| row.get(0))?)
}

/// Returns when the newest published eval run ran, in seconds since 1970: one look-up.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn newest_run_secs(connection: &Connection) -> Result<Option<i64>, StoreError> {
    let mut newest = connection.prepare_cached(
        "SELECT unixepoch(ran_at) FROM eval_runs INDEXED BY eval_runs_feed
         WHERE schema_version >= 5 ORDER BY ran_at DESC, id DESC LIMIT 1",
    )?;
    let newest = newest.query_row([], |row| row.get(0)).optional()?;
    Ok(newest.flatten())
}

/// Hands the stored bytes of every row, unpublished ones included, to `each_row`, in the feed's
/// order. SQLite sorts on disk, so memory does not grow with the table.
///
/// # Errors
/// [`StoreError::Sqlite`], or whatever `each_row` returns.
pub fn every_eval_run<E: From<StoreError>>(
    connection: &Connection,
    mut each_row: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut statement = connection
        .prepare("SELECT body FROM eval_runs ORDER BY ran_at, id")
        .map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let body = row.get_ref(0).map_err(failed)?;
        each_row(body.as_bytes().map_err(|error| failed(error.into()))?)?;
    }
    Ok(())
}

/// Hands every challenge of every status to `each`, by its id.
///
/// # Errors
/// Those of [`active_challenges`], or whatever `each` returns.
pub fn every_challenge<E: From<StoreError>>(
    connection: &Connection,
    mut each: impl FnMut(Challenge) -> Result<(), E>,
) -> Result<(), E> {
    let mut statement = connection
        .prepare(include_str!("../../../sql/queries/every_challenge.sql"))
        .map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        each(challenge(row)?)?;
    }
    Ok(())
}

/// Hands every row, unpublished ones included, to `each`, in the order of insertion.
///
/// # Errors
/// [`StoreError::Sqlite`], or whatever `each` returns.
pub fn every_eval_run_in_order<E: From<StoreError>>(
    connection: &Connection,
    mut each: impl FnMut(StoredEvalRun) -> Result<(), E>,
) -> Result<(), E> {
    let mut statement = connection
        .prepare("SELECT seq, id, ran_at, schema_version, body FROM eval_runs ORDER BY seq")
        .map_err(failed)?;
    let rows = statement.query_map([], |row| {
        Ok(StoredEvalRun {
            seq: row.get(0)?,
            id: row.get(1)?,
            ran_at: row.get(2)?,
            schema_version: row.get(3)?,
            body: row.get(4)?,
        })
    });
    for row in rows.map_err(failed)? {
        each(row.map_err(failed)?)?;
    }
    Ok(())
}

/// Hands every epoch to `each`, in their order.
///
/// # Errors
/// [`StoreError::Sqlite`], or whatever `each` returns.
pub fn every_merkle_epoch<E: From<StoreError>>(
    connection: &Connection,
    mut each: impl FnMut(StoredEpoch) -> Result<(), E>,
) -> Result<(), E> {
    let mut statement = connection
        .prepare("SELECT epoch, body FROM merkle_epochs ORDER BY epoch")
        .map_err(failed)?;
    let rows = statement.query_map([], |row| {
        Ok(StoredEpoch {
            epoch: row.get(0)?,
            body: row.get(1)?,
        })
    });
    for row in rows.map_err(failed)? {
        each(row.map_err(failed)?)?;
    }
    Ok(())
}

/// Returns the greatest `seq` that was ever given to an eval run; 0 if none was.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn last_seq(connection: &Connection) -> Result<i64, StoreError> {
    let last = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'eval_runs'";
    let mut last = connection.prepare_cached(last)?;
    Ok(last.query_row([], |row| row.get(0))?)
}

/// Returns whether every page can be read. Reads the whole database; an error, or the end of the time allowed, counts
/// as no.
pub(crate) fn is_sound(connection: &Connection) -> bool {
    let checked = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    checked.is_ok_and(|finding| finding == "ok")
}

/// Checks that the database answers a query that needs its pages.
///
/// # Errors
/// [`StoreError::Sqlite`] if it does not.
pub fn probe(connection: &Connection) -> Result<(), StoreError> {
    connection
        .query_row("SELECT 1 FROM challenges LIMIT 1", [], |_| Ok(()))
        .optional()?;
    feed_stamp(connection)?;
    lineage(connection).map(drop)
}
