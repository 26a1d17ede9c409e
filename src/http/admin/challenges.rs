//! What is stored of the challenges: pages, one challenge, and a change of its status.
//!
//! Reads have the bounds of feed pages that are read from the database: their number at once, and their time.

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header,
    web::{self, Payload},
};

use super::{AdminHandles, acknowledge, at, receive, utf8};
use crate::{
    domain::challenge::{Challenge, Status},
    feed::FeedError,
    http::{
        App,
        error::ApiError,
        query::{self, StoredChallenges, id_of_path},
    },
    store::operation::Operation,
};

/// The media types of a change: JSON, or by its own name (RFC 7396).
const JSON_OR_PATCH: &[&str] = &["application/json", "application/merge-patch+json"];

/// Returns a page of challenges as they are stored: `{"items":[…],"next_cursor":ID}`.
pub(super) async fn page(
    request: HttpRequest,
    app: web::Data<App>,
    handles: web::Data<AdminHandles>,
) -> Result<HttpResponse, ApiError> {
    authenticate(&request, &handles)?;
    let StoredChallenges {
        status,
        after,
        limit,
    } = query::stored_challenges(request.query_string())?;
    let read = app.handles.feed.read_apart(move |store, deadline| {
        let challenges = store.challenges(status, &after, limit, deadline)?;
        let is_full = challenges.len() == limit.rows();
        let last = challenges.last().filter(|_| is_full);
        let mut body = br#"{"items":["#.to_vec();
        for (index, challenge) in challenges.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            challenge.write_stored(&mut body)?;
        }
        body.extend_from_slice(br#"],"next_cursor":"#);
        serde_json::to_writer(&mut body, &last.map(|last| &last.challenge_id))?;
        body.push(b'}');
        Ok(body)
    });
    Ok(json(read.await.map_err(failed)?))
}

/// Returns one challenge as it is stored. The same bytes can be put again.
pub(super) async fn one(
    request: HttpRequest,
    app: web::Data<App>,
    handles: web::Data<AdminHandles>,
) -> Result<HttpResponse, ApiError> {
    authenticate(&request, &handles)?;
    let challenge = stored(&request, &app).await?;
    let mut body = Vec::new();
    let written = challenge.write_stored(&mut body);
    written.map_err(|error| failed(error.into()))?;
    Ok(json(body))
}

/// Changes the status of a challenge, as it is stored when the body has come.
pub(super) async fn patch(
    request: HttpRequest,
    body: Payload,
    app: web::Data<App>,
    handles: web::Data<AdminHandles>,
) -> Result<HttpResponse, ApiError> {
    let parse = |body: &[u8]| Status::from_patch(utf8(body)?).map_err(at(0));
    let received = receive(&request, body, &handles, JSON_OR_PATCH, parse).await;
    let (admission, status) = received.map_err(ApiError::of_one)?;
    let old = stored(&request, &app).await?;
    let new = Challenge {
        status,
        ..old.clone()
    };
    let (old, new) = (Box::new(old), Box::new(new));
    let operation = Operation::ReplaceChallenge { old, new };
    let written = handles.writer.write(admission, operation).await;
    let receipt = written.map_err(|error| ApiError::from(error).of_one())?;
    Ok(acknowledge(receipt))
}

fn authenticate(request: &HttpRequest, handles: &AdminHandles) -> Result<(), ApiError> {
    let bearer = handles.tokens.admit(request.headers());
    bearer.map(drop).ok_or(ApiError::Unauthorized)
}

/// Reads the challenge that the path names.
async fn stored(request: &HttpRequest, app: &App) -> Result<Challenge, ApiError> {
    let id =
        id_of_path(request.path(), "challenge_id").map_err(|invalid| at(0)(invalid).of_one())?;
    let read = app
        .handles
        .feed
        .read_apart(move |store, deadline| Ok(store.challenge(&id, deadline)?));
    read.await.map_err(failed)?.ok_or(ApiError::NoSuchChallenge)
}

fn failed(error: FeedError) -> ApiError {
    if let FeedError::Store(error) = &error {
        log::warn!("challenges cannot be read: {error}");
    }
    ApiError::from(Arc::new(error))
}

fn json(body: Vec<u8>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .content_type("application/json")
        .body(body)
}
