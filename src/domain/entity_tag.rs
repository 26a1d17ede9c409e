//! Entity-tags and the lists of them that `If-None-Match` and `If-Match` carry
//! (RFC 9110 §8.8.3, §13.1.1, §13.1.2).

use std::fmt;

use sha2::{Digest, Sha256};
use smallvec::SmallVec;

use super::coding::Coding;

/// A strong entity-tag of ours. It follows from the identity body and the coding alone, so that it is known
/// before the coding is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EntityTag {
    /// The beginning of the SHA-256 of the identity body, in hex.
    digits: [u8; 16],
    coding: Coding,
    /// The beginning of the SHA-256 of the coded bytes, in hex, if the tag names it.
    edition: Option<[u8; 8]>,
}

impl EntityTag {
    /// The tag of a representation by its identity body: the first 16 hex digits of the SHA-256,
    /// in quotes (WIRE.md). Costs one hash of the body.
    pub fn of(identity_body: &[u8]) -> Self {
        Self::of_digest(&Sha256::digest(identity_body).into())
    }

    /// The same, by the SHA-256 of the identity body.
    pub fn of_digest(sha256: &[u8; 32]) -> Self {
        Self {
            digits: hex(sha256),
            coding: Coding::Identity,
            edition: None,
        }
    }

    /// The tag of the same representation in a content coding that another program may have made: it also names the
    /// SHA-256 of the coded bytes, so that it stands for these and no others (RFC 9110 §8.8.1).
    pub fn coded_as(&self, coding: Coding, coded_sha256: &[u8; 32]) -> Self {
        Self {
            coding,
            edition: Some(hex(coded_sha256)),
            ..*self
        }
    }

    /// The tag of the same representation in a content coding: the same digits and
    /// [`Coding::tag_suffix`].
    pub fn coded(&self, coding: Coding) -> Self {
        Self { coding, ..*self }
    }

    /// The coding of the bytes that the tag names.
    pub fn coding(&self) -> Coding {
        self.coding
    }

    /// Writes the field value, quotes included.
    pub fn write(&self, output: &mut Vec<u8>) {
        output.push(b'"');
        output.extend_from_slice(&self.digits);
        output.extend_from_slice(self.coding.tag_suffix().as_bytes());
        if let Some(edition) = &self.edition {
            output.push(b'-');
            output.extend_from_slice(edition);
        }
        output.push(b'"');
    }

    fn is_opaque(&self, opaque: &[u8]) -> bool {
        let rest = opaque
            .strip_prefix(&self.digits)
            .and_then(|rest| rest.strip_prefix(self.coding.tag_suffix().as_bytes()));
        match &self.edition {
            None => rest == Some(b""),
            Some(edition) => rest.and_then(|rest| rest.strip_prefix(b"-")) == Some(edition),
        }
    }
}

/// Returns the first digits of a digest in hex.
fn hex<const N: usize>(digest: &[u8; 32]) -> [u8; N] {
    let mut digits = [0; N];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(digest) {
        pair[0] = HEX[usize::from(byte >> 4)];
        pair[1] = HEX[usize::from(byte & 15)];
    }
    digits
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// The field value, quotes included.
impl fmt::Display for EntityTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = Vec::new();
        self.write(&mut value);
        f.write_str(&String::from_utf8_lossy(&value))
    }
}

/// One member of a list, as the client sent it: the opaque part may be any bytes of `etagc`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'a> {
    /// Marked `W/`.
    pub weak: bool,
    /// What stands between the quotes.
    pub opaque: &'a [u8],
}

/// The value of an `If-None-Match` or `If-Match` field, its lines taken together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagList<'a> {
    /// `*`: any current representation.
    Any,
    /// Entity-tags; invalid members are left out.
    Tags(SmallVec<[Member<'a>; 1]>),
}

impl<'a> TagList<'a> {
    /// Reads the field's lines. Never fails: empty members are skipped, a member that is no
    /// entity-tag matches nothing, and reading goes on after the next comma. `*` means "any" only
    /// if it is the sole member.
    pub fn parse(lines: impl IntoIterator<Item = &'a [u8]>) -> Self {
        // One is what clients send: it needs no memory of its own.
        let mut tags = SmallVec::new();
        let mut stars = 0;
        let mut junk = 0;
        for line in lines {
            let mut rest = line;
            loop {
                rest = skip_ows(rest);
                if let Some((tag, after)) = parse_member(rest) {
                    tags.push(tag);
                    rest = after;
                } else {
                    let end = rest.iter().position(|&b| b == b',').unwrap_or(rest.len());
                    match rest[..end].trim_ascii() {
                        b"" => {}
                        b"*" => stars += 1,
                        _ => junk += 1,
                    }
                    rest = &rest[end..];
                }
                match rest.split_first() {
                    Some((_comma, after)) => rest = after,
                    None => break,
                }
            }
        }
        if stars == 1 && junk == 0 && tags.is_empty() {
            Self::Any
        } else {
            Self::Tags(tags)
        }
    }

    /// Compares weakly (RFC 9110 §8.8.3.2): the opaque parts are equal, weak or not.
    pub fn matches_weakly(&self, current: &EntityTag) -> bool {
        self.matches(|member| current.is_opaque(member.opaque))
    }

    /// Returns whether this is the value of an `If-Range` that names `current`: one tag, which is not weak
    /// (RFC 9110 §13.1.5).
    pub fn is_strongly(&self, current: &EntityTag) -> bool {
        matches!(self, Self::Tags(tags) if tags.len() == 1) && self.matches_strongly(current)
    }

    /// Compares strongly (RFC 9110 §8.8.3.2): equal, and neither is weak.
    pub fn matches_strongly(&self, current: &EntityTag) -> bool {
        self.matches(|member| !member.weak && current.is_opaque(member.opaque))
    }

    fn matches(&self, equal: impl Fn(&Member<'_>) -> bool) -> bool {
        match self {
            Self::Any => true,
            Self::Tags(tags) => tags.iter().any(equal),
        }
    }
}

/// `[ "W/" ] DQUOTE *etagc DQUOTE OWS`, followed by a comma or the end; returns what follows.
fn parse_member(text: &[u8]) -> Option<(Member<'_>, &[u8])> {
    let (weak, rest) = match text.strip_prefix(b"W/") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let rest = rest.strip_prefix(b"\"")?;
    let end = rest.iter().position(|&b| !is_etagc(b))?;
    let (opaque, rest) = rest.split_at(end);
    let rest = skip_ows(rest.strip_prefix(b"\"")?);
    matches!(rest.first(), None | Some(b',')).then_some((Member { weak, opaque }, rest))
}

fn is_etagc(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x7e | 0x80..)
}

fn skip_ows(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    text
}
