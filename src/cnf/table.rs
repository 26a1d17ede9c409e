//! Which files were checked, and what was found: one check at a time for each file, bounded in memory.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hashlink::LruCache;
use tokio::sync::watch;

use super::checked::{Checked, Fault};
use crate::domain::formula::FileHash;

/// How long a result counts before the file is looked at again. Wrong bytes are not served even if the file has changed
/// meanwhile: each chunk that is read is compared with its checksum.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The most files that are known.
const MAX_FILES: usize = 4096;
/// The most memory for these files, in bytes: the least recently used ones are evicted.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// What was found of a file.
pub(super) type Found = Result<Arc<Checked>, Fault>;

/// The files that were checked. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Table(Arc<Mutex<Entries>>);

#[derive(Debug)]
struct Entries {
    files: LruCache<FileHash, Entry>,
}

#[derive(Debug)]
struct Entry {
    found: Option<Found>,
    at: Instant,
    /// The check that runs; its end drops the sender.
    check: Option<watch::Receiver<()>>,
    /// The file was replaced while the check ran: what it finds does not count.
    outdated: bool,
}

impl Entry {
    /// Returns what was found, if that counts.
    fn current(&self, now: Instant) -> Option<&Found> {
        let is_recent = now.saturating_duration_since(self.at) < LOOK_EVERY;
        self.found
            .as_ref()
            .filter(|_| is_recent && self.check.is_none())
    }
}

/// What a request for a file does next.
#[derive(Debug)]
pub(super) enum Step {
    /// It uses what was found.
    Use(Found),
    /// It waits until the check that runs has ended, and asks again.
    Wait(watch::Receiver<()>),
    /// It looks at the file.
    Check(Turn),
}

/// The right to check a file. Dropped, it lets others check it.
#[derive(Debug)]
pub(super) struct Turn {
    table: Table,
    pub(super) hash: FileHash,
    /// What was found the last time, if it was well.
    pub(super) before: Option<Arc<Checked>>,
    finished: bool,
    _end: watch::Sender<()>,
}

impl Table {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Entries {
            files: LruCache::new(MAX_FILES),
        })))
    }

    /// Returns what was found of a file; `None` if the file must be checked, or a check runs.
    pub(super) fn known(&self, hash: &FileHash, now: Instant) -> Option<Found> {
        let mut entries = self.lock();
        entries.files.get(hash)?.current(now).cloned()
    }

    /// Returns what was found of a file, the check that runs, or the right to check it.
    pub(super) fn begin(&self, hash: FileHash, now: Instant) -> Step {
        let mut entries = self.lock();
        let mut before = None;
        if let Some(entry) = entries.files.get(&hash) {
            if let Some(check) = &entry.check {
                return Step::Wait(check.clone());
            }
            if let Some(found) = entry.current(now) {
                return Step::Use(found.clone());
            }
            let found = entry.found.as_ref().and_then(|found| found.as_ref().ok());
            before = found.cloned();
        }
        let (end, check) = watch::channel(());
        let entry = Entry {
            found: before.clone().map(Ok),
            at: now,
            check: Some(check),
            outdated: false,
        };
        entries.files.insert(hash, entry);
        Step::Check(Turn {
            table: self.clone(),
            hash,
            before,
            finished: false,
            _end: end,
        })
    }

    /// Forgets what was found: the next request looks at the file.
    pub(super) fn forget(&self, hash: &FileHash) {
        let mut entries = self.lock();
        if let Some(entry) = entries.files.peek_mut(hash) {
            if entry.check.is_some() {
                entry.outdated = true;
            } else {
                entries.files.remove(hash);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Notes what was found.
    pub(super) fn finish(mut self, found: Found) {
        self.finished = true;
        let entry = Entry {
            found: Some(found),
            at: Instant::now(),
            check: None,
            outdated: false,
        };
        let mut entries = self.table.lock();
        let known = entries.files.peek(&self.hash);
        if known.is_some_and(|known| known.outdated) {
            entries.files.remove(&self.hash);
            return;
        }
        entries.files.insert(self.hash, entry);
        let weight = |entries: &Entries| -> usize {
            let found = entries
                .files
                .iter()
                .filter_map(|(_, entry)| entry.found.as_ref());
            found.flatten().map(|checked| checked.weight()).sum()
        };
        while weight(&entries) > MAX_BYTES && entries.files.len() > 1 {
            entries.files.remove_lru();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // The check may have panicked.
        if !self.finished {
            self.table.lock().files.remove(&self.hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: FileHash = FileHash([1; 32]);

    #[test]
    fn one_request_checks_and_the_others_wait() {
        let table = Table::new();
        let now = Instant::now();
        let Step::Check(turn) = table.begin(HASH, now) else {
            panic!("nobody checks");
        };
        assert!(matches!(table.begin(HASH, now), Step::Wait(_)));
        turn.finish(Err(Fault::Missing));
        let now = Instant::now();
        assert!(matches!(
            table.begin(HASH, now),
            Step::Use(Err(Fault::Missing))
        ));
        assert!(matches!(
            table.begin(HASH, now + LOOK_EVERY),
            Step::Check(_)
        ));
    }

    #[test]
    fn a_check_that_panicked_leaves_the_file_to_the_next_one() {
        let table = Table::new();
        let first = table.begin(HASH, Instant::now());
        let Step::Wait(ended) = table.begin(HASH, Instant::now()) else {
            panic!("two check");
        };
        drop(first);
        assert!(ended.has_changed().is_err());
        assert!(matches!(table.begin(HASH, Instant::now()), Step::Check(_)));
    }

    #[test]
    fn a_check_of_a_file_that_is_replaced_meanwhile_does_not_count() {
        let table = Table::new();
        let Step::Check(turn) = table.begin(HASH, Instant::now()) else {
            panic!("nobody checks");
        };
        table.forget(&HASH);
        // Still one at a time.
        assert!(matches!(table.begin(HASH, Instant::now()), Step::Wait(_)));
        turn.finish(Err(Fault::Missing));
        assert!(matches!(table.begin(HASH, Instant::now()), Step::Check(_)));
    }

    #[test]
    fn what_is_forgotten_is_looked_at_again() {
        let table = Table::new();
        if let Step::Check(turn) = table.begin(HASH, Instant::now()) {
            turn.finish(Err(Fault::Missing));
        }
        table.forget(&HASH);
        assert!(matches!(table.begin(HASH, Instant::now()), Step::Check(_)));
    }
}
