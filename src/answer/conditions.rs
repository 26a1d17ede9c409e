//! Content negotiation and preconditions (RFC 9110 §12.5.3, §13): which response a representation gets.

use std::borrow::Cow;

use super::{
    EdgeCache, Representation, Variant,
    fields::{CachePolicy, Media, caching, describing, write_caching, write_not_modified},
};
use crate::domain::{
    coding::{Acceptable, Coding},
    entity_tag::{EntityTag, TagList},
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
    /// 304: the client holds the bytes that this tag names.
    NotModified(EntityTag),
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
    /// 503: none of the acceptable codings is made yet (see [`Conditions::missing_encoding`]).
    #[error("the acceptable content codings are not made yet")]
    NotEncodedYet,
}

/// A coding that should be made before a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissingEncoding {
    /// Which one.
    pub coding: Coding,
    /// Whether the request cannot be answered without it.
    pub is_required: bool,
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
    /// Among the codings that the client accepts, the one whose tag it names is selected: it serves the
    /// client best. A tag follows from the identity body, so that a 304 needs no bytes of that coding. A tag
    /// of a coding that the client does not accept, as by `q=0`, matches nothing: no 200 would carry it.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn decide<'r>(&self, representation: &'r Representation) -> Result<Decision<'r>, Denied> {
        if self.available(representation).next().is_none() {
            return Err(Denied::NotAcceptable);
        }
        if self.candidates(representation).next().is_none() {
            return Err(Denied::PreconditionFailed);
        }
        let selected = representation.select(|| self.candidates(representation));
        let held = match &self.if_none_match {
            None => None,
            Some(TagList::Any) => {
                let tag = selected.map(|variant| *variant.etag());
                tag.or_else(|| self.tags(representation).next())
            }
            Some(list) => self
                .tags(representation)
                .find(|tag| list.matches_weakly(tag)),
        };
        match (held, selected) {
            (Some(tag), _) => Ok(Decision::NotModified(tag)),
            (None, Some(variant)) => Ok(Decision::Whole(variant)),
            (None, None) => Err(Denied::NotEncodedYet),
        }
    }

    /// Returns the coding that should be made first: of those that the client accepts the one that it
    /// prefers and that is not made yet. Brotli, which is expensive, only if the client accepts nothing
    /// else. A body that is too short to gain is encoded only for a client that excludes `identity`.
    pub fn missing_encoding(&self, representation: &Representation) -> Option<MissingEncoding> {
        let candidates = || self.candidates(representation);
        let cheap = candidates().find(|coding| *coding != Coding::Brotli);
        let coding = cheap.or_else(|| candidates().next())?;
        let is_needless = representation.is_encoded(coding)
            || (representation.is_short() && candidates().any(|coding| coding == Coding::Identity))
            || matches!(self.decide(representation), Ok(Decision::NotModified(_)));
        (!is_needless).then(|| MissingEncoding {
            coding,
            is_required: representation.select(candidates).is_none(),
        })
    }

    /// The codings that the client accepts and the representation offers, the most preferred first.
    fn available(&self, representation: &Representation) -> impl Iterator<Item = Coding> {
        let codings = self.acceptable.in_order();
        codings.filter(|coding| representation.offers(*coding))
    }

    /// Those of them whose tags `If-Match` does not rule out.
    fn candidates(&self, representation: &Representation) -> impl Iterator<Item = Coding> {
        let if_match = self.if_match.as_ref();
        self.available(representation).filter(move |coding| {
            if_match.is_none_or(|list| list.matches_strongly(&representation.tag(*coding)))
        })
    }

    fn tags(&self, representation: &Representation) -> impl Iterator<Item = EntityTag> {
        let candidates = self.candidates(representation);
        candidates.map(|coding| representation.tag(coding))
    }
}

impl<'r> Decision<'r> {
    /// 200 or 304.
    pub fn status(self) -> u16 {
        match self {
            Self::NotModified(_) => 304,
            Self::Whole(_) => 200,
        }
    }

    /// Writes the head: status line and fields, without those that differ from answer to answer and
    /// without the final empty line.
    pub fn write_head(
        self,
        media: &Media,
        policy: CachePolicy,
        edge: &EdgeCache,
        output: &mut Vec<u8>,
    ) {
        match self {
            Self::NotModified(tag) => write_not_modified(output, &tag),
            Self::Whole(variant) => output.extend_from_slice(variant.head()),
        }
        write_caching(output, media, policy, edge);
    }

    /// Returns the bytes that need not be sent: those of the body, if the client holds it, and those that
    /// its content coding saves, if not. A coding that the client holds and that is not made here counts
    /// nothing.
    pub fn saved_bytes(self, representation: &Representation) -> (usize, usize) {
        match self {
            Self::NotModified(tag) => {
                let made = representation.made(tag.coding());
                (made.map_or(0, |variant| variant.body_ref().len()), 0)
            }
            Self::Whole(variant) => {
                let identity_bytes = representation.identity().body_ref().len();
                let saved = identity_bytes.saturating_sub(variant.body_ref().len());
                (0, saved)
            }
        }
    }

    /// The same fields one by one, without `content-length`.
    pub fn fields<'a>(
        self,
        media: &'a Media,
        policy: CachePolicy,
        edge: &'a EdgeCache,
    ) -> impl Iterator<Item = (&'a str, Cow<'a, str>)> {
        let (tag, described) = match self {
            Self::NotModified(tag) => (tag, None),
            Self::Whole(variant) => (*variant.etag(), Some(variant.coding())),
        };
        let described = described
            .into_iter()
            .flat_map(|coding| describing(media, coding));
        let described = described.map(|(name, value)| (name, Cow::Borrowed(value)));
        let tag = ("etag", Cow::Owned(tag.to_string()));
        let caching =
            caching(media, policy, edge).map(|(name, value)| (name, Cow::Borrowed(value)));
        described.chain([tag]).chain(caching)
    }
}

fn tag_list<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Option<TagList<'a>> {
    let mut lines = lines.into_iter().peekable();
    lines.peek().is_some().then(|| TagList::parse(lines))
}
