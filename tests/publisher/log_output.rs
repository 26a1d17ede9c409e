//! The log: a program that never waits for it.
//!
//! - a log that nobody reads delays neither requests nor the stop
//! - dropped lines are counted, and told when the log is read again
//! - a closed pipe, a full disk and a terminal that is gone end nothing
//! - errors of the command line are not waited for
//! - an unknown level is refused, and the valid ones are named
//! - libraries log warnings only, and single targets have levels
//! - a herd of answers of 5xx is not a herd of lines
//! - no text of a client controls the log
//! - a closed stdout ends a command without a panic, and does not end the demo

use std::{
    io::Write,
    net::TcpListener,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Instant,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    app::{BOARD, eventually},
    process::{Guard, Service, get, passing, publisher, run, serve, signal},
    wire::{Client, get as request},
};

/// What a pipe has room for, by default of Linux.
const PIPE_BYTES: usize = 65_536;
const LOG_ALL: [&str; 2] = ["--access-log", "all"];
/// A line of the access log is longer than this.
const PATH_BYTES: usize = 4000;

/// Asks for more than a pipe and the queue have room for. Returns how many requests were answered.
fn flood(address: &str) -> u64 {
    let path = format!("/{}", "x".repeat(PATH_BYTES));
    let mut client = Client::connect(address);
    let requests = 12 * (1 << 20) / PATH_BYTES as u64;
    for _ in 0..requests {
        assert_eq!(client.ask(request(&path, "")).status, 404);
    }
    requests
}

fn dropped(address: &str) -> u64 {
    let page = get(address, "/metrics", "");
    let name = "publisher_log_lines_dropped_total ";
    let line = page.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().parse().unwrap()
}

#[test]
fn a_log_that_nobody_reads_delays_neither_requests_nor_the_stop() {
    let folder = TempDir::new().unwrap();
    let mut service = Service::start(serve(&folder.path().join("a.db"), &LOG_ALL));
    flood(&service.address);
    assert!(dropped(&service.address) > 0);
    assert!(get(&service.address, BOARD, "").starts_with("HTTP/1.1 200 "));
    service.signal("-TERM");
    assert_eq!(service.ended_unread(), Some(0));
}

#[test]
fn dropped_lines_are_counted_and_told_when_the_log_is_read_again() {
    for format in ["text", "json"] {
        let folder = TempDir::new().unwrap();
        let options = [&LOG_ALL[..], &["--log-format", format]].concat();
        let mut service = Service::start(serve(&folder.path().join("a.db"), &options));
        let answered = flood(&service.address);
        let dropped = dropped(&service.address);
        let (mut whole, mut told) = (0, None);
        while told.is_none() {
            let line = service.log_line();
            whole += u64::from(line.contains(&"x".repeat(PATH_BYTES)));
            told = line.split_once("dropped ").map(|(_, rest)| {
                let digits = rest.split(' ').next().unwrap();
                digits.parse::<u64>().unwrap()
            });
        }
        // The request for the metrics itself was logged or dropped after they were made.
        let told = told.unwrap();
        assert!((dropped..=dropped + 1).contains(&told), "{dropped} {told}");
        assert_eq!(whole + dropped, answered, "{format}");
        service.signal("-TERM");
        let (code, said) = service.ended();
        assert!(code == Some(0) && said.contains("SIGTERM"), "{said}");
    }
}

#[test]
fn a_closed_pipe_a_full_disk_and_a_terminal_that_is_gone_end_nothing() {
    let folder = TempDir::new().unwrap();
    let mut service = Service::start(serve(&folder.path().join("a.db"), &LOG_ALL));
    service.close_log();
    eventually("a dropped line", || dropped(&service.address) > 0);
    service.signal("-TERM");
    assert_eq!(service.ended_unread(), Some(0));
    let (listener, address) = listener();
    for stderr in ["2>/dev/full", "2>&-"] {
        let serve = serve(&folder.path().join("a.db"), &LOG_ALL);
        let mut server = Guard(passing(&listener, &serve, stderr).spawn().unwrap());
        for _ in 0..20 {
            assert!(get(&address, BOARD, "").starts_with("HTTP/1.1 200 "));
        }
        if stderr == "2>/dev/full" {
            eventually("a dropped line", || dropped(&address) > 0);
        }
        signal(server.0.id(), "-TERM");
        assert_eq!(server.0.wait().unwrap().code(), Some(0), "{stderr}");
    }
}

/// Returns a socket that listens, and its address.
fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// Returns both ends of a pipe that has no room.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let (mut filler, counter) = (writer.try_clone().unwrap(), Arc::clone(&sent));
    // Blocks when the pipe is full, until the test ends.
    thread::spawn(move || {
        while filler.write_all(&[b'x'; 4096]).is_ok() {
            counter.fetch_add(4096, SeqCst);
        }
    });
    eventually("a full pipe", || sent.load(SeqCst) >= PIPE_BYTES);
    (reader, writer)
}

