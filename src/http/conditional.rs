//! Conditional requests (RFC 9110 §13): which answer a representation gets.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        StatusCode,
        header::{self, HeaderMap},
    },
    web::Bytes,
};

use super::{error::ApiError, lending, worker::Worker};
use crate::{
    domain::{
        coding::{Acceptable, Coding},
        entity_tag::TagList,
    },
    metrics::requests::{SavedBy, Tally},
    representation::{Representation, Variant},
};

/// How long a client need not ask again (WIRE.md).
pub(super) const CACHE_CONTROL: &str = "public, max-age=15";
/// On every answer that another Accept-Encoding might have had otherwise, 304 included (RFC 9110
/// §12.5.5, §15.4.5).
pub(super) const VARY: &str = "accept-encoding";

/// 200 with the bytes, 304, 406 or 412: negotiation (RFC 9110 §12.5.3), then the order of §13.2.2. We
/// send no `Last-Modified`, so the preconditions by date never apply (§13.1.3, §13.1.4).
pub(super) fn respond(
    request: &HttpRequest,
    worker: &Worker,
    representation: &Representation,
) -> Result<HttpResponse, ApiError> {
    respond_with(request, worker, representation, Variant::body)
}

/// As [`respond`], its body handed out by `body`.
pub(super) fn respond_with(
    request: &HttpRequest,
    worker: &Worker,
    representation: &Representation,
    body: impl FnOnce(&Variant) -> Bytes,
) -> Result<HttpResponse, ApiError> {
    let decision = Conditions::of(request.headers()).decide(representation)?;
    decision.count_savings(&worker.tally, representation);
    let variant = decision.variant();
    let mut response = HttpResponse::build(decision.status());
    response
        .insert_header((header::ETAG, variant.etag().as_str()))
        .insert_header((header::CACHE_CONTROL, CACHE_CONTROL))
        .insert_header((header::VARY, VARY));
    if let Decision::NotModified(_) = decision {
        // Any other body, even an empty one, would be framed and break keep-alive.
        return Ok(response
            .body(actix_web::body::None::new())
            .map_into_boxed_body());
    }
    if variant.coding() != Coding::Identity {
        response.insert_header((header::CONTENT_ENCODING, variant.coding().as_str()));
    }
    response
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .content_type(header::ContentType::json());
    Ok(lending::finish(&mut response, request, body(variant)))
}

/// What a request says of the answer that it wants.
#[derive(Debug)]
pub(super) struct Conditions<'a> {
    acceptable: Acceptable,
    if_match: Option<TagList<'a>>,
    if_none_match: Option<TagList<'a>>,
}

/// What it gets.
#[derive(Debug, Clone, Copy)]
pub(super) enum Decision<'r> {
    /// 304: the client has this one.
    NotModified(&'r Variant),
    /// 200, with this one.
    Whole(&'r Variant),
}

impl<'a> Conditions<'a> {
    fn of(headers: &'a HeaderMap) -> Self {
        let lines = |name| headers.get_all(name).map(header::HeaderValue::as_bytes);
        Self {
            acceptable: Acceptable::parse(lines(header::ACCEPT_ENCODING)),
            if_match: tag_list(lines(header::IF_MATCH)),
            if_none_match: tag_list(lines(header::IF_NONE_MATCH)),
        }
    }

    /// Of a request that has at most one line of If-None-Match, and no If-Match.
    pub(super) fn simple(acceptable: Acceptable, if_none_match: Option<&'a [u8]>) -> Self {
        Self {
            acceptable,
            if_match: None,
            if_none_match: tag_list(if_none_match),
        }
    }

    /// Negotiation (RFC 9110 §12.5.3), then the order of §13.2.2.
    ///
    /// # Errors
    /// 406 and 412.
    pub(super) fn decide<'r>(
        &self,
        representation: &'r Representation,
    ) -> Result<Decision<'r>, ApiError> {
        // Of the variants that a client takes, one that it holds is the one that serves it best.
        let held = self.if_match.as_ref().or(self.if_none_match.as_ref());
        let variant = representation
            .select(&self.acceptable, held)
            .ok_or(ApiError::NotAcceptable)?;
        let etag = variant.etag();
        let is_other = |list: &TagList<'_>| !list.matches_strongly(etag);
        if self.if_match.as_ref().is_some_and(is_other) {
            return Err(ApiError::PreconditionFailed);
        }
        let has_it = |list: &TagList<'_>| list.matches_weakly(etag);
        Ok(if self.if_none_match.as_ref().is_some_and(has_it) {
            Decision::NotModified(variant)
        } else {
            Decision::Whole(variant)
        })
    }
}

impl<'r> Decision<'r> {
    /// The variant that the client has or gets.
    pub(super) fn variant(&self) -> &'r Variant {
        match self {
            Self::NotModified(variant) | Self::Whole(variant) => variant,
        }
    }

    /// 200 or 304.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::NotModified(_) => StatusCode::NOT_MODIFIED,
            Self::Whole(_) => StatusCode::OK,
        }
    }

    /// Counts what does not have to be sent.
    pub(super) fn count_savings(&self, tally: &Tally, representation: &Representation) {
        let bytes = self.variant().body_ref().len();
        match self {
            Self::NotModified(_) => tally.saved(SavedBy::NotModified, bytes),
            Self::Whole(_) => {
                let identity_bytes = representation.identity().body_ref().len();
                if bytes < identity_bytes {
                    tally.saved(SavedBy::Coding, identity_bytes - bytes);
                }
            }
        }
    }
}

/// The coding that this client is to be given and that is not made yet.
pub(super) fn lacks(request: &HttpRequest, representation: &Representation) -> Option<Coding> {
    let conditions = Conditions::of(request.headers());
    representation.lacks(&conditions.acceptable, conditions.if_none_match.as_ref())
}

/// None where the field is not there.
fn tag_list<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Option<TagList<'a>> {
    let mut lines = lines.into_iter().peekable();
    lines.peek().is_some().then(|| TagList::parse(lines))
}
