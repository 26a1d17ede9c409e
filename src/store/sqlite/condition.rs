//! Whether the database that is served can be trusted: what reads, writes and polls have found.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rusqlite::ErrorCode;

use super::history::History;
use crate::store::{StoreError, polls::Polls};

/// How long a database counts as damaged after a read or write has found that.
const DAMAGED: Duration = Duration::from_secs(300);
/// How often it is checked whether the database is really damaged.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// What was found lately.
#[derive(Debug, Default)]
pub(crate) struct Condition {
    damage: Mutex<Option<Damage>>,
    /// Whether other processes' changes are noticed.
    pub(super) polls: Polls,
    /// How far the database has got.
    pub(crate) history: History,
}

/// Malformed pages.
#[derive(Debug)]
struct Damage {
    /// When one was last found.
    found: Instant,
    /// When the whole database was last checked because of that.
    checked: Option<Instant>,
}

impl Condition {
    /// Notes an error of a read or write.
    pub(crate) fn failed(&self, error: &StoreError) {
        let StoreError::Sqlite(error) = error else {
            return;
        };
        if matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        ) {
            let mut known = self.damage();
            let checked = known.take().and_then(|damage| damage.checked);
            let found = Instant::now();
            *known = Some(Damage { found, checked });
        }
    }

    /// Discards what was found of the content: another one has taken its place.
    pub(crate) fn replaced(&self) {
        *self.damage() = None;
    }

    /// Returns whether a read or write has found malformed pages in the last five minutes. A disk that fails for a
    /// moment gives the same error, so this calls `is_sound`, at most every ten seconds; if it returns true the
    /// finding is discarded.
    pub(crate) fn is_damaged(&self, is_sound: impl FnOnce() -> bool) -> bool {
        let mut known = self.damage();
        let Some(damage) = &mut *known else {
            return false;
        };
        if damage.found.elapsed() > DAMAGED {
            *known = None;
            return false;
        }
        let checked = damage.checked.map(|checked| checked.elapsed());
        if checked.is_some_and(|age| age < CHECK_INTERVAL) {
            return true;
        }
        damage.checked = Some(Instant::now());
        let found = damage.found;
        drop(known);
        let is_sound = is_sound();
        let mut damage = self.damage();
        // Errors that came during the check stay.
        damage.take_if(|damage| is_sound && damage.found == found);
        damage.is_some()
    }

    fn damage(&self) -> MutexGuard<'_, Option<Damage>> {
        // Nothing under this lock panics half-way through a change.
        self.damage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
