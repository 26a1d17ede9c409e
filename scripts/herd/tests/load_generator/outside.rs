//! What is outside of the program: files, signals, other processes, and the server's metrics.
//!
//! - a report that cannot be written is refused before the run; one that is written replaces the file as a whole
//! - a run that is interrupted says so, and has failed if there are conditions
//! - what cannot be measured is refused, not reported as zero

use std::{
    fs,
    io::Write as _,
    net::TcpListener,
    os::unix::fs::{PermissionsExt as _, symlink},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use herd::run::{Ended, Run};
use tempfile::TempDir;

use super::{EMPTY, lab, program, stub};

/// Returns the exit status and the lines of errors.
fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let output = program(arguments);
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn a_report_that_cannot_be_written_is_refused_before_the_run_and_a_file_is_replaced_as_a_whole() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str| folder.path().join(name);
    // A port that was free a moment ago: a run would fail with another error.
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = format!("http://{}/x", port.local_addr().unwrap());
    drop(port);
    fs::create_dir(file("folder.html")).unwrap();
    symlink("/dev/full", file("device.html")).unwrap();
    symlink(file("nothing"), file("dangling.svg")).unwrap();
    let pipe = Command::new("mkfifo").arg(file("pipe.svg")).status();
    assert!(pipe.unwrap().success());
    for (name, reason) in [
        ("folder.html", "not a regular file"),
        ("device.html", "not a regular file"),
        ("dangling.svg", "not a regular file"),
        ("pipe.svg", "not a regular file"),
        ("no/such/run.svg", "no such folder"),
    ] {
        let path = file(name);
        let (code, line) = refused(&[&nowhere, "--report", path.to_str().unwrap()]);
        assert_eq!((code, line.lines().count()), (Some(2), 1), "{line}");
        assert!(line.contains(reason) && line.contains(name), "{line}");
    }

    let url = stub(|socket| socket.write_all(EMPTY));
    fs::write(file("old.html"), "old").unwrap();
    fs::set_permissions(file("old.html"), fs::Permissions::from_mode(0o604)).unwrap();
    symlink(file("old.html"), file("link.html")).unwrap();
    let link = file("link.html");
    let new = file("new.svg");
    let done = program(&[
        &url,
        "--clients",
        "1",
        "-n",
        "1",
        "--json",
        "--report",
        link.to_str().unwrap(),
        "--report",
        new.to_str().unwrap(),
    ]);
    assert!(done.status.success(), "{done:?}");
    assert!(link.is_symlink());
    let text = fs::read_to_string(file("old.html")).unwrap();
    assert!(text.contains("</html>"), "{text}");
    let mode = fs::metadata(file("old.html")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o604);
    // As any new file.
    fs::write(file("plain"), "").unwrap();
    let mode = |name: &str| fs::metadata(file(name)).unwrap().permissions().mode();
    assert_eq!(mode("new.svg"), mode("plain"));
    let left = fs::read_dir(folder.path()).unwrap().filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_str().unwrap().starts_with(".herd")
    });
    assert_eq!(left.count(), 0);
}

#[test]
fn a_run_that_is_interrupted_says_so_and_has_failed_if_there_are_conditions() {
    for (signal, condition, code) in [
        ("-INT", Some("--strict"), 1),
        ("-TERM", Some("--fail-if=p99>1h"), 1),
        ("-TERM", None, 0),
    ] {
        let folder = TempDir::new().unwrap();
        let report = folder.path().join("run.html");
        let (url, asked) = answering();
        let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
        command.args([
            &url,
            "--clients=1",
            "--interval-ms=100",
            "--duration-secs=600",
            "--json",
            "--report",
        ]);
        let command = command.arg(&report).args(condition).stdin(Stdio::null());
        let process = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        for _ in 0..3 {
            asked.recv_timeout(Duration::from_secs(60)).unwrap();
        }
        lab::signal(process.id(), signal);
        let output = process.wait_with_output().unwrap();
        let lines = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{signal}: {lines}");
        let failed = lines.contains("failed: the run was interrupted");
        assert_eq!(failed, condition.is_some(), "{lines}");
        let run: Run = serde_json::from_slice(&output.stdout).unwrap();
        assert!(
            run.ended == Ended::Interrupted && run.seconds < 600.0,
            "{run:?}"
        );
        let said = "the run was interrupted after";
        assert!(herd::table::table(&[run]).contains(said));
        let page = fs::read_to_string(&report).unwrap().replace('\u{a0}', " ");
        assert!(page.contains(said));
    }
}

/// Starts a server that answers, and says when it does.
pub(super) fn answering() -> (String, mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (say, asked) = mpsc::channel();
    thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let say = say.clone();
            thread::spawn(move || {
                let mut bytes = [0; 4096];
                while std::io::Read::read(&mut socket, &mut bytes).is_ok_and(|length| length > 0) {
                    if socket.write_all(EMPTY).is_err() || say.send(()).is_err() {
                        break;
                    }
                }
            });
        }
    });
    (url, asked)
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let url = stub(|socket| socket.write_all(EMPTY));
    let missing =
        stub(|socket| socket.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"));
    let here = [url.as_str(), "--clients", "1", "-n", "1"];
    for (option, value, reason) in [
        ("--server-pid", "99999999", "no such process"),
        ("--metrics-url", &missing, "404 Not Found"),
    ] {
        if option == "--server-pid" && cfg!(not(target_os = "linux")) {
            continue;
        }
        let (code, line) = refused(&[&here[..], &[option, value]].concat());
        assert_eq!((code, line.lines().count()), (Some(1), 1), "{line}");
        assert!(line.contains(reason) && line.contains(option), "{line}");
    }
    // A counter may come with its first count; until then the number is unknown, not zero.
    let output = program(&[&here[..], &["--json", "--metrics-url", &url]].concat());
    let run: Run = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(run.rebuilds, None);
    let lines = String::from_utf8(output.stderr).unwrap();
    assert!(lines.contains("the rebuilds are unknown"), "{lines}");
}
