//! The immutable bytes of one answer, with the entity-tag that names them.

use bytes::Bytes;

use crate::domain::entity_tag::EntityTag;

/// A complete answer body that never changes; cloning it shares the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Representation {
    body: Bytes,
    etag: EntityTag,
}

impl Representation {
    /// Takes the bytes over and hashes them, once.
    pub fn new(body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let etag = EntityTag::of(&body);
        Self { body, etag }
    }

    /// The body, shared.
    pub fn body(&self) -> Bytes {
        self.body.clone()
    }

    /// Its strong entity-tag (RFC 9110 §8.8.3).
    pub fn etag(&self) -> &EntityTag {
        &self.etag
    }
}
