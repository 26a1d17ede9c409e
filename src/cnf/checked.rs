//! A formula whose file was checked: its bytes in each coding that is made, and what a request gets of them.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    measured::{Measured, Stamp},
    names::CODINGS,
};
use crate::{
    answer::Offer,
    domain::{coding::Coding, entity_tag::EntityTag, formula::FileHash},
};

/// A smaller body fits in one packet, encoded or not.
pub(super) const WORTH_ENCODING_BYTES: u64 = 1400;

/// Why a formula cannot be served, in words for clients and operators.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// There is no file.
    #[error("the formula of this challenge is not stored here")]
    Missing,
    /// The file is not as long as the challenge announces.
    #[error("the stored formula has {found} bytes instead of {announced}")]
    WrongSize {
        /// The length of the file.
        found: u64,
        /// `cnf_bytes` of the challenge.
        announced: u64,
    },
    /// The SHA-256 of the file is another one. `found` is the length of the file.
    #[error("the stored formula does not have the SHA-256 of the challenge")]
    WrongContent {
        /// The length of the file, in bytes.
        found: u64,
    },
    /// A folder, a pipe or a device has the name of the file.
    #[error("the stored formula is not a regular file")]
    NotAFile,
    /// The file could not be read.
    #[error("the stored formula cannot be read: {0}")]
    Unreadable(std::io::ErrorKind),
}

impl Fault {
    /// Returns its kind: one of [`FORMULA_FAULTS`](crate::metrics::FORMULA_FAULTS).
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::WrongSize { .. } => "wrong_size",
            Self::WrongContent { .. } => "wrong_content",
            Self::NotAFile | Self::Unreadable(_) => "unreadable",
        }
    }
}

/// A file that was checked, in one coding.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) hash: FileHash,
    pub(super) coding: Coding,
    pub(super) path: PathBuf,
    pub(super) measured: Measured,
}

/// A formula whose file was checked.
#[derive(Debug)]
pub struct Checked {
    pub(super) stamp: Stamp,
    pub(super) identity: Arc<Source>,
    codings: Mutex<Codings>,
}

#[derive(Debug, Default)]
struct Codings {
    /// One for each of [`CODINGS`].
    made: [Option<Arc<Source>>; CODINGS.len()],
    /// Whether no further one will be made.
    is_final: bool,
}

impl Checked {
    pub(super) fn new(stamp: Stamp, identity: Source) -> Self {
        Self {
            stamp,
            identity: Arc::new(identity),
            codings: Mutex::default(),
        }
    }

    /// The same formula in a file that was written anew.
    pub(super) fn with_stamp(&self, stamp: Stamp) -> Self {
        let codings = self.codings();
        Self {
            stamp,
            identity: Arc::clone(&self.identity),
            codings: Mutex::new(Codings {
                made: codings.made.clone(),
                is_final: codings.is_final,
            }),
        }
    }

    /// Returns the length of the formula in a coding that is made, in bytes.
    pub fn bytes(&self, coding: Coding) -> Option<u64> {
        Some(self.source(coding)?.measured.bytes)
    }

    /// Returns the entity-tag of the formula in a coding that is made.
    pub fn tag_of(&self, coding: Coding) -> Option<EntityTag> {
        let source = self.source(coding)?;
        let tag = source.hash.tag();
        Some(match coding {
            Coding::Identity => tag,
            Coding::Gzip | Coding::Zstd | Coding::Brotli => {
                tag.coded_as(coding, &source.measured.sha256)
            }
        })
    }

    pub(super) fn source(&self, coding: Coding) -> Option<Arc<Source>> {
        match at(coding) {
            None => Some(Arc::clone(&self.identity)),
            Some(at) => self.codings().made[at].clone(),
        }
    }

    /// Adds a coding. From now on clients that accept it get it.
    pub(super) fn add(&self, source: Source) {
        if let Some(at) = at(source.coding) {
            self.codings().made[at] = Some(Arc::new(source));
        }
    }

    /// Notes that no further coding will be made.
    pub(super) fn finish(&self) {
        self.codings().is_final = true;
    }

    /// Returns the memory that it takes, in bytes.
    pub(super) fn weight(&self) -> usize {
        let sources = CODINGS.into_iter().filter_map(|coding| self.source(coding));
        let codings: usize = sources.map(|source| source.measured.weight()).sum();
        self.identity.measured.weight() + codings
    }

    fn codings(&self) -> MutexGuard<'_, Codings> {
        self.codings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn at(coding: Coding) -> Option<usize> {
    CODINGS.into_iter().position(|known| known == coding)
}

impl Offer for Checked {
    fn offers(&self, coding: Coding) -> bool {
        match at(coding) {
            None => true,
            Some(at) => {
                let codings = self.codings();
                // No coding is made of a short formula.
                let is_long = self.identity.measured.bytes >= WORTH_ENCODING_BYTES;
                codings.made[at].is_some() || (is_long && !codings.is_final)
            }
        }
    }

    fn tag(&self, coding: Coding) -> Option<EntityTag> {
        self.tag_of(coding)
    }

    fn select<I>(&self, codings: impl Fn() -> I) -> Option<Coding>
    where
        I: Iterator<Item = Coding>,
    {
        let accepts_identity = codings().any(|coding| coding == Coding::Identity);
        let identity_bytes = self.identity.measured.bytes;
        let gains = |bytes: u64| identity_bytes >= WORTH_ENCODING_BYTES && bytes < identity_bytes;
        codings().find(|coding| {
            let is_identity = *coding == Coding::Identity;
            let serves = |bytes| is_identity || !accepts_identity || gains(bytes);
            self.bytes(*coding).is_some_and(serves)
        })
    }
}
