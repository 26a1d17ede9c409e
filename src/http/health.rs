//! /health: does the database answer (WIRE.md)? /health/live: does the process run? /health/ready: should
//! balancers send requests here?

use std::collections::BTreeMap;

use actix_web::{HttpResponse, http::StatusCode, web};
use serde::Serialize;

use super::App;

#[derive(Serialize)]
struct Health<C> {
    status: &'static str,
    checks: C,
}

#[derive(Serialize)]
struct DatabaseCheck {
    db: &'static str,
}

pub(super) async fn health(app: web::Data<App>) -> HttpResponse {
    let answers = app.handles.health.database_answers().await;
    let (status, db) = if answers {
        ("ok", "ok")
    } else {
        ("unavailable", "no answer")
    };
    let checks = DatabaseCheck { db };
    answer(answers, Health { status, checks })
}

pub(super) async fn live() -> HttpResponse {
    let checks = BTreeMap::<&str, &str>::new();
    let status = "ok";
    answer(true, Health { status, checks })
}

pub(super) async fn ready(app: web::Data<App>) -> HttpResponse {
    let readiness = app.handles.health.readiness().await;
    let checks = readiness.checks();
    let is_ready = checks.iter().all(|(_, check)| check.is_ok());
    let said = |(name, check): (_, Result<(), _>)| (name, check.err().unwrap_or("ok"));
    let checks: BTreeMap<&str, &str> = checks.into_iter().map(said).collect();
    let status = if is_ready { "ready" } else { "not ready" };
    answer(is_ready, Health { status, checks })
}

fn answer(is_well: bool, body: impl Serialize) -> HttpResponse {
    let code = if is_well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    HttpResponse::build(code)
        .insert_header(("x-content-type-options", "nosniff"))
        .json(body)
}
