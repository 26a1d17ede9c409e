//! The kinds of answers: 200, 304, and 503 with `Retry-After`.

use actix_web::{
    HttpRequest, HttpResponse,
    error::InternalError,
    http::header::{self, EntityTag, Header as _, IfNoneMatch},
    web::Bytes,
};
use sha2::{Digest as _, Sha256};

/// Returns the entity-tag of a body.
pub fn tag(body: &str) -> EntityTag {
    let digest = Sha256::digest(body);
    let tag = digest[..16].iter().map(|b| format!("{b:02x}")).collect();
    EntityTag::new_strong(tag)
}

/// Returns whether the client has the body of this tag (RFC 9110 §13.1.2).
pub fn knows(request: &HttpRequest, tag: &EntityTag) -> bool {
    match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => true,
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|known| known.weak_eq(tag)),
        Err(_) => false,
    }
}

/// Responds with the body, or with 304 if the client has it.
pub fn whole(request: &HttpRequest, tag: &EntityTag, body: Bytes) -> HttpResponse {
    if knows(request, tag) {
        return not_modified(tag.clone());
    }
    HttpResponse::Ok()
        .insert_header(header::ETag(tag.clone()))
        .insert_header(header::ContentType::json())
        .body(body)
}

pub fn not_modified(tag: EntityTag) -> HttpResponse {
    HttpResponse::NotModified()
        .insert_header(header::ETag(tag))
        .finish()
}

/// 503: come back in a second.
pub fn busy() -> actix_web::Error {
    let response = HttpResponse::ServiceUnavailable()
        .insert_header((header::RETRY_AFTER, "1"))
        .finish();
    InternalError::from_response("busy", response).into()
}
