//! active-challenges and current-challenge: both answered from the published snapshot.

use actix_web::{HttpRequest, HttpResponse, web};

use super::{
    Handles,
    conditional::{respond, respond_with},
    error::ApiError,
    own_bodies::OwnBodies,
    query::Choice,
};
use crate::{cache::snapshot::Snapshot, representation::Variant};

pub(super) async fn active_challenges(
    request: HttpRequest,
    handles: web::Data<Handles>,
    bodies: web::Data<OwnBodies>,
) -> Result<HttpResponse, ApiError> {
    let body = |variant: &Variant| bodies.of(variant);
    let answer = |snapshot: &Snapshot| respond_with(&request, snapshot.board(), body);
    handles.board.read(answer).await?
}

pub(super) async fn current_challenge(
    request: HttpRequest,
    handles: web::Data<Handles>,
) -> Result<HttpResponse, ApiError> {
    let choice = Choice::parse(request.query_string())?;
    let answer = |snapshot: &Snapshot| {
        let item = match &choice {
            Choice::First => snapshot.first(),
            Choice::OfTier(tier) => snapshot.first_of_tier(*tier),
            Choice::OfLabel(tier, label) => snapshot.first_of_label(*tier, label),
        };
        respond(&request, item.ok_or(ApiError::NoActiveChallenge)?)
    };
    handles.board.read(answer).await?
}
