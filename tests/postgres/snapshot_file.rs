//! `--snapshot-file`, while PostgreSQL is away:
//!
//! - a start while PostgreSQL is away serves the board of the file, and goes on with PostgreSQL when it is there
//! - without a board such a start ends with exit code 1, and says why in one line

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    app::{BOARD, TOKENS, eventually},
    client::Connection,
    cluster::{Cluster, Database},
    process::{Service, get, publisher, serve},
};

const CHALLENGES: &str = "/v1/admin/challenges";

fn start(database: &Database, snapshot: &Path) -> Service {
    let snapshot = snapshot.to_str().unwrap();
    Service::start(serve(&database.url(), &["--snapshot-file", snapshot]))
}

/// Stops the server, and returns its whole log.
fn stop(mut server: Service) -> String {
    let started = std::mem::take(&mut server.started);
    server.signal("-TERM");
    let (code, said) = server.ended();
    assert_eq!(code, Some(0), "{said}");
    started + &said
}

/// Posts a sample challenge. Returns the status.
fn post(server: &Service, seed: &str) -> u16 {
    let arguments = ["sample", "board", "--count", "1", "--seed", seed];
    let sample = publisher(&arguments).output().unwrap().stdout;
    let fields = format!(
        "Authorization: Bearer {}\r\nContent-Type: application/x-ndjson\r\n",
        TOKENS[0]
    );
    let mut connection = Connection::open(&server.address).unwrap();
    let answer = connection.request("POST", CHALLENGES, &fields, &sample);
    answer.unwrap().0
}

fn ready(server: &Service) -> String {
    get(&server.address, "/health/ready", "")
}

/// Returns the board, its entity-tag, and its position.
fn board(server: &Service) -> [String; 3] {
    let answer = get(&server.address, &format!("{BOARD}/changes"), "");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
    let field = |name: &str| {
        let line = head.lines().find(|line| line.starts_with(name)).unwrap();
        line.split("&slot=").next().unwrap().to_owned()
    };
    [body.to_owned(), field("etag: "), field("link: ")]
}

#[test]
fn a_start_while_postgresql_is_away_serves_the_board_of_the_file_and_goes_on_with_it_later() {
    let Some(cluster) = Cluster::start(&[]) else {
        return;
    };
    let database = Arc::new(cluster).database();
    let cluster = &database.cluster;
    let folder = TempDir::new().unwrap();
    let snapshot = folder.path().join("board.snapshot");
    let server = start(&database, &snapshot);
    for seed in ["1", "2", "3"] {
        assert_eq!(post(&server, seed), 200);
    }
    let stored = board(&server);
    assert!(stored[0].contains(r#""count":3"#), "{stored:?}");
    stop(server);
    type Change = fn(&Cluster);
    let ways: [(Change, Change); 2] = [
        (Cluster::kill, Cluster::restart),
        (Cluster::pause, Cluster::resume),
    ];
    for (away, back) in ways {
        away(cluster);
        let begun = Instant::now();
        let server = start(&database, &snapshot);
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{:?}",
            begun.elapsed()
        );
        assert_eq!(board(&server), stored);
        let unready = ready(&server);
        assert!(unready.starts_with("HTTP/1.1 503 "), "{unready}");
        assert!(
            unready.contains(r#""snapshot":"from the snapshot file""#),
            "{unready}"
        );
        assert_eq!(post(&server, "1"), 503);
        back(cluster);
        eventually("readiness", || ready(&server).starts_with("HTTP/1.1 200 "));
        assert_eq!(board(&server), stored);
        eventually("a write", || post(&server, "1") == 200);
        let said = stop(server);
        let warned = said.lines().filter(|line| line.contains("board.snapshot"));
        assert_eq!(warned.count(), 1, "{said}");
        assert!(said.contains("starting without it"), "{said}");
    }
}

#[test]
fn without_a_board_a_start_while_postgresql_is_away_ends_and_says_why() {
    let Some(cluster) = Cluster::start(&[]) else {
        return;
    };
    let database = Arc::new(cluster).database();
    database.cluster.kill();
    let folder = TempDir::new().unwrap();
    let snapshot = folder.path().join("board.snapshot");
    let arguments = ["serve", "--address", "127.0.0.1:0", "--snapshot-file"];
    let mut command = publisher(&arguments);
    let output = command.arg(&snapshot).arg("--database").arg(database.url());
    let output = output.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("cannot connect to postgres://"), "{said}");
    assert!(!snapshot.exists());
}
