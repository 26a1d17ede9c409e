//! /metrics: what the server tells of itself.

use std::{num::NonZeroU32, sync::Arc};

use actix_web::{
    HttpResponse,
    web::{self, Bytes},
};
use arc_swap::ArcSwapOption;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::{App, Handles, error::ApiError};
use crate::metrics::{CONTENT_TYPE, SampledGauge};

/// How often the text is written at most, however often it is asked for: up to so many times at once.
const MAX_BURST: NonZeroU32 = NonZeroU32::new(50).unwrap();
/// And so many times a second after that.
const MAX_PER_SECOND: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// How often a scrape makes the checks of readiness begin.
const MAX_LOOKS_PER_SECOND: NonZeroU32 = NonZeroU32::new(1).unwrap();

/// The text of /metrics. Gathering it costs far more than any public read, so a client that asks for it
/// without pause gets the last text again, which is at most a tenth of a second old.
#[derive(Debug)]
pub struct MetricsPage {
    turns: DefaultDirectRateLimiter,
    looks: DefaultDirectRateLimiter,
    last: ArcSwapOption<Bytes>,
}

impl Default for MetricsPage {
    fn default() -> Self {
        Self {
            turns: RateLimiter::direct(Quota::per_second(MAX_PER_SECOND).allow_burst(MAX_BURST)),
            looks: RateLimiter::direct(Quota::per_second(MAX_LOOKS_PER_SECOND)),
            last: ArcSwapOption::empty(),
        }
    }
}

impl MetricsPage {
    /// Returns the text: written anew, or the last one if it was written too often.
    fn text(&self, handles: &Handles) -> Result<Bytes, ApiError> {
        let has_turn = self.turns.check().is_ok();
        if let Some(text) = &*self.last.load()
            && !has_turn
        {
            return Ok(Bytes::clone(text));
        }
        sample(handles);
        let text = handles.metrics.render().map_err(|error| {
            log::error!("/metrics: {error}");
            ApiError::Internal
        })?;
        let text = Bytes::from(text);
        self.last.store(Some(Arc::new(text.clone())));
        Ok(text)
    }
}

pub(super) async fn metrics(app: web::Data<App>) -> Result<HttpResponse, ApiError> {
    let page = &app.handles.metrics_page;
    let text = page.text(&app.handles)?;
    // The checks wait for the database for seconds if it hangs, which must not delay a scrape: the next one shows them.
    if page.looks.check().is_ok() {
        let (health, metrics) = (app.handles.health.clone(), app.handles.metrics.clone());
        actix_rt::spawn(async move {
            for (check, outcome) in health.readiness().await.checks() {
                metrics.ready(check, outcome.is_ok());
            }
        });
    }
    Ok(HttpResponse::Ok()
        .insert_header(("x-content-type-options", "nosniff"))
        .content_type(CONTENT_TYPE)
        .body(text))
}

/// Samples the gauges.
fn sample(handles: &Handles) {
    let metrics = &handles.metrics;
    let cache = &handles.health.cache;
    metrics.board(cache.snapshot_age(), cache.challenges());
    if let Some(upstream) = &handles.health.upstream {
        metrics.follow().set_lag(upstream.lag());
    }
    metrics.set_gauge(SampledGauge::BoardWaiters, cache.waiting_readers() as u64);
    metrics.set_gauge(SampledGauge::Waiters, handles.waits.count() as u64);
    let feed = handles.feed.usage();
    metrics.set_gauge(SampledGauge::FeedReads, feed.reads as u64);
    metrics.set_gauge(SampledGauge::FeedPageBytes, feed.page_bytes as u64);
    let writer = handles.health.writer.as_ref();
    metrics.set_gauge(
        SampledGauge::Writes,
        writer.map_or(0, |writer| writer.in_flight()) as u64,
    );
    let running = writer.and_then(|writer| writer.commit_runs_for());
    metrics.set_gauge(
        SampledGauge::CommitRunning,
        running.unwrap_or_default().as_secs(),
    );
    let pool = handles.health.store.usage();
    metrics.set_gauge(SampledGauge::PoolConnections, pool.connections.into());
    metrics.set_gauge(SampledGauge::PoolIdle, pool.idle.into());
    let (is_listening, lag_secs) = handles.health.store.replication();
    metrics.set_gauge(SampledGauge::Listening, is_listening.into());
    metrics.set_gauge(SampledGauge::ReplicaLag, lag_secs);
    metrics.set_gauge(SampledGauge::WalBytes, handles.health.store.wal_bytes());
}
