//! `kill -9` at random moments while many clients write:
//!
//! - kill -9 loses no acknowledged row, and the database passes `integrity_check`

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::client::Connection;

pub const TOKEN: &str = "a-token-that-is-only-used-by-tests-000";

/// Totals over all rounds: acknowledged rows, acknowledged rows that are missing, and databases that fail
/// `integrity_check`.
#[derive(Debug, Default)]
pub struct Found {
    pub acknowledged: u64,
    pub missing: u64,
    pub damaged: u64,
}

/// A publisher in its own process, on a free port. Killed when dropped.
pub struct Server {
    child: Child,
    pub address: String,
}

impl Server {
    pub fn start(publisher: &Path, database: &Path, options: &[&str]) -> Self {
        let mut child = Command::new(publisher)
            .args([
                "serve",
                "--address",
                "127.0.0.1:0",
                "--log-level",
                "info",
                "--database",
            ])
            .arg(database)
            .args(options)
            .env("PUBLISHER_ADMIN_TOKEN", TOKEN)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .map(Result::unwrap)
            .find_map(|line| Some(line.split_once("on http://")?.1.to_owned()))
            .expect("the server did not start");
        // Keeps reading: otherwise the server would block on a full pipe.
        thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    /// Sends SIGTERM, as a service manager does to stop a service.
    #[allow(dead_code)]
    pub fn terminate(&self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits until the process has exited.
    #[allow(dead_code)]
    pub fn wait(&mut self) -> std::process::ExitStatus {
        self.child.wait().unwrap()
    }

    /// Sends SIGKILL, so that no signal handler runs.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

pub fn bearer() -> String {
    format!("Authorization: Bearer {TOKEN}\r\n")
}

pub fn row(id: &str) -> String {
    format!(
        r#"{{"id":"{id}","ran_at":"2026-06-07T00:00:01.766Z","weighted_score":1.0,"eval_output_schema_version":5}}"#
    )
}

/// Posts rows, one per request, until the connection breaks. Sends the id of each acknowledged row.
fn write_until_killed(address: &str, prefix: &str, acknowledged: &mpsc::Sender<String>) {
    let Ok(mut connection) = Connection::open(address) else {
        return;
    };
    for number in 0.. {
        let id = format!("{prefix}-{number}");
        let body = format!("[{}]", row(&id));
        match connection.request("POST", "/v1/admin/eval-runs", &bearer(), body.as_bytes()) {
            Ok((200, _)) => acknowledged.send(id).unwrap(),
            Ok((503, _)) => {}
            Ok((status, body)) => panic!("{status}: {}", String::from_utf8_lossy(&body)),
            Err(_) => return,
        }
    }
}

/// Kills a server while `writers` clients write, `rounds` times with the same database.
pub fn rounds(publisher: &Path, rounds: u32, writers: u32) -> Found {
    let folder = tempfile::TempDir::new().unwrap();
    let database = folder.path().join("crash.db");
    let mut found = Found::default();
    for round in 0..rounds {
        let mut server = Server::start(publisher, &database, &[]);
        let (sender, receiver) = mpsc::channel();
        thread::scope(|scope| {
            for writer in 0..writers {
                let (address, sender) = (&server.address.clone(), sender.clone());
                let address = address.clone();
                scope.spawn(move || {
                    write_until_killed(&address, &format!("{round}-{writer}"), &sender);
                });
            }
            // Real time on purpose: the moment of the crash is random.
            thread::sleep(Duration::from_millis(fastrand::u64(20..400)));
            server.kill();
        });
        drop(sender);
        let connection = rusqlite::Connection::open(&database).unwrap();
        let verdict: String = connection
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        found.damaged += u64::from(verdict != "ok");
        let mut stored = connection
            .prepare("SELECT body FROM eval_runs WHERE id = ?1")
            .unwrap();
        for id in receiver {
            found.acknowledged += 1;
            let body = stored.query_row([&id], |row| row.get::<_, String>(0));
            found.missing += u64::from(body.ok() != Some(row(&id)));
        }
    }
    found
}

#[cfg(test)]
#[test]
fn kill_9_loses_no_acknowledged_row_and_damages_no_database() {
    let publisher = Path::new(env!("CARGO_BIN_EXE_cathedral-publisher"));
    let found = rounds(publisher, 4, 16);
    assert!(found.acknowledged > 0, "{found:?}");
    assert_eq!((found.missing, found.damaged), (0, 0), "{found:?}");
}
