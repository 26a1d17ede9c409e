//! A server of the kind that the publisher replaces, for comparisons: no cache, one database connection.
//!
//!     cargo run --release -p herd --example before -- DATABASE
//!
//! All requests share one SQLite connection behind a mutex, in rollback-journal mode. Each GET of the board
//! or the feed reads the rows and builds the JSON again, and a write holds the same lock until its commit is
//! on disk. Paths, tables and responses are those of the publisher. The database must exist: make it with
//! `cathedral-publisher import`. Writes need the token in `PUBLISHER_ADMIN_TOKEN`. The program counts the
//! builds of the board in `/metrics`, prints its address, and serves until it is killed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub
)]

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    error::{ErrorBadRequest, ErrorInternalServerError, ErrorUnauthorized},
    http::header::{self, EntityTag, Header as _, IfNoneMatch},
    web,
};
use cathedral_publisher::{
    domain::{challenge::Challenge, eval_run::EvalRun, ran_at::RanAt},
    store::{
        Written,
        sqlite::{
            read::active_challenges,
            write::{insert_eval_run, put_challenge},
        },
    },
};
use rusqlite::{Connection, Transaction, params};
use serde_json::{json, value::RawValue};
use sha2::{Digest as _, Sha256};

const MAX_BODY_BYTES: usize = 16 << 20;

/// What all workers share.
struct Service {
    connection: Mutex<Connection>,
    board_builds: AtomicU64,
    bearer: Option<String>,
}

type Shared = web::Data<Service>;
type Result<T> = std::result::Result<T, actix_web::Error>;
type Fallible<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let database = std::env::args().nth(1).expect("before DATABASE");
    let token = std::env::var("PUBLISHER_ADMIN_TOKEN").ok();
    let service = web::Data::new(Service {
        connection: Mutex::new(open(&database).unwrap()),
        board_builds: AtomicU64::new(0),
        bearer: token.map(|token| format!("Bearer {token}")),
    });
    let server = HttpServer::new(move || {
        App::new()
            .app_data(service.clone())
            .app_data(web::PayloadConfig::new(MAX_BODY_BYTES))
            .route(
                "/v1/synthetic-boolean/active-challenges",
                web::get().to(board),
            )
            .route("/v1/leaderboard/recent", web::get().to(feed))
            .route("/v1/admin/eval-runs", web::post().to(post_eval_runs))
            .route("/v1/admin/challenges", web::post().to(post_challenges))
            .route("/metrics", web::get().to(metrics))
    });
    // A signal ends the process at once, whatever is queued.
    let server = server.disable_signals().bind("127.0.0.1:0")?;
    println!("{}", server.addrs()[0]);
    server.run().await
}

fn open(database: &str) -> rusqlite::Result<Connection> {
    let connection =
        Connection::open_with_flags(database, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.pragma_update(None, "journal_mode", "DELETE")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

/// Runs `work` with the only connection, on a blocking thread.
async fn with_connection<T: Send + 'static>(
    service: Shared,
    work: impl FnOnce(&mut Connection, &Service) -> Fallible<T> + Send + 'static,
) -> Result<T> {
    let service: Arc<Service> = service.into_inner();
    let done = web::block(move || {
        let mut connection = service.connection.lock().unwrap();
        work(&mut connection, &service)
    });
    done.await?.map_err(ErrorInternalServerError)
}

async fn board(request: HttpRequest, service: Shared) -> Result<HttpResponse> {
    let body = with_connection(service, |connection, service| {
        service.board_builds.fetch_add(1, Ordering::Relaxed);
        let mut items = Vec::new();
        for challenge in active_challenges(connection)? {
            let mut item = Vec::new();
            challenge.write_item(&mut item)?;
            items.push(String::from_utf8(item)?);
        }
        Ok(format!(
            r#"{{"family_id":"synthetic_boolean_v1","count":{},"items":[{}]}}"#,
            items.len(),
            items.join(",")
        ))
    });
    Ok(respond(&request, body.await?))
}

#[derive(serde::Deserialize)]
struct Page {
    since_ran_at: Option<String>,
    since: Option<String>,
    since_id: Option<String>,
    limit: Option<u32>,
}

async fn feed(
    request: HttpRequest,
    page: web::Query<Page>,
    service: Shared,
) -> Result<HttpResponse> {
    let since = page.since_ran_at.as_deref().or(page.since.as_deref());
    let since = since.ok_or_else(|| ErrorBadRequest("since_ran_at is missing"))?;
    let since = RanAt::parse(since).map_err(ErrorBadRequest)?;
    let page = page.into_inner();
    let body = with_connection(service, move |connection, _| {
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
    Ok(respond(&request, body.await?))
}

/// Responds with 200, or with 304 if the client has the same body already.
fn respond(request: &HttpRequest, body: String) -> HttpResponse {
    let digest = Sha256::digest(&body);
    let tag: String = digest[..16].iter().map(|b| format!("{b:02x}")).collect();
    let tag = EntityTag::new_strong(tag);
    let is_known = match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => true,
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|known| known.weak_eq(&tag)),
        Err(_) => false,
    };
    if is_known {
        return HttpResponse::NotModified()
            .insert_header(header::ETag(tag))
            .finish();
    }
    HttpResponse::Ok()
        .insert_header(header::ETag(tag))
        .insert_header(header::ContentType::json())
        .body(body)
}

async fn post_eval_runs(
    request: HttpRequest,
    body: String,
    service: Shared,
) -> Result<HttpResponse> {
    store(&request, service, body, |transaction, json| {
        Ok(insert_eval_run(transaction, &EvalRun::from_json(json)?)?)
    })
    .await
}

async fn post_challenges(
    request: HttpRequest,
    body: String,
    service: Shared,
) -> Result<HttpResponse> {
    store(&request, service, body, |transaction, json| {
        let challenge = Challenge::from_admin(json, None)?;
        Ok(put_challenge(transaction, &challenge)?)
    })
    .await
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
    let stored = with_connection(service, move |connection, _| {
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

async fn metrics(service: Shared) -> String {
    let builds = service.board_builds.load(Ordering::Relaxed);
    format!("# TYPE publisher_board_builds_total counter\npublisher_board_builds_total {builds}\n")
}
