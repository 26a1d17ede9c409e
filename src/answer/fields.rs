//! The header fields of a representation's responses: one list, from which both the prepared heads and
//! any other form of the response are made.

use std::io::Write as _;

use bytes::Bytes;

use crate::domain::{coding::Coding, entity_tag::EntityTag};

/// How long a client may reuse a response without asking again (WIRE.md).
const CACHE_CONTROL: &str = "public, max-age=15";
/// Sent on every response that another `Accept-Encoding` could have changed, 304 included
/// (RFC 9110 §12.5.5, §15.4.5).
const VARY: &str = "accept-encoding";

/// The status lines and header fields of a variant's 200 and 304, written once when it is made. Both
/// lack the fields that differ from answer to answer (`date`, `connection`, …) and the final empty line.
#[derive(Debug, PartialEq, Eq)]
pub struct Heads {
    /// Of the response with the body: `HTTP/1.1 200 OK`, `content-length` and the other fields.
    pub whole: Box<[u8]>,
    /// Of the response without one: `HTTP/1.1 304 Not Modified` and its fields.
    pub not_modified: Box<[u8]>,
}

impl Heads {
    pub(super) fn write(coding: Coding, body: &Bytes, etag: &EntityTag) -> Self {
        let length = body.len();
        let mut whole = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n").into_bytes();
        write_lines(&mut whole, describing(coding));
        write_lines(&mut whole, validating(etag));
        let mut not_modified = b"HTTP/1.1 304 Not Modified\r\n".to_vec();
        write_lines(&mut not_modified, validating(etag));
        Self {
            whole: whole.into(),
            not_modified: not_modified.into(),
        }
    }
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

/// Fields that caches and conditional requests need: on 200 and 304 alike.
pub(super) fn validating(etag: &EntityTag) -> impl Iterator<Item = (&'static str, &str)> {
    [
        ("etag", etag.as_str()),
        ("cache-control", CACHE_CONTROL),
        ("vary", VARY),
    ]
    .into_iter()
}

fn write_lines<'a, 'b>(head: &mut Vec<u8>, fields: impl Iterator<Item = (&'a str, &'b str)>) {
    for (name, value) in fields {
        // Writing to memory does not fail.
        let _ = write!(head, "{name}: {value}\r\n");
    }
}
