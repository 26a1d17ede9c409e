//! Content negotiation and preconditions (RFC 9110 §12.5.3, §13): which response a representation gets.

use std::borrow::Cow;

use super::{
    EdgeCache, Representation, Variant,
    fields::{CachePolicy, Media, response_fields, write_caching, write_not_modified},
};
use crate::domain::{
    coding::{Acceptable, Coding},
    entity_tag::{EntityTag, TagList},
};

/// What a request says about the response that it wants.
#[derive(Debug, Clone)]
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

/// What a request may get: its codings and their tags, whether the bytes are in memory or in files.
pub trait Offer {
    /// Whether the coding is made already, or will be.
    fn offers(&self, coding: Coding) -> bool;

    /// The entity-tag of the bytes in a coding; `None` if it is not known before the coding is made.
    fn tag(&self, coding: Coding) -> Option<EntityTag>;

    /// Selects the coding for a client that accepts these, the most preferred one first: the first one that is made.
    /// One that saves no bytes is selected only if identity is not among them.
    fn select<I>(&self, codings: impl Fn() -> I) -> Option<Coding>
    where
        I: Iterator<Item = Coding>;
}

/// What a request gets of an [`Offer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chosen {
    /// 304: the client holds the bytes that this tag names.
    NotModified(EntityTag),
    /// 200 in this coding.
    Whole(Coding),
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

    /// Returns the same conditions for a client that accepts this coding alone.
    #[must_use]
    pub fn with_coding_alone(&self, coding: Coding) -> Self {
        Self {
            acceptable: Acceptable::alone(coding),
            ..self.clone()
        }
    }

    /// Returns whether the client accepts this coding.
    pub fn accepts(&self, coding: Coding) -> bool {
        self.acceptable.in_order().any(|other| other == coding)
    }

    /// Returns the decision of [`Conditions::choose`] with the bytes that it chose.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn decide<'r>(&self, representation: &'r Representation) -> Result<Decision<'r>, Denied> {
        match self.choose(representation)? {
            Chosen::NotModified(tag) => Ok(Decision::NotModified(tag)),
            Chosen::Whole(coding) => representation
                .made(coding)
                .map(Decision::Whole)
                .ok_or(Denied::NotEncodedYet),
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
    pub fn choose(&self, offer: &impl Offer) -> Result<Chosen, Denied> {
        if self.available(offer).next().is_none() {
            return Err(Denied::NotAcceptable);
        }
        if self.candidates(offer).next().is_none() {
            return Err(Denied::PreconditionFailed);
        }
        let selected = offer.select(|| self.candidates(offer));
        let held = match &self.if_none_match {
            None => None,
            Some(TagList::Any) => {
                let tag = selected.and_then(|coding| offer.tag(coding));
                tag.or_else(|| self.tags(offer).next())
            }
            Some(list) => self.tags(offer).find(|tag| list.matches_weakly(tag)),
        };
        match (held, selected) {
            (Some(tag), _) => Ok(Chosen::NotModified(tag)),
            (None, Some(coding)) => Ok(Chosen::Whole(coding)),
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
            || matches!(self.choose(representation), Ok(Chosen::NotModified(_)));
        (!is_needless).then(|| MissingEncoding {
            coding,
            is_required: representation.select(candidates).is_none(),
        })
    }

    /// The codings that the client accepts and that are offered, the most preferred first.
    fn available(&self, offer: &impl Offer) -> impl Iterator<Item = Coding> {
        let codings = self.acceptable.in_order();
        codings.filter(|coding| offer.offers(*coding))
    }

    /// Those of them whose tags `If-Match` does not rule out.
    fn candidates(&self, offer: &impl Offer) -> impl Iterator<Item = Coding> {
        let if_match = self.if_match.as_ref();
        self.available(offer).filter(move |coding| {
            let named = |list: &TagList<'_>| {
                let tag = offer.tag(*coding);
                tag.is_some_and(|tag| list.matches_strongly(&tag))
            };
            if_match.is_none_or(named)
        })
    }

    fn tags(&self, offer: &impl Offer) -> impl Iterator<Item = EntityTag> {
        let candidates = self.candidates(offer);
        candidates.filter_map(|coding| offer.tag(coding))
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
        response_fields(media, policy, edge, &tag, described)
    }
}

fn tag_list<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Option<TagList<'a>> {
    let mut lines = lines.into_iter().peekable();
    lines.peek().is_some().then(|| TagList::parse(lines))
}
