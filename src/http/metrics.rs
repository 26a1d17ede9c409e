//! /metrics: what the server tells of itself.

use actix_web::{HttpResponse, web};

use super::{App, Handles, error::ApiError};
use crate::metrics::{CONTENT_TYPE, Level};

pub(super) async fn metrics(app: web::Data<App>) -> Result<HttpResponse, ApiError> {
    sample(&app.handles);
    let text = app.handles.metrics.render().map_err(|error| {
        log::error!("/metrics: {error}");
        ApiError::Internal
    })?;
    Ok(HttpResponse::Ok()
        .insert_header(("cache-control", "no-store"))
        .insert_header(("x-content-type-options", "nosniff"))
        .content_type(CONTENT_TYPE)
        .body(text))
}

/// Samples the gauges.
fn sample(handles: &Handles) {
    let metrics = &handles.metrics;
    let cache = handles.health.cache.as_ref();
    metrics.snapshot_age(cache.and_then(|cache| cache.snapshot_age()));
    metrics.level(
        Level::Waiters,
        cache.map_or(0, |cache| cache.waiting_readers()) as u64,
    );
    let feed = handles.feed.held();
    metrics.level(Level::FeedReads, feed.reads as u64);
    metrics.level(Level::FeedPageBytes, feed.page_bytes as u64);
    metrics.level(Level::FeedTailBytes, feed.tail_bytes as u64);
    let writer = handles.health.writer.as_ref();
    metrics.level(
        Level::Writes,
        writer.map_or(0, |writer| writer.under_way()) as u64,
    );
    let pool = handles.health.pool.usage();
    metrics.level(Level::PoolConnections, pool.connections.into());
    metrics.level(Level::PoolIdle, pool.idle.into());
    metrics.level(Level::LogBytes, handles.health.pool.log_bytes());
}
