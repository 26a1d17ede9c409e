//! The signals of the process:
//!
//! - SIGHUP reads the token file again, and keeps the old tokens if it is broken
//! - a file without a token is refused at the start
//! - signals that mean nothing end nothing
//! - SIGTERM, SIGINT and SIGQUIT stop gracefully
//! - a file that hangs while it is read delays no stop

use std::{fs, process::Command};

use tempfile::TempDir;

use crate::{
    app::{BOARD, eventually},
    process::{Service, get, publisher, serve},
    wire::{Client, row},
};

fn with_file(folder: &TempDir) -> Service {
    let mut command = publisher(&["serve", "--address", "127.0.0.1:0", "--database"]);
    command.arg(folder.path().join("a.db"));
    command
        .arg("--admin-token-file")
        .arg(folder.path().join("tokens"));
    Service::start(command)
}

/// Returns the status of a write with this token.
fn status(service: &Service, token: &str) -> u16 {
    let row = row("a");
    let request = format!(
        "POST /v1/admin/eval-runs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{row}",
        row.len()
    );
    Client::connect(&service.address).ask(request).status
}

#[test]
fn sighup_reads_the_token_file_again_and_keeps_the_old_tokens_if_it_is_broken() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("tokens");
    let [old, new] = ["a".repeat(32), "b".repeat(32)];
    fs::write(&file, &old).unwrap();
    let mut service = with_file(&folder);
    assert_eq!(
        [&old, &new].map(|token| status(&service, token)),
        [200, 401]
    );
    let mut reload = |text: Option<String>| {
        match text {
            Some(text) => fs::write(&file, text).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        service.signal("-HUP");
        loop {
            let line = service.log_line();
            if line.contains("SIGHUP: ") {
                let statuses = [&old, &new].map(|token| status(&service, token));
                return (line, statuses);
            }
        }
    };
    let (line, statuses) = reload(Some(format!("{old}\n{new}\n")));
    assert!(line.contains("tokens: 2 admin tokens"), "{line}");
    assert_eq!(statuses, [200, 200]);
    let (line, statuses) = reload(Some(format!("\n{new}\n")));
    assert!(line.contains("tokens: 1 admin tokens"), "{line}");
    assert_eq!(statuses, [401, 200]);
    for (text, reason) in [
        (Some(String::new()), "contains no token"),
        (Some("short".to_owned()), "at least 32 characters"),
        (Some("ü".repeat(40)), "visible ASCII"),
        (Some("x".repeat(100_000)), "longer than 65536 bytes"),
        (None, "No such file"),
    ] {
        let (line, statuses) = reload(text);
        assert!(
            line.contains("stay as they were") && line.contains(reason),
            "{line}"
        );
        assert!(!line.contains(&new), "{line}");
        assert_eq!(statuses, [401, 200]);
    }
    service.signal("-TERM");
    assert_eq!(service.ended().0, Some(0));
}

#[test]
fn a_file_without_a_token_is_refused_at_the_start() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("tokens");
    for text in ["", "\n \n"] {
        fs::write(&file, text).unwrap();
        let database = folder.path().join("a.db");
        let mut command = serve(&database, &["--admin-token-file"]);
        let output = command.arg(&file).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("tokens contains no token"), "{said}");
        assert!(!database.exists());
    }
}

#[test]
fn signals_that_mean_nothing_end_nothing() {
    let folder = TempDir::new().unwrap();
    let mut service = Service::start(serve(&folder.path().join("a.db"), &[]));
    for name in ["-USR1", "-USR2", "-PIPE", "-XFSZ", "-WINCH", "-HUP"] {
        service.signal(name);
    }
    while !service.log_line().contains("SIGHUP: nothing to reload") {}
    assert!(get(&service.address, BOARD, "").starts_with("HTTP/1.1 200 "));
    service.signal("-TERM");
    assert_eq!(service.ended().0, Some(0));
}

#[test]
fn sigterm_sigint_and_sigquit_stop_gracefully() {
    let folder = TempDir::new().unwrap();
    for name in ["TERM", "INT", "QUIT"] {
        let service = Service::start(serve(&folder.path().join(name), &[]));
        service.signal(&format!("-{name}"));
        let (code, said) = service.ended();
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains(&format!("SIG{name}: stopping")), "{said}");
    }
}

#[test]
fn a_file_that_hangs_while_it_is_read_delays_no_stop() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("tokens");
    let token = "a".repeat(32);
    fs::write(&file, &token).unwrap();
    let service = with_file(&folder);
    fs::remove_file(&file).unwrap();
    let made = Command::new("mkfifo").arg(&file).status().unwrap();
    assert!(made.success());
    service.signal("-HUP");
    service.signal("-HUP");
    eventually("the reload", || {
        let threads = fs::read_dir(format!("/proc/{}/task", service.pid())).unwrap();
        let names = threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("comm")));
        names.flatten().any(|name| name.trim() == "reload")
    });
    assert_eq!(status(&service, &token), 200);
    service.signal("-TERM");
    assert_eq!(service.ended().0, Some(0));
}
