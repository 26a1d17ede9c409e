//! Content negotiation and preconditions (RFC 9110 §12.5.3, §13): which response a representation gets.

use super::{
    Representation, Variant,
    fields::{describing, validating},
};
use crate::domain::{
    coding::{Acceptable, Coding},
    entity_tag::TagList,
};

/// What a request says about the response that it wants.
#[derive(Debug)]
pub struct Conditions<'a> {
    acceptable: Acceptable,
    if_match: Option<TagList<'a>>,
    if_none_match: Option<TagList<'a>>,
}

/// The response that a request gets.
#[derive(Debug, Clone, Copy)]
pub enum Decision<'r> {
    /// 304: the client holds this variant.
    NotModified(&'r Variant),
    /// 200 with this variant.
    Whole(&'r Variant),
}

/// Why a request gets no variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// 406: `Accept-Encoding` excludes every available coding, including `identity`.
    #[error("no available content coding is acceptable")]
    NotAcceptable,
    /// 412: `If-Match` does not name the current variant.
    #[error("precondition failed")]
    PreconditionFailed,
}

impl<'a> Conditions<'a> {
    /// Parses the lines of `If-Match` and `If-None-Match`. A field without a line is absent.
    pub fn new(
        acceptable: Acceptable,
        if_match: impl IntoIterator<Item = &'a [u8]>,
        if_none_match: impl IntoIterator<Item = &'a [u8]>,
    ) -> Self {
        Self {
            acceptable,
            if_match: tag_list(if_match),
            if_none_match: tag_list(if_none_match),
        }
    }

    /// Negotiates (RFC 9110 §12.5.3), then evaluates the preconditions in the order of §13.2.2. Responses
    /// carry no `Last-Modified`, so preconditions by date never apply (§13.1.3, §13.1.4).
    ///
    /// # Errors
    /// [`Denied`].
    pub fn decide<'r>(&self, representation: &'r Representation) -> Result<Decision<'r>, Denied> {
        // Among acceptable variants, one that the client holds serves it best.
        let known = self.if_match.as_ref().or(self.if_none_match.as_ref());
        let variant = representation
            .select(&self.acceptable, known)
            .ok_or(Denied::NotAcceptable)?;
        let etag = variant.etag();
        let differs = |list: &TagList<'_>| !list.matches_strongly(etag);
        if self.if_match.as_ref().is_some_and(differs) {
            return Err(Denied::PreconditionFailed);
        }
        let holds = |list: &TagList<'_>| list.matches_weakly(etag);
        Ok(if self.if_none_match.as_ref().is_some_and(holds) {
            Decision::NotModified(variant)
        } else {
            Decision::Whole(variant)
        })
    }

    /// Returns the cheap coding that this client prefers and that is not made yet
    /// (see [`Representation::missing_encoding`]).
    pub fn missing_encoding(&self, representation: &Representation) -> Option<Coding> {
        representation.missing_encoding(&self.acceptable, self.if_none_match.as_ref())
    }
}

impl<'r> Decision<'r> {
    /// The variant that the client holds or gets.
    pub fn variant(self) -> &'r Variant {
        match self {
            Self::NotModified(variant) | Self::Whole(variant) => variant,
        }
    }

    /// 200 or 304.
    pub fn status(self) -> u16 {
        match self {
            Self::NotModified(_) => 304,
            Self::Whole(_) => 200,
        }
    }

    /// The prepared head: status line and fields, without the final empty line.
    pub fn head(self) -> &'r [u8] {
        match self {
            Self::NotModified(variant) => &variant.heads().not_modified,
            Self::Whole(variant) => &variant.heads().whole,
        }
    }

    /// Returns the bytes that need not be sent: those of the body, if the client holds it, and those that
    /// its content coding saves, if not.
    pub fn saved_bytes(self, representation: &Representation) -> (usize, usize) {
        let bytes = self.variant().body_ref().len();
        let identity_bytes = representation.identity().body_ref().len();
        match self {
            Self::NotModified(_) => (bytes, 0),
            Self::Whole(_) => (0, identity_bytes.saturating_sub(bytes)),
        }
    }

    /// The same fields one by one, without `content-length`.
    pub fn fields(self) -> impl Iterator<Item = (&'static str, &'r str)> {
        let describing = match self {
            Self::NotModified(_) => None,
            Self::Whole(variant) => Some(describing(variant.coding())),
        };
        let describing = describing.into_iter().flatten();
        let describing =
            describing.map(|(name, value)| -> (&'static str, &'r str) { (name, value) });
        describing.chain(validating(self.variant().etag()))
    }
}

fn tag_list<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Option<TagList<'a>> {
    let mut lines = lines.into_iter().peekable();
    lines.peek().is_some().then(|| TagList::parse(lines))
}
