//! Writes of producers and operators, which wait in the queue of the reads.

use std::sync::atomic::Ordering;

use actix_web::{HttpRequest, HttpResponse, error::ErrorUnauthorized, http::header};
use cathedral_publisher::{
    domain::{challenge::Challenge, eval_run::EvalRun},
    store::{
        Written,
        sqlite::write::{insert_eval_run, put_challenge},
    },
};
use rusqlite::Transaction;
use serde_json::{json, value::RawValue};

use crate::{Fallible, Result, Shared};

pub async fn eval_runs(
    request: HttpRequest,
    body: String,
    service: Shared,
) -> Result<HttpResponse> {
    store(&request, service, body, |transaction, json| {
        Ok(insert_eval_run(transaction, &EvalRun::from_json(json)?)?)
    })
    .await
}

pub async fn challenges(
    request: HttpRequest,
    body: String,
    service: Shared,
) -> Result<HttpResponse> {
    let stored = store(&request, service.clone(), body, |transaction, json| {
        let challenge = Challenge::from_admin(json, None)?;
        Ok(put_challenge(transaction, &challenge)?)
    })
    .await;
    // Before the answer is sent: from then on no client gets 304 for the board before this write.
    service.version.fetch_add(1, Ordering::SeqCst);
    stored
}

/// Stores the items of a JSON array or of NDJSON in one transaction.
async fn store(
    request: &HttpRequest,
    service: Shared,
    body: String,
    write: fn(&Transaction<'_>, &str) -> Fallible<Written>,
) -> Result<HttpResponse> {
    let sent = request.headers().get(header::AUTHORIZATION);
    let sent = sent.and_then(|value| value.to_str().ok());
    if service.bearer.is_none() || sent != service.bearer.as_deref() {
        return Err(ErrorUnauthorized("the token is missing or wrong"));
    }
    let stored = service.database.run(None, move |connection| {
        let transaction = connection.transaction()?;
        let (mut inserted, mut unchanged) = (0, 0);
        let array: Option<Vec<&RawValue>> = serde_json::from_str(&body).ok();
        let items: Vec<&str> = match &array {
            Some(items) => items.iter().map(|item| item.get()).collect(),
            None => body.lines().collect(),
        };
        for item in items {
            match write(&transaction, item)? {
                Written::Inserted => inserted += 1,
                Written::Unchanged => unchanged += 1,
            }
        }
        transaction.commit()?;
        Ok(json!({ "inserted": inserted, "unchanged": unchanged }))
    });
    Ok(HttpResponse::Ok().json(stored.await?))
}
