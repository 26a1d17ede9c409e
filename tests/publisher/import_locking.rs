//! What an import takes from others, and what it leaves behind:
//!
//! - an import that waits for its input locks nothing, whether it reads a pipe or a FIFO
//! - an import that is interrupted while it reads leaves nothing behind, however much it has read
//! - an import in batches lets a server write in between, and a repeated one adds the rest
//! - a wrong database is reported before the input is read

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::{
    app::eventually,
    chaos::server::{Server, bearer, row},
    client::Connection,
    process::{Guard, publisher, run, signal},
};

const RUNS: &str = "/v1/admin/eval-runs";
/// More than an import keeps in memory.
const MANY_ROWS: usize = 12_000;

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_cathedral-publisher"))
}

/// Rows of 1 kB each.
fn lines(name: &str, count: usize) -> String {
    let pad = format!(",\"pad\":\"{}\"}}\n", "x".repeat(900));
    let line = |number| row(&format!("{name}-{number:06}")).replace('}', &pad);
    (0..count).map(line).collect()
}

fn import(file: &str, database: &Path) -> Command {
    let mut command = publisher(&["import", "rows", file, "--log-level", "off", "--database"]);
    command.arg(database).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn ended(mut child: Guard) -> (Option<i32>, String, String) {
    drop(child.0.stdin.take());
    let text = |pipe: Option<&mut dyn std::io::Read>| {
        let mut text = String::new();
        pipe.unwrap().read_to_string(&mut text).unwrap();
        text
    };
    let stdout = text(child.0.stdout.as_mut().map(|pipe| pipe as _));
    let stderr = text(child.0.stderr.as_mut().map(|pipe| pipe as _));
    (child.0.wait().unwrap().code(), stdout, stderr)
}

/// Sends so much that the import has read most of it when this returns.
fn feed(child: &mut Child, rows: &str) {
    let input = child.stdin.as_mut().unwrap();
    input.write_all(rows.as_bytes()).unwrap();
    input.flush().unwrap();
}

fn post(connection: &mut Connection, id: &str) -> u16 {
    let body = row(id);
    let answer = connection.request("POST", RUNS, &bearer(), body.as_bytes());
    answer.unwrap().0
}

fn exported(database: &Path) -> usize {
    let output = run(&[
        "export",
        "rows",
        "--ndjson",
        "--database",
        database.to_str().unwrap(),
    ]);
    output.stdout.iter().filter(|byte| **byte == b'\n').count()
}

#[test]
fn an_import_that_waits_for_its_input_locks_nothing() {
    let folder = TempDir::new().unwrap();
    let database = folder.path().join("a.db");
    let server = Server::start(program(), &database, &["--write-busy-timeout-ms", "0"]);
    let mut connection = Connection::open(&server.address).unwrap();
    let mut waiting = Guard(import("-", &database).spawn().unwrap());
    assert_eq!(post(&mut connection, "before"), 200);
    feed(&mut waiting.0, &lines("a", MANY_ROWS));
    assert_eq!(post(&mut connection, "meanwhile"), 200);
    assert_eq!(
        exported(&database),
        2,
        "nothing is written before the input ends"
    );
    let (code, stdout, stderr) = ended(waiting);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(stdout, format!("{MANY_ROWS} inserted, 0 unchanged\n"));
    assert_eq!(exported(&database), MANY_ROWS + 2);

    let fifo = folder.path().join("fifo");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let waiting = Guard(import(fifo.to_str().unwrap(), &database).spawn().unwrap());
    let mut input = fs::OpenOptions::new().write(true).open(&fifo).unwrap();
    input.write_all(lines("b", 1).as_bytes()).unwrap();
    assert_eq!(post(&mut connection, "during"), 200);
    drop(input);
    assert_eq!(ended(waiting).1, "1 inserted, 0 unchanged\n");
}

#[test]
fn an_import_that_is_interrupted_while_it_reads_leaves_nothing_behind() {
    let folder = TempDir::new().unwrap();
    let mut waiting = Guard(import("-", &folder.path().join("a.db")).spawn().unwrap());
    feed(&mut waiting.0, &lines("a", MANY_ROWS));
    let entries = || fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(entries(), 0, "what was read has no name");
    // Not SIGINT: where the tests run in the background of a shell, it is ignored.
    signal(waiting.0.id(), "-TERM");
    let (code, stdout, _) = ended(waiting);
    assert_ne!(code, Some(0));
    assert_eq!((stdout.as_str(), entries()), ("", 0));
}

#[test]
fn an_import_in_batches_lets_a_server_write_and_a_repeated_one_adds_the_rest() {
    let folder = TempDir::new().unwrap();
    let database = folder.path().join("a.db");
    let server = Server::start(program(), &database, &[]);
    let mut connection = Connection::open(&server.address).unwrap();
    let good = lines("a", 30_000);
    let conflict = row("before").replace("1.0", "2.0");
    let file = folder.path().join("rows");
    fs::write(&file, format!("{good}{conflict}\n")).unwrap();
    assert_eq!(post(&mut connection, "before"), 200);
    let mut importing = Guard(
        import(file.to_str().unwrap(), &database)
            .arg("--batches")
            .spawn()
            .unwrap(),
    );
    let mut posted = 1;
    eventually("the import ends", || {
        assert_eq!(post(&mut connection, &format!("post-{posted}")), 200);
        posted += 1;
        importing.0.try_wait().unwrap().is_some()
    });
    let (code, _, stderr) = ended(importing);
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains("line 30001: \"before\" is already stored"),
        "{stderr}"
    );
    assert!(!stderr.contains("nothing was imported"), "{stderr}");
    let stored = exported(&database) - posted;
    fs::write(&file, good).unwrap();
    let again = Guard(
        import(file.to_str().unwrap(), &database)
            .arg("--batches")
            .spawn()
            .unwrap(),
    );
    let added = 30_000 - stored;
    assert_eq!(
        ended(again).1,
        format!("{added} inserted, {stored} unchanged\n")
    );
}

#[test]
fn a_wrong_database_is_reported_before_the_input_is_read() {
    let folder = TempDir::new().unwrap();
    let other = folder.path().join("other");
    fs::write(
        &other,
        "not a database, but long enough to be looked at".repeat(100),
    )
    .unwrap();
    for (path, said) in [
        (other.as_path(), "is not an SQLite database"),
        (folder.path(), "is a folder"),
        (&folder.path().join("missing/a.db"), "cannot be opened"),
    ] {
        // Its standard input stays open.
        let mut child = Guard(import("-", path).spawn().unwrap());
        eventually("the import ends", || child.0.try_wait().unwrap().is_some());
        let (code, _, stderr) = ended(child);
        assert_eq!(code, Some(1));
        assert!(stderr.contains(said), "{stderr}");
    }
}
