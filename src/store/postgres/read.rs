//! The queries of readers. Each is of one moment: one statement, or a transaction that is sent at once.
//!
//! Statements are unnamed, so that they work through a pooler, and are planned with the values of their parameters.

use std::{pin::pin, time::Instant};

use futures_util::TryStreamExt;
use tokio_postgres::{
    Client, Row,
    types::{ToSql, Type},
};

use super::{
    error::PostgresError,
    row::{self, Bytes, get},
    store::PostgresStore,
};
use crate::{
    domain::{
        challenge::{Challenge, Status},
        cursor::{Cursor, PageLimit, Seen},
        ran_at::RanAt,
        seq_cursor::SeqCursor,
    },
    store::{
        StoreError,
        state::{
            Board, BoardStamp, FeedStamp, LastRow, MAX_FOLLOWED, PageEnd, SeqPageEnd, SeqPageError,
            Since,
        },
    },
};

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
const COMMIT: &str = "COMMIT";
const STAMP: &str = "SELECT * FROM publisher_stamp()";
const LINEAGES: &str = "SELECT ordinal, id, first_seq, shared_through, is_restore FROM lineages";
const PRUNED: &str = "SELECT before, through_seq FROM pruned";
type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

impl PostgresStore {
    /// Returns the board.
    ///
    /// # Errors
    /// [`StoreError::Postgres`], or [`StoreError::Corrupt`] if another program wrote invalid values.
    pub fn board(&self, deadline: Instant) -> Result<Board, StoreError> {
        const VERSION: &str = "SELECT b.version, b.change_id, l.ordinal, l.id
            FROM board_version AS b, (SELECT ordinal, id FROM lineages ORDER BY ordinal DESC LIMIT 1) AS l";
        self.read(deadline, async |client| {
            let ((), version, challenges, ()) = tokio::try_join!(
                biased;
                run(client, BEGIN),
                one(client, VERSION),
                all(client, include_str!("../../../sql/queries/active_challenges.sql"), &[]),
                run(client, COMMIT),
            )?;
            Ok(Board {
                stamp: BoardStamp {
                    version: row::version(&version)?,
                    lineage: row::lineage(&version, "ordinal", "id")?,
                },
                challenges: challenges
                    .iter()
                    .map(row::challenge)
                    .collect::<Result<_, _>>()?,
            })
        })
    }

    /// Returns one challenge, whatever its status.
    ///
    /// # Errors
    /// Those of [`PostgresStore::board`].
    pub fn challenge(&self, id: &str, deadline: Instant) -> Result<Option<Challenge>, StoreError> {
        const ONE: &str = "SELECT * FROM challenges WHERE challenge_id = $1";
        self.read(deadline, async |client| {
            let rows = all(client, ONE, &[(&id, Type::TEXT)]).await?;
            rows.first().map(row::challenge).transpose()
        })
    }

    /// Returns up to `limit` challenges whose ids follow `after`, in the order of their ids: those of one status, or all.
    ///
    /// # Errors
    /// Those of [`PostgresStore::board`].
    pub fn challenges(
        &self,
        status: Option<Status>,
        after: &str,
        limit: PageLimit,
        deadline: Instant,
    ) -> Result<Vec<Challenge>, StoreError> {
        const PAGE: &str = "SELECT * FROM challenges
            WHERE challenge_id > $1 AND ($2 IS NULL OR status = $2) ORDER BY challenge_id LIMIT $3";
        let status = status.map(Status::as_str);
        let rows = i64::try_from(limit.rows()).unwrap_or(i64::MAX);
        let parameters: [Parameter<'_>; 3] = [
            (&after, Type::TEXT),
            (&status, Type::TEXT),
            (&rows, Type::INT8),
        ];
        self.read(deadline, async |client| {
            let rows = all(client, PAGE, &parameters).await?;
            rows.iter().map(row::challenge).collect()
        })
    }

