//! Clients that are slow on purpose, and a disk that is slow:
//!
//! - slow uploads do not keep other writes out
//! - an upload that announces no length reserves nothing
//! - a client that accepts too little is cut off
//! - clients that hardly read their feed pages keep nobody else out, from one address or from many
//! - a commit that hangs delays no other client, and every write gets an answer

use std::{
    cell::Cell,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use actix_web::web::block;
use awc::http::Method;
use futures_util::future::join;

use crate::{
    app::{App, BOARD, Data, FEED, Mode, TOKENS, settings, wait_until},
    wire::row,
};

const RUNS: &str = "/v1/admin/eval-runs";

/// Begins so many uploads and sends the first byte of each.
async fn begin_uploads(app: &App, count: usize, framing: &'static str) -> Vec<TcpStream> {
    let address = app.address();
    let head = format!(
        "POST {RUNS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n{framing}",
        TOKENS[0]
    );
    let begin = move |_| {
        let mut socket = TcpStream::connect(&address).unwrap();
        socket.write_all(head.as_bytes()).unwrap();
        socket
    };
    let sockets = block(move || (0..count).map(begin).collect()).await;
    app.until("the uploads", |app| app.writer.in_flight() == count)
        .await;
    sockets.unwrap()
}

async fn status(app: &App, id: &str) -> u16 {
    let answer = app.admin(Method::POST, RUNS, row(id)).await;
    answer.status.as_u16()
}

#[actix_web::test]
async fn slow_uploads_do_not_keep_other_writes_out() {
    let mut settings = settings(&[]);
    // With two tokens, each may have three quarters.
    settings.writer.max_writes = 85;
    let app = App::start_with(Data::empty(), Mode::Pass, settings).await;
    let mut uploads = begin_uploads(&app, 64, "Content-Length: 9999999\r\n\r\n[").await;
    assert_eq!(status(&app, "too-early").await, 503);
    let other = format!("Bearer {}", TOKENS[1]);
    let other = [("authorization", other.as_str())];
    let answer = app
        .send_body(Method::POST, RUNS, &other, row("other").into())
        .await;
    assert_eq!(answer.status, 200, "of another token");
    app.clock.advance(Duration::from_secs(2));
    for number in 0..10 {
        assert_eq!(status(&app, &format!("in-time-{number}")).await, 200);
    }
    app.until("one upload cut off", |app| app.writer.in_flight() == 63)
        .await;
    let cut_off = block(move || {
        let mut answers = String::new();
        for socket in &mut uploads {
            socket
                .set_read_timeout(Some(Duration::from_millis(1)))
                .unwrap();
            let _ = socket.read_to_string(&mut answers);
        }
        (answers, uploads)
    });
    let (answers, uploads) = cut_off.await.unwrap();
    assert_eq!(answers.matches("HTTP/1.1 408 ").count(), 1, "{answers}");
    assert!(answers.contains("the body did not arrive in time"));
    drop(uploads);
    app.until("no upload", |app| app.writer.in_flight() == 0)
        .await;
    app.stop().await;
}

#[actix_web::test]
async fn an_upload_that_announces_no_length_reserves_nothing() {
    let app = App::start(Data::empty()).await;
    let chunked = "Transfer-Encoding: chunked\r\n\r\n1\r\n[\r\n";
    let uploads = begin_uploads(&app, 64, chunked).await;
    assert_eq!(status(&app, "a").await, 200);
    assert_eq!(app.writer.in_flight(), 64);
    drop(uploads);
    app.stop().await;
}

#[actix_web::test]
async fn a_client_that_accepts_too_little_is_cut_off() {
    let data = Data::empty();
    data.sample_runs(1000, "2026-06-07T00:00:00Z");
    let options = [
        "--send-timeout-secs",
        "1",
        "--min-send-bytes-per-sec",
        "1000000",
    ];
    let app = App::start_with_options(data, &options).await;
    let open = app.metric("publisher_http_connections").await;
    let address = app.address();
    let page = format!("{FEED}?since_ran_at=2026-06-06T00:00:00Z&limit=1000");
    // Reads a little again and again: there is never a second in which it accepts nothing.
    let reader = std::thread::spawn(move || {
        let mut socket = TcpStream::connect(address).unwrap();
        for _ in 0..40 {
            write!(socket, "GET {page} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        }
        let mut input = [0; 64 * 1024];
        let mut bytes = 0;
        loop {
            match socket.read(&mut input) {
                Ok(0) | Err(_) => return bytes,
                Ok(read) => bytes += read,
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    });
    let connections = async || app.metric("publisher_http_connections").await;
    wait_until("the connection", async || connections().await > open).await;
    wait_until("its close", async || connections().await == open).await;
    let bytes = block(move || reader.join().unwrap()).await.unwrap();
    assert!(bytes > 0);
    app.stop().await;
}

/// Asks for so many different pages of 1.1 MB, each from the client of its number, and reads the beginning of each
/// answer.
async fn begin_pages(app: &App, count: usize, client: fn(usize) -> usize) -> Vec<TcpStream> {
    let address = app.address();
    let ask = move |number| {
        let mut socket = TcpStream::connect(&address).unwrap();
        let (id, client) = (number, client(number));
        write!(
            socket,
            "GET {FEED}?since_ran_at=2026-06-06T00:00:00Z&since_id={id}&limit=1000 HTTP/1.1\r\n\
             Host: x\r\nX-Forwarded-For: 192.0.2.{client}\r\n\r\n"
        )
        .unwrap();
        socket
    };
    let sockets = block(move || {
        let mut sockets: Vec<TcpStream> = (0..count).map(ask).collect();
        for socket in &mut sockets {
            // Nothing, if it is cut off already.
            let _ = socket.read(&mut [0; 12]);
        }
        sockets
    });
    sockets.await.unwrap()
}

#[actix_web::test]
async fn clients_that_hardly_read_their_pages_keep_nobody_else_out() {
    let data = Data::empty();
    data.sample_runs(1000, "2026-06-07T00:00:00Z");
    let mut settings = settings(&["--trusted-proxies", "127.0.0.1"]);
    settings.feed.max_cached_bytes = 0;
    settings.feed.max_in_flight_bytes = 4_000_000;
    // One read at a time: the bytes exceed a bound by at most one page.
    settings.store.pool_size = 3;
    let app = App::start_with(data, Mode::Pass, settings).await;
    let page = |limit| format!("{FEED}?since_ran_at=2026-06-05T00:00:00Z&limit={limit}");
    let honest = [("x-forwarded-for", "192.0.2.200")];
    let one_address = begin_pages(&app, 12, |_| 1).await;
    for limit in [7, 200, 1000] {
        let answer = app.get_with(&page(limit), &honest).await;
        assert_eq!(answer.status, 200, "limit={limit}");
    }
    drop(one_address);
    let many_addresses = begin_pages(&app, 12, |number| number).await;
    assert_eq!(app.get_with(&page(7), &honest).await.status, 200);
    // Each has no more than its share: the slowest are cut off, once they are slow.
    wait_until("a long page", async || {
        app.get_with(&page(1000), &honest).await.status == 200
    })
    .await;
    drop(many_addresses);
    app.stop().await;
}

#[actix_web::test]
async fn a_commit_that_hangs_delays_no_other_client_and_every_write_gets_an_answer() {
    let mut settings = settings(&[]);
    settings.writer.busy_timeout = Duration::from_secs(600);
    let app = App::start_with(Data::sample(), Mode::Pass, settings).await;
    let page = format!("{FEED}?since_ran_at=2026-06-06T00:00:00Z");
    assert_eq!(app.get(&page).await.status, 200);
    let lock = rusqlite::Connection::open(app.data.path()).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let answered = Cell::new(false);
    let writes = async {
        let first = app.admin(Method::POST, RUNS, row("in-flight"));
        let second = async {
            app.until("a commit in flight", |app| {
                app.writer.commit_runs_for().is_some()
            })
            .await;
            app.admin(Method::POST, RUNS, row("queued")).await
        };
        let answers = join(first, second).await;
        answered.set(true);
        answers
    };
    let others = async {
        app.until("both writes", |app| app.writer.in_flight() == 2)
            .await;
        while !answered.get() {
            app.clock.advance(Duration::from_secs(1));
            for path in [BOARD, &page, &format!("{page}&limit=7"), "/health/live"] {
                assert_eq!(app.get(path).await.status, 200, "{path}");
            }
        }
    };
    let ((first, second), ()) = join(writes, others).await;
    first.assert_error(503, "outcome unknown, send again");
    assert_eq!(first.header("retry-after"), "1");
    second.assert_error(503, "temporarily unavailable, try again");
    assert!(app.writer.commit_runs_for() >= Some(Duration::from_secs(15)));
    assert_eq!(app.writer.in_flight(), 1);
    assert!(app.metric("publisher_commit_running_seconds").await >= 15);
    lock.execute_batch("ROLLBACK").unwrap();
    app.until("the end of the commit", |app| app.writer.in_flight() == 0)
        .await;
    assert_eq!(app.writer.commit_runs_for(), None);
    let served = app.get(&page).await;
    assert!(served.text().contains("in-flight") && !served.text().contains("queued"));
    // Repeating both is safe.
    for (id, inserted) in [("in-flight", 0), ("queued", 1)] {
        let repeated = app.admin(Method::POST, RUNS, row(id)).await;
        assert_eq!(repeated.json()["inserted"], inserted, "{id}");
    }
    app.stop().await;
}
