//! active-challenges and current-challenge: both answered from the published snapshot.

use actix_web::{HttpRequest, HttpResponse, web};

use super::{
    Handles, cache_status,
    conditional::{respond, respond_with},
    error::ApiError,
    query::Choice,
    worker::Worker,
};
use crate::{
    cache::{handle::Freshness, snapshot::Snapshot},
    representation::Representation,
};

pub(super) async fn active_challenges(
    request: HttpRequest,
    handles: web::Data<Handles>,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    let answer = |snapshot: &Snapshot, freshness: Freshness| {
        let body = |variant: &_| worker.bodies.of(variant);
        let mut response = respond_with(&request, &worker, snapshot.board(), body)?;
        worker.tally.from_snapshot(freshness.is_stale());
        if handles.cache_status {
            cache_status::of_board(&mut response, freshness);
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
    let answer = |snapshot: &Snapshot, freshness: Freshness| {
        let item = chosen(snapshot, &choice).ok_or(ApiError::NoActiveChallenge)?;
        let mut response = respond(&request, &worker, item)?;
        if handles.cache_status {
            cache_status::of_board(&mut response, freshness);
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
