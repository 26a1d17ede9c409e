//! /health: does the database answer? (WIRE.md)

use actix_web::{HttpResponse, http::StatusCode, web};
use serde::Serialize;

use super::Handles;

#[derive(Serialize)]
struct Health {
    status: &'static str,
    checks: Checks,
}

#[derive(Serialize)]
struct Checks {
    db: &'static str,
}

pub(super) async fn health(handles: web::Data<Handles>) -> HttpResponse {
    let (code, status, db) = if handles.health.database_answers().await {
        (StatusCode::OK, "ok", "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "no answer")
    };
    HttpResponse::build(code)
        .insert_header(("cache-control", "no-store"))
        .json(Health {
            status,
            checks: Checks { db },
        })
}
