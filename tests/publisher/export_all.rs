//! `export all` and `import all`:
//!
//! - an export that is imported into a new database and exported again has the same bytes, and every table is equal:
//!   unpublished rows, gaps, line breaks, missing values and the last digit of a number included
//! - importing the same again changes nothing; into another database it is all or nothing, by the rules of import
//! - an input that was cut off, changed or is something else is rejected, and the line is named

use std::{fs, path::Path, process::Output};

use cathedral_publisher::{
    demo::sample::Sample,
    domain::challenge::{Challenge, Status},
    store::sqlite::open::open_writer,
};
use rusqlite::Connection;

use crate::{app::Data, process::run};

fn export(database: &Path) -> String {
    let output = run(&["export", "all", "--database", database.to_str().unwrap()]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

fn import(text: &str, database: &Path) -> Output {
    let file = database.with_extension("ndjson");
    fs::write(&file, text).unwrap();
    let (file, database) = (file.to_str().unwrap(), database.to_str().unwrap());
    run(&[
        "import",
        "all",
        file,
        "--database",
        database,
        "--log-level",
        "warn",
    ])
}

#[track_caller]
fn accepts(text: &str, database: &Path, said: &str) {
    let output = import(text, database);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{said}\n"));
}

#[track_caller]
fn rejects(text: &str, database: &Path, reason: &str) {
    let before = export(database);
    let output = import(text, database);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{reason}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains(reason), "{stderr} does not say {reason}");
    assert!(stderr.contains("nothing was imported"), "{stderr}");
    assert_eq!(export(database), before);
}

/// Every value of the tables that have content, with its type.
fn tables(database: &Path) -> Vec<String> {
    let connection = open_writer(database, std::time::Duration::from_secs(5)).unwrap();
    [
        "challenges",
        "eval_runs",
        "merkle_epochs",
        "sqlite_sequence",
    ]
    .into_iter()
    .flat_map(|table| rows(&connection, table))
    .collect()
}

fn rows(connection: &Connection, table: &str) -> Vec<String> {
    let mut statement = connection
        .prepare(&format!("SELECT * FROM {table} ORDER BY 1"))
        .unwrap();
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| {
        let values = (0..columns).map(|column| row.get_ref(column).unwrap());
        Ok(format!("{table} {:?}", values.collect::<Vec<_>>()))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

fn challenges() -> Vec<Challenge> {
    let mut sample = Sample::new(3);
    let statuses = [
        Status::Pending,
        Status::Active,
        Status::Locked,
        Status::Retired,
    ];
    let multipliers = [0.1 + 0.2, 5e-324, 1.7976931348623157e308, 0.0];
    let mut challenges = Vec::new();
    for (status, score_multiplier) in statuses.into_iter().zip(multipliers) {
        let mut challenge = sample.challenge(1);
        challenge.status = status;
        challenge.score_multiplier = score_multiplier;
        challenge.tier = i64::MAX as u64;
        challenge.challenge_id.push_str(" \"ü\\");
        challenges.push(challenge);
    }
    challenges[0].announced_time_limit_secs = None;
    challenges[0].difficulty_label = Some(String::new());
    challenges[1].kind = None;
    challenges[1].cnf_bytes = None;
    challenges
}

/// A database with everything that may be in one.
fn full() -> Data {
    let data = Data::empty();
    data.put(&challenges());
    data.run("published", "2026-06-07T00:00:00Z", 5);
    data.run("unpublished", "2026-06-06T00:00:00Z", 4);
    data.run("deleted", "2026-06-06T00:00:00Z", 5);
    data.write(|connection| {
        connection
            .execute_batch(
                "INSERT INTO eval_runs (seq, id, ran_at, schema_version, body) VALUES
                 (90, 'a ''b\"', '2026-06-01T00:00:00.000Z', -1,
                  '{' || char(13, 10) || '\"id\":\"a ''b\\\"\",' || char(10) || '\"ran_at\":\"2026-06-01T00:00:00Z\",
                  \"eval_output_schema_version\":-1,\"é\":1.0}');
                 INSERT INTO eval_runs (id, ran_at, schema_version, body) VALUES
                 ('last', '2026-06-01T00:00:00.000Z', 5, '{}');
                 DELETE FROM eval_runs WHERE id IN ('deleted', 'last');
                 INSERT INTO merkle_epochs VALUES (0, NULL), (7, '{\"root\": \"…\"}'),
                 (9223372036854775807, '[ 1,' || char(10) || '2 ]');",
            )
            .unwrap();
    });
    data
}

#[test]
fn an_export_is_imported_to_the_byte_and_every_table_is_equal() {
    let data = full();
    let exported = export(&data.path());
    assert!(exported.starts_with("{\"format\":\"cathedral-publisher/all\",\"version\":1}\n"));
    assert_eq!(exported.lines().count(), 1 + 4 + 3 + 3 + 1);
    let copy = data.path().with_file_name("copy.db");
    accepts(&exported, &copy, "10 inserted, 0 unchanged");
    assert_eq!(export(&copy), exported);
    assert_eq!(tables(&copy), tables(&data.path()));
    // Also into a database that was empty, and again.
    let empty = Data::empty();
    accepts(&exported, &empty.path(), "10 inserted, 0 unchanged");
    accepts(&exported, &empty.path(), "0 inserted, 10 unchanged");
    assert_eq!(tables(&empty.path()), tables(&data.path()));
    let nothing = export(&Data::empty().path());
    accepts(&nothing, &empty.path(), "0 inserted, 0 unchanged");
}

#[test]
fn into_another_database_it_is_all_or_nothing() {
    let data = full();
    let exported = export(&data.path());
    let other = Data::empty();
    for number in 0..95 {
        other.run(&format!("{number}"), "2026-06-07T00:00:00Z", 5);
    }
    accepts(&exported, &other.path(), "10 inserted, 0 unchanged");
    let merged = export(&other.path());
    // Clients that follow the feed by seq have seen 95.
    for (id, seq) in [("published", 96), ("unpublished", 97)] {
        assert!(
            merged.contains(&format!(r#""seq":{seq},"id":"{id}""#)),
            "{merged}"
        );
    }
    // A later row may have had the number that an earlier one gets.
    let between = Data::empty();
    for number in 0..50 {
        between.run(&format!("{number}"), "2026-06-07T00:00:00Z", 5);
    }
    let moved = exported.replace(r#""seq":90"#, r#""seq":52"#);
    accepts(&moved, &between.path(), "10 inserted, 0 unchanged");
    let conflict = Data::empty();
    conflict.run("unpublished", "2026-06-08T00:00:00Z", 4);
    rejects(
        &exported,
        &conflict.path(),
        r#"line 7: "unpublished" is already stored with different bytes"#,
    );
    let mut retired = challenges();
    retired[0].status = Status::Retired;
    let back = Data::empty();
    back.put(&retired);
    rejects(
        &exported,
        &back.path(),
        "is retired and cannot become pending",
    );
}

#[test]
fn an_input_that_is_not_a_whole_export_is_rejected() {
    let data = full();
    let exported = export(&data.path());
    let lines: Vec<&str> = exported.lines().collect();
    let without = |number: usize| {
        let mut kept = lines.clone();
        kept.remove(number);
        kept.join("\n")
    };
    let with = |old: &str, new: &str| exported.replacen(old, new, 1);
    let other = Data::sample();
    for (text, reason) in [
        (String::new(), "the input is empty"),
        (
            exported[..exported.len() / 2].to_owned(),
            "line 5: EOF while parsing a string at column",
        ),
        (without(lines.len() - 1), "the last line is missing"),
        (without(5), "items are missing"),
        (without(0), "the first line does not name the format"),
        (exported.repeat(2), "there are lines after the last one"),
        (with("\"version\":1", "\"version\":2"), "version 2"),
        (
            with("\"seq\":1", "\"seq\":0"),
            "line 6: seq: must be an integer from 1 to",
        ),
        (
            with("\"seq\":1", "\"seq\":9007199254740992"),
            "line 6: seq: must be an integer from 1 to 9007199254740991",
        ),
        (
            with("\"last_seq\":91", "\"last_seq\":9223372036854775807"),
            "line 12: last_seq: must be an integer from 0 to 9007199254740991",
        ),
        (
            with("2026-06-07T00:00:00.000Z", "2026-06-07"),
            "line 6: ran_at: differs from its body",
        ),
        (
            with("\"id\":\"published\"", "\"id\":\"other\""),
            "line 6: id: differs from its body",
        ),
        (
            with("\"schema_version\":5", "\"schema_version\":4"),
            "line 6: schema_version: differs from its body",
        ),
        (
            exported.replace("2026-06-07", "2100-06-07"),
            "line 6: body: ran_at: must be a time from 2000-01-01",
        ),
        (
            with("T00:00:00Z", "T00:00:60Z"),
            "line 6: body: ran_at: must be written as",
        ),
        (
            with(
                "\"body\":\"{",
                &format!("\"body\":\"{{\\\"x\\\":\\\"{}\\\",", "x".repeat(65_536)),
            ),
            "line 6: body: a row may have at most 65536 bytes",
        ),
        (
            with("\"body\":\"{", "\"body\":\" {"),
            "line 6: body: must not begin or end with whitespace",
        ),
        (
            with("[ 1,", &format!("[ {}1,", " ".repeat(1 << 20))),
            "line 11: body: an epoch may have at most 1048576 bytes",
        ),
        (
            with("[ 1,", "[ 1e400,"),
            "line 11: body: [0]: is a number that a double cannot hold",
        ),
        (
            with(
                "\"kind\":\"",
                &format!("\"kind\":\"{}", "x".repeat(1 << 20)),
            ),
            "line 2: an item may have at most 1048576 bytes",
        ),
        (
            with(
                "\"kind\":\"",
                &format!("\"kind\":\"{}", "x".repeat(8 << 20)),
            ),
            "line 2: is longer than 7340032 bytes",
        ),
        (
            with("\"status\":\"pending\"", "\"status\":\"new\""),
            "line 4: status",
        ),
        (
            with("\"body\":\"{", "\"body\":\"<"),
            "line 6: body: must be a JSON object",
        ),
        (
            with("\"body\":\"{", "\"body\":\"{\\\"a\\\":1,\\\"a\\\":2,"),
            "line 6: body: a: occurs twice in one object",
        ),
        (
            with("\"epoch\":0", "\"epoch\":-1"),
            "line 9: epoch: must not be negative",
        ),
        (
            with("\"eval_run\"", "\"run\""),
            "line 6: unknown variant `run`",
        ),
    ] {
        rejects(&text, &other.path(), reason);
    }
    let missing = data.path().with_file_name("missing.db");
    assert_eq!(import(&without(5), &missing).status.code(), Some(1));
    assert!(!missing.exists());
}
