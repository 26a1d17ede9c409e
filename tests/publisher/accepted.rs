//! What is stored can be read by every client:
//!
//! - JSON that some parser refuses, or reads differently, gets 422 with index, path and reason, in any item and from
//!   any source
//! - JSON at the limits is accepted and served to the byte
//! - a time outside of this century is refused
//! - a time in a notation that some client cannot read is refused
//! - an item has one limit of length, whichever way it comes in, and what is accepted can be imported from an export
//! - an id that breaks a line of text or a path is refused
//! - bytes that are not UTF-8 are refused in paths and queries, and never replaced
//! - malformed escapes, fragments and a second spelling of an epoch are refused, and never taken literally
//! - a multiplier keeps its value and is served in one form, however it is written
//! - an empty body is refused; an empty list is not
//! - rows that are stored already and break these rules are served as they are, and are not imported again

use awc::http::Method;
use serde_json::json;

use crate::{
    app::{App, BOARD, CURRENT, Data, FEED},
    chaos::server::{Server, bearer},
    client::Connection,
    process::{publisher, run},
};

const CHALLENGES: &str = "/v1/admin/challenges";
const RUNS: &str = "/v1/admin/eval-runs";
const EPOCHS: &str = "/v1/admin/merkle-epochs";

/// A row with one more member.
fn row(id: &str, member: &str) -> String {
    format!(
        r#"{{"id":"{id}","ran_at":"2026-06-07T00:00:00Z","eval_output_schema_version":5,{member}}}"#
    )
}

fn challenge(multiplier: &str, kind: &str) -> String {
    format!(
        r#"{{"status":"active","tier":1,"difficulty_label":null,"score_multiplier":{multiplier},"kind":{kind},"storage":"file","cnf_sha256":"{}","cnf_bytes":null,"num_vars":1,"num_clauses":1,"solve_on_submit_enabled":false}}"#,
        "0".repeat(64)
    )
}

fn nested(begin: &str, end: &str, levels: usize) -> String {
    format!("{}1{}", begin.repeat(levels), end.repeat(levels))
}

