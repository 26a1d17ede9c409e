//! active-challenges and current-challenge, as actix-web serves them: what the door does not answer.

use std::sync::Arc;

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
    let board = &app.handles.board;
    let read = board.read(|snapshot, freshness| (Arc::clone(snapshot.board()), freshness));
    let (board, freshness) = read.await?;
    app.counters.from_snapshot(freshness.is_stale());
    respond(&app, &conditions, &board, CacheStatus::Board(freshness)).await
}

pub(super) async fn current_challenge(
    request: HttpRequest,
    app: web::Data<App>,
) -> Result<HttpResponse, ApiError> {
    let choice = Choice::parse(request.query_string())?;
    let conditions = conditions(&request);
    let board = &app.handles.board;
    let read = board.read(|snapshot, freshness| (chosen(snapshot, &choice).cloned(), freshness));
    let (item, freshness) = read.await?;
    let item = item.ok_or(ApiError::NoActiveChallenge)?;
    respond(&app, &conditions, &item, CacheStatus::Board(freshness)).await
}

/// The representation of the chosen challenge, if there is one.
pub(super) fn chosen<'a>(
    snapshot: &'a Snapshot,
    choice: &Choice<'_>,
) -> Option<&'a Arc<Representation>> {
    match choice {
        Choice::First => snapshot.first(),
        Choice::OfTier(tier) => snapshot.first_of_tier(*tier),
        Choice::OfLabel(tier, label) => snapshot.first_of_label(*tier, label),
    }
}
