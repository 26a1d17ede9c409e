//! The header fields of a representation's responses: one list, from which both the written heads and
//! any other form of the response are made.

use std::borrow::Cow;

use super::EdgeCache;
use crate::domain::{coding::Coding, entity_tag::EntityTag};

/// How long caches may reuse a response without asking again (WIRE.md; RFC 9111 §5.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CachePolicy {
    /// 15 s: what clients poll. `--edge-cache` adds to it.
    #[default]
    Polled,
    /// 15 s, and no longer at an edge: the answer to a wait, which would come at once if it were stale; pages in the
    /// order of commits; documents.
    Momentary,
    /// 1 s: long enough for one answer to many that ask at once.
    Brief,
    /// Not at all: it depends on the client.
    NotStored,
    /// A year, without asking again (RFC 8246): it never changes.
    Immutable,
}

impl CachePolicy {
    /// Returns the value of `Cache-Control`.
    pub fn value(self) -> &'static str {
        match self {
            Self::Polled | Self::Momentary => "public, max-age=15",
            Self::Brief => "public, max-age=1",
            Self::NotStored => "no-store",
            Self::Immutable => "public, max-age=31536000, immutable",
        }
    }
}

/// What a representation is, beside its bytes.
#[derive(Debug, Clone)]
pub struct Media {
    /// `Content-Type`.
    pub content_type: &'static str,
    /// Further fields of the 200.
    pub fields: Vec<(&'static str, Cow<'static, str>)>,
    /// `Vary`: the request fields that another response could follow from. Sent with the 304 as well (RFC 9110
    /// §12.5.5, §15.4.5).
    pub vary: &'static str,
}

impl Media {
    /// JSON, in several content codings.
    pub const JSON: Self = Self {
        content_type: "application/json",
        fields: Vec::new(),
        vary: "accept-encoding",
    };
}

/// Returns the status line and the header fields of a 200, which are written once, when its variant is
/// made. They lack the fields of caching, those that differ from answer to answer (`date`, `connection`, …)
/// and the final empty line.
pub(super) fn whole_head(media: &Media, etag: &EntityTag, body_bytes: usize) -> Box<[u8]> {
    let mut head = format!("HTTP/1.1 200 OK\r\ncontent-length: {body_bytes}\r\n").into_bytes();
    write_lines(&mut head, describing(media, etag.coding()));
    write_tag(&mut head, etag);
    head.into()
}

/// Writes the same of a 304. Allocates nothing itself.
pub(super) fn write_not_modified(output: &mut Vec<u8>, etag: &EntityTag) {
    output.extend_from_slice(b"HTTP/1.1 304 Not Modified\r\n");
    write_tag(output, etag);
}

/// Writes the fields of caching, on 200 and 304 alike.
pub(super) fn write_caching(
    output: &mut Vec<u8>,
    media: &Media,
    policy: CachePolicy,
    edge: &EdgeCache,
) {
    write_lines(output, caching(media, policy, edge));
}

/// Fields that describe the body: on a 200 only.
pub(super) fn describing(
    media: &Media,
    coding: Coding,
) -> impl Iterator<Item = (&'static str, &str)> {
    let encoding = (coding != Coding::Identity).then(|| ("content-encoding", coding.as_str()));
    [
        ("content-type", media.content_type),
        ("x-content-type-options", "nosniff"),
    ]
    .into_iter()
    .chain(
        media
            .fields
            .iter()
            .map(|(name, value)| (*name, value.as_ref())),
    )
    .chain(encoding)
}

/// Fields that caches need beside the entity-tag: on 200 and 304 alike.
pub(super) fn caching<'a>(
    media: &Media,
    policy: CachePolicy,
    edge: &'a EdgeCache,
) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
    let (cache_control, targeted) = edge.fields(policy);
    [("cache-control", cache_control), ("vary", media.vary)]
        .into_iter()
        .chain(targeted)
}

/// Returns the fields of a response: those of the body in the coding `described`, if it has one, then the tag and
/// those of caching. Without `content-length`.
pub fn response_fields<'m>(
    media: &'m Media,
    policy: CachePolicy,
    edge: &'m EdgeCache,
    tag: &EntityTag,
    described: Option<Coding>,
) -> impl Iterator<Item = (&'m str, Cow<'m, str>)> + use<'m> {
    let described = described
        .into_iter()
        .flat_map(|coding| describing(media, coding));
    let described = described.map(|(name, value)| (name, Cow::Borrowed(value)));
    let tag = ("etag", Cow::Owned(tag.to_string()));
    let caching = caching(media, policy, edge).map(|(name, value)| (name, Cow::Borrowed(value)));
    described.chain([tag]).chain(caching)
}

fn write_tag(head: &mut Vec<u8>, etag: &EntityTag) {
    head.extend_from_slice(b"etag: ");
    etag.write(head);
    head.extend_from_slice(b"\r\n");
}

fn write_lines<'n, 'v>(head: &mut Vec<u8>, fields: impl Iterator<Item = (&'n str, &'v str)>) {
    for (name, value) in fields {
        for piece in [name, ": ", value, "\r\n"] {
            head.extend_from_slice(piece.as_bytes());
        }
    }
}
