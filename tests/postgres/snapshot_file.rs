//! `--snapshot-file`, while PostgreSQL is away:
//!
//! - a start while PostgreSQL is away serves the board of the file, and goes on with PostgreSQL when it is there
//! - without a board such a start ends with exit code 1, and says why in one line

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::cluster::{Cluster, Database};

const BOARD: &str = "/v1/synthetic-boolean/active-challenges";
const TOKEN: &str = "a-token-of-the-tests-0123456789-0123456789";
const CHALLENGES: &str = "/v1/admin/challenges";

fn publisher(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cathedral-publisher"));
    command.args(arguments).stdin(Stdio::null());
    command.env("PUBLISHER_ADMIN_TOKEN", TOKEN);
    command
}

fn sample(seed: &str) -> Vec<u8> {
    let arguments = ["sample", "board", "--count", "1", "--seed", seed];
    publisher(&arguments).output().unwrap().stdout
}

/// A server, which is killed when it is dropped.
struct Server {
    process: Child,
    stderr: BufReader<ChildStderr>,
    started: String,
    address: String,
}

impl Server {
    fn start(database: &Database, snapshot: &Path) -> Self {
        let arguments = ["serve", "--address", "127.0.0.1:0", "--database"];
        let mut command = publisher(&arguments);
        command
            .arg(database.url())
            .arg("--snapshot-file")
            .arg(snapshot);
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(process.stderr.take().unwrap());
        let mut started = String::new();
        while !started.contains(" on http://") {
            assert_ne!(stderr.read_line(&mut started).unwrap(), 0, "{started}");
        }
        let address = started
            .rsplit_once(" on http://")
            .unwrap()
            .1
            .trim()
            .to_owned();
        Self {
            process,
            stderr,
            started,
            address,
        }
    }

    fn ask(&self, head: &str, body: &[u8]) -> String {
        let mut socket = TcpStream::connect(&self.address).unwrap();
        let length = body.len();
        let head = format!(
            "{head} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/x-ndjson\r\nContent-Length: {length}\r\n\r\n"
        );
        socket.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    fn is_ready(&self) -> bool {
        self.ask("GET /health/ready", b"")
            .starts_with("HTTP/1.1 200 ")
    }

    /// The board, its tag, and its position.
    fn board(&self) -> [String; 3] {
        let answer = self.ask(&format!("GET {BOARD}/changes"), b"");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
        let field = |name: &str| {
            let line = head.lines().find(|line| line.starts_with(name)).unwrap();
            line.split("&slot=").next().unwrap().to_owned()
        };
        [body.to_owned(), field("etag: "), field("link: ")]
    }

    /// Stops it, and returns its log.
    fn stop(mut self) -> String {
        let pid = self.process.id().to_string();
        Command::new("kill").arg(pid).status().unwrap();
        let mut said = std::mem::take(&mut self.started);
        self.stderr.read_to_string(&mut said).unwrap();
        assert_eq!(self.process.wait().unwrap().code(), Some(0), "{said}");
        said
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[track_caller]
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(60), "no {what}");
        thread::sleep(Duration::from_millis(20));
    }
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
    let server = Server::start(&database, &snapshot);
    for seed in ["1", "2", "3"] {
        let answer = server.ask(&format!("POST {CHALLENGES}"), &sample(seed));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let board = server.board();
    assert!(board[0].contains(r#""count":3"#), "{board:?}");
    server.stop();
    type Change = fn(&Cluster);
    let ways: [(Change, Change); 2] = [
        (Cluster::kill, Cluster::restart),
        (Cluster::pause, Cluster::resume),
    ];
    for (away, back) in ways {
        away(cluster);
        let begun = Instant::now();
        let server = Server::start(&database, &snapshot);
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{:?}",
            begun.elapsed()
        );
        assert_eq!(server.board(), board);
        let ready = server.ask("GET /health/ready", b"");
        assert!(ready.starts_with("HTTP/1.1 503 "), "{ready}");
        assert!(
            ready.contains(r#""snapshot":"from the snapshot file""#),
            "{ready}"
        );
        let refused = server.ask(&format!("POST {CHALLENGES}"), &sample("1"));
        assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
        back(cluster);
        eventually("readiness", || server.is_ready());
        assert_eq!(server.board(), board);
        eventually("a write", || {
            let answer = server.ask(&format!("POST {CHALLENGES}"), &sample("1"));
            answer.starts_with("HTTP/1.1 200 ")
        });
        let said = server.stop();
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
