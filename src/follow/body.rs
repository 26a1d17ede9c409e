//! A body as it came: decoded within bounds, and compared with its entity-tag. Pure.

use super::lie::Lie;
use crate::{
    decode::{DecodeError, decode},
    domain::entity_tag::EntityTag,
    metrics::FollowRejected,
};

/// The codings that a follower accepts.
pub(super) const ACCEPT_ENCODING: &str = "br, zstd, gzip";

/// Decodes a body of up to `max_bytes`, and checks that it is what its tag says. A tag that is missing, or does
/// not have the form of the wire contract, says nothing: then nothing is known of the body.
///
/// # Errors
/// [`Lie`].
pub(super) fn decoded(
    body: &[u8],
    coding: &str,
    tag: Option<&str>,
    max_bytes: u64,
) -> Result<String, Lie> {
    let identity = decode(body, coding, max_bytes).map_err(|error| {
        let reason = match error {
            DecodeError::TooLong(_) => FollowRejected::Size,
            DecodeError::Unknown(_) | DecodeError::Malformed(_) => FollowRejected::Coding,
        };
        Lie::new(reason, error.to_string())
    })?;
    let Some(digits) = tag.and_then(digits_of) else {
        let text = match tag {
            Some(tag) => format!("the entity-tag {tag:?} does not name its bytes"),
            None => "it has no entity-tag".to_owned(),
        };
        return Err(Lie::new(FollowRejected::Tag, text));
    };
    if !EntityTag::of(&identity).to_string()[1..].starts_with(digits) {
        let text = format!("the body is not that of {}", tag.unwrap_or_default());
        return Err(Lie::new(FollowRejected::Tag, text));
    }
    String::from_utf8(identity).map_err(|_| Lie::new(FollowRejected::Form, "it is not UTF-8"))
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
    use super::*;

    const TAG_OF_A: &str = "\"ca978112ca1bbdca\"";

    fn rejected(body: &[u8], coding: &str, tag: &str) -> Option<FollowRejected> {
        let decoded = decoded(body, coding, Some(tag), 10);
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
        // Tags of another form say nothing of the body, so it is not believed.
        for tag in [
            "",
            "\"\"",
            "\"66e9-1a2b\"",
            "\"CA978112CA1BBDCA\"",
            "\"ca978112ca1bbdcab\"",
            "ca978112ca1bbdca",
        ] {
            let reason = Some(FollowRejected::Tag);
            assert_eq!(rejected(b"b", "identity", tag), reason, "{tag}");
        }
        let untagged = decoded(b"a", "", None, 10);
        assert_eq!(untagged.map_err(|lie| lie.reason), Err(FollowRejected::Tag));
    }

    #[test]
    fn a_body_that_is_too_long_not_decodable_or_no_text_is_rejected() {
        assert_eq!(rejected(&[b'a'; 11], "", ""), Some(FollowRejected::Size));
        for coding in ["deflate", "gzip", "br", "zstd"] {
            assert_eq!(rejected(b"abc", coding, ""), Some(FollowRejected::Coding));
        }
        let tag = EntityTag::of(b"\xff").to_string();
        assert_eq!(rejected(b"\xff", "", &tag), Some(FollowRejected::Form));
    }
}