#[test]
fn errors_of_the_command_line_are_not_waited_for() {
    let (reader, writer) = full_pipe();
    for (arguments, code) in [
        (&["serve", "--unknown"][..], 2),
        (&["serve", "--database", "/no/such/folder/a.db"], 1),
        (&["import", "rows", "/no/such/file"], 1),
    ] {
        let stderr = Stdio::from(writer.try_clone().unwrap());
        let status = publisher(arguments).stderr(stderr).status().unwrap();
        assert_eq!(status.code(), Some(code), "{arguments:?}");
    }
    drop(reader);
}

#[test]
fn an_unknown_level_is_refused_and_the_valid_ones_are_named() {
    let sample = ["sample", "jwks"];
    for level in ["bogus", "", "info,bogus", "access=loud"] {
        let by_option = run(&[sample[0], sample[1], &format!("--log-level={level}")]);
        let by_variable = publisher(&sample).env("PUBLISHER_LOG", level).output();
        // An empty variable is as if unset.
        let by_variable = (!level.is_empty()).then_some(by_variable.unwrap());
        for output in [Some(by_option), by_variable].into_iter().flatten() {
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{level}: {said}");
            assert!(
                said.contains("off, error, warn, info, debug or trace"),
                "{said}"
            );
        }
    }
}

#[test]
fn libraries_log_warnings_only_and_single_targets_have_levels() {
    let folder = TempDir::new().unwrap();
    let levels = "trace,access=off,cathedral_publisher::http=info";
    let options = [&LOG_ALL[..], &["--log-level", levels]].concat();
    let service = Service::start(serve(&folder.path().join("a.db"), &options));
    assert!(get(&service.address, BOARD, "").starts_with("HTTP/1.1 200 "));
    service.signal("-TERM");
    let (_, said) = service.ended();
    let is_ours = |line: &str| line.contains(" cathedral_publisher::");
    assert!(
        said.contains("SIGTERM") && said.lines().all(is_ours),
        "{said}"
    );
}

#[test]
fn a_herd_of_answers_of_5xx_is_not_a_herd_of_lines() {
    let folder = TempDir::new().unwrap();
    let options = ["--shutdown-delay-ms", "600000", "--workers", "2"];
    let service = Service::start(serve(&folder.path().join("a.db"), &options));
    service.signal("-TERM");
    let ready = || get(&service.address, "/health/ready", "").starts_with("HTTP/1.1 200 ");
    eventually("readiness off", || !ready());
    let begun = Instant::now();
    for _ in 0..200 {
        assert!(!ready());
    }
    let periods = begun.elapsed().as_secs() as usize / 10 + 1;
    service.signal("-INT");
    let (_, said) = service.ended();
    let lines = said.matches("status=503").count();
    assert!((1..=3 * periods).contains(&lines), "{said}");
}

#[test]
fn no_text_of_a_client_controls_the_log() {
    let folder = TempDir::new().unwrap();
    for format in ["text", "json"] {
        let options = [&LOG_ALL[..], &["--log-format", format]].concat();
        let service = Service::start(serve(&folder.path().join(format), &options));
        for path in [
            "/\u{9b}31m",
            "/\u{2028}x",
            "/\u{85}2026-01-01T00:00:00Z ERROR",
            "/%0aERROR%1b[31m",
            "/\u{1b}[31m",
            "/\rERROR",
        ] {
            let _ = get(&service.address, path, "");
            let _ = get(
                &service.address,
                BOARD,
                &format!("X-Request-Id: {path}\r\n"),
            );
            let _ = get(
                &service.address,
                BOARD,
                &format!("X-Forwarded-For: {path}\r\n"),
            );
        }
        service.signal("-TERM");
        let (code, said) = service.ended();
        assert_eq!(code, Some(0));
        for line in said.lines() {
            let is_bad = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
            assert!(!line.contains(is_bad), "{line:?}");
            match format {
                "json" => assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}"),
                _ => assert!(line.starts_with("20"), "{line}"),
            }
        }
    }
}

#[test]
fn a_closed_stdout_ends_a_command_without_a_panic_and_does_not_end_the_demo() {
    for arguments in [
        &["completions", "bash"][..],
        &["sample", "rows", "--count", "10000"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = publisher(arguments).stdout(writer).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.lines().count() == 1 && said.contains("Broken pipe"),
            "{said}"
        );
    }
    let folder = TempDir::new().unwrap();
    let (listener, address) = listener();
    for closed in [true, false] {
        let (reader, stdout) = full_pipe();
        let reader = (!closed).then_some(reader);
        let mut demo = passing(&listener, &publisher(&["demo", "--rows", "10"]), "");
        demo.env("TMPDIR", folder.path());
        demo.stdout(stdout).stderr(Stdio::null());
        let mut demo = Guard(demo.spawn().unwrap());
        assert!(get(&address, BOARD, "").starts_with("HTTP/1.1 200 "));
        // The end of the terminal ends the demo.
        signal(demo.0.id(), "-HUP");
        assert_eq!(demo.0.wait().unwrap().code(), Some(0));
        drop(reader);
    }
}
