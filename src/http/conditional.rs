//! Conditional requests (RFC 9110 §13): which answer a representation gets.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, HeaderMap, HeaderName},
};

use super::error::ApiError;
use crate::{domain::entity_tag::TagList, representation::Representation};

const CACHE_CONTROL: &str = "public, max-age=15";

/// 200 with the bytes, 304 or 412: the order of RFC 9110 §13.2.2. We send no `Last-Modified`, so
/// the preconditions by date never apply (§13.1.3, §13.1.4).
pub(super) fn respond(
    request: &HttpRequest,
    representation: &Representation,
) -> Result<HttpResponse, ApiError> {
    let etag = representation.etag();
    let headers = request.headers();
    if tag_list(headers, header::IF_MATCH).is_some_and(|list| !list.matches_strongly(etag)) {
        return Err(ApiError::PreconditionFailed);
    }
    let current =
        tag_list(headers, header::IF_NONE_MATCH).is_some_and(|list| list.matches_weakly(etag));
    let mut response = if current {
        HttpResponse::NotModified()
    } else {
        HttpResponse::Ok()
    };
    response
        .insert_header((header::ETAG, etag.as_str()))
        .insert_header((header::CACHE_CONTROL, CACHE_CONTROL));
    if current {
        // Any other body, even an empty one, would be framed and break keep-alive.
        return Ok(response
            .body(actix_web::body::None::new())
            .map_into_boxed_body());
    }
    Ok(response
        .content_type(header::ContentType::json())
        .body(representation.body()))
}

fn tag_list(headers: &HeaderMap, name: HeaderName) -> Option<TagList<'_>> {
    headers
        .contains_key(&name)
        .then(|| TagList::parse(headers.get_all(name).map(header::HeaderValue::as_bytes)))
}
