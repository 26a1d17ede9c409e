//! active-challenges and current-challenge: both answered from the published snapshot.

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{AGE, HeaderName, HeaderValue},
    web,
};

use super::{
    Handles,
    conditional::{respond, respond_with},
    error::ApiError,
    query::Choice,
    worker::Worker,
};
use crate::{
    cache::{handle::Freshness, snapshot::Snapshot},
    representation::Representation,
};

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

pub(super) async fn active_challenges(
    request: HttpRequest,
    handles: web::Data<Handles>,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    let answer = |snapshot: &Snapshot, freshness: Option<Freshness>| {
        let body = |variant: &_| worker.bodies.of(variant);
        let mut response = respond_with(&request, &worker, snapshot.board(), body)?;
        worker
            .tally
            .from_snapshot(freshness.is_some_and(|f| f.is_stale()));
        if handles.cache_status {
            tell(&mut response, freshness);
        }
        Ok(response)
    };
    handles.board.read(answer).await?
}

pub(super) async fn current_challenge(
    request: HttpRequest,
    handles: web::Data<Handles>,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    let choice = Choice::parse(request.query_string())?;
    let answer = |snapshot: &Snapshot, freshness: Option<Freshness>| {
        let item = chosen(snapshot, &choice).ok_or(ApiError::NoActiveChallenge)?;
        let mut response = respond(&request, &worker, item)?;
        if handles.cache_status {
            tell(&mut response, freshness);
        }
        Ok(response)
    };
    handles.board.read(answer).await?
}

fn chosen<'a>(snapshot: &'a Snapshot, choice: &Choice) -> Option<&'a Representation> {
    match choice {
        Choice::First => snapshot.first(),
        Choice::OfTier(tier) => snapshot.first_of_tier(*tier),
        Choice::OfLabel(tier, label) => snapshot.first_of_label(*tier, label),
    }
}

/// How the cache came by its answer (RFC 9211 §2), and how long ago (RFC 9111 §5.1). `Age` counts
/// against `max-age` on the way down: that is why it is an option.
fn tell(response: &mut HttpResponse, freshness: Option<Freshness>) {
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let status = match freshness {
        Some(at) if at.is_stale() => {
            format!(
                "publisher; hit; ttl=-{}; detail=stale-while-revalidate",
                seconds(at.stale_for)
            )
        }
        Some(at) => format!("publisher; hit; ttl={}", seconds(at.fresh_for)),
        None => "publisher; fwd=bypass".to_owned(),
    };
    let headers = response.headers_mut();
    if let Ok(status) = HeaderValue::from_str(&status) {
        headers.insert(CACHE_STATUS, status);
    }
    if let Some(at) = freshness {
        headers.insert(AGE, HeaderValue::from(at.age.as_secs()));
    }
}
