//! A page of the feed (WIRE.md, leaderboard/recent), decoded and parsed.

use std::{
    borrow::Cow,
    io::{self, Read},
};

use serde::Deserialize;

use crate::exchange::Answer;

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

/// Decodes the body of the answer.
///
/// # Errors
/// If the coding is unknown or the body is damaged.
pub(super) fn decoded(answer: &Answer) -> io::Result<Cow<'_, [u8]>> {
    let encoded = answer.body.as_slice();
    let coding = answer.content_encoding.as_ref();
    let reader: Box<dyn Read + '_> = match coding.map(|name| name.as_bytes()) {
        None | Some(b"identity") => return Ok(Cow::Borrowed(encoded)),
        Some(b"gzip") => Box::new(flate2::read::GzDecoder::new(encoded)),
        Some(b"zstd") => Box::new(zstd::Decoder::new(encoded)?),
        Some(b"br") => Box::new(brotli::Decompressor::new(encoded, 4096)),
        Some(_) => return Err(io::Error::other("a content coding that was not requested")),
    };
    let mut body = Vec::new();
    // A few bytes may decode to very many.
    reader.take(MAX_BODY_BYTES).read_to_end(&mut body)?;
    Ok(Cow::Owned(body))
}
