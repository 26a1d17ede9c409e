//! The publisher as a process of its own, and requests to it that take a connection each.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::fd::OwnedFd,
    process::{Child, ChildStderr, Command, Output, Stdio},
    time::Duration,
};

use crate::app::TOKENS;

/// Returns a command that runs the program with these arguments and no standard input.
pub fn publisher(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cathedral-publisher"));
    command.args(arguments).stdin(Stdio::null());
    command
}

pub fn run(arguments: &[&str]) -> Output {
    publisher(arguments).output().unwrap()
}

/// A child process that is killed when dropped, also if the test fails.
pub struct Guard(pub Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends a signal (`-TERM`) to a process.
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(sent.unwrap().success());
}

/// A running server process and its log. Killed when dropped.
pub struct Service {
    process: Guard,
    stderr: Option<BufReader<ChildStderr>>,
    pub address: String,
    /// The log up to the line with the address.
    pub started: String,
}

impl Service {
    pub fn start(mut command: Command) -> Self {
        let mut process = Guard(command.stderr(Stdio::piped()).spawn().unwrap());
        let mut stderr = BufReader::new(process.0.stderr.take().unwrap());
        let mut log = String::new();
        let address = loop {
            let begin = log.len();
            let bytes = stderr.read_line(&mut log).unwrap();
            assert_ne!(bytes, 0, "the server has exited: {log}");
            if let Some((_, address)) = log[begin..].split_once(" on http://") {
                let end = address.find(|c: char| !(c.is_ascii_digit() || ".:".contains(c)));
                break address[..end.unwrap_or(address.len())].to_owned();
            }
        };
        Self {
            process,
            stderr: Some(stderr),
            address,
            started: log,
        }
    }

    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Waits until the process exits, while nobody reads its log. Returns its exit code.
    pub fn ended_unread(&mut self) -> Option<i32> {
        self.process.0.wait().unwrap().code()
    }

    /// Closes the pipe of the log.
    pub fn close_log(&mut self) {
        self.stderr = None;
    }

    /// Reads the next line of the log.
    pub fn log_line(&mut self) -> String {
        let mut line = String::new();
        let log = self.stderr.as_mut().unwrap();
        log.read_line(&mut line).unwrap();
        line
    }

    /// Waits until the process exits. Returns its exit code and its log since the start.
    pub fn ended(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        let mut log = self.stderr.take().unwrap();
        log.read_to_string(&mut said).unwrap();
        (self.process.0.wait().unwrap().code(), said)
    }
}

/// Returns a command that serves this database on a free port. Without an option for it, its time slots do not end
/// while a test runs: a request that waits is answered only if something changes.
pub fn serve(database: &(impl AsRef<OsStr> + ?Sized), options: &[&str]) -> Command {
    let mut command = publisher(&["serve", "--address", "127.0.0.1:0", "--database"]);
    command
        .arg(database.as_ref())
        .args(options)
        .env("PUBLISHER_WAIT_SLOT_SECS", "600")
        .env("PUBLISHER_ADMIN_TOKEN", TOKENS[0]);
    command
}

/// Returns a command that passes `listener` to the program as systemd does, as file descriptor 3.
pub fn activated(
    database: &(impl AsRef<OsStr> + ?Sized),
    listener: &TcpListener,
    options: &[&str],
) -> Command {
    passing(listener, &serve(database, options), "")
}

/// The same for any command, with further redirections.
pub fn passing(listener: &TcpListener, program: &Command, redirections: &str) -> Command {
    let script =
        format!(r#"LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@" 3<&0 </dev/null {redirections}"#);
    let mut shell = in_shell(&script, program);
    shell.stdin(Stdio::from(OwnedFd::from(listener.try_clone().unwrap())));
    shell
}

/// Returns a shell that runs a script with the program as `$0` and its arguments as `$@`.
pub fn in_shell(script: &str, program: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", script])
        .arg(program.get_program())
        .args(program.get_args());
    for (name, value) in program.get_envs() {
        shell.env(name, value.unwrap());
    }
    shell
}

/// Sends a GET on a new connection and returns the whole response as text.
pub fn get(address: &str, path: &str, header: &str) -> String {
    ask(
        address,
        &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n"),
    )
}

/// Posts an eval run. Returns the whole response as text.
pub fn post(address: &str, row: &str) -> String {
    let (token, length) = (TOKENS[0], row.len());
    ask(
        address,
        &format!(
            "POST /v1/admin/eval-runs?secret=in-the-query HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Authorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n{row}"
        ),
    )
}

fn ask(address: &str, request: &str) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    let limit = Some(Duration::from_secs(60));
    socket.set_read_timeout(limit).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}
