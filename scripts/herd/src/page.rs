//! A page of the feed (WIRE.md, leaderboard/recent), decoded and parsed.

use std::{
    borrow::Cow,
    io::{self, Read},
};

use serde::Deserialize;

use crate::answer::Answer;

/// Maximum length of a decoded body; a longer one is invalid.
const MAX_BODY_BYTES: u64 = 256 * 1024 * 1024;

/// A page, without what clients do not need.
#[derive(Debug, Deserialize)]
pub(super) struct Page<'a> {
    /// Its rows, in order.
    #[serde(borrow)]
    pub items: Vec<Item<'a>>,
}

/// A row.
#[derive(Debug, Deserialize)]
pub(super) struct Item<'a> {
    /// The first part of a cursor by time.
    #[serde(borrow)]
    pub ran_at: Cow<'a, str>,
    /// Unique.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
}

impl<'a> Page<'a> {
    /// Parses a decoded body.
    ///
    /// # Errors
    /// If it is not a page.
    pub(super) fn parse(body: &'a [u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(body)
    }
}

/// Decodes the body of the answer. Names of codings are the same in any case, and the last one was applied last (RFC 9110
/// §8.4).
///
/// # Errors
/// If a coding is unknown, or the body is damaged or too long.
pub(super) fn decoded(answer: &Answer) -> io::Result<Cow<'_, [u8]>> {
    let mut body = Cow::Borrowed(answer.body.as_slice());
    let codings = answer.content_encoding.as_ref();
    let codings = codings.map_or(&b""[..], |value| value.as_bytes());
    for coding in codings.rsplit(|byte| *byte == b',') {
        let name = coding.trim_ascii().to_ascii_lowercase();
        body = match name.as_slice() {
            b"" | b"identity" => body,
            // A gzip stream may have several members (RFC 1952 §2.2).
            b"gzip" | b"x-gzip" => whole(flate2::read::MultiGzDecoder::new(&*body))?,
            b"zstd" => whole(zstd::Decoder::new(&*body)?)?,
            b"br" => whole(brotli::Decompressor::new(&*body, 4096))?,
            _ => return Err(io::Error::other("a content coding that was not requested")),
        };
    }
    Ok(body)
}

/// Reads to the end: a few encoded bytes may be very many.
fn whole(decoder: impl Read) -> io::Result<Cow<'static, [u8]>> {
    let mut body = Vec::new();
    let most = MAX_BODY_BYTES + 1;
    if decoder.take(most).read_to_end(&mut body)? as u64 == most {
        return Err(io::Error::other("a decoded body that is too long"));
    }
    Ok(Cow::Owned(body))
}
