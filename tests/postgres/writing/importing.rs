//! `import` and `export`:
//!
//! - an export of all that is imported into PostgreSQL and exported again has the same bytes as from SQLite
//! - into a database with content both stores end up with the same
//! - rows and boards are all or nothing, and the line is named, wherever its chunk ends
//! - an import in batches lets a writer write in between
//! - an import that is killed leaves nothing, and no lock
//! - a wrong database is reported before the input is read

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use cathedral_publisher::{
    domain::challenge::Status,
    store::sqlite::{open::open_writer, write},
};
use tempfile::TempDir;

use super::{COMMIT, LOCKS, challenge, inserted, results, run, runs, writer};
use crate::{
    cluster::{Database, shared},
    store::{eventually, open, soon},
};

fn publisher(arguments: &[&str], database: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cathedral-publisher"));
    command.args(arguments).args(["--database", database]);
    if arguments[0] == "import" {
        command.args(["--log-level", "warn"]);
    }
    command
}

fn run_with(arguments: &[&str], database: &str, input: &str) -> Output {
    let mut command = publisher(arguments, database);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // An import that fails at its start does not read.
            let _ = stdin.write_all(input.as_bytes());
        });
        child.wait_with_output().unwrap()
    })
}

#[track_caller]
pub fn accepts(arguments: &[&str], database: &str, input: &str) -> String {
    let output = run_with(arguments, database, input);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
pub fn rejects(arguments: &[&str], database: &str, input: &str) -> String {
    let output = run_with(arguments, database, input);
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

const IMPORT_ALL: [&str; 3] = ["import", "all", "-"];
const IMPORT_ROWS: [&str; 3] = ["import", "rows", "-"];
const IMPORT_BOARD: [&str; 3] = ["import", "board", "-"];
pub const EXPORT_ALL: [&str; 2] = ["export", "all"];

/// A file of SQLite with these rows (seq and id), and one of everything else.
fn sqlite(folder: &TempDir, name: &str, rows: &[(i64, &str)]) -> String {
    let path = folder.path().join(name);
    let connection = open_writer(&path, COMMIT).unwrap();
    for (seq, id) in rows {
        write::insert_eval_run_at(&connection, Some(*seq), &run(id, 0)).unwrap();
    }
    for (id, status) in [("x \"ü\\", Status::Active), ("y", Status::Retired)] {
        write::put_challenge(&connection, &challenge(id, status, i64::MAX as u64)).unwrap();
    }
    write::put_merkle_epoch(&connection, 1, None).unwrap();
    write::put_merkle_epoch(&connection, i64::MAX, Some("[1,\n2]")).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn an_export_of_all_has_the_same_bytes_as_from_sqlite() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let folder = TempDir::new().unwrap();
    let file = sqlite(&folder, "publisher.db", &[(2, "a"), (7, "b"), (1000, "c")]);
    write::raise_last_seq(&open_writer(Path::new(&file), COMMIT).unwrap(), 2000).unwrap();
    let exported = accepts(&EXPORT_ALL, &file, "");
    assert_eq!(
        accepts(&IMPORT_ALL, &database.url(), &exported),
        "7 inserted, 0 unchanged\n"
    );
    assert_eq!(accepts(&EXPORT_ALL, &database.url(), ""), exported);
    assert_eq!(
        accepts(&IMPORT_ALL, &database.url(), &exported),
        "0 inserted, 7 unchanged\n"
    );
    assert_eq!(accepts(&EXPORT_ALL, &database.url(), ""), exported);
    for content in ["rows", "board"] {
        for form in [&["export", content][..], &["export", content, "--ndjson"]] {
            assert_eq!(accepts(form, &database.url(), ""), accepts(form, &file, ""));
        }
    }
    // The next number comes after the greatest that was ever given.
    let store = open(&database.url());
    assert_eq!(
        results(writer(&store).commit(&[runs(&["d"])])),
        [Ok(inserted(1))]
    );
    assert_eq!(
        database.sql("SELECT seq FROM eval_runs WHERE id = 'd'"),
        "2001"
    );
}

#[test]
fn into_a_database_with_content_both_stores_end_up_with_the_same() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let folder = TempDir::new().unwrap();
    let first = sqlite(&folder, "first.db", &[(3, "a"), (4, "b"), (10, "c")]);
    let second = sqlite(
        &folder,
        "second.db",
        &[
            (1, "d"),
            (4, "b"),
            (5, "e"),
            (11, "f"),
            (12, "g"),
            (40, "h"),
        ],
    );
    accepts(
        &IMPORT_ALL,
        &database.url(),
        &accepts(&EXPORT_ALL, &first, ""),
    );
    let exported = accepts(&EXPORT_ALL, &second, "");
    let said = accepts(&IMPORT_ALL, &first, &exported);
    assert_eq!(said, "5 inserted, 5 unchanged\n");
    assert_eq!(accepts(&IMPORT_ALL, &database.url(), &exported), said);
    let all = accepts(&EXPORT_ALL, &first, "");
    assert_eq!(accepts(&EXPORT_ALL, &database.url(), ""), all);
    // A row whose own number was given meanwhile gets the next one.
    let rows = "SELECT seq, id FROM eval_runs WHERE seq > 10 ORDER BY seq";
    assert_eq!(database.sql(rows), "11|d\n12|e\n13|f\n14|g\n40|h");
}

fn lines(rows: impl IntoIterator<Item = (String, u32)>) -> String {
    let rows = rows.into_iter();
    rows.map(|(id, body)| run(&id, body).body + "\n").collect()
}

fn content(database: &Database) -> String {
    database.sql("SELECT count(*), coalesce(max(seq), 0) FROM eval_runs UNION ALL SELECT count(*), 0 FROM challenges")
}

#[test]
fn rows_are_all_or_nothing_and_the_line_is_named_wherever_its_chunk_ends() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let url = database.url();
    let many = || (0..25_000).map(|number| (format!("row {number}"), 0));
    // The same id again, in another chunk: equal, then with other bytes.
    let last = |body| [("row 7".to_owned(), body)];
    let conflict = rejects(&IMPORT_ROWS, &url, &lines(many().chain(last(1))));
    assert!(
        conflict.contains("line 25001: \"row 7\" is already stored with different bytes"),
        "{conflict}"
    );
    assert!(conflict.contains("nothing was imported"), "{conflict}");
    assert_eq!(content(&database), "0|0\n0|0");
    let said = accepts(&IMPORT_ROWS, &url, &lines(many().chain(last(0))));
    assert_eq!(said, "25000 inserted, 1 unchanged\n");
    let stored = content(&database);
    assert!(stored.starts_with("25000|"), "{stored}");
    assert_eq!(
        accepts(&IMPORT_ROWS, &url, &lines(many())),
        "0 inserted, 25000 unchanged\n"
    );
    let order = "SELECT count(*) FROM (SELECT id, lag(id) OVER (ORDER BY seq) AS earlier FROM eval_runs) AS rows
                 WHERE split_part(id, ' ', 2)::int <> split_part(earlier, ' ', 2)::int + 1";
    assert_eq!(database.sql(order), "0");
    let envelope = format!(
        "{{\"items\":[{},{}],\"merkle_epoch_latest\":9}}",
        run("new", 0).body,
        run("row 8", 1).body
    );
    let conflict = rejects(&IMPORT_ROWS, &url, &envelope);
    assert!(
        conflict.contains("item 1: \"row 8\" is already stored"),
        "{conflict}"
    );
    assert_eq!(content(&database), stored);
    assert_eq!(open(&url).stamp(soon()).unwrap().merkle_epoch_latest, None);
    let envelope = envelope.replace("row 8", "row 8 too");
    assert_eq!(
        accepts(&IMPORT_ROWS, &url, &envelope),
        "2 inserted, 0 unchanged\n"
    );
    assert_eq!(
        open(&url).stamp(soon()).unwrap().merkle_epoch_latest,
        Some(9)
    );
    // A board: a status may only go forward, within the input too.
    let item = |status, tier| {
        let mut item = Vec::new();
        challenge("x", status, tier).write_item(&mut item).unwrap();
        String::from_utf8(item).unwrap() + "\n"
    };
    let board = item(Status::Active, 1) + &item(Status::Locked, 1) + &item(Status::Active, 1);
    let refused = rejects(&IMPORT_BOARD, &url, &board);
    assert!(
        refused.contains("line 3: status: challenge \"x\" is locked"),
        "{refused}"
    );
    let board = item(Status::Active, 1) + &item(Status::Active, 2);
    assert_eq!(
        accepts(&IMPORT_BOARD, &url, &board),
        "2 inserted, 0 unchanged\n"
    );
    assert_eq!(
        database.sql("SELECT status, tier FROM challenges"),
        "active|2"
    );
}

