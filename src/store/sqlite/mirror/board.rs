//! The board of the upstream: it takes the place of the one that is stored, and never goes back.
//!
//! A cache between may answer for an upstream that is away, with a board of before. Its position tells that: within the
//! history that is known, an older position changes nothing. A restore and the promotion of a standby begin a lineage,
//! whose positions are newer whatever their numbers are.

use std::{cmp::Ordering, collections::HashMap};

use rusqlite::{Connection, OptionalExtension};

use super::{lineage, refused};
use crate::{
    domain::{challenge::Challenge, lineages::Lineages, position::Position},
    store::{
        Counts, StoreError, WriteError, Written,
        operation::MirrorRefused,
        sqlite::{mirror::Part, read, write},
    },
};

/// Stores the board: all its challenges, or `None` if they are as they were. An older board changes nothing: if it is
/// also another one than that which is stored, it is refused.
pub(super) fn put(
    connection: &Connection,
    challenges: Option<&[Challenge]>,
    position: Option<Position>,
) -> Result<Counts, WriteError> {
    // Without numbers of the upstream a position says nothing.
    let is_numbered = lineage(connection)?.is_some();
    let position = position.filter(|_| is_numbered);
    let lineages = read::lineages(connection)?;
    if position.is_some_and(|position| !knows(&lineages, position)) {
        return Err(MirrorRefused::UnknownLineage.into());
    }
    let before = read::board_version(connection)?.count;
    let changes = challenges.map(|new| Changes::to(new, connection));
    let changes = changes.transpose()?;
    let mut counts = Counts::default();
    if is_older(position, self::position(connection, &lineages)?) {
        if changes.is_some_and(|changes| !changes.is_empty()) {
            return Err(refused("the board is older than the one that is stored"));
        }
        for _ in challenges.unwrap_or_default() {
            counts.add(Written::Unchanged);
        }
        return Ok(counts);
    }
    if let Some(changes) = changes {
        counts = changes.apply(connection)?;
        Part::Board.set_copied(connection)?;
    }
    if let Some(position) = position {
        connection
            .prepare_cached(
                "INSERT INTO followed_board VALUES (1, ?1)
                 ON CONFLICT (only_row) DO UPDATE SET position = ?1",
            )?
            .execute([position.to_string()])?;
        // The number of an earlier lineage says nothing of the present count.
        if lineages.current() == Some(position.lineage) && position.number > before {
            connection.execute(
                "UPDATE board_version SET version = ?1, change_id = random()",
                [position.number],
            )?;
        }
    }
    Ok(counts)
}

/// Returns where the upstream was with the board that is stored; `None` if that is not known in its present history.
pub(super) fn position(
    connection: &Connection,
    lineages: &Lineages,
) -> Result<Option<Position>, StoreError> {
    let stored: Option<String> = connection
        .prepare_cached("SELECT position FROM followed_board")?
        .query_row([], |row| row.get(0))
        .optional()?;
    let stored = stored.and_then(|stored| stored.parse().ok());
    Ok(stored.filter(|stored| knows(lineages, *stored)))
}

/// Forgets where the upstream was: it is another database now.
pub(super) fn forget_position(connection: &Connection) -> rusqlite::Result<()> {
    connection
        .execute("DELETE FROM followed_board", [])
        .map(drop)
}

fn is_older(new: Option<Position>, stored: Option<Position>) -> bool {
    let order = new.zip(stored).and_then(|(new, stored)| new.order(stored));
    order == Some(Ordering::Less)
}

fn knows(lineages: &Lineages, position: Position) -> bool {
    let mut known = lineages.known().iter();
    known.any(|known| known.lineage == position.lineage)
}

/// What makes the stored board another one.
struct Changes<'a> {
    unchanged: usize,
    put: Vec<&'a Challenge>,
    delete: Vec<String>,
}

impl<'a> Changes<'a> {
    fn to(new: &'a [Challenge], connection: &Connection) -> Result<Self, StoreError> {
        let mut stored = HashMap::new();
        read::every_challenge::<StoreError>(connection, |challenge| {
            stored.insert(challenge.challenge_id.clone(), challenge);
            Ok(())
        })?;
        let (mut unchanged, mut put) = (0, Vec::new());
        for challenge in new {
            let before = stored.remove(&challenge.challenge_id);
            if before.as_ref() == Some(challenge) {
                unchanged += 1;
                continue;
            }
            if before.is_some_and(|before| before.cnf_sha256 != challenge.cnf_sha256) {
                let id = &challenge.challenge_id;
                log::warn!(
                    "the upstream has changed the formula of challenge {id:?}, which no publisher may do: it is copied all the same"
                );
            }
            put.push(challenge);
        }
        let delete = stored.into_keys().collect();
        Ok(Self {
            unchanged,
            put,
            delete,
        })
    }

    fn is_empty(&self) -> bool {
        self.put.is_empty() && self.delete.is_empty()
    }

    fn apply(self, connection: &Connection) -> rusqlite::Result<Counts> {
        let mut counts = Counts::default();
        for _ in 0..self.unchanged {
            counts.add(Written::Unchanged);
        }
        for challenge in self.put {
            write::insert_challenge(connection, challenge)?;
            counts.add(Written::Inserted);
        }
        for id in self.delete {
            connection
                .prepare_cached("DELETE FROM challenges WHERE challenge_id = ?1")?
                .execute([id])?;
            counts.add(Written::Inserted);
        }
        Ok(counts)
    }
}
