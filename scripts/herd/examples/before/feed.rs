//! The feed: a page of eval runs, read from the database for each request.

use actix_web::{HttpRequest, HttpResponse, error::ErrorBadRequest, web};
use cathedral_publisher::domain::ran_at::RanAt;
use rusqlite::params;
use serde_json::json;

use crate::{Result, Shared, answer};

#[derive(serde::Deserialize)]
pub struct Page {
    since_ran_at: Option<String>,
    since: Option<String>,
    since_id: Option<String>,
    limit: Option<u32>,
}

pub async fn get(
    request: HttpRequest,
    page: web::Query<Page>,
    service: Shared,
) -> Result<HttpResponse> {
    let since = page.since_ran_at.as_deref().or(page.since.as_deref());
    let since = since.ok_or_else(|| ErrorBadRequest("since_ran_at is missing"))?;
    let since = RanAt::parse(since).map_err(ErrorBadRequest)?;
    let page = page.into_inner();
    let body = service.database.run(service.cures.deadline(), move |connection| {
        let limit = page.limit.unwrap_or(200);
        let mut statement = connection.prepare(
            "SELECT ran_at, id, body FROM eval_runs \
             WHERE (ran_at, id) > (?1, ?2) AND schema_version >= 5 ORDER BY ran_at, id LIMIT ?3",
        )?;
        let after = params![since.as_str(), page.since_id.unwrap_or_default(), limit];
        let rows: Vec<(String, String, String)> = statement
            .query_map(after, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let next = rows.last().filter(|_| rows.len() == limit as usize);
        let (ran_at, id) = (next.map(|row| &row.0), next.map(|row| &row.1));
        let epoch = "SELECT max(epoch) FROM merkle_epochs";
        let epoch: Option<i64> = connection.query_row(epoch, [], |row| row.get(0))?;
        let bodies: Vec<&str> = rows.iter().map(|row| row.2.as_str()).collect();
        Ok(format!(
            r#"{{"items":[{}],"next_since":{},"next_since_ran_at":{},"next_since_id":{},"merkle_epoch_latest":{}}}"#,
            bodies.join(","),
            json!(ran_at),
            json!(ran_at),
            json!(id),
            json!(epoch)
        ))
    });
    let body: String = body.await?;
    Ok(answer::whole(&request, &answer::tag(&body), body.into()))
}