#[test]
fn an_import_in_batches_lets_a_writer_write_in_between() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = open(&database.url());
    let input = lines((0..40_000).map(|number| (format!("row {number}"), 0)));
    let url = database.url();
    std::thread::scope(|scope| {
        let import = scope.spawn(|| accepts(&["import", "rows", "-", "--batches"], &url, &input));
        eventually(|| !content(&database).starts_with("0|"));
        let mut writer = writer(&store);
        let mut written = 0;
        while !import.is_finished() {
            let id = format!("between {written}");
            assert_eq!(results(writer.commit(&[runs(&[&id])])), [Ok(inserted(1))]);
            written += 1;
        }
        assert_eq!(import.join().unwrap(), "40000 inserted, 0 unchanged\n");
        assert!(content(&database).starts_with(&format!("{}|", 40_000 + written)));
    });
}

#[test]
fn an_import_that_is_killed_leaves_nothing_and_no_lock() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let store = open(&database.url());
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("rows.ndjson");
    fs::write(
        &file,
        lines((0..60_000).map(|number| (format!("row {number}"), 0))),
    )
    .unwrap();
    let mut import = publisher(&["import", "rows", file.to_str().unwrap()], &database.url())
        .spawn()
        .unwrap();
    eventually(|| database.sql(LOCKS) != "0");
    import.kill().unwrap();
    import.wait().unwrap();
    let mut writer = writer(&store);
    eventually(|| writer.commit(&[runs(&["after"])]).is_ok());
    assert_eq!(database.sql("SELECT id FROM eval_runs"), "after");
}

#[test]
fn a_wrong_database_is_reported_before_the_input_is_read() {
    let Some(cluster) = shared() else { return };
    let database = cluster.database();
    let url = database.url().replace(&database.name, "missing");
    let mut command = publisher(&IMPORT_ROWS, &url);
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It stays open.
    let stdin = child.stdin.take();
    eventually(|| child.try_wait().unwrap().is_some());
    drop(stdin);
    let said = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
    assert!(said.contains("\"missing\" does not exist"), "{said}");
}
