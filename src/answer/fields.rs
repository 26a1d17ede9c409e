//! The header fields of a representation's responses: one list, from which both the written heads and
//! any other form of the response are made.

use crate::domain::{coding::Coding, entity_tag::EntityTag};

/// How long a client may reuse a response without asking again (WIRE.md).
const CACHE_CONTROL: &str = "public, max-age=15";
/// Sent on every response that another `Accept-Encoding` could have changed, 304 included
/// (RFC 9110 §12.5.5, §15.4.5).
const VARY: &str = "accept-encoding";

/// Returns the status line and the header fields of a 200, which are written once, when its variant is
/// made. They lack the fields that differ from answer to answer (`date`, `connection`, …) and the final
/// empty line.
pub(super) fn whole_head(etag: &EntityTag, body_bytes: usize) -> Box<[u8]> {
    let mut head = format!("HTTP/1.1 200 OK\r\ncontent-length: {body_bytes}\r\n").into_bytes();
    write_lines(&mut head, describing(etag.coding()));
    write_validating(&mut head, etag);
    head.into()
}

/// Writes the same of a 304. Allocates nothing itself.
pub(super) fn write_not_modified(output: &mut Vec<u8>, etag: &EntityTag) {
    output.extend_from_slice(b"HTTP/1.1 304 Not Modified\r\n");
    write_validating(output, etag);
}

/// Fields that describe the body: on a 200 only.
pub(super) fn describing(coding: Coding) -> impl Iterator<Item = (&'static str, &'static str)> {
    let encoding = (coding != Coding::Identity).then(|| ("content-encoding", coding.as_str()));
    [
        ("content-type", "application/json"),
        ("x-content-type-options", "nosniff"),
    ]
    .into_iter()
    .chain(encoding)
}

/// Fields that caches need beside the entity-tag: on 200 and 304 alike.
pub(super) fn validating() -> impl Iterator<Item = (&'static str, &'static str)> {
    [("cache-control", CACHE_CONTROL), ("vary", VARY)].into_iter()
}

fn write_validating(head: &mut Vec<u8>, etag: &EntityTag) {
    head.extend_from_slice(b"etag: ");
    etag.write(head);
    head.extend_from_slice(b"\r\n");
    write_lines(head, validating());
}

fn write_lines(head: &mut Vec<u8>, fields: impl Iterator<Item = (&'static str, &'static str)>) {
    for (name, value) in fields {
        for piece in [name, ": ", value, "\r\n"] {
            head.extend_from_slice(piece.as_bytes());
        }
    }
}
