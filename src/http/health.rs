//! /health: does the database answer (WIRE.md)? /health/live: does the process run? /health/ready: should
//! balancers send requests here?

use std::{borrow::Cow, collections::BTreeMap};

use actix_web::{HttpResponse, http::StatusCode, web};
use serde::Serialize;

use super::App;
use crate::store::Check;

#[derive(Serialize)]
struct Health<C> {
    status: &'static str,
    checks: C,
}

#[derive(Serialize)]
struct DatabaseCheck {
    db: Cow<'static, str>,
}

pub(super) async fn health(app: web::Data<App>) -> HttpResponse {
    let check = app.handles.health.database().await;
    let answers = check.is_ok();
    let status = if answers { "ok" } else { "unavailable" };
    let db = said(check);
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
    let checks: Vec<_> = readiness.checks().collect();
    let is_ready = checks.iter().all(|(_, check)| check.is_ok());
    let said = checks.into_iter().map(|(name, check)| (name, said(check)));
    let checks: BTreeMap<&str, Cow<'_, str>> = said.collect();
    let status = if is_ready { "ready" } else { "not ready" };
    answer(is_ready, Health { status, checks })
}

fn said(check: Check) -> Cow<'static, str> {
    check.err().unwrap_or(Cow::Borrowed("ok"))
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
