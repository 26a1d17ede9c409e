//! Every path, with and without the prefix `/api/cathedral` (WIRE.md).

use actix_web::{
    HttpRequest, HttpResponse, Resource,
    http::header,
    web::{self, ServiceConfig},
};

use super::{
    Handles, admin, board, error::ApiError, health, leaderboard, metrics, own_bodies::OwnBodies,
};

const PREFIX: &str = "/api/cathedral";

/// Adds the routes and their state to an application.
pub fn configure(config: &mut ServiceConfig, handles: &Handles) {
    config
        // Once for each worker: nothing on the way of a read is written by two.
        .app_data(web::Data::new(handles.clone()))
        .app_data(web::Data::new(OwnBodies::default()))
        .service(web::scope(PREFIX).configure(public))
        .configure(public)
        .service(readable("/metrics", metrics::metrics))
        .default_service(web::to(not_found));
    if let Some(admin) = &handles.admin {
        config.configure(|config| admin::configure(config, admin));
    }
}

fn public(config: &mut ServiceConfig) {
    let challenges = "/v1/synthetic-boolean";
    config
        .service(readable(
            &format!("{challenges}/active-challenges"),
            board::active_challenges,
        ))
        .service(readable(
            &format!("{challenges}/current-challenge"),
            board::current_challenge,
        ))
        .service(readable("/v1/leaderboard/recent", leaderboard::recent))
        .service(readable("/health", health::health));
}

/// A resource for GET and HEAD; any other method is 405 with `Allow` (RFC 9110 §15.5.6).
fn readable<F, Args>(path: &str, handler: F) -> Resource
where
    F: actix_web::Handler<Args> + Clone,
    Args: actix_web::FromRequest + 'static,
    F::Output: actix_web::Responder + 'static,
{
    web::resource(path)
        .route(web::get().to(handler.clone()))
        .route(web::head().to(handler))
        .default_service(web::to(|| async { method_not_allowed("GET, HEAD") }))
}

pub(super) fn method_not_allowed(allow: &'static str) -> HttpResponse {
    HttpResponse::MethodNotAllowed()
        .insert_header((header::ALLOW, allow))
        .json(super::error::Detail::new("method not allowed"))
}

async fn not_found(_: HttpRequest) -> Result<HttpResponse, ApiError> {
    Err(ApiError::NotFound)
}
