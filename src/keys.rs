//! The JWK set of a server: served as it is, and what its eval runs are verified with.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwapOption;

use crate::{
    answer::Representation,
    domain::{Invalid, jwk_set::MAX_JWK_SET_BYTES, signature::PublicKeys},
    small_file,
};

/// A JWK set.
#[derive(Debug)]
pub struct JwkSet {
    /// Its bytes, with their codings.
    pub representation: Arc<Representation>,
    /// Its keys that verify eval runs.
    pub keys: PublicKeys,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the JWK set {}: {reason}", path.display())]
pub struct JwkSetError {
    path: PathBuf,
    reason: Unusable,
}

#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

impl JwkSet {
    /// Reads a regular file, and makes all its codings.
    ///
    /// # Errors
    /// [`JwkSetError`]: the file cannot be read, or those of [`JwkSet::from_json`].
    pub fn read(path: &Path) -> Result<Self, JwkSetError> {
        Self::read_by(path, small_file::read)
    }

    /// Reads a file of any kind, such as a pipe from another command. May wait for ever.
    ///
    /// # Errors
    /// As [`JwkSet::read`].
    pub fn read_any(path: &Path) -> Result<Self, JwkSetError> {
        Self::read_by(path, small_file::read_any)
    }

    fn read_by(
        path: &Path,
        read: impl Fn(&Path, u64) -> io::Result<Vec<u8>>,
    ) -> Result<Self, JwkSetError> {
        let set = read(path, MAX_JWK_SET_BYTES as u64)
            .map_err(Unusable::from)
            .and_then(|json| Ok(Self::from_json(json)?));
        set.map_err(|reason| JwkSetError {
            path: path.to_owned(),
            reason,
        })
    }

    /// Takes the text of a JWK set, and makes all its codings. CPU-bound, up to 0.2 s.
    ///
    /// # Errors
    /// Those of [`PublicKeys::from_jwk_set`].
    pub fn from_json(json: Vec<u8>) -> Result<Self, Invalid> {
        let keys = PublicKeys::from_jwk_set(&json)?;
        let representation = Representation::new(json);
        representation.encode_fast();
        representation.precompress();
        Ok(Self {
            representation: Arc::new(representation),
            keys,
        })
    }
}

/// The JWK set that is in use, if there is one. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct JwkSetHandle(Arc<ArcSwapOption<JwkSet>>);

impl JwkSetHandle {
    /// Replaces the set, for all clones.
    pub fn replace(&self, set: JwkSet) {
        self.0.store(Some(Arc::new(set)));
    }

    /// Returns the set that is in use now.
    pub fn get(&self) -> Option<Arc<JwkSet>> {
        self.0.load_full()
    }
}
