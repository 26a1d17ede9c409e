//! active-challenges and current-challenge, as actix-web serves them: what the door does not answer.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};

use super::{
    App,
    cache_status::CacheStatus,
    error::ApiError,
    query::{self, Choice},
    respond::{conditions, reason, respond},
};
use crate::{answer::Representation, cache::snapshot::Snapshot};

pub(super) async fn active_challenges(
    request: HttpRequest,
    app: web::Data<App>,
) -> Result<HttpResponse, ApiError> {
    let conditions = conditions(&request);
    let board = &app.handles.board;
    let read = board.read(|published, freshness| (Arc::clone(published.board()), freshness));
    let (board, freshness) = read.await?;
    app.counters.from_snapshot(freshness.is_stale());
    respond(
        &app,
        &conditions,
        &board,
        CacheStatus::Board(freshness),
        None,
    )
    .await
}

/// active-challenges/changes, after the door has let the request wait.
pub(super) async fn changes(
    request: HttpRequest,
    app: web::Data<App>,
) -> Result<HttpResponse, ApiError> {
    query::changes(request.query_string())?;
    let conditions = conditions(&request);
    let board = &app.handles.board;
    let read = board.read(|published, freshness| {
        let next = app.handles.next_of_board(published, reason(&request));
        (Arc::clone(published.board()), freshness, next)
    });
    let (board, freshness, next) = read.await?;
    app.counters.from_snapshot(freshness.is_stale());
    let status = CacheStatus::Board(freshness);
    respond(&app, &conditions, &board, status, Some(&next)).await
}

pub(super) async fn current_challenge(
    request: HttpRequest,
    app: web::Data<App>,
) -> Result<HttpResponse, ApiError> {
    let choice = Choice::parse(request.query_string())?;
    let conditions = conditions(&request);
    let board = &app.handles.board;
    let read = board.read(|published, freshness| {
        let item = chosen(&published.snapshot, &choice).cloned();
        (item, freshness)
    });
    let (item, freshness) = read.await?;
    let item = item.ok_or(ApiError::NoActiveChallenge)?;
    respond(
        &app,
        &conditions,
        &item,
        CacheStatus::Board(freshness),
        None,
    )
    .await
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
