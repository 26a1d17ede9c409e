//! /.well-known/cathedral-jwks.json, as actix-web serves it: what the door does not answer.

use actix_web::{HttpRequest, HttpResponse, web};

use super::{
    App,
    cache_status::CacheStatus,
    error::ApiError,
    respond::{conditions, respond},
};

pub(super) async fn jwks(
    request: HttpRequest,
    app: web::Data<App>,
) -> Result<HttpResponse, ApiError> {
    let set = app.handles.jwk_set.get();
    let set = set.ok_or(ApiError::NotServedHere("no JWK set is configured"))?;
    respond(
        &app,
        &conditions(&request),
        &set.representation,
        CacheStatus::Document,
        None,
    )
    .await
}
