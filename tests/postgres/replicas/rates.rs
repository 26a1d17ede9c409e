//! How much is written through one and three publishers, beside SQLite:
//!
//! - eval runs per second of eight clients that send a hundred of 0.9 kB at a time

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::Instant,
};

use super::{fleet::Fleet, promise, seconds};
use crate::{
    chaos::server::bearer,
    client::Connection,
    cluster::{Cluster, Replication, shared},
};

const CLIENTS: u32 = 8;
const ROWS: usize = 100;

/// Returns how many eval runs per second are acknowledged.
fn rate(fleet: &Fleet) -> f64 {
    let stop = &AtomicBool::new(false);
    let stored = &AtomicU64::new(0);
    let filler = "x".repeat(780);
    let filler = filler.as_str();
    let begun = Instant::now();
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let address = fleet.address(client as usize % fleet.len());
            scope.spawn(move || {
                let mut connection = Connection::open(&address).unwrap();
                let mut number = 0;
                while !stop.load(Relaxed) {
                    number += 1;
                    let row = |at| {
                        let id = format!("{client}-{number}-{at}");
                        format!(
                            r#"{{"id":"{id}","ran_at":"2026-06-07T00:00:01.766Z","x":"{filler}","eval_output_schema_version":5}}"#
                        )
                    };
                    let rows: Vec<String> = (0..ROWS).map(row).collect();
                    let path = "/v1/admin/eval-runs";
                    let body = rows.join("\n");
                    let answer = connection.request("POST", path, &bearer(), body.as_bytes());
                    if matches!(answer, Ok((200, _))) {
                        stored.fetch_add(ROWS as u64, Relaxed);
                    }
                }
            });
        }
        thread::sleep(seconds(1, 10));
        stop.store(true, Relaxed);
    });
    stored.load(Relaxed) as f64 / begun.elapsed().as_secs_f64()
}

#[test]
fn eval_runs_per_second_of_eight_clients_beside_sqlite() {
    let Some(_) = shared() else { return };
    let folder = tempfile::TempDir::new().unwrap();
    let sqlite = rate(&Fleet::start(folder.path().join("a.db"), 1, &[]));
    promise(
        "rate",
        "SQLite, one publisher",
        &format!("{sqlite:.0} rows/s"),
        sqlite > 0.0,
    );
    // As durable as SQLite.
    let cluster = Cluster::start(&["fsync=on", "full_page_writes=on"]);
    let cluster = std::sync::Arc::new(cluster.unwrap());
    for publishers in [1, 3] {
        let database = cluster.database();
        let rate = rate(&Fleet::start(database.url(), publishers, &[]));
        let check = format!("PostgreSQL with fsync, {publishers} publishers");
        let found = format!("{rate:.0} rows/s, {:.2} of SQLite", rate / sqlite);
        promise("rate", &check, &found, rate > 0.0);
    }
    let _standby = cluster.standby(Replication::Synchronous);
    let database = cluster.database();
    let rate = rate(&Fleet::start(database.url(), 3, &[]));
    let found = format!("{rate:.0} rows/s, {:.2} of SQLite", rate / sqlite);
    promise(
        "rate",
        "the same with a synchronous standby",
        &found,
        rate > 0.0,
    );
}
