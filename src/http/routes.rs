//! Every path, with and without the prefix `/api/cathedral` (WIRE.md).

use actix_cors::Cors;
use actix_web::{
    HttpRequest, HttpResponse,
    dev::HttpServiceFactory,
    http::{
        Method,
        header::{self, ETAG},
    },
    middleware::Condition,
    web::{self, ServiceConfig},
};

use super::{
    Handles, access::Access, admin, board, description, error::ApiError, health, leaderboard,
    metrics, own_bodies::OwnBodies, worker::Worker,
};
use crate::metrics::requests::Route;

/// Every public path is there with it and without (WIRE.md).
pub(super) const PREFIX: &str = "/api/cathedral";
/// active-challenges.
pub(super) const BOARD_PATH: &str = "/v1/synthetic-boolean/active-challenges";
/// How long a browser may remember what a preflight told it, in seconds.
const PREFLIGHT_MAX_AGE_SECS: usize = 3600;

/// Which routes an address has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Face {
    /// All of them.
    Whole,
    /// What miners and validators ask for.
    Public,
    /// What operators ask for, and what comes in.
    Admin,
}

/// Adds the routes and their state to an application: once for each worker and address.
pub fn configure(config: &mut ServiceConfig, handles: &Handles, face: Face) {
    let tally = handles.metrics.requests().worker();
    let resources = Resources {
        access: Access {
            route: Route::None,
            rules: handles.rules.clone(),
            tally: tally.clone(),
        },
        cors: handles.cors,
    };
    config
        .app_data(web::Data::new(handles.clone()))
        .app_data(web::Data::new(Worker {
            bodies: OwnBodies::default(),
            tally,
        }));
    if face != Face::Admin {
        config
            .service(web::scope(PREFIX).configure(|config| resources.public(config)))
            .configure(|config| resources.public(config))
            .service(resources.readable(Route::Description, "/openapi.json", description::openapi));
    }
    if face == Face::Admin {
        config.configure(|config| resources.health(config));
    }
    if face != Face::Public {
        config.service(resources.readable(Route::Metrics, "/metrics", metrics::metrics));
        if let Some(admin) = &handles.admin {
            config.configure(|config| admin::configure(config, admin, &resources));
        }
    }
    config.default_service(web::to(not_found).wrap(resources.access));
}

/// Makes resources that pass what every request passes.
#[derive(Debug, Clone)]
pub(super) struct Resources {
    access: Access,
    cors: bool,
}

impl Resources {
    fn public(&self, config: &mut ServiceConfig) {
        config
            .service(self.readable(Route::Board, BOARD_PATH, board::active_challenges))
            .service(self.readable(
                Route::Current,
                "/v1/synthetic-boolean/current-challenge",
                board::current_challenge,
            ))
            .service(self.readable(Route::Feed, "/v1/leaderboard/recent", leaderboard::recent))
            .configure(|config| self.health(config));
    }

    fn health(&self, config: &mut ServiceConfig) {
        config
            .service(self.readable(Route::Health, "/health", health::health))
            .service(self.readable(Route::Health, "/health/live", health::live))
            .service(self.readable(Route::Health, "/health/ready", health::ready));
    }

    pub(super) fn access(&self, route: Route) -> Access {
        Access {
            route,
            ..self.access.clone()
        }
    }

    /// A resource for GET and HEAD; any other method is 405 with `Allow` (RFC 9110 §15.5.6), but for
    /// CORS' preflights where that is on.
    fn readable<F, Args>(
        &self,
        route: Route,
        path: &str,
        handler: F,
    ) -> impl HttpServiceFactory + use<F, Args>
    where
        F: actix_web::Handler<Args> + Clone,
        Args: actix_web::FromRequest + 'static,
        F::Output: actix_web::Responder + 'static,
    {
        web::resource(path)
            .route(web::get().to(handler.clone()))
            .route(web::head().to(handler))
            .default_service(web::to(|| async { method_not_allowed("GET, HEAD") }))
            .wrap(self.access(route))
            .wrap(Condition::new(self.cors, cors()))
    }
}

/// Whoever reads may read: there is no cookie and no token in it.
fn cors() -> Cors {
    Cors::default()
        .allow_any_origin()
        .send_wildcard()
        .allowed_methods([Method::GET, Method::HEAD])
        .allow_any_header()
        .expose_headers([ETAG])
        .disable_vary_header()
        .max_age(PREFLIGHT_MAX_AGE_SECS)
}

pub(super) fn method_not_allowed(allow: &'static str) -> HttpResponse {
    HttpResponse::MethodNotAllowed()
        .insert_header((header::ALLOW, allow))
        .json(super::error::Detail::new("method not allowed"))
}

async fn not_found(_: HttpRequest) -> Result<HttpResponse, ApiError> {
    Err(ApiError::NotFound)
}
