//! The signals of the process:
//!
//! - SIGHUP reads the token file again, and keeps the old tokens if it is broken
//! - a file without a token is refused at the start
//! - signals that mean nothing end nothing
//! - SIGTERM, SIGINT and SIGQUIT stop gracefully
//! - what is no regular file, in the place of a file of the configuration, is refused at the start and at SIGHUP

use std::{fs, path::Path, process::Command};

use tempfile::TempDir;

use crate::{
    app::BOARD,
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

fn make_fifo(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

#[test]
fn sighup_with_a_pipe_as_jwk_set_still_reads_the_tokens_again_and_the_next_one_works() {
    let folder = TempDir::new().unwrap();
    let [tokens, jwks] = ["tokens", "jwks.json"].map(|name| folder.path().join(name));
    let [old, new] = ["a".repeat(32), "b".repeat(32)];
    let set = publisher(&["sample", "jwks"]).output().unwrap().stdout;
    fs::write(&tokens, &old).unwrap();
    fs::write(&jwks, &set).unwrap();
    let mut command = serve(&folder.path().join("a.db"), &["--admin-token-file"]);
    command.arg(&tokens).arg("--jwks").arg(&jwks);
    let mut service = Service::start(command);
    let mut reload = || {
        service.signal("-HUP");
        let mut lines = Vec::new();
        while lines.len() < 2 {
            let line = service.log_line();
            if line.contains("SIGHUP: ") {
                lines.push(line);
            }
        }
        let statuses = [&old, &new].map(|token| status(&service, token));
        (lines.concat(), statuses)
    };
    fs::remove_file(&jwks).unwrap();
    make_fifo(&jwks);
    fs::write(&tokens, &new).unwrap();
    let (said, statuses) = reload();
    assert!(said.contains("the JWK set stays as it was"), "{said}");
    assert!(said.contains("it is not a regular file"), "{said}");
    assert_eq!(statuses, [401, 200]);
    fs::remove_file(&jwks).unwrap();
    fs::write(&jwks, &set).unwrap();
    fs::write(&tokens, &old).unwrap();
    let (said, statuses) = reload();
    assert!(said.contains("1 keys verify eval runs"), "{said}");
    assert_eq!(statuses, [200, 401]);
    service.signal("-TERM");
    assert_eq!(service.ended().0, Some(0));
}

#[test]
fn a_pipe_or_a_folder_as_a_file_of_the_configuration_is_refused_at_the_start() {
    let folder = TempDir::new().unwrap();
    let [pipe, directory] = ["pipe", "directory"].map(|name| folder.path().join(name));
    make_fifo(&pipe);
    fs::create_dir(&directory).unwrap();
    let database = folder.path().join("a.db");
    for option in ["--admin-token-file", "--jwks", "--follow-ca-file"] {
        for path in [&pipe, &directory] {
            let mut command = serve(&database, &["--follow", "https://127.0.0.1:1", option]);
            let output = command.arg(path).output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains("it is not a regular file"), "{said}");
        }
    }
}
