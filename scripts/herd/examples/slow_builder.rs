//! A server whose board takes `BUILD_MS` milliseconds to build, and that counts its builds.
//!
//!     cargo run --release -p herd --example slow_builder -- publisher DATABASE BUILD_MS TTL_SECS
//!     cargo run --release -p herd --example slow_builder -- origin DATABASE BUILD_MS TTL_SECS
//!
//! `publisher` is the publisher with a slow builder. `origin` builds the board for every request and sends
//! `Cache-Control: max-age=TTL_SECS`; it is the origin server behind a caching proxy. Both count their
//! builds in `/metrics`, as `publisher_board_builds_total`. Prints its address and serves until it is killed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub
)]

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use actix_web::{App, HttpResponse, HttpServer, web};
use cathedral_publisher::{
    cache::{
        build::{BuildError, BuildSnapshot, Built, StoreBuilder},
        measured::Measured,
    },
    config::{Cli, Command},
    domain::clock::SystemClock,
    http::AdminTokens,
    metrics::Metrics,
    server::{self, Listen, Parts, Settings},
    store::{
        Store,
        sqlite::{SqliteStore, file::DatabaseFile},
    },
};
use clap::Parser;

const BOARD: &str = "/v1/synthetic-boolean/active-challenges";

/// The real builder, after a delay.
#[derive(Debug)]
struct Slow {
    real: StoreBuilder,
    takes: Duration,
}

impl BuildSnapshot for Slow {
    fn build(&self, deadline: Instant) -> Result<Built, BuildError> {
        thread::sleep(self.takes);
        self.real.build(deadline)
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, database, build_ms, ttl_secs] = arguments.as_slice() else {
        panic!("publisher|origin DATABASE BUILD_MS TTL_SECS");
    };

    let settings = settings(ttl_secs);
    let store = Store::Sqlite(SqliteStore::new(
        DatabaseFile::new(database.as_ref(), true),
        settings.store,
        false,
    ));
    let slow = Arc::new(Slow {
        real: StoreBuilder {
            store: store.clone(),
        },
        takes: Duration::from_millis(build_ms.parse().unwrap()),
    });
    actix_web::rt::System::new().block_on(async {
        match mode.as_str() {
            "publisher" => publisher(store, slow, settings).await,
            "origin" => origin(slow, ttl_secs).await,
            _ => panic!("publisher or origin"),
        }
    });
}

async fn publisher(store: Store, slow: Arc<Slow>, settings: Settings) {
    let parts = Parts {
        store,
        builder: slow,
        clock: Arc::new(SystemClock),
        writable: false,
        follow: None,
        tokens: AdminTokens::load(None, []).unwrap(),
        jwk_set: Default::default(),
        verifies_rows: false,
        dropped_log_lines: Default::default(),
    };
    let listen = Listen::At("127.0.0.1:0".to_owned());
    let running = server::start(listen, settings, parts).await.unwrap();
    println!("{}", running.addresses[0]);
    running.serve().await.unwrap();
}

/// Returns the server's defaults with this time to live.
fn settings(ttl_secs: &str) -> Settings {
    let cli = Cli::parse_from(["cathedral-publisher", "serve", "--ttl-secs", ttl_secs]);
    let Command::Serve(options) = cli.command else {
        unreachable!("it was asked for")
    };
    options.settings
}

async fn origin(slow: Arc<Slow>, ttl_secs: &str) {
    let metrics = Metrics::new().unwrap();
    let builder = web::Data::new(Measured {
        inner: slow,
        metrics: metrics.clone(),
    });
    let cache_control = format!("public, max-age={ttl_secs}, stale-while-revalidate=60");
    let server = HttpServer::new(move || {
        let (metrics, cache_control) = (metrics.clone(), cache_control.clone());
        App::new()
            .app_data(builder.clone())
            .app_data(web::Data::new(cache_control))
            .route(BOARD, web::get().to(board))
            .route(
                "/metrics",
                web::get().to(move || {
                    let text = metrics.render().unwrap();
                    async move { HttpResponse::Ok().body(text) }
                }),
            )
    });
    let server = server.bind("127.0.0.1:0").unwrap();
    println!("{}", server.addrs()[0]);
    server.run().await.unwrap();
}

async fn board(builder: web::Data<Measured>, cache_control: web::Data<String>) -> HttpResponse {
    let deadline = Instant::now() + Duration::from_secs(30);
    let builder = builder.into_inner();
    let built = actix_web::rt::task::spawn_blocking(move || builder.build(deadline));
    let built = built.await.unwrap().unwrap();
    let board = built.snapshot.board();
    HttpResponse::Ok()
        .insert_header(("content-type", "application/json"))
        .insert_header(("cache-control", cache_control.as_str()))
        .insert_header(("etag", board.etag().to_string()))
        .body(board.identity().body())
}
