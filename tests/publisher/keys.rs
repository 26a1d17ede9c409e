//! The public keys of eval runs, and what they sign:
//!
//! - the JWK set is served with both prefixes, with its tag, 304 and its codings, from memory
//! - without a JWK set the path answers 404
//! - a file that is no JWK set ends the start with one line
//! - SIGHUP reads the JWK set again, and keeps the old one if the file is broken
//! - with --verify-rows a request with an invalid signature stores nothing and names the eval run
//! - keys that are reloaded verify from then on
//! - an import with keys stores nothing if an eval run is not signed
//! - verify rows counts and names what is invalid, in every form of an input
//! - the keys come from a running server, too
//! - the live rows verify with the live keys

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    app::{FEED, live_answer},
    process::{Service, get, post, publisher, run, serve},
};

pub const JWKS: &str = "/.well-known/cathedral-jwks.json";
const OTHER_KEY: &str =
    r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"EIkKZqp1JHnLO2NPNm170nw3QyTYP4jS1raasGbyXiY"}]}"#;

fn sample(arguments: &[&str]) -> String {
    let output = run(&[&["sample"], arguments].concat());
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn rows(count: &str) -> Vec<String> {
    let rows = sample(&["rows", "--count", count, "--seed", "11"]);
    rows.lines().map(str::to_owned).collect()
}

/// A folder with files of a JWK set and of eval runs.
struct Files {
    folder: TempDir,
}

impl Files {
    fn new() -> Self {
        let files = Self {
            folder: TempDir::new().unwrap(),
        };
        files.write("jwks.json", &sample(&["jwks"]));
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// Returns a command that serves a database of this folder with its JWK set.
    fn serve(&self, options: &[&str]) -> Command {
        let mut command = serve(&self.path("a.db"), options);
        command.arg("--jwks").arg(self.path("jwks.json"));
        command
    }

    /// Verifies a file, or this text as standard input.
    fn verify(&self, rows: &str, jwks: &str) -> Output {
        let mut command = publisher(&["verify", "rows", "-", "--jwks", jwks]);
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = process.stdin.take().unwrap();
        input.write_all(rows.as_bytes()).unwrap();
        drop(input);
        process.wait_with_output().unwrap()
    }
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap()
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let name = format!("{name}: ");
    answer.lines().find_map(|line| line.strip_prefix(&name))
}

#[test]
fn the_jwk_set_is_served_with_both_prefixes_with_its_tag_304_and_codings_from_memory() {
    let files = Files::new();
    // Long enough to be worth encoding.
    let set = sample(&["jwks"]);
    let long = set.replacen(
        "{",
        &format!("{{\"note\":\"{}\",", "long ".repeat(1_000)),
        1,
    );
    files.write("jwks.json", &long);
    let service = Service::start(files.serve(&["--cors"]));
    let address = &service.address;
    for path in [JWKS.to_owned(), format!("/api/cathedral{JWKS}?_=1")] {
        let answer = get(address, &path, "");
        assert_eq!((status(&answer), body(&answer)), ("200", long.as_str()));
        assert_eq!(header(&answer, "content-type"), Some("application/json"));
        assert_eq!(header(&answer, "cache-control"), Some("public, max-age=15"));
        assert_eq!(header(&answer, "vary"), Some("accept-encoding"));
        assert_eq!(header(&answer, "access-control-allow-origin"), Some("*"));
        let tag = header(&answer, "etag").unwrap();
        assert_eq!(tag.len(), 18);
        let again = get(address, &path, &format!("If-None-Match: W/{tag}\r\n"));
        assert_eq!((status(&again), body(&again)), ("304", ""));
        assert_eq!(header(&again, "etag"), Some(tag));
        for (coding, suffix) in [("gzip", "-gzip"), ("zstd", "-zstd"), ("br", "-br2")] {
            let coded = format!("{}{suffix}\"", tag.trim_end_matches('"'));
            let field = format!("Accept-Encoding: {coding}\r\nIf-None-Match: {coded}\r\n");
            let again = get(address, &path, &field);
            assert_eq!(status(&again), "304", "{again}");
            assert_eq!(header(&again, "etag"), Some(coded.as_str()));
        }
    }
    assert_eq!(status(&get(address, JWKS, "If-Match: \"x\"\r\n")), "412");
    let metrics = get(address, "/metrics", "");
    let counted = |name: &str| {
        let line = metrics.lines().find(|line| line.starts_with(name));
        line.unwrap()
            .rsplit(' ')
            .next()
            .unwrap()
            .parse::<u32>()
            .unwrap()
    };
    assert_eq!(counted("publisher_http_fast_path_requests_total"), 10);
    service.signal("-TERM");
    assert_eq!(service.ended().0, Some(0));
}

#[test]
fn without_a_jwk_set_the_path_answers_404() {
    let folder = TempDir::new().unwrap();
    let mut command = serve(&folder.path().join("a.db"), &[]);
    command.env("PUBLISHER_VERIFY_ROWS", "no");
    let service = Service::start(command);
    let answer = get(&service.address, JWKS, "");
    assert_eq!(status(&answer), "404");
    let detail = r#"{"detail":"not served here: no JWK set is configured"}"#;
    assert_eq!(body(&answer), detail);
}

#[test]
fn a_file_that_is_no_jwk_set_ends_the_start_with_one_line() {
    let files = Files::new();
    let set = sample(&["jwks"]);
    for (text, reason) in [
        (String::new(), "must be a JSON object"),
        ("<html>".to_owned(), "must be a JSON object"),
        (r#"{"keys":[]}"#.to_owned(), "1 to 8 Ed25519 signature keys"),
        (set.replace("OKP", "EC"), "1 to 8 Ed25519 signature keys"),
        (
            set.replacen("\"x\":\"", "\"x\":\"A", 1),
            "x must be 32 bytes",
        ),
        (
            set.replacen("\"kid\"", "\"d\":\"x\",\"kid\"", 1),
            "contains a secret key",
        ),
        (" ".repeat(100_000), "longer than 65536 bytes"),
    ] {
        let file = files.write("jwks.json", &text);
        let output = files.serve(&[]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(
            said.contains(reason) && said.contains(&file.display().to_string()),
            "{said}"
        );
    }
    fs::remove_file(files.path("jwks.json")).unwrap();
    let output = files.serve(&[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let output = serve(&files.path("a.db"), &["--verify-rows"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("--verify-rows needs --jwks"), "{said}");
}

#[test]
fn sighup_reads_the_jwk_set_again_and_keeps_the_old_one_if_the_file_is_broken() {
    let files = Files::new();
    let mut service = Service::start(files.serve(&["--verify-rows"]));
    let address = service.address.clone();
    let mut reload = |text: &str| {
        files.write("jwks.json", text);
        service.signal("-HUP");
        loop {
            let line = service.log_line();
            if line.contains("SIGHUP: ") {
                return (line, get(&address, JWKS, ""));
            }
        }
    };
    let (line, answer) = reload(OTHER_KEY);
    assert!(line.contains("1 keys verify eval runs"), "{line}");
    assert_eq!(body(&answer), OTHER_KEY);
    let (line, answer) = reload("{}");
    assert!(
        line.contains("ERROR") && line.contains("stays as it was"),
        "{line}"
    );
    assert_eq!(body(&answer), OTHER_KEY);
    // What the old keys have signed is refused now.
    assert_eq!(status(&post(&address, &rows("1")[0])), "422");
    let (_, answer) = reload(&sample(&["jwks"]));
    assert_ne!(body(&answer), OTHER_KEY);
    assert_eq!(status(&post(&address, &rows("1")[0])), "200");
}

#[test]
fn with_verify_rows_a_request_with_an_invalid_signature_stores_nothing_and_names_the_row() {
    let files = Files::new();
    let service = Service::start(files.serve(&["--verify-rows"]));
    let address = &service.address;
    let rows = rows("300");
    let mut changed = rows.clone();
    changed[298] = changed[298].replace(r#""solved":true"#, r#""solved":false"#);
    changed[299] = changed[299].replace(r#""cathedral_signature""#, r#""signature""#);
    let id = |row: &str| serde_json::from_str::<Value>(row).unwrap()["id"].clone();
    let refused = post(address, &changed.join("\n"));
    assert_eq!(status(&refused), "422", "{refused}");
    let reason = "does not verify: the row was changed, or signed with another key";
    let error: Value = serde_json::from_str(body(&refused)).unwrap();
    let expected = json!({
        "detail": format!(
            "item 298, id {}: cathedral_signature: {reason}",
            id(&changed[298]).as_str().unwrap()
        ),
        "index": 298,
        "id": id(&changed[298]),
        "field": "cathedral_signature",
        "reason": reason,
    });
    assert_eq!(error, expected);
    let missing = post(address, &changed[299]);
    assert!(
        missing.contains("cathedral_signature: is missing"),
        "{missing}"
    );
    let old = r#"{"id":"old","ran_at":"2026-06-07T00:00:00Z","eval_output_schema_version":4}"#;
    let refused = post(address, old);
    assert!(refused.contains("must be 5 or 6"), "{refused}");
    let page = format!("{FEED}?since_ran_at=2026-01-01T00:00:00Z&limit=1000");
    assert_eq!(
        body(&get(address, &page, ""))
            .matches("miner_hotkey")
            .count(),
        0
    );
    assert_eq!(status(&post(address, &rows.join("\n"))), "200");
    let served = get(address, &page, "");
    assert_eq!(body(&served).matches(r#""miner_hotkey""#).count(), 300);
    // What `merkle_epoch` and `output_card` are is not signed.
    let epoch = rows[0].replace(r#""merkle_epoch":null"#, r#""merkle_epoch":7"#);
    let epoch = epoch.replace(&id(&rows[0]).to_string(), "\"x\"");
    assert_eq!(status(&post(address, &epoch)), "422");
}

fn import(files: &Files, rows: &Path, jwks: &Path, database: &str) -> Output {
    let mut command = publisher(&["import", "rows"]);
    let command = command.arg(rows).arg("--jwks").arg(jwks).arg("--database");
    command.arg(files.path(database)).output().unwrap()
}

#[test]
fn an_import_with_keys_stores_nothing_if_an_eval_run_is_not_signed() {
    let files = Files::new();
    let mut rows = rows("400");
    let jwks = files.path("jwks.json");
    let good = files.write("good", &rows.join("\n"));
    let output = import(&files, &good, &jwks, "good.db");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, "400 inserted, 0 unchanged\n", "{output:?}");
    rows[1] = rows[1].replace("1.0", "0.5");
    for last in ["", "\nnot JSON"] {
        let bad = files.write("bad", &(rows.join("\n") + last));
        let output = import(&files, &bad, &jwks, "bad.db");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("nothing was imported"), "{said}");
        assert!(
            said.contains("line 2: cathedral_signature: does not verify"),
            "{said}"
        );
    }
    let output = publisher(&["export", "rows", "--ndjson", "--database"])
        .arg(files.path("bad.db"))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    let output = publisher(&["import", "board", "-", "--jwks"])
        .arg(&jwks)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("use it with import rows"), "{said}");
}

#[test]
fn verify_rows_counts_and_names_what_is_invalid_in_every_form_of_an_input() {
    let files = Files::new();
    let mut rows = rows("3");
    let jwks = files.path("jwks.json").display().to_string();
    let forms = |rows: &[String]| {
        let array = format!("[{}]", rows.join(",\n"));
        let page = format!(
            r#"{{"items":{array},"next_since":null,"next_since_ran_at":null,"next_since_id":null,"merkle_epoch_latest":null}}"#
        );
        [rows.join("\n"), array, page]
    };
    let said = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    for form in forms(&rows) {
        let output = files.verify(&form, &jwks);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(said(&output.stdout), "3 valid, 0 invalid\n");
        assert_eq!(said(&output.stderr), "");
    }
    let id = serde_json::from_str::<Value>(&rows[1]).unwrap()["id"].to_string();
    rows[1] = rows[1].replace("1.0", "1.5");
    rows.push("{}".to_owned());
    for (form, place) in forms(&rows).iter().zip(["line 2", "item 1", "item 1"]) {
        let output = files.verify(form, &jwks);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(said(&output.stdout), "2 valid, 2 invalid\n");
        let said = said(&output.stderr);
        let named = format!(
            "{place}, id {}: cathedral_signature: ",
            id.trim_matches('"')
        );
        assert!(said.contains(&named), "{said}");
        assert!(said.contains(": id: is missing"), "{said}");
        assert!(said.contains("-: 2 of 4 eval runs are invalid"), "{said}");
    }
    for nothing in ["[]", "\n", r#"{"items":[]}"#] {
        let output = files.verify(nothing, &jwks);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(said(&output.stdout), "0 valid, 0 invalid\n");
        assert!(said(&output.stderr).contains("nothing was verified"));
    }
    for (rows, jwks) in [
        ("[]", "/nowhere"),
        ("", jwks.as_str()),
        ("{\"items\":[", &jwks),
    ] {
        let output = files.verify(rows, jwks);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(said(&output.stderr).lines().count(), 1);
    }
}

#[test]
fn the_keys_come_from_a_running_server_too() {
    let files = Files::new();
    let service = Service::start(files.serve(&[]));
    let rows = rows("20").join("\n");
    assert_eq!(status(&post(&service.address, &rows)), "200");
    let url = format!("http://{}{JWKS}", service.address);
    let page = format!("{FEED}?since_ran_at=2026-01-01T00:00:00Z");
    let answer = get(&service.address, &page, "");
    let output = files.verify(body(&answer), &url);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "20 valid, 0 invalid\n"
    );
    for wrong in ["/health", "/nowhere"] {
        let url = format!("http://{}{wrong}", service.address);
        let output = files.verify(&rows, &url);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1));
        assert!(said.contains(&url) && said.lines().count() == 1, "{said}");
    }
}

#[test]
fn the_live_rows_verify_with_the_live_keys() {
    let (Some(rows), Some(jwks)) = (live_answer("rows.json"), live_answer("jwks.json")) else {
        return;
    };
    let files = Files::new();
    let output = publisher(&["verify", "rows"])
        .arg(&rows)
        .arg("--jwks")
        .arg(&jwks)
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "50 valid, 0 invalid\n"
    );
    let demo = files.path("jwks.json");
    let output = publisher(&["verify", "rows"])
        .arg(&rows)
        .arg("--jwks")
        .arg(demo)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "0 valid, 50 invalid\n"
    );
}
