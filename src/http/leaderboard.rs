//! leaderboard/recent, as actix-web serves it: pages that are not cached yet, and errors.

use std::net::Ipv4Addr;

use actix_web::{HttpRequest, HttpResponse, web};

use super::{
    App,
    cache_status::CacheStatus,
    error::ApiError,
    query::{self, FeedQuery},
    rate_limit::site_of,
    respond::{conditions, reason, respond},
};

pub(super) async fn recent(
    request: HttpRequest,
    app: web::Data<App>,
) -> Result<HttpResponse, ApiError> {
    let FeedQuery { key, .. } = query::feed(request.query_string())?;
    let conditions = conditions(&request);
    let feed = &app.handles.feed;
    // The door has put the client there.
    let client = request.peer_addr().map(|client| client.ip());
    let client = client.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    let (page, source) = feed.page(&key, site_of(client)).await?;
    let status = CacheStatus::Page(source);
    let next = app.handles.next_of_page(&page, &key, reason(&request));
    respond(
        &app,
        &conditions,
        &page.representation,
        status,
        next.as_ref(),
    )
    .await
}
