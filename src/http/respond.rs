//! The actix-web form of a [`Decision`]: for requests that the door does not answer by itself.

use std::sync::Arc;

use actix_web::{
    HttpMessage as _, HttpRequest, HttpResponse,
    http::{
        StatusCode,
        header::{ACCEPT_ENCODING, HeaderValue, IF_MATCH, IF_NONE_MATCH},
    },
};

use super::{
    App,
    cache_status::CacheStatus,
    error::ApiError,
    waiting::{Next, Reason},
};
use crate::{
    answer::{Conditions, Decision, Representation},
    domain::coding::Acceptable,
};

/// The conditions that a request's header fields state.
pub(super) fn conditions(request: &HttpRequest) -> Conditions<'_> {
    let lines = |name| request.headers().get_all(name).map(HeaderValue::as_bytes);
    let acceptable = Acceptable::parse(lines(ACCEPT_ENCODING));
    Conditions::new(acceptable, lines(IF_MATCH), lines(IF_NONE_MATCH))
}

/// Returns why a request for news is answered now: the door has found out.
pub(super) fn reason(request: &HttpRequest) -> Reason {
    let found = request.extensions().get::<Reason>().copied();
    found.unwrap_or(Reason::AtOnce)
}

/// Answers with 200 or 304, after making the coding that the client should get. `next` is how the client goes on, if
/// the request was one for news.
///
/// # Errors
/// 406 and 412; 503 if no acceptable coding is made in time.
pub(super) async fn respond(
    app: &App,
    conditions: &Conditions<'_>,
    representation: &Arc<Representation>,
    status: CacheStatus,
    next: Option<&Next>,
) -> Result<HttpResponse, ApiError> {
    if let Some(missing) = conditions.missing_encoding(representation) {
        app.handles.feed.encode(representation, missing).await;
    }
    let decision = conditions.decide(representation)?;
    let (not_modified_bytes, coding_bytes) = decision.saved_bytes(representation);
    app.counters.saved(not_modified_bytes, coding_bytes);
    let code = match decision {
        Decision::NotModified(_) => StatusCode::NOT_MODIFIED,
        Decision::Whole(_) => StatusCode::OK,
    };
    let mut response = HttpResponse::build(code);
    let policy = next.map_or(representation.cache_policy(), Next::cache_policy);
    for (name, value) in decision.fields(representation.media(), policy, &app.handles.edge_cache) {
        response.insert_header((name, value.as_ref()));
    }
    for field in next.into_iter().flat_map(Next::fields) {
        response.insert_header(field);
    }
    if app.handles.settings.cache_status {
        for field in status.fields() {
            response.insert_header(field);
        }
    }
    Ok(match decision {
        // Any other body, even an empty one, would be framed and break the connection.
        Decision::NotModified(_) => response.body(actix_web::body::None::new()),
        Decision::Whole(variant) => response.body(variant.body()),
    })
}
