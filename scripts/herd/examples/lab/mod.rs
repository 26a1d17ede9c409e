//! What the laboratories share: processes that end with them, free ports, what they ran on.

use std::{
    io::{BufRead, BufReader},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use cathedral_publisher::herd::run::Run;

/// A process that is killed when it is dropped.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The release build of the program, or of an example.
pub fn built(name: &str) -> PathBuf {
    let examples = std::env::current_exe().unwrap();
    let examples = examples.parent().unwrap();
    let path = match name {
        "cathedral-publisher" => examples.with_file_name(name),
        _ => examples.join(name),
    };
    assert!(path.exists(), "{} is not built", path.display());
    path
}

/// What a reader of the figures must know of the machine.
pub fn ran_on() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name\t: "));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{} cores of {}, kernel {}; the load comes from the same cores",
        thread::available_parallelism().unwrap(),
        model.unwrap_or("an unnamed processor"),
        kernel.trim()
    )
}

/// A port that was free a moment ago.
pub fn free_address() -> String {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().to_string()
}

/// Waits until somebody listens there.
pub fn listens(address: &str) {
    for _ in 0..400 {
        if TcpStream::connect(address).is_ok() {
            return;
        }
        thread::sleep(Duration::from_millis(25));
    }
    panic!("nobody listens on {address}");
}

/// Starts a program and waits for the line in which it says where it listens.
pub fn start(command: &mut Command, address: fn(&str) -> Option<&str>) -> (Process, String) {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (sender, receiver) = std::sync::mpsc::channel();
    let on_err = sender.clone();
    // Read to the end, or the program would block on a full pipe.
    thread::spawn(move || tell(BufReader::new(out), &sender, address));
    thread::spawn(move || tell(BufReader::new(err), &on_err, address));
    let found = receiver.recv_timeout(Duration::from_secs(60));
    let process = Process(child);
    (process, found.expect("it did not say where it listens"))
}

fn tell(
    lines: impl BufRead,
    found: &std::sync::mpsc::Sender<String>,
    address: fn(&str) -> Option<&str>,
) {
    for line in lines.lines().map_while(Result::ok) {
        if let Some(address) = address(&line) {
            let _ = found.send(address.to_owned());
        }
    }
}

/// What writers show.
pub const TOKEN: &str = "a-token-that-is-only-used-by-laboratories";

/// `serve`, there.
pub fn serve_at(address: &str, database: &Path, options: &[&str]) -> (Process, String) {
    let mut command = Command::new(built("cathedral-publisher"));
    command
        .args(["serve", "--log-level", "info", "--address", address])
        .arg("--database")
        .arg(database)
        .args(options)
        .env("PUBLISHER_ADMIN_TOKEN", TOKEN);
    start(&mut command, |line| Some(line.split_once("on http://")?.1))
}

/// The generator of the load: a copy, as two processes of one file share its pages, and only half of
/// them would count as the server's memory.
fn generator() -> PathBuf {
    let program = built("cathedral-publisher");
    let copy = program.with_file_name("generator");
    let made = |path: &Path| {
        std::fs::metadata(path)
            .and_then(|file| file.modified())
            .ok()
    };
    if made(&copy) < made(&program) {
        std::fs::copy(&program, &copy).unwrap();
    }
    copy
}

/// Runs `herd` with these options, and reads what it found.
pub fn herd(url: &str, options: &str) -> Run {
    let output = Command::new(generator())
        .args(["herd", url, "--json"])
        .args(options.split_whitespace())
        .env("PUBLISHER_ADMIN_TOKEN", TOKEN)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "herd {url} {options}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
