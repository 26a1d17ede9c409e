//! /openapi.json: what this server answers, for programs (OpenAPI 3.1).

use actix_web::{HttpResponse, http::header};

const OPENAPI: &str = include_str!("openapi.json");

pub(super) async fn openapi() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "public, max-age=3600"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .content_type(header::ContentType::json())
        .body(OPENAPI)
}
