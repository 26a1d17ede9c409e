//! leaderboard/recent, as actix-web serves it: pages that are not cached yet, and errors.

use std::net::Ipv4Addr;

use actix_web::{HttpRequest, HttpResponse, web};

use super::{
    App,
    cache_status::CacheStatus,
    error::ApiError,
    query,
    rate_limit::network_of,
    respond::{conditions, respond},
};

pub(super) async fn recent(
    request: HttpRequest,
    app: web::Data<App>,
) -> Result<HttpResponse, ApiError> {
    let key = query::feed_page(request.query_string())?;
    let conditions = conditions(&request);
    let feed = &app.handles.feed;
    // The door has put the client there.
    let client = request.peer_addr().map(|client| client.ip());
    let client = client.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    let (page, source) = feed.page(&key, network_of(client)).await?;
    let status = CacheStatus::Page(source);
    respond(&app, &conditions, &page.representation, status, None).await
}
