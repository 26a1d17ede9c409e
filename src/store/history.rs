//! Notices that a database went back in its own history: a tool such as `sqlite3` restored it in place, and numbers
//! will be given again under the same lineage.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::{StoreError, read, write};

/// How far a database has got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reached {
    /// The id of the current lineage.
    pub(crate) lineage: String,
    /// The greatest `seq` that was ever given.
    pub(crate) last_seq: i64,
}

impl Reached {
    /// Reads it.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`].
    pub(crate) fn of(connection: &Connection) -> Result<Self, StoreError> {
        Ok(Self {
            lineage: read::lineage(connection)?,
            last_seq: read::last_seq(connection)?,
        })
    }
}

/// The furthest that this process has seen of the current lineage.
#[derive(Debug, Default)]
pub(crate) struct History(Mutex<Option<Reached>>);

impl History {
    /// Notes what is committed.
    pub(crate) fn reached(&self, now: Reached) {
        let mut known = self.known();
        match &mut *known {
            Some(known) if known.lineage == now.lineage => {
                known.last_seq = known.last_seq.max(now.last_seq);
            }
            known => *known = Some(now),
        }
    }

    /// Returns whether this was further before, or is older than what is known.
    pub(crate) fn is_behind(&self, now: &Reached) -> bool {
        let known = self.known();
        let known = known.as_ref();
        known.is_some_and(|known| known.lineage == now.lineage && known.last_seq > now.last_seq)
    }

    /// Begins a new lineage if the database went back: numbers that are given from now on were given before. Call it
    /// in a transaction that has the write lock, so that nothing which is read can be older than what is known.
    ///
    /// # Errors
    /// Those of [`write::begin_history`].
    pub(crate) fn check(&self, transaction: &Connection) -> Result<(), StoreError> {
        let now = Reached::of(transaction)?;
        if self.is_behind(&now) {
            let last_seq = now.last_seq;
            log::warn!(
                "the database went back to {last_seq} eval runs without `restore`: it gets a new lineage"
            );
            write::begin_history(transaction, 0)?;
        }
        Ok(())
    }

    /// As [`History::check`], in a transaction of its own. The connection may be one that does not write otherwise.
    ///
    /// # Errors
    /// Those of [`History::check`].
    pub(crate) fn check_apart(&self, connection: &Connection) -> Result<(), StoreError> {
        connection.pragma_update(None, "query_only", "OFF")?;
        let checked = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)
            .map_err(StoreError::from)
            .and_then(|transaction| {
                self.check(&transaction)?;
                Ok(transaction.commit()?)
            });
        connection.pragma_update(None, "query_only", "ON")?;
        checked
    }

    fn known(&self) -> MutexGuard<'_, Option<Reached>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
