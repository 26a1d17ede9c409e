//! Conditional requests (RFC 9110 §13): which answer a representation gets.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, HeaderMap, HeaderName},
    web::Bytes,
};

use super::{error::ApiError, worker::Worker};
use crate::{
    domain::{
        coding::{Acceptable, Coding},
        entity_tag::TagList,
    },
    metrics::requests::SavedBy,
    representation::{Representation, Variant},
};

const CACHE_CONTROL: &str = "public, max-age=15";
/// On every answer that another Accept-Encoding might have had otherwise, 304 included (RFC 9110
/// §12.5.5, §15.4.5).
const VARY: &str = "accept-encoding";

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
    let headers = request.headers();
    let if_match = tag_list(headers, header::IF_MATCH);
    let if_none_match = tag_list(headers, header::IF_NONE_MATCH);
    // Of the variants that a client takes, one that it holds is the one that serves it best.
    let held = if_match.as_ref().or(if_none_match.as_ref());
    let variant = representation
        .select(&acceptable(headers), held)
        .ok_or(ApiError::NotAcceptable)?;
    let etag = variant.etag();
    if if_match.is_some_and(|list| !list.matches_strongly(etag)) {
        return Err(ApiError::PreconditionFailed);
    }
    let current = if_none_match.is_some_and(|list| list.matches_weakly(etag));
    let mut response = if current {
        HttpResponse::NotModified()
    } else {
        HttpResponse::Ok()
    };
    response
        .insert_header((header::ETAG, etag.as_str()))
        .insert_header((header::CACHE_CONTROL, CACHE_CONTROL))
        .insert_header((header::VARY, VARY));
    if current {
        worker
            .tally
            .saved(SavedBy::NotModified, variant.body_ref().len());
        // Any other body, even an empty one, would be framed and break keep-alive.
        return Ok(response
            .body(actix_web::body::None::new())
            .map_into_boxed_body());
    }
    if variant.coding() != Coding::Identity {
        let identity_bytes = representation.identity().body_ref().len();
        let saved_bytes = identity_bytes - variant.body_ref().len();
        worker.tally.saved(SavedBy::Coding, saved_bytes);
        response.insert_header((header::CONTENT_ENCODING, variant.coding().as_str()));
    }
    Ok(response
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .content_type(header::ContentType::json())
        .body(body(variant)))
}

/// The coding that this client is to be given and that is not made yet.
pub(super) fn lacks(request: &HttpRequest, representation: &Representation) -> Option<Coding> {
    let headers = request.headers();
    let held = tag_list(headers, header::IF_NONE_MATCH);
    representation.lacks(&acceptable(headers), held.as_ref())
}

/// The codings that the client of this request takes.
fn acceptable(headers: &HeaderMap) -> Acceptable {
    let lines = headers.get_all(header::ACCEPT_ENCODING);
    Acceptable::parse(lines.map(header::HeaderValue::as_bytes))
}

fn tag_list(headers: &HeaderMap, name: HeaderName) -> Option<TagList<'_>> {
    headers
        .contains_key(&name)
        .then(|| TagList::parse(headers.get_all(name).map(header::HeaderValue::as_bytes)))
}
