//! `import` and `export`:
//!
//! - saved answers, bare arrays and NDJSON are read, and importing the same items again changes nothing
//! - an invalid row is named by its index or line, with its field and the reason, and nothing is imported; a row whose
//!   id is stored with different bytes is invalid as well
//! - a board item with a missing key or a wrong type is rejected
//! - export is the inverse of import on saved answers of the production service

use std::{
    fs,
    io::Write,
    process::{Output, Stdio},
};

use cathedral_publisher::demo::sample::Sample;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::app::live_answer;
use crate::process::{publisher, run};

struct Fixture {
    folder: TempDir,
}

impl Fixture {
    fn new() -> Self {
        let fixture = Self {
            folder: TempDir::new().unwrap(),
        };
        fixture.accepts("rows", b"", "0 inserted, 0 unchanged");
        fixture
    }

    fn database(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn import(&self, kind: &str, input: &[u8]) -> Output {
        let mut child = publisher(&[
            "import",
            kind,
            "-",
            "--database",
            &self.database("a.db"),
            "--log-level",
            "off",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
        // The program may exit before it has read the whole input.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    #[track_caller]
    fn accepts(&self, kind: &str, input: &[u8], said: &str) {
        let output = self.import(kind, input);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{stderr}");
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            format!("{said}\n")
        );
    }

    #[track_caller]
    fn rejects(&self, kind: &str, input: &[u8], reasons: &[&str]) {
        let before = self.export("rows");
        let board = self.export("board");
        let output = self.import(kind, input);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        for reason in reasons {
            assert!(
                stderr.contains(reason),
                "{stderr} does not contain {reason}"
            );
        }
        assert_eq!(self.export("rows"), before, "nothing is imported");
        assert_eq!(self.export("board"), board, "nothing is imported");
    }

    fn export(&self, kind: &str) -> Vec<u8> {
        let output = run(&["export", kind, "--database", &self.database("a.db")]);
        assert!(output.status.success());
        output.stdout
    }
}

fn row(id: &str) -> String {
    format!(
        r#"{{"id":"{id}","ran_at":"2026-06-07T00:00:00Z","score":1.0,"eval_output_schema_version":5}}"#
    )
}

fn item() -> Value {
    let mut bytes = Vec::new();
    Sample::new(5).challenge(1).write_item(&mut bytes).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn with(key: &str, value: Value) -> Vec<u8> {
    let mut item = item();
    item[key] = value;
    item.to_string().into_bytes()
}

#[test]
fn every_form_is_read_and_importing_the_same_again_changes_nothing() {
    let fixture = Fixture::new();
    let (a, b, c) = (row("a"), row("b"), row("c"));
    fixture.accepts(
        "rows",
        format!("{{\"items\":[{a},{b}],\"next_since\":null}}").as_bytes(),
        "2 inserted, 0 unchanged",
    );
    fixture.accepts(
        "rows",
        format!("\n{a}\r\n\n {c} \n").as_bytes(),
        "1 inserted, 1 unchanged",
    );
    fixture.accepts(
        "rows",
        format!("[{a},\n{b},{c}]").as_bytes(),
        "0 inserted, 3 unchanged",
    );
    fixture.accepts("rows", a.as_bytes(), "0 inserted, 1 unchanged");
    fixture.accepts("rows", b"", "0 inserted, 0 unchanged");
    fixture.accepts(
        "rows",
        br#"{"items":[],"merkle_epoch_latest":7}"#,
        "0 inserted, 0 unchanged",
    );
    assert_eq!(
        String::from_utf8(fixture.export("rows")).unwrap(),
        format!(
            r#"{{"items":[{a},{b},{c}],"next_since":null,"next_since_ran_at":null,"next_since_id":null,"merkle_epoch_latest":7}}"#
        )
    );
    let one = item().to_string();
    fixture.accepts("board", one.as_bytes(), "1 inserted, 0 unchanged");
    fixture.accepts(
        "board",
        format!(r#"{{"family_id":"synthetic_boolean_v1","count":1,"items":[{one}]}}"#).as_bytes(),
        "0 inserted, 1 unchanged",
    );
}

#[test]
fn an_invalid_row_is_named_and_nothing_is_imported() {
    let fixture = Fixture::new();
    let a = row("a");
    fixture.accepts("rows", a.as_bytes(), "1 inserted, 0 unchanged");
    let other = a.replace("1.0", "1");
    fixture.rejects(
        "rows",
        format!("{}\n{other}", row("b")).as_bytes(),
        &["line 2", "\"a\" is already stored with different bytes"],
    );
    fixture.rejects(
        "rows",
        format!("[{},{other}]", row("b")).as_bytes(),
        &["item 1", "\"a\""],
    );
    let b = row("b");
    for (bad, reasons) in [
        (
            b.replace("\"id\":\"b\",", ""),
            &["line 2", "id: is missing"][..],
        ),
        (b.replace("\"b\"", "17"), &["line 2", "string"]),
        (
            b.replace("\"b\"", "\"\""),
            &["line 2", "id: must have 1 to 256 bytes"],
        ),
        (
            b.replace("2026-06-07T00:00:00Z", "soon"),
            &["line 2", "ran_at: must be an ISO-8601 time"],
        ),
        (b.replace(":5}", ":\"5\"}"), &["line 2", "integer"][..1]),
        (
            b.replace(":5}", ":5,\"id\":\"c\"}"),
            &["line 2", "id: occurs twice in one object"],
        ),
        ("[1]".to_owned(), &["line 2", "must be a JSON object"]),
        (format!("{b} {b}"), &["line 2", "trailing characters"]),
        (
            b.replace("1.0", &format!("\"{}\"", "x".repeat(70_000))),
            &["line 2", "at most 65536 bytes"],
        ),
    ] {
        fixture.rejects(
            "rows",
            format!("{}\n{bad}", row("first")).as_bytes(),
            reasons,
        );
    }
    fixture.rejects(
        "rows",
        format!("[{b},{{}}]").as_bytes(),
        &["item 1", "id: is missing"],
    );
    fixture.rejects("rows", format!("{{\"items\":[{b}").as_bytes(), &["EOF"]);
    fixture.rejects(
        "rows",
        format!("{{\"items\":[{b}]}}x").as_bytes(),
        &["trailing"],
    );
    fixture.rejects(
        "rows",
        br#"{"rows":
        []}"#,
        &["unknown field `rows`"],
    );
    fixture.rejects(
        "rows",
        b"hello",
        &["neither a saved answer of the endpoint nor NDJSON"],
    );
    fixture.rejects(
        "rows",
        &[b"[\"", &vec![b'x'; 3 << 20][..]].concat(),
        &["longer than 1048576 bytes"],
    );
    fixture.rejects(
        "rows",
        &[b"{\"id\":\"\xff\"}\n"[..].to_vec(), a.into_bytes()].concat(),
        &["line 1: is not UTF-8"],
    );
}

#[test]
fn a_board_item_with_a_missing_key_or_a_wrong_type_is_rejected() {
    let fixture = Fixture::new();
    let keys: Vec<String> = item().as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys.len(), 17);
    for key in keys {
        let mut incomplete = item();
        incomplete.as_object_mut().unwrap().remove(&key);
        fixture.rejects(
            "board",
            incomplete.to_string().as_bytes(),
            &["line 1", &key],
        );
        let wrong = with(&key, json!({"wrong": "type"}));
        fixture.rejects("board", &wrong, &["line 1"]);
    }
    for (key, value) in [
        ("surprise", json!(1)),
        ("tier", json!(-1)),
        ("tier", json!(1.5)),
        ("score_multiplier", json!(-1.0)),
        ("cnf_sha256", json!("ABC")),
        ("status", json!("open")),
        ("win_rule", json!("Nobody wins.")),
        ("active_cnf_path", json!("/elsewhere")),
        ("num_vars", json!(u64::MAX)),
        ("challenge_id", json!("a\nb")),
    ] {
        fixture.rejects(
            "board",
            &with(key, value),
            &["line 1", if key == "status" { "open" } else { key }],
        );
    }
    let board = format!(
        r#"{{"family_id":"synthetic_boolean_v1","count":2,"items":[{}]}}"#,
        item()
    );
    fixture.rejects(
        "board",
        board.as_bytes(),
        &["count is 2, but there are 1 items"],
    );
    fixture.accepts(
        "board",
        &with("status", json!("locked")),
        "1 inserted, 0 unchanged",
    );
    fixture.rejects(
        "board",
        &with("status", json!("active")),
        &["line 1", "is locked and cannot become active"],
    );
}

#[test]
fn export_is_the_inverse_of_import_on_saved_answers() {
    for (kind, name) in [("board", "board.json"), ("rows", "rows.json")] {
        let Some(path) = live_answer(name) else {
            return;
        };
        let fixture = Fixture::new();
        let original = fs::read(&path).unwrap();
        fixture.accepts(
            kind,
            &original,
            if kind == "board" {
                "51 inserted, 0 unchanged"
            } else {
                "50 inserted, 0 unchanged"
            },
        );
        let exported = fixture.export(kind);
        if kind == "board" {
            assert!(exported == original);
        }
        let lines = run(&[
            "export",
            kind,
            "--ndjson",
            "--database",
            &fixture.database("a.db"),
        ])
        .stdout;
        let again = Fixture::new();
        again.import(kind, &lines);
        assert!(again.export(kind) == exported);
        fixture.accepts(
            kind,
            &lines,
            if kind == "board" {
                "0 inserted, 51 unchanged"
            } else {
                "0 inserted, 50 unchanged"
            },
        );
    }
}