    /// Hands the stored bytes of up to `limit` rows after `cursor` to `each_row`, in the feed's order; those up to
    /// `until`, if it is given. The cost grows with the page, not with the feed.
    ///
    /// # Errors
    /// [`StoreError::Postgres`]: some rows may have been handed on.
    pub fn feed_page(
        &self,
        cursor: &Cursor,
        until: Option<&RanAt>,
        limit: PageLimit,
        deadline: Instant,
        each_row: &mut dyn FnMut(&[u8]),
    ) -> Result<PageEnd, StoreError> {
        let ran_at = cursor.ran_at.as_str();
        let rows = i64::try_from(limit.rows()).unwrap_or(i64::MAX);
        // No stored id contains a NUL, which the server refuses: those after the text are those after its start.
        let seen = match &cursor.seen {
            Seen::Through(id) => Some(id.split('\0').next().unwrap_or_default()),
            Seen::All => None,
        };
        let until = until.map(RanAt::as_str);
        let after = if seen.is_some() {
            "(ran_at, id) > ($1, $3)"
        } else {
            "ran_at > $1"
        };
        let mut parameters: Vec<Parameter<'_>> = vec![(&ran_at, Type::TEXT), (&rows, Type::INT8)];
        if let Some(seen) = &seen {
            parameters.push((seen, Type::TEXT));
        }
        let mut before = String::new();
        if let Some(until) = &until {
            parameters.push((until, Type::TEXT));
            before = format!("AND ran_at <= ${}", parameters.len());
        }
        let query = format!(
            "SELECT ran_at, id, body FROM eval_runs
             WHERE {after} {before} AND schema_version >= 5 ORDER BY ran_at, id LIMIT $2"
        );
        self.read(deadline, async |client| {
            let mut count = 0;
            let mut next = None;
            let page = each(client, &query, &parameters, |row| {
                each_row(get::<Bytes<'_>>(row, "body")?.0);
                count += 1;
                if count == limit.rows() {
                    next = Some(LastRow {
                        ran_at: get(row, "ran_at")?,
                        id: get(row, "id")?,
                    });
                }
                Ok(())
            });
            let ((), stamp, (), ()) = tokio::try_join!(
                biased;
                run(client, BEGIN),
                one(client, STAMP),
                page,
                run(client, COMMIT),
            )?;
            let stamp = row::stamp(&stamp)?;
            Ok(PageEnd {
                next,
                rows: count,
                stamp,
            })
        })
    }

    /// As [`PostgresStore::feed_page`], in the order of commits: a row gets its `seq` under the lock of all writers, so
    /// every row with a smaller one that will ever be committed is visible before it.
    ///
    /// # Errors
    /// [`SeqPageError`].
    pub fn feed_page_by_seq(
        &self,
        cursor: SeqCursor,
        limit: PageLimit,
        deadline: Instant,
        each_row: &mut dyn FnMut(&[u8]),
    ) -> Result<SeqPageEnd, SeqPageError> {
        const NOW: &str = "SELECT extract(epoch FROM now())::bigint AS now";
        const PAGE: &str = "SELECT seq, body FROM eval_runs WHERE seq > $1 AND schema_version >= 5
                            ORDER BY seq LIMIT $2";
        let rows = i64::try_from(limit.rows()).unwrap_or(i64::MAX);
        let page = self.read(deadline, async |client| {
            let ((), now, lineages, stamp, pruned) = tokio::try_join!(
                biased;
                run(client, BEGIN),
                one(client, NOW),
                all(client, LINEAGES, &[]),
                one(client, STAMP),
                all(client, PRUNED, &[]),
            )?;
            let (now, stamp) = (get(&now, "now")?, row::stamp(&stamp)?);
            let lineages = row::lineages(&lineages)?;
            let mut position = match lineages.resolve(cursor, stamp.last_seq, now) {
                Ok(position) => position,
                Err(unresolved) => {
                    // The client's cursor is no fault of the session.
                    run(client, COMMIT).await?;
                    return Ok(Err(unresolved));
                }
            };
            let after = position;
            let pruned = pruned.first().map(row::pruned).transpose()?;
            let kept_from = pruned.and_then(|pruned| pruned.after(after, &lineages));
            let mut seqs = Vec::new();
            let parameters: [Parameter<'_>; 2] = [(&after, Type::INT8), (&rows, Type::INT8)];
            let page = each(client, PAGE, &parameters, |row| {
                each_row(get::<Bytes<'_>>(row, "body")?.0);
                position = get(row, "seq")?;
                seqs.push(position);
                Ok(())
            });
            tokio::try_join!(biased; page, run(client, COMMIT))?;
            Ok::<_, StoreError>(Ok(SeqPageEnd {
                next: lineages.canonical(position),
                rows: seqs.len(),
                seqs,
                lineages,
                stamp,
                kept_from,
            }))
        });
        Ok(page??)
    }

    /// Returns the feed's stamp.
    ///
    /// # Errors
    /// [`StoreError::Postgres`].
    pub fn stamp(&self, deadline: Instant) -> Result<FeedStamp, StoreError> {
        self.read(deadline, async |client| {
            row::stamp(&one(client, STAMP).await?)
        })
    }

    /// Returns what happened to the feed since a state that is known.
    ///
    /// # Errors
    /// [`StoreError::Postgres`].
    pub fn inserted_since(
        &self,
        known: &FeedStamp,
        deadline: Instant,
    ) -> Result<Since, StoreError> {
        const INSERTED: &str = "SELECT ran_at, id, schema_version >= 5 AS is_published
            FROM eval_runs WHERE seq > $1 ORDER BY seq LIMIT $2";
        let most = MAX_FOLLOWED + 1;
        let parameters: [Parameter<'_>; 2] = [(&known.last_seq, Type::INT8), (&most, Type::INT8)];
        self.read(deadline, async |client| {
            let ((), stamp, rows, ()) = tokio::try_join!(
                biased;
                run(client, BEGIN),
                one(client, STAMP),
                all(client, INSERTED, &parameters),
                run(client, COMMIT),
            )?;
            let stamp = row::stamp(&stamp)?;
            let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
            let is_known = count < most && known.is_followed_by(&stamp, count);
            Ok(Since {
                stamp,
                inserted: if is_known { sort_keys(&rows)? } else { None },
            })
        })
    }
}

/// Carries out statements without rows.
async fn run(client: &Client, statements: &str) -> Result<(), StoreError> {
    Ok(client.batch_execute(statements).await?)
}

/// Returns the rows of a query.
async fn all(
    client: &Client,
    query: &str,
    parameters: &[Parameter<'_>],
) -> Result<Vec<Row>, StoreError> {
    Ok(client.query_typed(query, parameters).await?)
}

/// Returns the one row of a query.
async fn one(client: &Client, query: &str) -> Result<Row, StoreError> {
    Ok(client.query_typed_one(query, &[]).await?)
}

/// Hands the rows of a query to `each_row`, one by one as they come. After the first error, none.
async fn each(
    client: &Client,
    query: &str,
    parameters: &[Parameter<'_>],
    mut each_row: impl FnMut(&Row) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let parameters = parameters.iter().map(|(value, of)| (*value, of.clone()));
    let mut rows = pin!(client.query_typed_raw(query, parameters).await?);
    while let Some(row) = rows.try_next().await? {
        each_row(&row)?;
    }
    Ok(())
}

/// Returns the sort keys of the published rows; `None` if one of them is invalid.
fn sort_keys(rows: &[Row]) -> Result<Option<Vec<Cursor>>, PostgresError> {
    let mut keys = Vec::new();
    for row in rows {
        if get::<bool>(row, "is_published")? {
            let Ok(key) = Cursor::of_row(get(row, "ran_at")?, get(row, "id")?) else {
                return Ok(None);
            };
            keys.push(key);
        }
    }
    Ok(Some(keys))
}
