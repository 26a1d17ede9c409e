//! The immutable bytes of one answer, in each content coding, with the entity-tags that name them.
//!
//! A coding is made once and then only read. All of them are of the same representation; each has a
//! strong entity-tag of its own, as its bytes are its own (RFC 9110 §8.8.3.3, WIRE.md).

use std::{
    io::{self, Write},
    sync::OnceLock,
};

use bytes::Bytes;

use crate::domain::{
    coding::{Acceptable, Coding},
    entity_tag::{EntityTag, TagList},
};

/// Bodies below this are sent in one packet, coded or not.
const WORTH_CODING_BYTES: usize = 1400;
/// Up to here brotli takes its strongest quality: less than a second. Beyond, seconds to minutes.
const STRONGEST_UP_TO_BYTES: usize = 256 * 1024;
/// 32,669 bytes of a board take 0.14 ms and become 3,496; the strongest level makes more of them.
const GZIP_LEVEL: u32 = 6;
/// 0.06 ms, 3,145 bytes; the strongest level takes 9 ms and saves ten of them.
const ZSTD_LEVEL: i32 = 1;
/// 62 ms, 2,904 bytes.
const BROTLI_STRONGEST: i32 = 11;
/// 3,197,571 bytes take 29 ms and become 264,746, where the strongest one takes six seconds.
const BROTLI_FAST: i32 = 4;

/// A complete answer that never changes.
#[derive(Debug)]
pub struct Representation {
    identity: Variant,
    /// Gzip, zstd and brotli, as far as they are made; none where it would be no shorter.
    coded: [OnceLock<Option<Variant>>; 3],
}

/// The bytes in one coding.
#[derive(Debug, PartialEq, Eq)]
pub struct Variant {
    coding: Coding,
    body: Bytes,
    etag: EntityTag,
}

impl Variant {
    /// The coding.
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

/// The same bytes, whatever has been coded of them by now.
impl PartialEq for Representation {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

impl Eq for Representation {}

impl Representation {
    /// Takes the bytes over and hashes them, once. Nothing is coded yet.
    pub fn new(body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let etag = EntityTag::of(&body);
        Self {
            identity: Variant {
                coding: Coding::Identity,
                body,
                etag,
            },
            coded: Default::default(),
        }
    }

    /// The bytes as they are.
    pub fn identity(&self) -> &Variant {
        &self.identity
    }

    /// The body, shared.
    pub fn body(&self) -> Bytes {
        self.identity.body()
    }

    /// The entity-tag of the body as it is.
    pub fn etag(&self) -> &EntityTag {
        self.identity.etag()
    }

    /// The fast coding that a client with these wishes is to be given and that is not made yet; none
    /// where it gets what it wants, or has it by `held`.
    pub fn lacks(&self, acceptable: &Acceptable, held: Option<&TagList<'_>>) -> Option<Coding> {
        let selected = self.select(acceptable, held);
        if selected.is_some_and(|variant| held.is_some_and(|held| held.names(&variant.etag))) {
            return None;
        }
        let wanted = acceptable
            .in_order()
            .find(|coding| *coding != Coding::Brotli)?;
        self.slot(wanted)?.get().is_none().then_some(wanted)
    }

    /// What it may come to weigh: the body, and what fast codings make of it.
    pub fn weight_bytes(&self) -> usize {
        2 * self.identity.body.len()
    }

    /// Makes the codings that cost a fraction of a millisecond for each 100 kB: gzip and zstd.
    pub fn encode_fast(&self) {
        self.code(Coding::Gzip);
        self.code(Coding::Zstd);
    }

    /// Makes the coding unless it is made. Takes as long as that takes: for blocking threads.
    pub fn code(&self, coding: Coding) {
        self.encode_with(coding, Bytes::from);
    }

    /// Returns whether [`Representation::encode_with`] has nothing left to do for this coding.
    pub fn is_encoded(&self, coding: Coding) -> bool {
        self.slot(coding).is_none_or(|slot| slot.get().is_some())
    }

    /// Makes the coding unless it is made; `into_body` takes the encoded bytes over. Takes as long as that
    /// takes: for blocking threads.
    pub fn encode_with(&self, coding: Coding, into_body: impl FnOnce(Vec<u8>) -> Bytes) {
        let Some(slot) = self.slot(coding) else {
            return;
        };
        slot.get_or_init(|| {
            let body = &self.identity.body;
            if body.len() < WORTH_CODING_BYTES {
                return None;
            }
            // Writing to memory does not fail; if it did, the body would go out as it is.
            let coded = coded(coding, body).ok()?;
            (coded.len() < body.len()).then(|| Variant {
                coding,
                body: into_body(coded),
                etag: self.identity.etag.coded(coding),
            })
        });
    }

    /// What a client gets that takes these codings and has what `held` names: of what it takes, the
    /// one that it has already, or else the one that it wants most, as far as they are made. None
    /// where it takes nothing of all that.
    pub fn select(&self, acceptable: &Acceptable, held: Option<&TagList<'_>>) -> Option<&Variant> {
        let taken = || acceptable.in_order().filter_map(|coding| self.made(coding));
        let named = held.and_then(|held| taken().find(|variant| held.names(&variant.etag)));
        named.or_else(|| taken().next())
    }

    fn made(&self, coding: Coding) -> Option<&Variant> {
        match self.slot(coding) {
            None => Some(&self.identity),
            Some(slot) => slot.get()?.as_ref(),
        }
    }

    fn slot(&self, coding: Coding) -> Option<&OnceLock<Option<Variant>>> {
        let [gzip, zstd, brotli] = &self.coded;
        match coding {
            Coding::Identity => None,
            Coding::Gzip => Some(gzip),
            Coding::Zstd => Some(zstd),
            Coding::Brotli => Some(brotli),
        }
    }
}

/// The least window of brotli that holds the whole body (RFC 7932 §9.1): what the encoder sets aside
/// grows with it, tens of megabytes for the greatest.
fn window_bits(bytes: usize) -> i32 {
    let bits = usize::BITS - bytes.leading_zeros();
    bits.clamp(10, 22) as i32
}

fn coded(coding: Coding, body: &[u8]) -> io::Result<Vec<u8>> {
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
            let mut coded = Vec::new();
            brotli::BrotliCompress(&mut &*body, &mut coded, &parameters)?;
            Ok(coded)
        }
    }
}
