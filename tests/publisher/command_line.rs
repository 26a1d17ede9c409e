//! The command line:
//!
//! - an unusable database gives one clear line and a non-zero exit code, and nothing is changed
//! - an address in use gives one clear line
//! - limits are checked, and can come from environment variables
//! - the help of a command says that it creates the database if it does
//! - `demo` serves signed changes, answers 304, and exits cleanly on Ctrl-C

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    process::Stdio,
};

use cathedral_publisher::domain::signature::PublicKeys;
use tempfile::TempDir;

use crate::{
    app::{BOARD, FEED},
    process::{Guard, get, publisher, run, signal},
    wire_feed::rows_of,
};

#[test]
fn an_unusable_database_gives_one_clear_line_and_nothing_is_changed() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let garbage = file("garbage.db");
    fs::write(
        &garbage,
        "no database at all, but long enough to be taken for one".repeat(100),
    )
    .unwrap();
    let newer = file("newer.db");
    let connection = rusqlite::Connection::open(&newer).unwrap();
    connection
        .execute_batch("CREATE TABLE t (x); PRAGMA user_version = 1000")
        .unwrap();
    drop(connection);
    let foreign = file("foreign.db");
    let connection = rusqlite::Connection::open(&foreign).unwrap();
    connection
        .execute_batch("CREATE TABLE bookmarks (url)")
        .unwrap();
    drop(connection);
    let nowhere = file("no/such/folder.db");

    for (path, reason) in [
        (&garbage, "is not an SQLite database"),
        (&newer, "has schema version 1000"),
        (&foreign, "is an SQLite database of another program"),
        (&nowhere, "cannot be opened"),
        (&folder.path().to_str().unwrap().to_owned(), "is a folder"),
    ] {
        let before = fs::read(path).ok();
        for command in ["serve", "export rows", "import rows -"] {
            let mut arguments: Vec<_> = command.split(' ').collect();
            arguments.extend(["--database", path]);
            let output = run(&arguments);
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{command} {path}: {stderr}");
            assert_eq!(stderr.lines().count(), 1, "{stderr}");
            assert!(
                stderr.contains(reason) && stderr.contains(path.as_str()),
                "{stderr}"
            );
        }
        assert_eq!(fs::read(path).ok(), before);
    }
    let mut names: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["foreign.db", "garbage.db", "newer.db"]);
}

#[test]
fn an_address_in_use_gives_one_clear_line() {
    let folder = TempDir::new().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let database = folder.path().join("p.db");
    // The error names the address that is in use, not the other one.
    for options in [
        &["--address", address.as_str()][..],
        &["--address", "127.0.0.1:0", "--admin-address", &address],
    ] {
        let serve = ["serve", "--log-level", "off", "--database"];
        let output = run(&[&serve[..], &[database.to_str().unwrap()], options].concat());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(
            stderr.contains(&format!("cannot listen on {address}")),
            "{stderr}"
        );
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

#[test]
fn limits_are_checked_and_can_come_from_environment_variables() {
    for (option, variable, value) in [
        ("--ttl-secs", "PUBLISHER_TTL_SECS", "0"),
        ("--pool-size", "PUBLISHER_POOL_SIZE", "2"),
        ("--workers", "PUBLISHER_WORKERS", "0"),
        (
            "--busy-timeout-ms",
            "PUBLISHER_BUSY_TIMEOUT_MS",
            "2147483648",
        ),
        (
            "--write-busy-timeout-ms",
            "PUBLISHER_WRITE_BUSY_TIMEOUT_MS",
            "2147483648",
        ),
        ("--max-waiting", "PUBLISHER_MAX_WAITING", "0"),
        (
            "--max-waiting",
            "PUBLISHER_MAX_WAITING",
            "9223372036854775807",
        ),
        ("--max-target-bytes", "PUBLISHER_MAX_TARGET_BYTES", "0"),
        ("--rebuild-timeout-ms", "PUBLISHER_REBUILD_TIMEOUT_MS", "-5"),
        (
            "--keep-alive-secs",
            "PUBLISHER_KEEP_ALIVE_SECS",
            "18446744073709551615",
        ),
        (
            "--shutdown-timeout-secs",
            "PUBLISHER_SHUTDOWN_TIMEOUT_SECS",
            "18446744073709551615",
        ),
    ] {
        let by_option = run(&["serve", &format!("{option}={value}")]);
        let by_variable = publisher(&["serve"]).env(variable, value).output().unwrap();
        for (output, names) in [(by_option, false), (by_variable, true)] {
            assert_eq!(output.status.code(), Some(2), "{option}");
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(said.contains(option), "{said}");
            assert_eq!(said.contains(variable), names, "{said}");
        }
    }
}

#[test]
fn what_the_variable_of_a_switch_may_be_is_told() {
    let output = publisher(&["serve"])
        .env("PUBLISHER_CORS", "enabled")
        .output();
    let said = String::from_utf8(output.unwrap().stderr).unwrap();
    assert!(
        said.contains("PUBLISHER_CORS, which must be 1, yes"),
        "{said}"
    );
}

#[test]
fn the_help_of_a_command_says_that_it_creates_the_database_if_it_does() {
    for (command, creates) in [
        ("serve", true),
        ("import", true),
        ("restore", true),
        ("prune", false),
        ("export", false),
        ("backup", false),
    ] {
        let help = run(&[command, "--help"]).stdout;
        let help = String::from_utf8(help).unwrap();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(help.contains("--database"), "{command}");
        assert_eq!(help.contains("created"), creates, "{help}");
    }
}

#[test]
fn demo_serves_signed_changes_answers_304_and_exits_cleanly_on_ctrl_c() {
    let folder = TempDir::new().unwrap();
    let mut child = Guard(
        publisher(&[
            "demo",
            "--address",
            "127.0.0.1:0",
            "--rows",
            "300",
            "--log-level",
            "warn",
        ])
        .env("TMPDIR", folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap(),
    );
    let mut stdout = BufReader::new(child.0.stdout.take().unwrap());
    let address = stdout
        .by_ref()
        .lines()
        .map(Result::unwrap)
        .find_map(|line| {
            let url = line.trim().strip_prefix("curl -i http://")?;
            Some(url.split('/').next()?.to_owned())
        })
        .unwrap();
    let board = get(&address, BOARD, "");
    assert!(board.contains(r#""count":51"#));
    assert!(board.len() > 30_000);
    let etag = board
        .lines()
        .find_map(|line| line.strip_prefix("etag: "))
        .unwrap();
    let again = get(&address, BOARD, &format!("If-None-Match: {etag}\r\n"));
    assert!(again.starts_with("HTTP/1.1 304"), "{again}");
    let page = get(
        &address,
        &format!("{FEED}?since=2020-01-01T00:00:00Z&limit=1000"),
        "",
    );
    let jwks = get(&address, "/.well-known/cathedral-jwks.json", "");
    let [page, jwks] =
        [page, jwks].map(|answer| answer.split_once("\r\n\r\n").unwrap().1.to_owned());
    let rows = rows_of(page.as_bytes());
    assert!(rows.len() >= 300);
    let keys = PublicKeys::from_jwk_set(jwks.as_bytes()).unwrap();
    assert_eq!(keys.verify_all(rows), []);
    signal(child.0.id(), "-INT");
    assert!(child.0.wait().unwrap().success());
    assert_eq!(
        fs::read_dir(&folder).unwrap().count(),
        0,
        "the temporary database is deleted"
    );
}
