//! The immutable bytes of one response, in each content coding, with the entity-tags and the response
//! heads that go with them.
//!
//! Each variant is encoded once and then only read. All variants carry the same representation; each
//! has a strong entity-tag of its own, because its bytes differ (RFC 9110 §8.8.3.3, WIRE.md).

use std::{
    io::{self, Write},
    sync::OnceLock,
};

use bytes::Bytes;

use super::fields::Heads;
use crate::domain::{
    coding::{Acceptable, Coding},
    entity_tag::{EntityTag, TagList},
};

/// A smaller body fits in one packet, encoded or not.
const WORTH_ENCODING_BYTES: usize = 1400;
/// Up to this size brotli runs at its strongest quality, which takes less than a second.
const STRONGEST_UP_TO_BYTES: usize = 256 * 1024;
/// Encodes a 32,669-byte board to 3,496 bytes in 0.14 ms; the strongest level gives a larger result.
const GZIP_LEVEL: u32 = 6;
/// Encodes the same board to 3,145 bytes in 0.06 ms; the strongest level takes 9 ms and saves 10 bytes.
const ZSTD_LEVEL: i32 = 1;
/// Encodes the same board to 2,904 bytes in 62 ms.
const BROTLI_STRONGEST: i32 = 11;
/// Encodes 3,197,571 bytes to 264,746 in 29 ms; the strongest quality takes 6 s.
const BROTLI_FAST: i32 = 4;

/// A complete response body that never changes, in up to four content codings.
#[derive(Debug)]
pub struct Representation {
    identity: Variant,
    /// Gzip, zstd and brotli, once they are made; `Some(None)` if encoding would not save bytes.
    encoded: [OnceLock<Option<Variant>>; 3],
}

/// The bytes of a representation in one content coding, ready to be sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Variant {
    coding: Coding,
    body: Bytes,
    etag: EntityTag,
    heads: Heads,
}

impl Variant {
    fn new(coding: Coding, body: Bytes, etag: EntityTag) -> Self {
        let heads = Heads::write(coding, &body, &etag);
        Self {
            coding,
            body,
            etag,
            heads,
        }
    }

    /// The prepared response heads (see [`Heads`]).
    pub fn heads(&self) -> &Heads {
        &self.heads
    }

    /// The content coding.
    pub fn coding(&self) -> Coding {
        self.coding
    }

    /// The bytes, shared.
    pub fn body(&self) -> Bytes {
        self.body.clone()
    }

    /// The bytes.
    pub fn body_ref(&self) -> &Bytes {
        &self.body
    }

    /// Their strong entity-tag (RFC 9110 §8.8.3).
    pub fn etag(&self) -> &EntityTag {
        &self.etag
    }
}

/// Compares the identity bytes only: which codings exist by now makes no difference.
impl PartialEq for Representation {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

impl Eq for Representation {}

impl Representation {
    /// Takes ownership of the identity bytes and hashes them once. Encodes nothing yet.
    pub fn new(body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let etag = EntityTag::of(&body);
        Self {
            identity: Variant::new(Coding::Identity, body, etag),
            encoded: Default::default(),
        }
    }

    /// The variant without a content coding.
    pub fn identity(&self) -> &Variant {
        &self.identity
    }

    /// The entity-tag of the identity bytes.
    pub fn etag(&self) -> &EntityTag {
        self.identity.etag()
    }

    /// Returns the coding that this client prefers among those that are cheap to make (all but brotli)
    /// and that is not made yet. Returns `None` if the client gets what it prefers, or already holds a
    /// variant that it accepts.
    pub fn missing_encoding(
        &self,
        acceptable: &Acceptable,
        known: Option<&TagList<'_>>,
    ) -> Option<Coding> {
        let selected = self.select(acceptable, known);
        if selected.is_some_and(|variant| known.is_some_and(|known| known.names(&variant.etag))) {
            return None;
        }
        let preferred = acceptable
            .in_order()
            .find(|coding| *coding != Coding::Brotli)?;
        let missing = self.slot(preferred)?.get().is_none();
        missing.then_some(preferred)
    }

