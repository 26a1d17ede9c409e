//! leaderboard/recent, as actix-web serves it: pages that are not cached yet, and errors.

use actix_web::{HttpRequest, HttpResponse, web};

use super::{
    App,
    cache_status::CacheStatus,
    error::ApiError,
    query,
    respond::{conditions, respond},
};

pub(super) async fn recent(
    request: HttpRequest,
    app: web::Data<App>,
) -> Result<HttpResponse, ApiError> {
    let (cursor, limit) = query::feed_page(request.query_string())?;
    let conditions = conditions(&request);
    let feed = &app.handles.feed;
    let (page, source) = feed.page(cursor, limit).await?;
    respond(&app, &conditions, &page, CacheStatus::Page(source)).await
}
