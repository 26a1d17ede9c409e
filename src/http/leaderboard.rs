//! leaderboard/recent: a page of the feed.

use actix_web::{HttpRequest, HttpResponse, web};

use super::{Handles, conditional::respond, error::ApiError, query};

pub(super) async fn recent(
    request: HttpRequest,
    handles: web::Data<Handles>,
) -> Result<HttpResponse, ApiError> {
    let (cursor, limit) = query::feed_page(request.query_string())?;
    let page = handles.feed.page(cursor, limit).await?;
    respond(&request, &page)
}
