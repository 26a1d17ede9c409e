//! Helpers of the examples and tests: building programs, processes that end with their owner, free
//! ports, a description of the machine.

#[path = "../../../../tests/publisher/ports.rs"]
mod ports;

use std::{
    collections::HashMap,
    io::{BufRead, BufReader},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{LazyLock, Mutex},
    thread,
    time::Duration,
};

use herd::run::Run;
pub use ports::free_port;

/// A process that is killed when it is dropped.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Builds the server and returns its path.
pub fn publisher() -> PathBuf {
    built("cathedral-publisher", "--bin", "cathedral-publisher")
}

/// Builds an example of this package and returns its path.
pub fn example(name: &str) -> PathBuf {
    built("herd", "--example", name)
}

/// Builds a program of this package and returns its path.
pub fn program(name: &str) -> PathBuf {
    built("herd", "--bin", name)
}

/// Builds a binary or an example, once per process, and returns its path.
///
/// The build uses the target directory and the profile of the running program, which is in
/// `TARGET/PROFILE/deps` or `TARGET/PROFILE/examples`. Each program is built alone, so that the server has
/// only the features of its own dependencies.
fn built(package: &str, kind: &str, name: &str) -> PathBuf {
    static BUILT: LazyLock<Mutex<HashMap<String, PathBuf>>> = LazyLock::new(Mutex::default);
    let mut built = BUILT.lock().unwrap();
    if let Some(path) = built.get(name) {
        return path.clone();
    }
    let this = std::env::current_exe().unwrap();
    let folder = this.parent().unwrap().parent().unwrap();
    let profile = match folder.file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        profile => profile,
    };
    let output = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--message-format", "json"])
        .args(["--package", package, kind, name, "--profile", profile])
        .arg("--target-dir")
        .arg(folder.parent().unwrap())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "{name} cannot be built");
    let messages = String::from_utf8(output.stdout).unwrap();
    let path = messages
        .lines()
        .rev()
        .find_map(|line| {
            let message: serde_json::Value = serde_json::from_str(line).ok()?;
            let is_it = message["target"]["name"] == name;
            let path = PathBuf::from(message["executable"].as_str()?);
            is_it.then_some(path)
        })
        .unwrap_or_else(|| panic!("cargo names no executable of {name}"));
    built.insert(name.to_owned(), path.clone());
    path
}

/// Describes the machine, for readers of the figures.
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

/// Returns an address on which nothing listens.
pub fn free_address() -> String {
    format!("127.0.0.1:{}", free_port())
}

/// Sends a signal (`-TERM`) to a process.
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(sent.unwrap().success(), "{name}");
}

/// Lets the workers of nginx and Varnish, which are other users, read in a folder.
pub fn make_readable(folder: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Waits until the address accepts connections.
pub fn listens(address: &str) {
    for _ in 0..2400 {
        if TcpStream::connect(address).is_ok() {
            return;
        }
        thread::sleep(Duration::from_millis(25));
    }
    panic!("nothing listens on {address}");
}

/// Starts a program and waits for the line with the address on which it listens.
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
    // Reads both pipes to their end: the program would block on a full pipe.
    thread::spawn(move || find(BufReader::new(out), &sender, address));
    thread::spawn(move || find(BufReader::new(err), &on_err, address));
    let found = receiver.recv_timeout(Duration::from_secs(60));
    let process = Process(child);
    (process, found.expect("the program printed no address"))
}

fn find(
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

/// Returns the line if it is an address: the only output of the servers among the examples.
pub fn bare_address(line: &str) -> Option<&str> {
    line.starts_with("127.0.0.1:").then_some(line)
}

/// The admin token of every server that is started here.
pub const TOKEN: &str = "a-token-that-is-only-used-by-laboratories";

/// As in scripts/deploy/cathedral-publisher.service.
const MEMORY: [(&str, &str); 3] = [
    ("MALLOC_MMAP_THRESHOLD_", "131072"),
    ("MALLOC_TRIM_THRESHOLD_", "131072"),
    ("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0"),
];

/// Starts the server (`serve`) on an address.
pub fn serve_at(address: &str, database: &Path, options: &[&str]) -> (Process, String) {
    let mut command = Command::new(publisher());
    command
        .args(["serve", "--log-level", "info", "--address", address])
        .arg("--database")
        .arg(database)
        .args(options)
        .envs(MEMORY)
        .env("PUBLISHER_ADMIN_TOKEN", TOKEN);
    start(&mut command, |line| Some(line.split_once("on http://")?.1))
}

/// Runs `herd` with these options and returns its results.
pub fn herd(url: &str, options: &str) -> Run {
    let output = Command::new(program("herd"))
        .args([url, "--json"])
        .args(options.split_whitespace())
        .env("PUBLISHER_ADMIN_TOKEN", TOKEN)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "herd {url} {options}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Returns the median.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
