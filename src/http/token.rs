//! Bearer tokens of the admin routes (RFC 6750).

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use actix_web::http::header::{self, HeaderMap};
use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{small_file, writer::handle::Bearer};

/// The least length of a token.
pub(super) const MIN_TOKEN_CHARS: usize = 32;
/// The longest file of tokens.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// The tokens that are accepted: one, or two during rotation. Only their digests are kept, which
/// also makes the comparison's time independent of the tokens' length. Clones share them.
#[derive(Clone, Default)]
pub struct AdminTokens(Arc<ArcSwap<Vec<[u8; 32]>>>);

/// Why the tokens cannot be used. Never contains a token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("the admin token file {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Writes would be off, although a file was given.
    #[error("the admin token file {} contains no token", .0.display())]
    Empty(PathBuf),
    /// A token is short enough to be guessed.
    #[error("an admin token must have at least {MIN_TOKEN_CHARS} characters")]
    TooShort,
    /// A token cannot be sent in a header field (RFC 6750 §2.1).
    #[error("an admin token must consist of visible ASCII characters")]
    NotSendable,
}

impl AdminTokens {
    /// Takes the tokens from the lines of `file` and from `given`; empty ones are skipped.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn load(
        file: Option<&Path>,
        given: impl IntoIterator<Item = String>,
    ) -> Result<Self, TokenError> {
        let mut digests = Vec::new();
        if let Some(path) = file {
            let text = read(path).map_err(|error| TokenError::File {
                path: path.to_owned(),
                error,
            })?;
            add_digests(text.lines(), &mut digests)?;
            if digests.is_empty() {
                return Err(TokenError::Empty(path.to_owned()));
            }
        }
        for token in given {
            add_digests([token.as_str()], &mut digests)?;
        }
        Ok(Self(Arc::new(ArcSwap::from_pointee(digests))))
    }

    /// Replaces the tokens by others, for all clones.
    pub fn replace(&self, others: &Self) {
        self.0.store(others.0.load_full());
    }

    /// Returns how many tokens there are. Without one there are no admin routes.
    pub fn count(&self) -> usize {
        self.0.load().len()
    }

    /// Returns which valid token the request carries. Compares every token, in constant time.
    pub(super) fn admit(&self, headers: &HeaderMap) -> Option<Bearer> {
        let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = value.split_once(' ')?;
        let given: [u8; 32] = Sha256::digest(token.trim()).into();
        let tokens = self.0.load();
        let mut known = None;
        for (number, token) in tokens.iter().enumerate() {
            if token.ct_eq(&given).into() {
                known = Some(number);
            }
        }
        let token = known.filter(|_| scheme.eq_ignore_ascii_case("bearer"))?;
        Some(Bearer {
            token,
            tokens: tokens.len(),
        })
    }
}

fn read(path: &Path) -> io::Result<String> {
    let text = small_file::read(path, MAX_FILE_BYTES)?;
    String::from_utf8(text)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

fn add_digests<'a>(
    tokens: impl IntoIterator<Item = &'a str>,
    digests: &mut Vec<[u8; 32]>,
) -> Result<(), TokenError> {
    for token in tokens.into_iter().map(str::trim) {
        if token.is_empty() {
            continue;
        }
        if token.len() < MIN_TOKEN_CHARS {
            return Err(TokenError::TooShort);
        }
        if !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(TokenError::NotSendable);
        }
        digests.push(Sha256::digest(token).into());
    }
    Ok(())
}

impl fmt::Debug for AdminTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AdminTokens({} of them)", self.count())
    }
}
