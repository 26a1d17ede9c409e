//! The write-ahead log of SQLite:
//!
//! - it stays bounded while other processes read without a gap, also by a hard limit below the soft one

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use awc::http::Method;

use crate::{
    app::{App, Data, Mode, settings},
    chaos::server::row,
};

const RUNS: &str = "/v1/admin/eval-runs";

#[actix_web::test]
async fn it_stays_bounded_while_other_processes_read_without_a_gap() {
    stays_bounded(1 << 20, 4 << 20).await;
}

#[actix_web::test]
async fn a_hard_limit_below_the_soft_one_bounds_it_too() {
    stays_bounded(64 << 20, 4 << 20).await;
}

async fn stays_bounded(soft_bytes: u64, hard_bytes: u64) {
    let mut settings = settings(&[]);
    settings.writer.wal_soft_bytes = soft_bytes;
    settings.writer.wal_hard_bytes = hard_bytes;
    let app = App::start_with(Data::empty(), Mode::Pass, settings).await;
    let log = app.data.path().with_extension("db-wal");
    // Overlapping readers: at every moment one of them holds a snapshot in the log.
    let path = app.data.path();
    let reader = move || {
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection
            .execute_batch("BEGIN; SELECT count(*) FROM eval_runs;")
            .unwrap();
        connection
    };
    let done = Arc::new(AtomicBool::new(false));
    let readers = thread::spawn({
        let done = Arc::clone(&done);
        move || {
            let mut current = reader();
            while !done.load(Ordering::Relaxed) {
                let next = reader();
                thread::sleep(Duration::from_millis(20));
                current = next;
            }
            drop(current);
        }
    });
    let mut largest = 0;
    let filler = "x".repeat(2_000);
    for round in 0..60 {
        let rows: Vec<String> = (0..100)
            .map(|number| {
                row(&format!("{round}-{number}"))
                    .replace("1.0,", &format!("1.0,\"f\":\"{filler}\","))
            })
            .collect();
        assert_eq!(
            app.admin(Method::POST, RUNS, rows.join("\n")).await.status,
            200
        );
        largest = largest.max(std::fs::metadata(&log).unwrap().len());
    }
    done.store(true, Ordering::Relaxed);
    readers.join().unwrap();
    // The 60 rounds write more than 12 MiB of rows, and even more bytes of database pages.
    assert!(largest > 1 << 20, "{largest}");
    assert!(largest < 8 << 20, "{largest}");
    app.stop().await;
}
