//! Takes a formula in: into a temporary file, which gets its name when it is complete, right and durable.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::{CnfHandle, measured::measure, names};
use crate::domain::{
    coding::Coding,
    formula::{FileHash, Formula},
};

/// Why a formula was not stored. Nothing of it is kept.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// It is not the formula of the challenge.
    #[error("{0}")]
    Differs(String),
    /// The disk is full or has failed, or something else has the name of the file.
    #[error("a formula cannot be stored in {}: {error}", path.display())]
    Disk {
        /// The folder, or the file.
        path: PathBuf,
        /// What failed.
        error: io::Error,
    },
}

fn failed(path: &Path) -> impl Fn(io::Error) -> UploadError {
    move |error| UploadError::Disk {
        path: path.to_owned(),
        error,
    }
}

/// A formula that is being taken in. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Upload {
    cnf: CnfHandle,
    formula: Formula,
    scratch: NamedTempFile,
    hasher: Sha256,
    bytes: u64,
}

/// A formula that is complete, right and durable, and has no name yet. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Complete {
    cnf: CnfHandle,
    hash: FileHash,
    path: PathBuf,
    /// `None` if it was stored before.
    scratch: Option<NamedTempFile>,
}

impl CnfHandle {
    /// Returns how many bytes the formula may have: no more are to be written.
    pub fn max_upload_bytes(&self, formula: &Formula) -> u64 {
        let most = self.0.max_upload_bytes;
        formula.bytes.map_or(most, |bytes| bytes.min(most))
    }

    /// Begins to take a formula in. Blocks.
    ///
    /// # Errors
    /// [`UploadError::Disk`].
    pub fn begin_upload(&self, formula: Formula) -> Result<Upload, UploadError> {
        let folder = &self.0.folder;
        Ok(Upload {
            scratch: names::scratch(folder).map_err(failed(folder))?,
            cnf: self.clone(),
            formula,
            hasher: Sha256::new(),
            bytes: 0,
        })
    }
}

impl Upload {
    /// Adds bytes. Blocks.
    ///
    /// # Errors
    /// [`UploadError::Disk`].
    pub fn write(&mut self, piece: &[u8]) -> Result<(), UploadError> {
        self.bytes += piece.len() as u64;
        self.hasher.update(piece);
        let written = self.scratch.write_all(piece);
        written.map_err(failed(&self.cnf.0.folder))
    }

    /// Checks the formula, and makes it durable. Blocks.
    ///
    /// # Errors
    /// [`UploadError`].
    pub fn complete(self) -> Result<Complete, UploadError> {
        let (found, formula) = (FileHash(self.hasher.finalize().into()), self.formula);
        if let Some(announced) = formula.bytes
            && announced != self.bytes
        {
            let bytes = self.bytes;
            let differs =
                format!("the body has {bytes} bytes, the challenge announces {announced}");
            return Err(UploadError::Differs(differs));
        }
        if found != formula.hash {
            let announced = formula.hash;
            let differs = format!("the body's SHA-256 is {found}, the challenge's {announced}");
            return Err(UploadError::Differs(differs));
        }
        let path = names::path(&self.cnf.0.folder, &formula.hash, Coding::Identity);
        let is_stored = measure(&path).is_ok_and(|(_, stored)| stored.sha256 == found.0);
        // Another upload may have named the file and not have made it durable yet.
        let synced = match is_stored {
            true => File::open(&path).and_then(|stored| stored.sync_all()),
            false => self.scratch.as_file().sync_all(),
        };
        synced.map_err(failed(&path))?;
        Ok(Complete {
            cnf: self.cnf,
            hash: formula.hash,
            path,
            scratch: (!is_stored).then_some(self.scratch),
        })
    }
}

impl Complete {
    /// Gives the formula its name, durably. Returns false if it was stored before. Blocks.
    ///
    /// # Errors
    /// [`UploadError::Disk`].
    pub fn keep(self) -> Result<bool, UploadError> {
        let (shared, path) = (&self.cnf.0, &self.path);
        let is_new = self.scratch.is_some();
        if let Some(scratch) = self.scratch {
            let named = scratch.persist(path).map_err(|error| error.error);
            named.map_err(failed(path))?;
            shared.table.forget(&self.hash);
            shared.wake();
        }
        // The name is durable only when the folder is.
        let synced = File::open(&shared.folder).and_then(|folder| folder.sync_all());
        synced.map_err(failed(&shared.folder))?;
        Ok(is_new)
    }
}
