//! A publisher in a process of its own, which can be killed at any moment.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use super::until;
use crate::client::Connection;

pub const TOKEN: &str = "a-token-that-is-only-used-by-tests-000";

/// A publisher on a free port. Killed when dropped.
pub struct Server {
    child: Child,
    pub address: String,
    log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub fn start(
        publisher: &Path,
        database: &(impl AsRef<OsStr> + ?Sized),
        options: &[&str],
    ) -> Self {
        Self::try_start(&mut serve(publisher, database, options))
            .unwrap_or_else(|log| panic!("the server did not start: {}", log.join("\n")))
    }

    /// Starts the command. If it exits before it listens, returns what it has logged.
    pub fn try_start(command: &mut Command) -> Result<Self, Vec<String>> {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut before = Vec::new();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let address = line
                .split_once("on http://")
                .map(|(_, address)| address.to_owned());
            before.push(line);
            address
        });
        let Some(address) = address else {
            let _ = child.wait();
            return Err(before);
        };
        let log = Arc::new(Mutex::new(before));
        // Keeps reading: otherwise the server would block on a full pipe.
        let into = Arc::clone(&log);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                into.lock().unwrap().push(line);
            }
        });
        Ok(Self {
            child,
            address,
            log,
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal such as `-TERM`.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Sends SIGTERM, as a service manager does to stop a service.
    pub fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Waits until the process has exited.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Waits until the process has exited, but not longer than this.
    pub fn exits_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        until(limit, || self.child.try_wait().unwrap())
    }

    /// Sends SIGKILL, so that no signal handler runs.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Returns the lines of the log in which a thread panics or a request gets 500.
    pub fn faults(&self) -> Vec<String> {
        let log = self.log.lock().unwrap();
        let is_fault = |line: &&String| line.contains("panicked") || line.contains("status=500");
        log.iter().filter(is_fault).cloned().collect()
    }

    /// Sends a GET on a connection of its own. Returns the status and the body; 0 if there is no answer.
    pub fn get(&self, path: &str) -> (u16, String) {
        let answer =
            Connection::open(&self.address).and_then(|mut c| c.request("GET", path, "", b""));
        let (status, body) = answer.unwrap_or_default();
        (status, String::from_utf8(body).unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns the command that serves a database on a free port.
pub fn serve(
    publisher: &Path,
    database: &(impl AsRef<OsStr> + ?Sized),
    options: &[&str],
) -> Command {
    serve_at("127.0.0.1:0", publisher, database, options)
}

/// Returns the command that serves a database at an address.
pub fn serve_at(
    address: &str,
    publisher: &Path,
    database: &(impl AsRef<OsStr> + ?Sized),
    options: &[&str],
) -> Command {
    let mut command = Command::new(publisher);
    command
        .args(["serve", "--address", address, "--log-level", "info"])
        .args([OsStr::new("--database"), database.as_ref()])
        .args(options)
        .env("PUBLISHER_ADMIN_TOKEN", TOKEN)
        .stdin(Stdio::null())
        // A server that is left behind keeps no pipe open.
        .stdout(Stdio::null());
    command
}

pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(sent.unwrap().success());
}

pub fn bearer() -> String {
    format!("Authorization: Bearer {TOKEN}\r\n")
}

/// Returns an eval run with this id.
pub fn row(id: &str) -> String {
    format!(
        r#"{{"id":"{id}","ran_at":"2026-06-07T00:00:01.766Z","weighted_score":1.0,"eval_output_schema_version":5}}"#
    )
}
