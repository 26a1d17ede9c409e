//! A server that collapses, for comparisons: every request rebuilds its answer from the database. Each cure of
//! the collapse has a switch.
//!
//!     cargo run --release -p herd --example before -- DATABASE [SWITCHES]
//!
//! | file | knows |
//! |---|---|
//! | `database` | the only connection, and the queue in front of it: what all requests wait for |
//! | `board` | the answer that is expensive; what each switch changes about it |
//! | `single_flight` | the switch with a mechanism of its own: requests that join a rebuild |
//! | `answer` | 200, 304, and 503 with `Retry-After` |
//! | `feed`, `write` | the other requests, which wait in the same queue |
//!
//! Without switches this is a server of the kind that the publisher replaces. Paths, tables and responses are
//! those of the publisher. The database must exist: make it with `cathedral-publisher import`. Writes need the
//! token in `PUBLISHER_ADMIN_TOKEN`. The program counts the rebuilds of the board in `/metrics`, prints its
//! address, and serves until it is killed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub
)]

mod answer;
mod board;
mod database;
mod feed;
mod single_flight;
mod write;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use actix_web::{App, HttpServer, web};
use clap::Parser;
use tokio::sync::Semaphore;

use board::Board;
use database::Database;
use single_flight::SingleFlight;

const MAX_BODY_BYTES: usize = 16 << 20;

/// A server that rebuilds its answer for each request, and collapses.
#[derive(Debug, Parser)]
struct Options {
    /// The SQLite file, made by `cathedral-publisher import`.
    database: PathBuf,
    /// Time that each rebuild of the board waits for a slow database, in addition to its own.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    rebuild_ms: u64,
    #[command(flatten)]
    cures: Cures,
}

/// The switches. All are off by default.
#[derive(Debug, Clone, clap::Args)]
struct Cures {
    /// Requests that come during a rebuild wait for it instead of starting one of their own.
    #[arg(long)]
    single_flight: bool,
    /// Answer with the last board at once, and rebuild it afterwards.
    #[arg(long)]
    stale: bool,
    /// Answer 304 without a rebuild if nothing was written since the client's board.
    #[arg(long)]
    not_modified: bool,
    /// Admit so many requests for the board at a time; further ones get 503 and Retry-After at once.
    #[arg(long, value_name = "REQUESTS")]
    admit: Option<usize>,
    /// Drop requests that waited so long in the queue: their clients have gone.
    #[arg(long, value_name = "MS")]
    deadline_ms: Option<u64>,
}

impl Cures {
    fn deadline(&self) -> Option<Duration> {
        self.deadline_ms.map(Duration::from_millis)
    }
}

/// What all workers share.
struct Service {
    database: Database,
    cures: Cures,
    /// Added to each rebuild.
    slowness: Duration,
    /// Grows with each write to the board.
    version: AtomicU64,
    /// The last board that was built.
    last: Mutex<Option<Arc<Board>>>,
    flight: SingleFlight,
    /// Places of admitted requests.
    places: Semaphore,
    rebuilds: AtomicU64,
    bearer: Option<String>,
}

type Shared = web::Data<Service>;
type Result<T> = std::result::Result<T, actix_web::Error>;
type Fallible<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let options = Options::parse();
    let token = std::env::var("PUBLISHER_ADMIN_TOKEN").ok();
    let service = web::Data::new(Service {
        database: Database::open(&options.database).unwrap(),
        places: Semaphore::new(options.cures.admit.unwrap_or(Semaphore::MAX_PERMITS)),
        cures: options.cures,
        slowness: Duration::from_millis(options.rebuild_ms),
        version: AtomicU64::new(0),
        last: Mutex::default(),
        flight: SingleFlight::default(),
        rebuilds: AtomicU64::new(0),
        bearer: token.map(|token| format!("Bearer {token}")),
    });
    let server = HttpServer::new(move || {
        App::new()
            .app_data(service.clone())
            .app_data(web::PayloadConfig::new(MAX_BODY_BYTES))
            .route(
                "/v1/synthetic-boolean/active-challenges",
                web::get().to(board::get),
            )
            .route("/v1/leaderboard/recent", web::get().to(feed::get))
            .route("/v1/admin/eval-runs", web::post().to(write::eval_runs))
            .route("/v1/admin/challenges", web::post().to(write::challenges))
            .route(
                "/v1/admin/challenges/{id}",
                web::put().to(write::challenges),
            )
            .route("/metrics", web::get().to(metrics))
    });
    // A signal ends the process at once, whatever is queued.
    let server = server.disable_signals().bind("127.0.0.1:0")?;
    println!("{}", server.addrs()[0]);
    server.run().await
}

async fn metrics(service: Shared) -> String {
    let rebuilds = service.rebuilds.load(Ordering::Relaxed);
    format!(
        "# TYPE publisher_board_builds_total counter\npublisher_board_builds_total {rebuilds}\n"
    )
}
