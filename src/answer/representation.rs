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

use super::{
    conditions::Offer,
    fields::{CachePolicy, Media, whole_head},
};
use crate::domain::{coding::Coding, entity_tag::EntityTag};

// These constants and the versions of the encoders decide the bytes that an entity-tag names. A change of them needs a
// new generation (`Coding::tag_suffix`). The bytes must not depend on the load or the machine.

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
    has_brotli: bool,
    media: Media,
    cache_policy: CachePolicy,
    /// Gzip, zstd and brotli, once they are made; `Some(None)` if the encoder has failed.
    encoded: [OnceLock<Option<Variant>>; 3],
}

/// The bytes of a representation in one content coding, ready to be sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Variant {
    body: Bytes,
    etag: EntityTag,
    head: Box<[u8]>,
}

impl Variant {
    fn new(media: &Media, body: Bytes, etag: EntityTag) -> Self {
        let head = whole_head(media, &etag, body.len());
        Self { body, etag, head }
    }

    /// The prepared head of the 200: status line and fields, without those of caching, those that differ from
    /// answer to answer and the final empty line.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// The content coding.
    pub fn coding(&self) -> Coding {
        self.etag.coding()
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
    /// Takes ownership of the identity bytes, which are JSON, and hashes them once. Encodes nothing yet.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self::of(Media::JSON, body)
    }

    /// Does as [`Representation::new`], for a body of any kind.
    pub fn of(media: Media, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let etag = EntityTag::of(&body);
        Self {
            identity: Variant::new(&media, body, etag),
            has_brotli: true,
            media,
            cache_policy: CachePolicy::default(),
            encoded: Default::default(),
        }
    }

    /// Does as [`Representation::new`], for a body that too few clients share to be worth brotli's cost.
    pub fn without_brotli(body: impl Into<Bytes>) -> Self {
        Self {
            has_brotli: false,
            ..Self::new(body)
        }
    }

    /// Sets how long caches may reuse its responses.
    #[must_use]
    pub fn with_cache_policy(mut self, policy: CachePolicy) -> Self {
        self.cache_policy = policy;
        self
    }

    /// What it is, beside its bytes.
    pub fn media(&self) -> &Media {
        &self.media
    }

    /// How long caches may reuse its responses, unless a response says otherwise.
    pub fn cache_policy(&self) -> CachePolicy {
        self.cache_policy
    }

    /// The variant without a content coding.
    pub fn identity(&self) -> &Variant {
        &self.identity
    }

    /// The entity-tag of the identity bytes.
    pub fn etag(&self) -> &EntityTag {
        self.identity.etag()
    }

    /// The entity-tag of the bytes in a coding, made yet or not.
    pub fn tag(&self, coding: Coding) -> EntityTag {
        self.identity.etag.coded(coding)
    }

    /// Whether the body is so short that encoding it is no gain.
    pub fn is_short(&self) -> bool {
        self.identity.body.len() < WORTH_ENCODING_BYTES
    }

    /// An upper estimate of the memory that the body and its cheap codings take, in bytes.
    pub fn weight_bytes(&self) -> usize {
        2 * self.identity.body.len()
    }

    /// Makes the codings that cost a fraction of a millisecond per 100 kB, gzip and zstd, unless the body
    /// is too short to gain.
    pub fn encode_fast(&self) {
        if !self.is_short() {
            self.encode(Coding::Gzip);
            self.encode(Coding::Zstd);
        }
    }

    /// Makes brotli unless the body is too short to gain. Takes up to a second.
    pub fn precompress(&self) {
        if !self.is_short() {
            self.encode(Coding::Brotli);
        }
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
            // Writing to memory does not fail; if it did, the identity bytes would be served.
            let encoded = encoded(coding, &self.identity.body).ok()?;
            Some(Variant::new(
                &self.media,
                into_body(encoded),
                self.tag(coding),
            ))
        });
    }

    fn gains(&self, variant: &Variant) -> bool {
        !self.is_short() && variant.body.len() < self.identity.body.len()
    }

    /// Returns the variant in a coding if it is made.
    pub(super) fn made(&self, coding: Coding) -> Option<&Variant> {
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

impl Offer for Representation {
    fn offers(&self, coding: Coding) -> bool {
        coding != Coding::Brotli || self.has_brotli
    }

    fn tag(&self, coding: Coding) -> Option<EntityTag> {
        Some(self.tag(coding))
    }

    fn select<I>(&self, codings: impl Fn() -> I) -> Option<Coding>
    where
        I: Iterator<Item = Coding>,
    {
        let accepts_identity = codings().any(|coding| coding == Coding::Identity);
        let serves = |variant: &&Variant| {
            !accepts_identity || variant.coding() == Coding::Identity || self.gains(variant)
        };
        let mut made = codings().filter_map(|coding| self.made(coding));
        made.find(serves).map(Variant::coding)
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
