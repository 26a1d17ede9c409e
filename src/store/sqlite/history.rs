//! Begins lineages: when this process writes for the first time, and when a database went back in its own history. Then
//! a tool such as `sqlite3` restored it in place, and numbers will be given again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::{read, write};
use crate::{domain::position::Lineage, store::StoreError};

/// How far a database has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reached {
    /// The current lineage.
    pub(crate) lineage: Lineage,
    /// The greatest `seq` that was ever given.
    pub(crate) last_seq: i64,
}

impl Reached {
    /// Reads it.
    ///
    /// # Errors
    /// Those of [`read::current_lineage`].
    pub(crate) fn of(connection: &Connection) -> Result<Self, StoreError> {
        Ok(Self {
            lineage: read::current_lineage(connection)?,
            last_seq: read::last_seq(connection)?,
        })
    }

    /// Returns whether a database that is here now has been at `other`, and is not any more.
    fn is_before(self, other: Self) -> bool {
        self.lineage.ordinal < other.lineage.ordinal
            || (self.lineage == other.lineage && self.last_seq < other.last_seq)
    }
}

/// What this process knows of the history of its database.
#[derive(Debug, Default)]
pub(crate) struct History(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The furthest that was seen.
    furthest: Option<Reached>,
    /// Whether this process has written.
    has_written: bool,
    /// Whether the lineages are those of another publisher, which this process follows: they may go back.
    keeps_lineages: bool,
}

impl History {
    /// Notes what is committed.
    pub(crate) fn reached(&self, now: Reached) {
        let mut known = self.known();
        if known.keeps_lineages {
            return;
        }
        if !known
            .furthest
            .is_some_and(|furthest| now.is_before(furthest))
        {
            known.furthest = Some(now);
        }
    }

    /// From now on the lineages are those of another publisher, until this process begins one of its own.
    pub(crate) fn keep_lineages(&self) {
        *self.known() = Known {
            keeps_lineages: true,
            ..Known::default()
        };
    }

    /// Notes what this process has committed.
    pub(crate) fn wrote(&self, now: Reached) {
        self.known().has_written = true;
        self.reached(now);
    }

    /// Forgets what was known: another file is at the path.
    pub(crate) fn forget(&self) {
        *self.known() = Known::default();
    }

    /// Returns whether this was further before, or is older than what is known.
    pub(crate) fn is_behind(&self, now: Reached) -> bool {
        let furthest = self.known().furthest;
        furthest.is_some_and(|furthest| now.is_before(furthest))
    }

    /// Begins a new lineage if this process writes for the first time, or if the database went back. Call it in a
    /// transaction that has the write lock, so that nothing which is read can be older than what is known.
    ///
    /// # Errors
    /// Those of [`write::begin_history`].
    pub(crate) fn begin_write(&self, transaction: &Connection) -> Result<(), StoreError> {
        self.known().keeps_lineages = false;
        if !self.check(transaction)? && !self.known().has_written {
            write::continue_lineage(transaction)?;
        }
        Ok(())
    }

    /// As [`History::begin_write`], in a transaction of its own and only if the database went back. The connection may
    /// be one that does not write otherwise.
    ///
    /// # Errors
    /// Those of [`History::begin_write`].
    pub(crate) fn check_apart(&self, connection: &Connection) -> Result<(), StoreError> {
        connection.pragma_update(None, "query_only", "OFF")?;
        let checked = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)
            .map_err(StoreError::from)
            .and_then(|transaction| {
                let began = self.check(&transaction)?;
                let now = Reached::of(&transaction)?;
                transaction.commit()?;
                if began {
                    self.known().furthest = Some(now);
                }
                Ok(())
            });
        connection.pragma_update(None, "query_only", "ON")?;
        checked
    }

    /// Begins a new lineage if the database went back. Returns whether it did.
    fn check(&self, transaction: &Connection) -> Result<bool, StoreError> {
        let now = Reached::of(transaction)?;
        let furthest = self.known().furthest;
        let Some(furthest) = furthest.filter(|furthest| now.is_before(*furthest)) else {
            return Ok(false);
        };
        let last_seq = now.last_seq;
        log::warn!(
            "the database went back to {last_seq} eval runs without `restore`: it gets a new lineage"
        );
        write::begin_history(transaction, furthest.lineage.ordinal.saturating_add(1))?;
        Ok(true)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
