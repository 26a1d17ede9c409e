//! Every path, with and without the prefix `/api/cathedral` (WIRE.md): one table, used by the door to
//! classify requests and by actix-web to route them.

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse, ResponseError as _,
    dev::HttpServiceFactory,
    http::{
        Method,
        header::{
            ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_MAX_AGE,
            ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue, VARY,
        },
    },
    web::{self, ServiceConfig},
};

use super::{
    App, Handles, admin, board, cnf, description, error::ApiError, health, jwks, leaderboard,
    metrics, page,
};
use crate::metrics::requests::{RequestCounters, Route};

/// Every public path is served with and without it (WIRE.md).
pub(super) const PREFIX: &str = "/api/cathedral";
/// How long a browser may reuse the answer to a preflight request, in seconds.
const PREFLIGHT_MAX_AGE_SECS: &str = "3600";
/// The fields that decide the answer to a preflight request.
const PREFLIGHT_VARY: &str = "access-control-request-method, access-control-request-headers";

pub(super) const BOARD: &str = "/v1/synthetic-boolean/active-challenges";
pub(super) const CHANGES: &str = "/v1/synthetic-boolean/active-challenges/changes";
pub(super) const CURRENT: &str = "/v1/synthetic-boolean/current-challenge";
/// Another name of the board.
const BROADCAST: &str = "/v1/synthetic-boolean/challenge-broadcast";
pub(super) const FORMULA: &str = "/v1/synthetic-boolean/active-cnf";
/// What the board links to and another service serves.
const SUBMIT: &str = "/v1/agents/submit";
pub(super) const FEED: &str = "/v1/leaderboard/recent";
pub(super) const EVENTS: &str = "/v1/events";
pub(super) const JWKS: &str = "/.well-known/cathedral-jwks.json";
const HEALTH: [&str; 3] = ["/health", "/health/live", "/health/ready"];
const METRICS: &str = "/metrics";
const DESCRIPTION: &str = "/openapi.json";
const PAGE: &str = "/";

/// Which routes an address serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteSet {
    /// All routes: the only address.
    All,
    /// What miners and validators ask for: the public address beside an admin address.
    Public,
    /// All routes, without a rate limit: the admin address.
    Admin,
}

/// Returns the public path that this one is another name of, or the path itself: without the prefix, without one slash
/// at its end.
pub(super) fn public_path(path: &str) -> &str {
    let path = path.strip_prefix(PREFIX).unwrap_or(path);
    match path.strip_suffix('/').unwrap_or(path) {
        "" => path,
        BROADCAST => BOARD,
        path => path,
    }
}

/// Returns the route of a path, for counters, limits and logs.
pub(super) fn classify(path: &str) -> Route {
    match public_path(path) {
        BOARD => Route::Board,
        CHANGES => Route::Changes,
        CURRENT => Route::Current,
        FORMULA => Route::Formula,
        FEED => Route::Feed,
        EVENTS => Route::Events,
        JWKS => Route::Jwks,
        health if HEALTH.contains(&health) => Route::Health,
        METRICS if path == METRICS => Route::Metrics,
        DESCRIPTION if path == DESCRIPTION => Route::Description,
        PAGE if path == PAGE => Route::Page,
        _ if admin::serves(path) => Route::Admin,
        _ => Route::None,
    }
}

/// Adds the routes and their state to an application: once for each worker and address.
pub(super) fn configure(
    config: &mut ServiceConfig,
    handles: &Handles,
    counters: &Arc<RequestCounters>,
    routes: RouteSet,
) {
    let app = App {
        handles: handles.clone(),
        counters: Arc::clone(counters),
    };
    config.app_data(web::Data::new(app));
    config
        .service(web::scope(PREFIX).configure(public))
        .configure(public)
        .service(readable(vec![DESCRIPTION.to_owned()], description::openapi));
    if handles.settings.page.is_served(routes) {
        config.service(readable(vec![PAGE.to_owned()], page::page));
    }
    if routes != RouteSet::Public {
        config.service(readable(vec![METRICS.to_owned()], metrics::metrics));
        if let Some(admin) = &handles.admin {
            config.configure(|config| admin::configure(config, admin));
        }
    }
    config.default_service(web::to(not_found));
}

fn public(config: &mut ServiceConfig) {
    let [health, live, ready] = HEALTH;
    config
        .service(readable(names(BOARD), board::active_challenges))
        .service(readable(names(BROADCAST), board::active_challenges))
        .service(readable(names(CHANGES), board::changes))
        .service(readable(names(CURRENT), board::current_challenge))
        .service(readable(names(FORMULA), cnf::active_cnf))
        .service(readable(names(FEED), leaderboard::recent))
        .service(readable(names(EVENTS), events))
        .service(readable(names(JWKS), jwks::jwks))
        .service(readable(names(health), health::health))
        .service(readable(names(live), health::live))
        .service(readable(names(ready), health::ready))
        .service(web::resource(names(SUBMIT)).default_service(web::to(cnf::submit)));
}

/// A public path with and without a slash at its end.
fn names(path: &str) -> Vec<String> {
    vec![path.to_owned(), format!("{path}/")]
}

/// A resource for GET and HEAD, and for CORS preflight requests if CORS is on. Any other method is 405
/// with `Allow` (RFC 9110 §15.5.6).
fn readable<F, Args>(paths: Vec<String>, handler: F) -> impl HttpServiceFactory + use<F, Args>
where
    F: actix_web::Handler<Args> + Clone,
    Args: actix_web::FromRequest + 'static,
    F::Output: actix_web::Responder + 'static,
{
    web::resource(paths)
        .route(web::get().to(handler.clone()))
        .route(web::head().to(handler))
        .default_service(web::to(other_method))
}

/// Answers a CORS preflight request (Fetch standard §4.8), or 405.
async fn other_method(request: HttpRequest, app: web::Data<App>) -> Result<HttpResponse, ApiError> {
    let is_preflight = request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key("access-control-request-method");
    let error = ApiError::MethodNotAllowed { allow: "GET, HEAD" };
    if !(app.handles.settings.cors && classify(request.path()).is_public()) {
        return Err(error);
    }
    if !is_preflight {
        let mut response = error.error_response();
        let vary = HeaderValue::from_static(PREFLIGHT_VARY);
        response.headers_mut().insert(VARY, vary);
        return Ok(response);
    }
    let requested = request.headers().get(ACCESS_CONTROL_REQUEST_HEADERS);
    let requested = requested
        .cloned()
        .unwrap_or_else(|| HeaderValue::from_static("*"));
    Ok(HttpResponse::NoContent()
        .insert_header((ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD"))
        .insert_header((ACCESS_CONTROL_ALLOW_HEADERS, requested))
        .insert_header((ACCESS_CONTROL_MAX_AGE, PREFLIGHT_MAX_AGE_SECS))
        .insert_header((VARY, PREFLIGHT_VARY))
        .finish())
}

/// The door streams events; only a request with a body comes here.
async fn events(_: HttpRequest) -> Result<HttpResponse, ApiError> {
    Err(ApiError::Malformed("a request for events has no body"))
}

async fn not_found(_: HttpRequest) -> Result<HttpResponse, ApiError> {
    Err(ApiError::NotFound)
}
