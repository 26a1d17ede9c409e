//! The database of `serve`: opened at the start, or later if there is a board to serve meanwhile.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use cathedral_publisher::{
    cache::snapshot_file::SnapshotFile,
    store::sqlite::{file::DatabaseFile, kept_open::KeptOpen, mirror::claim::Claim},
};

/// The time between two attempts to open the database.
const RETRY: Duration = Duration::from_secs(1);

/// A database that is open, or that a thread tries to open.
pub(crate) struct Opening {
    file: DatabaseFile,
    busy_timeout: Duration,
    kept: Arc<Mutex<Option<KeptOpen>>>,
    /// If it is that of a follower.
    claim: Option<Claim>,
}

impl Opening {
    /// Opens the database at `path`. If that fails and the snapshot file has a board, tries again in the background.
    /// With such a board no database is created: a folder that is not mounted must not look like an empty database.
    ///
    /// # Errors
    /// If the database cannot be opened and there is no board.
    pub(crate) fn begin(
        path: &Path,
        read_only: bool,
        busy_timeout: Duration,
        snapshot_file: Option<&SnapshotFile>,
    ) -> anyhow::Result<Self> {
        if let Some(snapshot_file) = snapshot_file {
            check_apart(snapshot_file.path(), path)?;
        }
        if !snapshot_file.is_some_and(SnapshotFile::has_board) {
            let kept = KeptOpen::open(path, read_only, busy_timeout)?;
            let file = kept.file().clone();
            let kept = Arc::new(Mutex::new(Some(kept)));
            return Ok(Self {
                file,
                busy_timeout,
                kept,
                claim: None,
            });
        }
        let file = DatabaseFile::new(path, read_only);
        let opening = Self {
            file: file.clone(),
            busy_timeout,
            kept: Arc::default(),
            claim: None,
        };
        match KeptOpen::open_existing(&file, busy_timeout) {
            Ok(kept) => opening.put(kept),
            Err(error) => {
                log::warn!("{error}: starting without it, and trying again every second");
                opening.open_later()?;
            }
        }
        Ok(opening)
    }

    /// Returns the database file.
    pub(crate) fn file(&self) -> &DatabaseFile {
        &self.file
    }

    /// Returns whether the database is open by now.
    pub(crate) fn is_open(&self) -> bool {
        self.locked().is_some()
    }

    /// Keeps the claim until the database is closed.
    pub(crate) fn keep(&mut self, claim: Claim) {
        self.claim = Some(claim);
    }

    /// Returns the claim, if the database is that of a follower.
    pub(crate) fn claim(&self) -> Option<&Claim> {
        self.claim.as_ref()
    }

    /// Closes the database: see [`KeptOpen::close`].
    pub(crate) fn close(self) {
        let kept = self.locked().take();
        // Others may have used it already, if it can be opened since a moment ago.
        let opened = || KeptOpen::open_existing(&self.file, self.busy_timeout).ok();
        if let Some(kept) = kept.or_else(opened) {
            kept.close();
        }
    }

    fn put(&self, kept: KeptOpen) {
        *self.locked() = Some(kept);
    }

    fn locked(&self) -> MutexGuard<'_, Option<KeptOpen>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a thread that ends when the database is open. Readers, polls and writes open it by themselves.
    fn open_later(&self) -> anyhow::Result<()> {
        let later = Self {
            file: self.file.clone(),
            busy_timeout: self.busy_timeout,
            kept: Arc::clone(&self.kept),
            claim: None,
        };
        let retry = move || {
            let kept = loop {
                thread::sleep(RETRY);
                if let Ok(kept) = KeptOpen::open_existing(&later.file, later.busy_timeout) {
                    break kept;
                }
            };
            later.put(kept);
            log::info!("{}: opened", later.file.path().display());
        };
        thread::Builder::new()
            .name("open".to_owned())
            .spawn(retry)?;
        Ok(())
    }
}

/// Checks that the snapshot file is not one of the database's files.
fn check_apart(snapshot_file: &Path, database: &Path) -> anyhow::Result<()> {
    let place = |path: &Path| {
        let folder = path.parent().map(|folder| folder.join("."));
        let folder = folder.and_then(|folder| folder.canonicalize().ok());
        (folder, path.file_name().map(ToOwned::to_owned))
    };
    let snapshot = place(snapshot_file);
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut file = database.as_os_str().to_owned();
        file.push(suffix);
        anyhow::ensure!(
            place(Path::new(&file)) != snapshot,
            "{}: is a file of the database, and cannot be the snapshot file",
            snapshot_file.display()
        );
    }
    Ok(())
}