    /// An upper estimate of the memory that the body and its cheap codings take, in bytes.
    pub fn weight_bytes(&self) -> usize {
        2 * self.identity.body.len()
    }

    /// Makes the codings that cost a fraction of a millisecond per 100 kB: gzip and zstd.
    pub fn encode_fast(&self) {
        self.encode(Coding::Gzip);
        self.encode(Coding::Zstd);
    }

    /// Makes one coding unless it is made already. CPU-bound: call it on a blocking thread.
    pub fn encode(&self, coding: Coding) {
        self.encode_with(coding, Bytes::from);
    }

    /// Returns whether [`Representation::encode`] has nothing left to do for this coding.
    pub fn is_encoded(&self, coding: Coding) -> bool {
        self.slot(coding).is_none_or(|slot| slot.get().is_some())
    }

    /// Does as [`Representation::encode`]; `into_body` takes ownership of the encoded bytes.
    pub fn encode_with(&self, coding: Coding, into_body: impl FnOnce(Vec<u8>) -> Bytes) {
        let Some(slot) = self.slot(coding) else {
            return;
        };
        slot.get_or_init(|| {
            let body = &self.identity.body;
            if body.len() < WORTH_ENCODING_BYTES {
                return None;
            }
            // Writing to memory does not fail; if it did, the identity bytes would be served.
            let encoded = encoded(coding, body).ok()?;
            (encoded.len() < body.len())
                .then(|| Variant::new(coding, into_body(encoded), self.identity.etag.coded(coding)))
        });
    }

    /// Selects the variant for a client that accepts these codings and names these tags: among the
    /// accepted variants that exist, one that the client holds already, else the most preferred one.
    /// Returns `None` if no variant is acceptable.
    pub fn select(&self, acceptable: &Acceptable, known: Option<&TagList<'_>>) -> Option<&Variant> {
        let accepted = || acceptable.in_order().filter_map(|coding| self.made(coding));
        let named = known.and_then(|known| accepted().find(|variant| known.names(&variant.etag)));
        named.or_else(|| accepted().next())
    }

    fn made(&self, coding: Coding) -> Option<&Variant> {
        match self.slot(coding) {
            None => Some(&self.identity),
            Some(slot) => slot.get()?.as_ref(),
        }
    }

    fn slot(&self, coding: Coding) -> Option<&OnceLock<Option<Variant>>> {
        let [gzip, zstd, brotli] = &self.encoded;
        match coding {
            Coding::Identity => None,
            Coding::Gzip => Some(gzip),
            Coding::Zstd => Some(zstd),
            Coding::Brotli => Some(brotli),
        }
    }
}

/// Returns the smallest brotli window that holds the whole body (RFC 7932 §9.1). The encoder's memory
/// grows with the window, to tens of megabytes for the largest.
fn window_bits(bytes: usize) -> i32 {
    let bits = usize::BITS - bytes.leading_zeros();
    bits.clamp(10, 22) as i32
}

fn encoded(coding: Coding, body: &[u8]) -> io::Result<Vec<u8>> {
    match coding {
        Coding::Identity => Ok(body.to_vec()),
        Coding::Gzip => {
            let level = flate2::Compression::new(GZIP_LEVEL);
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(body)?;
            encoder.finish()
        }
        Coding::Zstd => zstd::bulk::compress(body, ZSTD_LEVEL),
        Coding::Brotli => {
            let quality = if body.len() <= STRONGEST_UP_TO_BYTES {
                BROTLI_STRONGEST
            } else {
                BROTLI_FAST
            };
            let parameters = brotli::enc::BrotliEncoderParams {
                quality,
                lgwin: window_bits(body.len()),
                size_hint: body.len(),
                ..Default::default()
            };
            let mut encoded = Vec::new();
            brotli::BrotliCompress(&mut &*body, &mut encoded, &parameters)?;
            Ok(encoded)
        }
    }
}
