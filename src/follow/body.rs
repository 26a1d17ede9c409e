//! A body as it came: decoded within bounds, and compared with its entity-tag. Pure.

use std::io::{self, Read};

use super::lie::Lie;
use crate::{domain::entity_tag::EntityTag, metrics::FollowRejected};

/// What a follower accepts. Each of them is decoded within bounds.
pub(super) const ACCEPT_ENCODING: &str = "br, zstd, gzip";
/// The greatest window of zstd, as a power of 2: 8 MiB, which every decoder must have (RFC 8878, section 3.1.1.1.2).
const ZSTD_WINDOW_LOG: u32 = 23;

/// Decodes a body of up to `max_bytes`, and checks that it is what its tag says, if that has the form of the wire
/// contract.
///
/// # Errors
/// [`Lie`].
pub(super) fn decoded(
    body: Vec<u8>,
    coding: Option<&str>,
    tag: Option<&str>,
    max_bytes: u64,
) -> Result<String, Lie> {
    let identity = decode(body, coding, max_bytes)?;
    if let Some(digits) = tag.and_then(digits_of)
        && !EntityTag::of(&identity).to_string()[1..].starts_with(digits)
    {
        let tag = tag.unwrap_or_default();
        return Err(Lie::new(
            FollowRejected::Tag,
            format!("the body is not that of {tag}"),
        ));
    }
    String::from_utf8(identity).map_err(|_| Lie::new(FollowRejected::Form, "it is not UTF-8"))
}

fn decode(body: Vec<u8>, coding: Option<&str>, max_bytes: u64) -> Result<Vec<u8>, Lie> {
    let coding = coding.unwrap_or_default().trim().to_ascii_lowercase();
    let decoded = match coding.as_str() {
        "" | "identity" => read(&body[..], max_bytes),
        "gzip" | "x-gzip" => read(flate2::read::MultiGzDecoder::new(&body[..]), max_bytes),
        "br" => read(brotli::Decompressor::new(&body[..], 4096), max_bytes),
        "zstd" => zstd(&body, max_bytes),
        other => {
            let other: String = other.chars().take(40).collect();
            return Err(Lie::new(
                FollowRejected::Coding,
                format!("its coding is {other:?}"),
            ));
        }
    };
    let decoded =
        decoded.map_err(|error| Lie::new(FollowRejected::Coding, format!("{coding}: {error}")))?;
    if decoded.len() as u64 > max_bytes {
        return Err(Lie::new(
            FollowRejected::Size,
            format!("it has more than {max_bytes} bytes"),
        ));
    }
    Ok(decoded)
}

fn zstd(body: &[u8], max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut decoder = zstd::Decoder::with_buffer(body)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG)?;
    read(decoder, max_bytes)
}

/// Reads one byte more than is allowed.
fn read(body: impl Read, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut decoded = Vec::new();
    body.take(max_bytes + 1).read_to_end(&mut decoded)?;
    Ok(decoded)
}

/// Returns the digits of a tag that has the form of the wire contract: 16 lower-case hex digits, and perhaps the suffix
/// of a coding. A proxy may have made it weak.
fn digits_of(tag: &str) -> Option<&str> {
    let opaque = tag.strip_prefix("W/").unwrap_or(tag);
    let opaque = opaque.strip_prefix('"')?.strip_suffix('"')?;
    let (digits, suffix) = opaque.split_at_checked(16)?;
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let has_form = digits.bytes().all(is_digit) && (suffix.is_empty() || suffix.starts_with('-'));
    has_form.then_some(digits)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

    use std::io::Write as _;

    use super::*;

    const TAG_OF_A: &str = "\"ca978112ca1bbdca\"";

    fn rejected(body: &[u8], coding: &str, tag: &str) -> Option<FollowRejected> {
        let decoded = decoded(body.to_vec(), Some(coding), Some(tag), 1000);
        decoded.err().map(|lie| lie.reason)
    }

    #[test]
    fn a_body_that_is_not_that_of_its_tag_is_a_lie() {
        for tag in [
            TAG_OF_A,
            "W/\"ca978112ca1bbdca\"",
            "\"ca978112ca1bbdca-gzip\"",
        ] {
            assert_eq!(rejected(b"a", "", tag), None, "{tag}");
            assert_eq!(rejected(b"b", "", tag), Some(FollowRejected::Tag), "{tag}");
        }
        // Tags of another form say nothing of the body.
        for tag in [
            "",
            "\"\"",
            "\"66e9-1a2b\"",
            "\"CA978112CA1BBDCA\"",
            "\"ca978112ca1bbdcab\"",
            "ca978112ca1bbdca",
        ] {
            assert_eq!(rejected(b"b", "identity", tag), None, "{tag}");
        }
    }

    #[test]
    fn every_coding_is_decoded_and_a_bomb_is_not() {
        let bomb = vec![0; 10_000_000];
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&bomb).unwrap();
        let mut br = Vec::new();
        brotli::BrotliCompress(&mut &bomb[..], &mut br, &Default::default()).unwrap();
        for (coding, body) in [
            ("gzip", gzip.finish().unwrap()),
            ("zstd", zstd::bulk::compress(&bomb, 3).unwrap()),
            ("br", br),
        ] {
            assert!(body.len() < 100_000);
            assert_eq!(
                rejected(&body, coding, ""),
                Some(FollowRejected::Size),
                "{coding}"
            );
            let half = &body[..body.len() / 2];
            let whole = decoded(half.to_vec(), Some(coding), None, 1 << 30);
            assert_eq!(
                whole.unwrap_err().reason,
                FollowRejected::Coding,
                "{coding}"
            );
        }
        for coding in ["deflate", "gzip, br", "aws-chunked"] {
            assert_eq!(
                rejected(b"a", coding, ""),
                Some(FollowRejected::Coding),
                "{coding}"
            );
        }
        assert_eq!(rejected(b"\xff", "", ""), Some(FollowRejected::Form));
    }
}
