//! leaderboard/recent: a page of the feed.

use actix_web::{HttpRequest, HttpResponse, web};

use super::{
    Handles, cache_status,
    conditional::{lacks, respond},
    error::ApiError,
    query,
    worker::Worker,
};

pub(super) async fn recent(
    request: HttpRequest,
    handles: web::Data<Handles>,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    let (cursor, limit) = query::feed_page(request.query_string())?;
    let (page, source) = handles.feed.page(cursor, limit).await?;
    if let Some(coding) = lacks(&request, &page) {
        handles.feed.encode(&page, coding).await;
    }
    let mut response = respond(&request, &worker, &page)?;
    if handles.cache_status {
        cache_status::of_page(&mut response, source);
    }
    Ok(response)
}
