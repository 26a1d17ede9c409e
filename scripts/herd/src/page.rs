//! A page of the feed (WIRE.md, leaderboard/recent), decoded and parsed.

use std::{borrow::Cow, io::Read};

use serde::Deserialize;

use crate::{
    answer::{Answer, Failed},
    failures::Reason,
    response::{MAX_KEPT_BYTES, too_large},
};

/// Binary logarithm of the largest window of zstd (RFC 9659 §3).
const ZSTD_WINDOW: u32 = 23;

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
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Failed> {
        serde_json::from_slice(body).map_err(invalid)
    }
}

/// Decodes the body of the answer. Names of codings are the same in any case, and the last one was applied last (RFC 9110
/// §8.4).
///
/// # Errors
/// If a coding is unknown, or the body is damaged, or longer than [`MAX_KEPT_BYTES`], also before the last decoding.
pub(super) fn decoded(answer: &Answer) -> Result<Cow<'_, [u8]>, Failed> {
    let mut body = Cow::Borrowed(answer.body.as_slice());
    let codings = answer.content_encoding.as_ref();
    let codings = codings.map_or(&b""[..], |value| value.as_bytes());
    for coding in codings.rsplit(|byte| *byte == b',') {
        let name = coding.trim_ascii().to_ascii_lowercase();
        body = match name.as_slice() {
            b"" | b"identity" => body,
            // A gzip stream may have several members (RFC 1952 §2.2).
            b"gzip" | b"x-gzip" => whole(flate2::read::MultiGzDecoder::new(&*body))?,
            b"zstd" => {
                let mut decoder = zstd::Decoder::new(&*body).map_err(invalid)?;
                decoder.window_log_max(ZSTD_WINDOW).map_err(invalid)?;
                whole(decoder)?
            }
            b"br" => whole(brotli::Decompressor::new(&*body, 4096))?,
            _ => return Err(invalid("a content coding that was not requested")),
        };
    }
    Ok(body)
}

/// Reads to the end: a few encoded bytes may be very many.
fn whole(decoder: impl Read) -> Result<Cow<'static, [u8]>, Failed> {
    let mut body = Vec::new();
    let mut decoder = decoder.take(MAX_KEPT_BYTES + 1);
    let length = decoder.read_to_end(&mut body).map_err(invalid)?;
    if length as u64 > MAX_KEPT_BYTES {
        return Err(too_large());
    }
    Ok(Cow::Owned(body))
}

fn invalid(why: impl ToString) -> Failed {
    Failed::new(Reason::InvalidPage, why.to_string())
}
