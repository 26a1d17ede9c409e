//! A private folder for a database that is being made, beside the file that it will become.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use tempfile::{TempDir, TempPath};

use super::file::target;

const PREFIX: &str = ".cathedral-publisher-";
/// Another process may remove a new folder that is not locked yet.
const ATTEMPTS: u32 = 10;

/// A folder that only its owner may enter. It is removed when this is dropped, and if the process was killed, by
/// the next one that makes such a folder there.
#[derive(Debug)]
pub(super) struct Scratch {
    folder: TempDir,
    /// Locked while the process lives.
    _lock: File,
}

impl Scratch {
    /// Makes a folder beside `file`, on the same file system.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub(super) fn beside(file: &Path) -> io::Result<Self> {
        let parent = folder_of(file);
        remove_abandoned(&parent);
        for _ in 0..ATTEMPTS {
            let folder = private_folder(&parent)?;
            let Ok(lock) = File::open(folder.path()) else {
                continue;
            };
            lock.lock()?;
            if folder.path().exists() {
                let _lock = lock;
                return Ok(Self { folder, _lock });
            }
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }

    /// Returns the folder.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the path of a file in it.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Gives `made` the name `file`, in one step that survives a loss of power. No connection may be open.
///
/// # Errors
/// Without `replace`, `AlreadyExists` if `file` exists; or an error of the disk.
pub(super) fn move_to(made: PathBuf, file: &Path, replace: bool) -> io::Result<()> {
    File::open(&made)?.sync_all()?;
    let made = TempPath::try_from_path(made)?;
    if replace {
        made.persist(file)?;
    } else {
        made.persist_noclobber(file)?;
    }
    sync_folder(&folder_of(file))
}

/// Returns the folder that contains the file.
pub(super) fn folder_of(file: &Path) -> PathBuf {
    match target(file).parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

fn private_folder(parent: &Path) -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    builder.tempdir_in(parent)
}

/// Removes the folders of processes that were killed: nobody has them locked. Errors are ignored: such a folder
/// costs space and harms nothing.
fn remove_abandoned(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_scratch = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if !is_scratch || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let Ok(folder) = File::open(entry.path()) else {
            continue;
        };
        if folder.try_lock().is_ok() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
