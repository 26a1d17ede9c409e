//! Bearer tokens of the admin routes (RFC 6750).

use std::{fmt, io, path::Path};

use actix_web::http::header::{self, HeaderMap};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::writer::handle::Bearer;

/// The least length of a token.
pub(super) const MIN_TOKEN_CHARS: usize = 32;

/// The tokens that are accepted: one, or two during rotation. Only their digests are kept, which
/// also makes the comparison's time independent of the tokens' length.
#[derive(Clone, Default)]
pub struct AdminTokens(Vec<[u8; 32]>);

/// Why the tokens cannot be used. Never contains a token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("the admin token file: {0}")]
    File(#[from] io::Error),
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
        let text = file.map(std::fs::read_to_string).transpose()?;
        let lines = text.iter().flat_map(|text| text.lines()).map(str::to_owned);
        let mut digests = Vec::new();
        for token in lines.chain(given) {
            let token = token.trim();
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
        Ok(Self(digests))
    }

    /// Returns whether no token is configured; then there are no admin routes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns which valid token the request carries. Compares every token, in constant time.
    pub(super) fn admit(&self, headers: &HeaderMap) -> Option<Bearer> {
        let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = value.split_once(' ')?;
        let given: [u8; 32] = Sha256::digest(token.trim()).into();
        let mut known = None;
        for (number, token) in self.0.iter().enumerate() {
            if token.ct_eq(&given).into() {
                known = Some(number);
            }
        }
        let token = known.filter(|_| scheme.eq_ignore_ascii_case("bearer"))?;
        Some(Bearer {
            token,
            tokens: self.0.len(),
        })
    }
}

impl fmt::Debug for AdminTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AdminTokens({} of them)", self.0.len())
    }
}
