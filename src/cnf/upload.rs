//! Takes a formula in: into a temporary file, which gets its name when it is complete, right and durable.

use std::{
    fs::File,
    io::{self, Write},
    sync::Arc,
};

use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use tokio::sync::OwnedSemaphorePermit;

use super::{CnfHandle, measured::measure, names};
use crate::domain::{
    coding::Coding,
    formula::{FileHash, Formula},
};

/// Why a formula was not stored. Nothing of it is kept.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// Too many others are being taken in.
    #[error("too many uploads at once")]
    Busy,
    /// It is not the formula of the challenge.
    #[error("{0}")]
    Differs(String),
    /// The disk is full or has failed.
    #[error("the formula cannot be stored: {0}")]
    Disk(#[from] io::Error),
}

/// A formula that is being taken in. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Upload {
    cnf: CnfHandle,
    formula: Formula,
    scratch: NamedTempFile,
    hasher: Sha256,
    bytes: u64,
    _permit: OwnedSemaphorePermit,
}

impl CnfHandle {
    /// Returns how many bytes the formula may have: no more are to be written.
    pub fn max_upload_bytes(&self, formula: &Formula) -> u64 {
        let most = self.0.max_upload_bytes;
        formula.bytes.map_or(most, |bytes| bytes.min(most))
    }

    /// Reserves one of few uploads. Blocks not.
    ///
    /// # Errors
    /// [`UploadError::Busy`].
    pub fn admit_upload(&self) -> Result<OwnedSemaphorePermit, UploadError> {
        let permit = Arc::clone(&self.0.uploads).try_acquire_owned();
        permit.map_err(|_| UploadError::Busy)
    }

    /// Begins to take a formula in. Blocks.
    ///
    /// # Errors
    /// [`UploadError::Disk`].
    pub fn begin_upload(
        &self,
        permit: OwnedSemaphorePermit,
        formula: Formula,
    ) -> Result<Upload, UploadError> {
        Ok(Upload {
            scratch: names::scratch(&self.0.folder)?,
            cnf: self.clone(),
            formula,
            hasher: Sha256::new(),
            bytes: 0,
            _permit: permit,
        })
    }
}

impl Upload {
    /// Adds bytes. Blocks.
    ///
    /// # Errors
    /// [`UploadError`].
    pub fn write(&mut self, piece: &[u8]) -> Result<(), UploadError> {
        self.bytes += piece.len() as u64;
        self.hasher.update(piece);
        self.scratch.write_all(piece)?;
        Ok(())
    }

    /// Checks the formula and gives it its name, durably. Returns false if it was stored before. Blocks.
    ///
    /// # Errors
    /// [`UploadError`].
    pub fn finish(self) -> Result<bool, UploadError> {
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
        let shared = &self.cnf.0;
        let path = names::path(&shared.folder, &formula.hash, Coding::Identity);
        let is_stored = measure(&path).is_ok_and(|(_, stored)| stored.sha256 == found.0);
        if !is_stored {
            self.scratch.as_file().sync_all()?;
            self.scratch.persist(&path).map_err(|error| error.error)?;
            // The name is durable only when the folder is.
            File::open(&shared.folder)?.sync_all()?;
            shared.table.forget(&formula.hash);
            shared.wake();
        }
        Ok(!is_stored)
    }
}
