//! /metrics: what the server tells of itself.

use actix_web::{HttpResponse, web};

use super::{Handles, error::ApiError};
use crate::metrics::CONTENT_TYPE;

pub(super) async fn metrics(handles: web::Data<Handles>) -> Result<HttpResponse, ApiError> {
    let text = handles.metrics.render().map_err(|error| {
        log::error!("/metrics: {error}");
        ApiError::Internal
    })?;
    Ok(HttpResponse::Ok()
        .insert_header(("cache-control", "no-store"))
        .content_type(CONTENT_TYPE)
        .body(text))
}
