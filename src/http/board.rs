//! active-challenges and current-challenge, as actix-web serves them: what the door does not answer.

use actix_web::{HttpRequest, HttpResponse, web};

use super::{
    App,
    cache_status::CacheStatus,
    error::ApiError,
    query::Choice,
    respond::{conditions, respond},
};
use crate::{answer::Representation, cache::snapshot::Snapshot};

pub(super) async fn active_challenges(
    request: HttpRequest,
    app: web::Data<App>,
) -> Result<HttpResponse, ApiError> {
    let conditions = conditions(&request);
    app.handles
        .board
        .read(|snapshot, freshness| {
            app.counters.from_snapshot(freshness.is_stale());
            let status = CacheStatus::Board(freshness);
            respond(&app, &conditions, snapshot.board(), status)
        })
        .await?
}

pub(super) async fn current_challenge(
    request: HttpRequest,
    app: web::Data<App>,
) -> Result<HttpResponse, ApiError> {
    let choice = Choice::parse(request.query_string())?;
    let conditions = conditions(&request);
    app.handles
        .board
        .read(|snapshot, freshness| {
            let item = chosen(snapshot, &choice).ok_or(ApiError::NoActiveChallenge)?;
            respond(&app, &conditions, item, CacheStatus::Board(freshness))
        })
        .await?
}

/// The representation of the chosen challenge, if there is one.
pub(super) fn chosen<'a>(snapshot: &'a Snapshot, choice: &Choice) -> Option<&'a Representation> {
    match choice {
        Choice::First => snapshot.first(),
        Choice::OfTier(tier) => snapshot.first_of_tier(*tier),
        Choice::OfLabel(tier, label) => snapshot.first_of_label(*tier, label),
    }
}
