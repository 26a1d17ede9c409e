//! active-challenges and current-challenge: both answered from the published snapshot.

use actix_web::{HttpRequest, HttpResponse, web};

use super::{Handles, conditional::respond, error::ApiError, query::Choice};

pub(super) async fn active_challenges(
    request: HttpRequest,
    handles: web::Data<Handles>,
) -> Result<HttpResponse, ApiError> {
    let snapshot = handles.board.snapshot().await?;
    respond(&request, snapshot.board())
}

pub(super) async fn current_challenge(
    request: HttpRequest,
    handles: web::Data<Handles>,
) -> Result<HttpResponse, ApiError> {
    let choice = Choice::parse(request.query_string())?;
    let snapshot = handles.board.snapshot().await?;
    let item = match choice {
        Choice::First => snapshot.first(),
        Choice::OfTier(tier) => snapshot.first_of_tier(tier),
        Choice::OfLabel(tier, label) => snapshot.first_of_label(tier, &label),
    };
    respond(&request, item.ok_or(ApiError::NoActiveChallenge)?)
}
