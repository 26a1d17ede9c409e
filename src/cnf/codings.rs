//! The thread that makes the codings of active formulas and deletes those of others.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
    sync::{
        Arc, Weak,
        mpsc::{Receiver, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use super::{
    Shared,
    checked::{Checked, Source},
    encode,
    names::{self, CODINGS},
};
use crate::domain::{coding::Coding, formula::FileHash};

/// The files of codings in the folder, and their sizes in bytes.
type Present = BTreeMap<(FileHash, Coding), u64>;

/// What is done with the codings.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    /// No active challenge has their formula.
    delete: Vec<(FileHash, Coding)>,
    /// What the others have, in bytes.
    kept_bytes: u64,
}

fn plan(present: &Present, active: &BTreeSet<FileHash>) -> Plan {
    let is_active = |(hash, _): &&(FileHash, Coding)| active.contains(hash);
    let delete = present.keys().filter(|key| !is_active(key)).copied();
    let kept = present.iter().filter(|(key, _)| is_active(key));
    Plan {
        delete: delete.collect(),
        kept_bytes: kept.map(|(_, bytes)| *bytes).sum(),
    }
}

/// Starts the thread. It ends soon after the last handle of the formulas has been dropped.
pub(super) fn launch(
    shared: Weak<Shared>,
    due: Receiver<()>,
    retry_after: Duration,
) -> io::Result<()> {
    let run = move || {
        let mut is_complete = true;
        let wait = |is_complete| {
            if is_complete {
                due.recv().is_ok()
            } else {
                due.recv_timeout(retry_after) != Err(RecvTimeoutError::Disconnected)
            }
        };
        while wait(is_complete) {
            if let Some(shared) = shared.upgrade() {
                let wanted = Arc::downgrade(&shared);
                let pass = Pass::new(&shared);
                drop(shared);
                if let Some(pass) = pass {
                    is_complete = pass.run(&wanted);
                }
            }
        }
    };
    thread::Builder::new()
        .name("codings".to_owned())
        .spawn(run)?;
    Ok(())
}

/// One look at the folder.
struct Pass {
    folder: std::path::PathBuf,
    max_bytes: u64,
    active: BTreeSet<FileHash>,
}

impl Pass {
    /// `None` before the first board.
    fn new(shared: &Shared) -> Option<Self> {
        Some(Self {
            folder: shared.folder.clone(),
            max_bytes: shared.max_coded_bytes,
            active: shared.active()?,
        })
    }

    /// Returns false if a file could not be read, written or deleted. That stops nothing else.
    fn run(self, shared: &Weak<Shared>) -> bool {
        let mut is_complete = true;
        let mut failed = |hash: FileHash, what, error: &io::Error| {
            is_complete = false;
            if let Some(shared) = shared.upgrade() {
                shared.tell_coding_fault(hash, what, error);
            }
        };
        let present = match present(&self.folder) {
            Ok(present) => present,
            Err(error) => {
                // The zero hash stands for the folder.
                failed(FileHash([0; 32]), None, &error);
                return false;
            }
        };
        let plan = plan(&present, &self.active);
        if self.max_bytes > 0 {
            for (hash, coding) in &plan.delete {
                if let Err(error) = remove(&names::path(&self.folder, hash, *coding)) {
                    failed(*hash, Some(*coding), &error);
                }
            }
        }
        let mut used_bytes = plan.kept_bytes;
        let tell = |bytes| {
            if let Some(shared) = shared.upgrade() {
                shared.metrics.set_coded_bytes(bytes);
            }
        };
        tell(used_bytes);
        let goes_on = || shared.strong_count() > 0;
        let mut unfinished = BTreeSet::new();
        // All cheap codings before any expensive one.
        for coding in CODINGS {
            for hash in &self.active {
                let Some(checked) = shared.upgrade().and_then(|shared| shared.check_here(*hash))
                else {
                    // The file is missing or wrong, and requests say so, or a request is checking it.
                    continue;
                };
                if checked.source(coding).is_none() {
                    let found = present.get(&(*hash, coding)).copied();
                    let provided = self.provide(&checked, coding, found, &mut used_bytes, &goes_on);
                    if !goes_on() {
                        return true;
                    }
                    if let Err(error) = provided {
                        unfinished.insert(*hash);
                        failed(*hash, Some(coding), &error);
                    }
                    tell(used_bytes);
                }
                if Some(&coding) == CODINGS.last() && !unfinished.contains(hash) {
                    checked.finish();
                }
            }
        }
        is_complete
    }

    /// Uses the file of a coding, or makes it.
    fn provide(
        &self,
        checked: &Checked,
        coding: Coding,
        found: Option<u64>,
        used_bytes: &mut u64,
        goes_on: &dyn Fn() -> bool,
    ) -> io::Result<()> {
        *used_bytes -= self.adopt(checked, coding, found, goes_on)?;
        if checked.source(coding).is_none() {
            *used_bytes += self.make(checked, coding, *used_bytes, goes_on)?;
        }
        Ok(())
    }

    /// Uses the file of a coding that is there. Returns how many bytes were freed: those of one that is wrong.
    fn adopt(
        &self,
        checked: &Checked,
        coding: Coding,
        found: Option<u64>,
        goes_on: &dyn Fn() -> bool,
    ) -> io::Result<u64> {
        let Some(found) = found else {
            return Ok(0);
        };
        let (identity, path) = (&checked.identity, self.path(checked, coding));
        let bytes = identity.measured.bytes;
        let checked_file = match encode::check(&path, identity.hash, bytes, coding, goes_on) {
            // Another server has deleted it, or it is a link to nothing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            checked_file => checked_file?,
        };
        match checked_file {
            Some(measured) => {
                checked.add(Source {
                    hash: identity.hash,
                    coding,
                    path,
                    measured,
                });
                Ok(0)
            }
            None if self.max_bytes > 0 => {
                log::warn!("{}: is no coding of the formula: deleted", path.display());
                remove(&path)?;
                Ok(found)
            }
            None => Ok(0),
        }
    }

    /// Makes a coding, if it saves something and there is room for it. Returns how many bytes it has.
    fn make(
        &self,
        checked: &Checked,
        coding: Coding,
        used_bytes: u64,
        goes_on: &dyn Fn() -> bool,
    ) -> io::Result<u64> {
        let identity = &checked.identity;
        // About what text of digits comes to.
        let expected_bytes = identity.measured.bytes / 2;
        if used_bytes.saturating_add(expected_bytes) > self.max_bytes {
            return Ok(0);
        }
        let Some((scratch, measured)) = encode::encode(&self.folder, identity, coding, goes_on)?
        else {
            return Ok(0);
        };
        let bytes = measured.bytes;
        if used_bytes.saturating_add(bytes) > self.max_bytes {
            return Ok(0);
        }
        let path = self.path(checked, coding);
        scratch.persist(&path).map_err(|error| error.error)?;
        checked.add(Source {
            hash: identity.hash,
            coding,
            path,
            measured,
        });
        Ok(bytes)
    }

    fn path(&self, checked: &Checked, coding: Coding) -> std::path::PathBuf {
        encode::path(&self.folder, &checked.identity, coding)
    }
}

fn present(folder: &Path) -> io::Result<Present> {
    let mut present = Present::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if let Some(key) = entry.file_name().to_str().and_then(names::coding_of) {
            // Another server may have deleted it meanwhile, and it may be no file.
            let metadata = entry.metadata().ok().filter(fs::Metadata::is_file);
            present.insert(key, metadata.map_or(0, |metadata| metadata.len()));
        }
    }
    Ok(present)
}

/// Deletes a file, if it is there: another server may have deleted it.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codings_of_formulas_that_no_active_challenge_has_are_deleted() {
        let [active, other] = [1, 2].map(|byte| FileHash([byte; 32]));
        let present = [
            ((active, Coding::Gzip), 5),
            ((active, Coding::Zstd), 7),
            ((other, Coding::Gzip), 100),
        ];
        let plan = plan(&present.into(), &BTreeSet::from([active]));
        assert_eq!(plan.delete, [(other, Coding::Gzip)]);
        assert_eq!(plan.kept_bytes, 12);
    }
}
