//! Whether the database that is served can be trusted: what reads, writes and polls have found.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rusqlite::ErrorCode;

use super::{StoreError, history::History};

/// After this number of failed polls in a row, changes by other processes count as unnoticed.
const FAILED_POLLS: u32 = 3;
/// How long a database counts as damaged after a read or write has found that.
const DAMAGED: Duration = Duration::from_secs(300);
/// How often it is checked whether the database is really damaged.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// What was found lately.
#[derive(Debug, Default)]
pub(crate) struct Condition {
    findings: Mutex<Findings>,
    /// How far the database has got.
    pub(crate) history: History,
}

#[derive(Debug, Default)]
struct Findings {
    damage: Option<Damage>,
    /// How many polls have failed since the last one that succeeded.
    failed_polls: u32,
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
            let mut findings = self.findings();
            let checked = findings.damage.take().and_then(|damage| damage.checked);
            let found = Instant::now();
            findings.damage = Some(Damage { found, checked });
        }
    }

    /// Notes whether a poll could read the database.
    pub(crate) fn polled(&self, succeeded: bool) {
        let mut findings = self.findings();
        findings.failed_polls = if succeeded {
            0
        } else {
            findings.failed_polls.saturating_add(1)
        };
    }

    /// Discards what was found of the content: another one has taken its place.
    pub(crate) fn replaced(&self) {
        self.findings().damage = None;
    }

    /// Returns whether changes by other processes are not noticed: several polls in a row have failed.
    pub(crate) fn is_unwatched(&self) -> bool {
        self.findings().failed_polls >= FAILED_POLLS
    }

    /// Returns whether a read or write has found malformed pages in the last five minutes. A disk that fails for a
    /// moment gives the same error, so this calls `is_sound`, at most every ten seconds; if it returns true the
    /// finding is discarded.
    pub(crate) fn is_damaged(&self, is_sound: impl FnOnce() -> bool) -> bool {
        let mut findings = self.findings();
        let Some(damage) = &mut findings.damage else {
            return false;
        };
        if damage.found.elapsed() > DAMAGED {
            findings.damage = None;
            return false;
        }
        let checked = damage.checked.map(|checked| checked.elapsed());
        if checked.is_some_and(|age| age < CHECK_INTERVAL) {
            return true;
        }
        damage.checked = Some(Instant::now());
        let found = damage.found;
        drop(findings);
        let is_sound = is_sound();
        let damage = &mut self.findings().damage;
        // Errors that came during the check stay.
        damage.take_if(|damage| is_sound && damage.found == found);
        damage.is_some()
    }

    fn findings(&self) -> MutexGuard<'_, Findings> {
        // Nothing under this lock panics half-way through a change.
        let findings = self.findings.lock();
        findings.unwrap_or_else(PoisonError::into_inner)
    }
}