/// Values that some parser refuses or reads differently, where in `x` they are wrong, and why.
fn unreadable() -> Vec<(String, &'static str, &'static str)> {
    let keys: Vec<String> = (0..100).map(|key| format!(r#""k{key}":1"#)).collect();
    let surrogate = "contains a surrogate escape without its pair";
    let range = "is a number that a double cannot hold";
    let twice = "occurs twice in one object";
    let deep = "is nested deeper than 64 levels";
    [
        (r#"{"a":1,"a":2}"#.to_owned(), "x.a", twice),
        (
            r#"[0,{"b":{"a":1,"\u0061":2}}]"#.to_owned(),
            "x[1].b.a",
            twice,
        ),
        (format!(r#"{{{},"k50":2}}"#, keys.join(",")), "x.k50", twice),
        (r#""\ud800""#.to_owned(), "x", surrogate),
        (r#""\udc00\ud800""#.to_owned(), "x", surrogate),
        (
            r#"["\ud83d\ude00","\ud83d\n"]"#.to_owned(),
            "x[1]",
            surrogate,
        ),
        (
            r#"{"a.b":{"\ud800":1}}"#.to_owned(),
            r#"x["a.b"]"#,
            surrogate,
        ),
        (
            r#"{"y":[0,"a\u0000"]}"#.to_owned(),
            "x.y[1]",
            "the text contains U+0000",
        ),
        (r#"{"\u0000":1}"#.to_owned(), "x", "a key contains U+0000"),
        ("1e400".to_owned(), "x", range),
        (r#"[{"y":-1e400}]"#.to_owned(), "x[0].y", range),
        ("1".repeat(400), "x", range),
        ("1.7976931348623159e308".to_owned(), "x", range),
        (
            nested("[", "]", 64),
            "x[0][0][0][0][0][0][0][0][0][0][0][0][0][0][0]…",
            deep,
        ),
        (
            nested(r#"{"a":"#, "}", 5000),
            "x.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a…",
            deep,
        ),
        ("NaN".to_owned(), "x", "expected value"),
    ]
    .into()
}

#[actix_web::test]
async fn json_that_some_parser_refuses_gets_422_with_index_path_and_reason() {
    let app = App::start(Data::empty()).await;
    for (value, field, reason) in unreadable() {
        let bad = row("bad", &format!(r#""x":{value}"#));
        let of_one =
            json!({"detail": format!("{field}: {reason}"), "field": field, "reason": reason});
        let detail = |index| json!({"detail": format!("item {index}: {field}: {reason}"), "index": index, "field": field, "reason": reason});
        let lines = format!("{}\n{bad}\n", row("good", "\"x\":1"));
        for (body, index) in [(bad.clone(), 0), (lines, 1)] {
            let answer = app.admin(Method::POST, RUNS, body).await;
            assert_eq!(
                (answer.status.as_u16(), answer.json()),
                (422, detail(index))
            );
        }
        if value != "NaN" {
            let array = format!("[{},{bad}]", row("good", "\"x\":1"));
            let answer = app.admin(Method::POST, RUNS, array).await;
            assert_eq!((answer.status.as_u16(), answer.json()), (422, detail(1)));
        }
        let epoch = format!(r#"{{"x":{value}}}"#);
        let answer = app.admin(Method::PUT, &format!("{EPOCHS}/1"), epoch).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (422, of_one));
    }
    for (kind, reason) in [
        (r#""a\u0000""#, "kind: the text contains U+0000"),
        (
            r#""\udfff""#,
            "kind: contains a surrogate escape without its pair",
        ),
        (r#"null,"kind":null"#, "kind: occurs twice in one object"),
    ] {
        let path = format!("{CHALLENGES}/a");
        let answer = app.admin(Method::PUT, &path, challenge("1.0", kind)).await;
        assert_eq!(answer.status, 422);
        assert_eq!(answer.json()["detail"], reason);
    }
    let page = app.get(&format!("{FEED}?since=2000-01-01")).await;
    assert_eq!(page.json()["items"], json!([]), "nothing is stored");
    assert_eq!(app.get(BOARD).await.json()["count"], 0);
    let twice = format!(r#"{{"items":[{0}],"items":[{0}]}}"#, row("a", "\"x\":1"));
    let answer = app.admin(Method::POST, RUNS, twice).await;
    assert_eq!(answer.status, 422);
    assert!(answer.text().contains("a key occurs twice"));
    app.stop().await;
}

#[test]
fn json_that_some_parser_refuses_is_not_imported() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("rows");
    for (value, field, reason) in unreadable() {
        let good = row("good", "\"x\":1");
        let bad = row("bad", &format!(r#""x":{value}"#));
        std::fs::write(&file, format!("{good}\n{bad}")).unwrap();
        let mut import = publisher(&["import", "rows", "--database"]);
        let output = import
            .args([folder.path().join("a.db"), file.clone()])
            .output();
        let stderr = String::from_utf8(output.unwrap().stderr).unwrap();
        let said = format!("nothing was imported: line 2: {field}: {reason}\n");
        assert!(stderr.ends_with(&said), "{stderr}");
    }
    assert!(!folder.path().join("a.db").exists());
}

#[actix_web::test]
async fn json_at_the_limits_is_accepted_and_served_to_the_byte() {
    let app = App::start(Data::empty()).await;
    let keys: Vec<String> = (0..100).map(|key| format!(r#""k{key}":1"#)).collect();
    let values = [
        nested("[", "]", 63),
        nested(r#"{"a":"#, "}", 63),
        format!("{{{}}}", keys.join(",")),
        r#"[{"a":1},{"a":{"a":1}}]"#.to_owned(),
        r#""\ud83d\ude00 \\u0000 \\ud800 \u0001""#.to_owned(),
        "[1.7976931348623157e308,-1.7976931348623157E+308,1e-400,-0,-0.0,1.00,0e999999999999]"
            .to_owned(),
        "[9007199254740993,18446744073709551617,-99999999999999999999]".to_owned(),
        "\"\u{2028}\u{7f}\u{fffd}\"".to_owned(),
    ];
    let rows: Vec<String> = (0..)
        .zip(&values)
        .map(|(id, value)| row(&format!("{id:02}"), &format!(r#""x":{value}"#)))
        .collect();
    let answer = app.admin(Method::POST, RUNS, rows.join("\n")).await;
    assert_eq!(answer.text(), r#"{"inserted":8,"unchanged":0}"#);
    let page = app.get(&format!("{FEED}?since=2000-01-01")).await;
    let items = page.text().strip_prefix(r#"{"items":["#).unwrap();
    assert!(items.starts_with(&rows.join(",")), "{items}");
    app.stop().await;
}

#[actix_web::test]
async fn a_time_outside_of_this_century_is_refused() {
    let app = App::start(Data::empty()).await;
    for (ran_at, status) in [
        ("1970-01-01T00:00:00Z", 422),
        ("1999-12-31T23:59:59.999Z", 422),
        ("2000-01-01T00:30:00+01:00", 422),
        ("2000-01-01T00:00:00", 200),
        ("1999-12-31T23:30:00-01:00", 200),
        ("2099-12-31T23:59:59.999999Z", 200),
        ("2100-01-01T00:00:00Z", 422),
        ("9999-12-31T23:59:59Z", 422),
    ] {
        let row = row(ran_at, "\"x\":1").replace("2026-06-07T00:00:00Z", ran_at);
        let answer = app.admin(Method::POST, RUNS, row).await;
        assert_eq!(answer.status, status, "{ran_at}");
        if status == 422 {
            assert_eq!(answer.json()["field"], "ran_at");
        }
    }
    // A client may ask from any time on.
    for since in ["0001-01-01", "9999-12-31"] {
        assert_eq!(app.get(&format!("{FEED}?since={since}")).await.status, 200);
    }
    app.stop().await;
}

#[actix_web::test]
async fn an_id_that_breaks_a_line_or_a_path_is_refused() {
    let app = App::start(Data::empty()).await;
    for id in [
        r"a\nb",
        r"a\u2028b",
        r"\u2029",
        r"\u0085",
        r"\u007f",
        r"\u0000",
        ".",
        "..",
        "",
    ] {
        let answer = app.admin(Method::POST, RUNS, row(id, "\"x\":1")).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["field"]),
            (422, &json!("id")),
            "{id}"
        );
        let item =
            challenge("1.0", "null").replacen('{', &format!(r#"{{"challenge_id":"{id}","#), 1);
        let answer = app.admin(Method::POST, CHALLENGES, item).await;
        assert_eq!(answer.json()["field"], "challenge_id", "{id}");
    }
    for id in ["...", "a b", r"\ufeff\ufffd", "é"] {
        let answer = app.admin(Method::POST, RUNS, row(id, "\"x\":1")).await;
        assert_eq!(answer.status, 200, "{id}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_time_in_a_notation_that_some_client_cannot_read_is_refused() {
    let app = App::start(Data::empty()).await;
    let send = async |ran_at: &str| {
        let row = row(ran_at, "\"x\":1").replace("2026-06-07T00:00:00Z", ran_at);
        app.admin(Method::POST, RUNS, row).await
    };
    for ran_at in [
        "2026-06-07T00:00:00",
        "2026-06-07T00:00:00.1Z",
        "2026-06-07T00:00:00.123456789Z",
        "2026-06-07T00:00:00.766000+00:00",
        "2026-06-07T00:00:00-00:30",
        "2026-06-07T23:59:59+14:00",
        "2024-02-29T00:00:00-14:00",
    ] {
        let answer = send(ran_at).await;
        assert_eq!(answer.status, 200, "{ran_at}: {}", answer.text());
    }
    for ran_at in [
        "2026-06-07",
        "2026-06-07T00",
        "2026-06-07T00:00Z",
        "2026-06-07 00:00:00Z",
        "2026-06-07t00:00:00Z",
        "2026-06-07T00:00:00z",
        "2026-06-07T00:00:60Z",
        "2026-06-07T23:59:60Z",
        "2026-06-07T24:00:00Z",
        "2026-06-07T00:00:00,5Z",
        "2026-06-07T00:00:00.Z",
        "2026-06-07T00:00:00.1234567890Z",
        "2026-06-07T00:00:00+01",
        "2026-06-07T00:00:00+0100",
        "2026-06-07T00:00:00+1:00",
        "2026-06-07T00:00:00+01:00:30",
        "2026-06-07T00:00:00+14:01",
        "2026-06-07T00:00:00+24:00",
        "2026-06-07T00:00:00-25:59",
        "2026-06-07T00:00:00+05:60",
        "2026-06-07T00:00:00Z+01:00",
        "2026-06-07T00:00:00 Z",
        " 2026-06-07T00:00:00Z",
        "2026-06-07T00:00:00\u{2212}01:00",
        "20260607T000000Z",
        "2026-W23-7T00:00:00Z",
        "+002026-06-07T00:00:00Z",
        "2023-02-29T00:00:00Z",
    ] {
        let answer = send(ran_at).await;
        let found = (answer.status.as_u16(), &answer.json()["field"]);
        assert_eq!(found, (422, &json!("ran_at")), "{ran_at}");
    }
    app.stop().await;
}

#[test]
fn an_item_has_one_limit_whichever_way_it_comes_in() {
    const MAX: usize = 1 << 20;
    let folder = tempfile::TempDir::new().unwrap();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_cathedral-publisher"));
    let database = folder.path().join("a.db");
    let server = Server::start(program, &database, &[]);
    let send = |method: &str, path: &str, body: &str| send(&server, method, path, body);
    let with_kind = |id: &str, bytes: usize| {
        let item = challenge("1.0", &format!("\"{}\"", "x".repeat(bytes)));
        item.replacen('{', &format!(r#"{{"challenge_id":"{id}","#), 1)
    };
    let by_every_way = |body: &str, id: &str| {
        [
            ("PUT", format!("{CHALLENGES}/{id}"), body.to_owned()),
            ("POST", CHALLENGES.to_owned(), format!("[{body}]")),
            ("POST", CHALLENGES.to_owned(), format!("{body}\n")),
        ]
    };
    // The longest item: as it is published it has the keys that may be left out as well.
    send("PUT", &format!("{CHALLENGES}/m"), &with_kind("m", 0));
    let (_, board) = send("GET", CURRENT, "");
    let longest = MAX - board.len();
    for (id, kind, digits, reason) in [
        ("a", longest + 1, 0, "an item with all its keys"),
        ("b", MAX, 0, "an item may have"),
        ("c", 0, MAX, "an item may have"),
    ] {
        let item = with_kind(id, kind).replacen("1.0", &format!("1.{}", "0".repeat(digits + 1)), 1);
        for (method, path, body) in by_every_way(&item, id) {
            let (status, said) = send(method, &path, &body);
            assert_eq!(status, 422, "{id} {method}: {said}");
            if said.contains("at most 1048576 bytes") {
                assert!(said.contains(reason), "{id} {method}: {said}");
            } else {
                assert!(said.contains("bytes"), "{id} {method}: {said}");
            }
        }
    }
    let item = with_kind("d", longest);
    for (number, (method, path, body)) in by_every_way(&item, "d").into_iter().enumerate() {
        let (status, said) = send(method, &path, &body);
        assert_eq!(status, 200, "{method}: {said}");
        assert!(
            said.contains(["\"inserted\":1", "\"unchanged\":1"][number.min(1)]),
            "{said}"
        );
    }
    let epoch = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    let (status, said) = send("PUT", &format!("{EPOCHS}/1"), &epoch(MAX + 1));
    assert_eq!(status, 422);
    assert!(
        said.contains("an epoch may have at most 1048576 bytes"),
        "{said}"
    );
    assert_eq!(send("PUT", &format!("{EPOCHS}/1"), &epoch(MAX)).0, 200);
    let long_row = |bytes: usize| {
        let empty = row("r", "\"x\":\"\"").len();
        row("r", &format!("\"x\":\"{}\"", "x".repeat(bytes - empty)))
    };
    assert_eq!(send("POST", RUNS, &long_row(65_537)).0, 422);
    assert_eq!(
        send("POST", RUNS, &format!("[ {} ]", long_row(65_536))).0,
        200
    );
    drop(server);
    // Whatever was accepted can be exported and imported.
    let path = database.to_str().unwrap();
    for (what, options) in [
        ("board", &[][..]),
        ("board", &["--ndjson"]),
        ("rows", &[]),
        ("rows", &["--ndjson"]),
        ("all", &[]),
    ] {
        let output = run(&[&["export", what, "--database", path][..], options].concat());
        let (file, copy) = (
            folder.path().join("exported"),
            folder.path().join("copy.db"),
        );
        std::fs::write(&file, output.stdout).unwrap();
        let arguments = ["import", what, file.to_str().unwrap(), "--database"];
        let output = run(&[&arguments[..], &[copy.to_str().unwrap()]].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{what} {options:?}: {stderr}");
    }
}

/// Sends a request on a connection of its own, which a malformed one ends. Returns the status and the body.
fn send(server: &Server, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut connection = Connection::open(&server.address).unwrap();
    let (status, body) = connection
        .request(method, path, &bearer(), body.as_bytes())
        .unwrap();
    (status, String::from_utf8(body).unwrap())
}

#[test]
fn malformed_escapes_fragments_and_a_second_spelling_of_an_epoch_are_refused() {
    let folder = tempfile::TempDir::new().unwrap();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_cathedral-publisher"));
    let server = Server::start(program, &folder.path().join("a.db"), &[]);
    let send = |method: &str, path: &str, body: &str| send(&server, method, path, body);
    let item = challenge("1.0", "null");
    for wrong in [
        "%", "%2", "%zz", "a%", "%%41", "%25%", "%+1", "%u0041", "%-1",
    ] {
        let (status, said) = send("PUT", &format!("{CHALLENGES}/{wrong}"), &item);
        assert_eq!(status, 422, "{wrong}: {said}");
        assert!(said.contains(r#""field":"challenge_id""#), "{said}");
        let since = format!("{FEED}?since=2026-01-01");
        for (target, expected) in [
            (format!("{since}&since_id={wrong}"), 400),
            (format!("{FEED}?since={wrong}"), 400),
            (format!("{since}&limit=1{wrong}"), 422),
            (format!("{CURRENT}?tier=1&difficulty={wrong}"), 400),
            (format!("{CURRENT}?tier=1{wrong}"), 400),
            // Names that nobody knows, and their values, are ignored.
            (
                format!("{since}&_={wrong}&{wrong}=1&since_id{wrong}=%FF"),
                200,
            ),
        ] {
            let (status, said) = send("GET", &target, "");
            assert_eq!(status, expected, "{target}: {said}");
        }
    }
    assert_eq!(send("PUT", &format!("{CHALLENGES}/%25"), &item).0, 200);
    for (method, target) in [
        ("PUT", format!("{CHALLENGES}/a#b")),
        ("PUT", format!("{EPOCHS}/1#")),
        ("GET", format!("{BOARD}#a")),
        ("GET", format!("{FEED}?since=2026-01-01&since_id=a#b")),
        ("GET", format!("http://a{BOARD}?#")),
        ("GET", "/#".to_owned()),
    ] {
        let (status, said) = send(method, &target, "{}");
        assert_eq!(status, 400, "{target}: {said}");
        assert!(said.contains("the target has a fragment"), "{said}");
    }
    for epoch in [
        "00",
        "01",
        "007",
        "%30%31",
        "+1",
        "-0",
        "1%20",
        "%",
        "9223372036854775808",
    ] {
        let (status, said) = send("PUT", &format!("{EPOCHS}/{epoch}"), "{}");
        assert_eq!(status, 422, "{epoch}: {said}");
    }
    assert_eq!(send("PUT", &format!("{EPOCHS}/0"), "{}").0, 200);
    let largest = send("PUT", &format!("{EPOCHS}/9223372036854775807"), "{}");
    assert_eq!(largest.0, 200);
}

#[test]
fn bytes_that_are_not_utf_8_are_refused_in_paths_and_queries() {
    let folder = tempfile::TempDir::new().unwrap();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_cathedral-publisher"));
    let server = Server::start(program, &folder.path().join("a.db"), &[]);
    let send = |method: &str, path: &str, body: &str| send(&server, method, path, body);
    let item = challenge("1.0", "null");
    for id in [
        "%FF",
        "%FE",
        "%C3%28",
        "%C0%80",
        "%ED%A0%80",
        "%00",
        "a%0Ab",
        "%2e%2E",
    ] {
        let (status, said) = send("PUT", &format!("{CHALLENGES}/{id}"), &item);
        assert_eq!(status, 422, "{id}: {said}");
        assert!(said.contains(r#""field":"challenge_id""#), "{said}");
        assert!(!said.contains('\u{fffd}'), "{said}");
    }
    assert_eq!(send("PUT", &format!("{EPOCHS}/%FF"), "{}").0, 422);
    // Decoded once: these are five challenges.
    for id in ["%EF%BF%BD", "a+b", "a%20b", "%2541", "%F0%9F%98%80"] {
        let (_, said) = send("PUT", &format!("{CHALLENGES}/{id}"), &item);
        assert_eq!(said, r#"{"inserted":1,"unchanged":0}"#, "{id}");
    }
    let (_, board) = send("GET", BOARD, "");
    for id in ["\u{fffd}", "a+b", "a b", "%41", "\u{1f600}"] {
        assert!(
            board.contains(&format!(r#""challenge_id":"{id}""#)),
            "{board}"
        );
    }
    for (target, status, detail) in [
        (
            format!("{FEED}?since=2026-01-01&since_id=%FF"),
            400,
            "since_id must be UTF-8",
        ),
        (
            format!("{FEED}?since_ran_at=2026-01-01&since_id=%ED%A0%80"),
            400,
            "since_id must be UTF-8",
        ),
        (
            format!("{FEED}?since=2026-01-01&since_id=%00"),
            400,
            "since_id must be UTF-8",
        ),
        (
            format!("{FEED}?since=%FF"),
            400,
            "since / since_ran_at must be ISO-8601",
        ),
        (
            format!("{FEED}?since=2026-01-01&limit=%FF"),
            422,
            "limit must be",
        ),
        (
            format!("{FEED}?since=2026-01-01&since%5Fid=%C3%A9"),
            200,
            "items",
        ),
        (format!("{FEED}?since=2026-01-01&_=%FF&%FF=1"), 200, "items"),
        (
            format!("{FEED}?since=%FF&since_ran_at=2026-01-01"),
            200,
            "items",
        ),
        (
            format!("{CURRENT}?tier=1&difficulty=%FF"),
            400,
            "difficulty must be UTF-8",
        ),
        (format!("{CURRENT}?tier=%FF"), 400, "tier must be"),
        (format!("{CURRENT}?_=%FF"), 200, "challenge_id"),
        (format!("{BOARD}?_=%FF"), 200, "items"),
    ] {
        let (found, said) = send("GET", &target, "");
        assert_eq!(found, status, "{target}");
        assert!(said.contains(detail), "{target}: {said}");
    }
}

#[actix_web::test]
async fn a_multiplier_keeps_its_value_and_is_served_in_one_form() {
    let app = App::start(Data::empty()).await;
    for (written, served) in [
        ("1", "1.0"),
        ("1.000", "1.0"),
        ("10e-1", "1.0"),
        ("1e-05", "1e-05"),
        ("0.00001", "1e-05"),
        ("1E-5", "1e-05"),
        ("10.0e-6", "1e-05"),
        ("0.0001", "0.0001"),
        ("0", "0.0"),
        ("0e-400", "0.0"),
        ("10000000000000000", "1e+16"),
        ("9007199254740993", "9007199254740992.0"),
        ("0.1000000000000000055511151231257827", "0.1"),
        ("5e-324", "5e-324"),
    ] {
        let path = format!("{CHALLENGES}/a");
        let answer = app
            .admin(Method::PUT, &path, challenge(written, "null"))
            .await;
        assert_eq!(answer.status, 200, "{written}: {}", answer.text());
        let board = app.get(BOARD).await;
        let shown = format!(r#""score_multiplier":{served},"#);
        assert!(board.text().contains(&shown), "{written}: {}", board.text());
        let again = app
            .admin(Method::PUT, &path, challenge(served, "null"))
            .await;
        assert_eq!(again.text(), r#"{"inserted":0,"unchanged":1}"#, "{served}");
    }
    for refused in [
        "-0", "-0.0", "-1", "1e400", "1e-400", "\"1.0\"", "null", "true", "[1]",
    ] {
        let path = format!("{CHALLENGES}/a");
        let answer = app
            .admin(Method::PUT, &path, challenge(refused, "null"))
            .await;
        assert_eq!(answer.status, 422, "{refused}");
        assert_eq!(answer.json()["field"], "score_multiplier", "{refused}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn an_empty_body_is_refused_and_an_empty_list_is_not() {
    let app = App::start(Data::empty()).await;
    for (method, path) in [
        (Method::POST, RUNS.to_owned()),
        (Method::POST, CHALLENGES.to_owned()),
        (Method::PUT, format!("{CHALLENGES}/a")),
        (Method::PUT, format!("{EPOCHS}/1")),
    ] {
        for body in ["", " \r\n\n"] {
            let answer = app.admin(method.clone(), &path, body).await;
            assert_eq!(answer.status, 422, "{path} {body:?}");
            let said = answer.text();
            assert!(
                said.contains("empty") || said.contains("must be a JSON object"),
                "{said}"
            );
        }
    }
    for path in [RUNS, CHALLENGES] {
        for body in ["[]", " [ ]\n", r#"{"items":[]}"#] {
            let answer = app.admin(Method::POST, path, body).await;
            assert_eq!(answer.text(), r#"{"inserted":0,"unchanged":0}"#);
        }
    }
    let mark = format!("\u{feff}{}", row("a", "\"x\":1"));
    let answer = app.admin(Method::POST, RUNS, mark).await;
    assert_eq!(answer.status, 422);
    assert!(answer.text().contains("byte order mark"));
    app.stop().await;
}

#[actix_web::test]
async fn rows_that_are_stored_already_are_served_as_they_are_and_not_imported_again() {
    let data = Data::empty();
    let old = row("old", r#""x":{"a":1,"a":1e400}"#);
    data.write(|connection| {
        let sql = "INSERT INTO eval_runs (id, ran_at, schema_version, body) VALUES ('old', '2026-06-07T00:00:00.000Z', 5, ?1)";
        connection.execute(sql, [&old]).unwrap();
    });
    let path = data.path();
    let app = App::start(data).await;
    let page = app.get(&format!("{FEED}?since=2000-01-01")).await;
    assert!(page.text().contains(&old));
    let saved = path.with_extension("json");
    let export = run(&["export", "rows", "--database", path.to_str().unwrap()]);
    std::fs::write(&saved, &export.stdout).unwrap();
    let new = path.with_extension("new");
    let import = publisher(&["import", "rows", "--database"])
        .args([&new, &saved])
        .output()
        .unwrap();
    let stderr = String::from_utf8(import.stderr).unwrap();
    assert!(
        stderr.contains("item 0: x.a: occurs twice in one object"),
        "{stderr}"
    );
    app.stop().await;
}
