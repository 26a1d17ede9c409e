//! /metrics: what the server tells of itself.

use actix_web::{HttpResponse, web};

use super::{App, Handles, error::ApiError};
use crate::metrics::{CONTENT_TYPE, SampledGauge};

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
    let cache = &handles.health.cache;
    metrics.snapshot_age(cache.snapshot_age());
    metrics.set_gauge(SampledGauge::Waiters, cache.waiting_readers() as u64);
    let feed = handles.feed.usage();
    metrics.set_gauge(SampledGauge::FeedReads, feed.reads as u64);
    metrics.set_gauge(SampledGauge::FeedPageBytes, feed.page_bytes as u64);
    let writer = handles.health.writer.as_ref();
    metrics.set_gauge(
        SampledGauge::Writes,
        writer.map_or(0, |writer| writer.in_flight()) as u64,
    );
    let pool = handles.health.pool.usage();
    metrics.set_gauge(SampledGauge::PoolConnections, pool.connections.into());
    metrics.set_gauge(SampledGauge::PoolIdle, pool.idle.into());
    metrics.set_gauge(SampledGauge::WalBytes, handles.health.pool.wal_bytes());
}
