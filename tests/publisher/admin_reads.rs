//! What operators read and change of the challenges that are stored:
//!
//! - pages list the challenges by their ids, of one status or of all, and their cursor goes on
//! - what is read can be put again, and changes nothing
//! - a change of the status shows on the board, and moves forward only
//! - a change of a challenge that another request has changed meanwhile is refused
//! - reads need a token, and their parameters are checked
//! - what jq and JavaScript make of an item is accepted, and served with `1.0`

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use awc::http::Method;
use cathedral_publisher::{
    domain::challenge::{Challenge, Status},
    store::operation::Operation,
    writer::outcome::Rejected,
};
use serde_json::{Value, json};

use crate::{
    admin::challenge,
    app::{Answer, App, BOARD, Data},
};

const CHALLENGES: &str = "/v1/admin/challenges";

fn path(id: &str) -> String {
    format!("{CHALLENGES}/{id}")
}

async fn put(app: &App, id: &str, status: &str) {
    let body = challenge(id, status).to_string();
    let answer = app.admin(Method::PUT, &path(id), body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

async fn read(app: &App, path: &str) -> Answer {
    app.admin(Method::GET, path, "").await
}

fn ids(page: &Value) -> Vec<&str> {
    let items = page["items"].as_array().unwrap().iter();
    items
        .map(|item| item["challenge_id"].as_str().unwrap())
        .collect()
}

#[actix_web::test]
async fn pages_list_the_challenges_by_their_ids_of_one_status_or_of_all_and_their_cursor_goes_on() {
    let app = App::start(Data::empty()).await;
    let empty = read(&app, CHALLENGES).await;
    assert_eq!(empty.text(), r#"{"items":[],"next_cursor":null}"#);
    // By bytes, as both databases order them.
    let all = ["A", "a", "a b&c", "b", "ä"];
    for (id, status) in [
        ("%C3%A4", "retired"),
        ("b", "active"),
        ("a", "active"),
        ("A", "pending"),
        ("a%20b%26c", "locked"),
    ] {
        let decoded = [("%C3%A4", "ä"), ("a%20b%26c", "a b&c")];
        let decoded = decoded.iter().find(|(encoded, _)| *encoded == id);
        let body = challenge(decoded.map_or(id, |(_, id)| id), status);
        let answer = app.admin(Method::PUT, &path(id), body.to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let page = read(&app, CHALLENGES).await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), "application/json");
    assert_eq!(page.header("cache-control"), "no-store");
    assert_eq!(ids(&page.json()), all);
    let active = read(&app, &format!("{CHALLENGES}?status=active")).await;
    assert_eq!(ids(&active.json()), ["a", "b"]);
    let (mut walked, mut cursor) = (Vec::new(), String::new());
    loop {
        let next = format!("{CHALLENGES}?limit=2&cursor={cursor}");
        let page = read(&app, &next).await.json();
        walked.extend(ids(&page).into_iter().map(str::to_owned));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = percent_encoding(next),
            None => break,
        }
    }
    assert_eq!(walked, all);
    let head = app.admin(Method::HEAD, CHALLENGES, "").await;
    assert_eq!(head.status, 200);
    assert_eq!(
        head.header("content-length"),
        page.body.len().to_string(),
        "as GET"
    );
    app.stop().await;
}

fn percent_encoding(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[actix_web::test]
async fn what_is_read_can_be_put_again_and_changes_nothing() {
    let app = App::start(Data::empty()).await;
    put(&app, "without", "active").await;
    let mut with = challenge("with", "pending");
    with["announced_time_limit_secs"] = json!(60);
    with["difficulty_label"] = json!("hard");
    app.admin(Method::PUT, &path("with"), with.to_string())
        .await;
    for (id, limit) in [("without", json!(null)), ("with", json!(60))] {
        let stored = read(&app, &path(id)).await;
        assert_eq!(stored.status, 200, "{}", stored.text());
        assert_eq!(stored.header("content-type"), "application/json");
        assert_eq!(stored.json()["announced_time_limit_secs"], limit, "{id}");
        let again = app.admin(Method::PUT, &path(id), stored.body.clone()).await;
        assert_eq!(again.text(), r#"{"inserted":0,"unchanged":1}"#, "{id}");
        let head = app.admin(Method::HEAD, &path(id), "").await;
        let length = stored.body.len().to_string();
        assert_eq!(
            (head.status.as_u16(), head.header("content-length")),
            (200, &*length)
        );
    }
    let page = read(&app, CHALLENGES).await;
    let again = app.admin(Method::POST, CHALLENGES, page.body).await;
    assert_eq!(again.text(), r#"{"inserted":0,"unchanged":2}"#);
    read(&app, &path("unknown"))
        .await
        .assert_error(404, "no such challenge");
    app.stop().await;
}

#[actix_web::test]
async fn a_change_of_the_status_shows_on_the_board_and_moves_forward_only() {
    let app = App::start(Data::empty()).await;
    put(&app, "a", "pending").await;
    let patch = async |id: &str, body: &str| app.admin(Method::PATCH, &path(id), body).await;
    for (status, count, told) in [
        ("active", 1, r#"{"inserted":1,"unchanged":0}"#),
        ("active", 1, r#"{"inserted":0,"unchanged":1}"#),
        ("retired", 0, r#"{"inserted":1,"unchanged":0}"#),
    ] {
        let changed = patch("a", &json!({ "status": status }).to_string()).await;
        assert_eq!((changed.status.as_u16(), changed.text()), (200, told));
        assert_eq!(app.get(BOARD).await.json()["count"], count, "{status}");
        let stored = read(&app, &path("a")).await.json();
        let mut expected = challenge("a", status);
        expected["announced_time_limit_secs"] = json!(null);
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&stored[key], value, "{key}");
        }
    }
    let back = patch("a", r#"{"status":"active"}"#).await;
    assert_eq!(back.status, 409);
    back.assert_error(
        409,
        "status: challenge \"a\" is retired and cannot become active",
    );
    patch("b", r#"{"status":"active"}"#)
        .await
        .assert_error(404, "no such challenge");
    let words = "must be pending, active, locked or retired";
    for (body, field, reason) in [
        ("{}", "status", "is missing".to_owned()),
        (
            r#"{"status":"gone"}"#,
            "status",
            format!("{words}, not \"gone\""),
        ),
        (r#"{"status":null}"#, "status", format!("{words}, not null")),
        (
            r#"{"status":["active"]}"#,
            "status",
            format!("{words}, not an array"),
        ),
        (
            r#"{"status":"retired","tier":2}"#,
            "tier",
            "is an unknown key; the keys are: status".to_owned(),
        ),
        (
            r#"{"status":"retired","status":"active"}"#,
            "status",
            "occurs twice in one object".to_owned(),
        ),
    ] {
        let refused = patch("a", body).await;
        assert_eq!(refused.status, 422, "{body}");
        let detail = format!("{field}: {reason}");
        let expected = json!({"detail": detail, "field": field, "reason": reason});
        assert_eq!(refused.json(), expected);
    }
    for (key, value, reason) in [
        ("status", json!("gone"), format!("{words}, not \"gone\"")),
        (
            "storage",
            json!("disk"),
            "must be file or sqlite_text, not \"disk\"".to_owned(),
        ),
        (
            "tier",
            json!("1"),
            "must be an integer from 0 to 2^63-1, not \"1\"".to_owned(),
        ),
        ("challenge_id", json!("b"), "must be \"a\"".to_owned()),
        (
            "solve_on_submit_enabled",
            json!(1),
            "must be true or false, not 1".to_owned(),
        ),
    ] {
        let mut item = challenge("a", "retired");
        item[key] = value;
        let refused = app.admin(Method::PUT, &path("a"), item.to_string()).await;
        let detail =
            |answer: &Answer| (answer.status.as_u16(), answer.json()["detail"].to_string());
        let said = |place: &str| (422, json!(format!("{place}{key}: {reason}")).to_string());
        assert_eq!(detail(&refused), said(""));
        let mut others = vec![challenge("a", "retired"), item];
        others[1]["challenge_id"] = json!("c");
        let refused = app
            .admin(Method::POST, CHALLENGES, json!(others).to_string())
            .await;
        if key != "challenge_id" {
            assert_eq!(detail(&refused), said("item 1: "));
        }
    }
    for body in ["[]", "", "retired", "{"] {
        assert_eq!(patch("a", body).await.status, 422, "{body}");
    }
    let bearer = format!("Bearer {}", crate::app::TOKENS[0]);
    for (content_type, status) in [
        ("application/merge-patch+json", 200),
        ("Application/JSON; charset=utf-8", 200),
        ("application/x-ndjson", 415),
        ("text/plain", 415),
    ] {
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", content_type),
        ];
        let body = br#"{"status":"retired"}"#.to_vec();
        let answer = app
            .send_body(Method::PATCH, &path("a"), &headers, body)
            .await;
        assert_eq!(answer.status, status, "{content_type}");
        if status == 415 {
            let accepted = "content-type must be application/json or application/merge-patch+json";
            answer.assert_error(415, accepted);
        }
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_change_of_a_challenge_that_another_request_has_changed_meanwhile_is_refused() {
    let app = App::start(Data::empty()).await;
    put(&app, "a", "active").await;
    let json = challenge("a", "active").to_string();
    let old = Challenge::from_admin(&json, Some("a")).unwrap();
    let with = |status, tier| Challenge {
        status,
        tier,
        ..old.clone()
    };
    app.data
        .commit(&[Operation::PutChallenges(vec![with(Status::Active, 9)])]);
    let replace = async |old: Challenge, new: Challenge| {
        let admission = app.writer.admit(100).unwrap();
        let (old, new) = (Box::new(old), Box::new(new));
        let operation = Operation::ReplaceChallenge { old, new };
        app.writer.write(admission, operation).await
    };
    let refused = replace(old.clone(), with(Status::Retired, 1)).await;
    let Err(Rejected::Item { error, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(error.to_string().contains("changed by another request"));
    assert_eq!(read(&app, &path("a")).await.json()["tier"], 9);
    // It is what the request asks for already.
    let done = replace(old.clone(), with(Status::Active, 9)).await.unwrap();
    assert_eq!(done.counts.unchanged, 1);
    // Two changes of one group: the second one sees the first.
    let first = replace(with(Status::Active, 9), with(Status::Locked, 9));
    let second = replace(with(Status::Active, 9), with(Status::Retired, 9));
    let (first, second) = tokio::join!(first, second);
    assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
    app.stop().await;
}

#[actix_web::test]
async fn reads_need_a_token_and_their_parameters_are_checked() {
    let app = App::start(Data::empty()).await;
    put(&app, "a", "active").await;
    for (method, path) in [
        (Method::GET, CHALLENGES.to_owned()),
        (Method::HEAD, path("a")),
        (Method::GET, path("a")),
        (Method::PATCH, path("a")),
    ] {
        assert_eq!(app.send(method, &path, &[]).await.status, 401, "{path}");
    }
    for (query, status, detail) in [
        (
            "status=open",
            400,
            "status must be pending, active, locked or retired",
        ),
        (
            "status=",
            400,
            "status must be pending, active, locked or retired",
        ),
        (
            "cursor=%FF",
            400,
            "cursor must be UTF-8 without U+0000, percent-encoded",
        ),
        (
            "cursor=%00",
            400,
            "cursor must be UTF-8 without U+0000, percent-encoded",
        ),
        ("limit=0", 422, "limit must be an integer from 1 to 1000"),
        ("limit=1001", 422, "limit must be an integer from 1 to 1000"),
    ] {
        let refused = read(&app, &format!("{CHALLENGES}?{query}")).await;
        refused.assert_error(status, detail);
        assert_eq!(refused.status, status, "{query}");
    }
    for query in ["cursor=", "cursor=zzz", "x=1", "limit=1000&status=retired"] {
        assert_eq!(
            read(&app, &format!("{CHALLENGES}?{query}")).await.status,
            200
        );
    }
    assert_eq!(read(&app, &path("%FF")).await.status, 422);
    app.stop().await;
}

#[actix_web::test]
async fn what_jq_and_javascript_make_of_an_item_is_accepted_and_served_with_1_0() {
    let app = App::start(Data::empty()).await;
    let mut item = challenge("a", "active");
    item["score_multiplier"] = json!(1.0);
    item["announced_time_limit_secs"] = json!(60);
    let stored = app.admin(Method::PUT, &path("a"), item.to_string()).await;
    assert_eq!(stored.status, 200);
    let board = app.get(BOARD).await;
    assert!(board.text().contains(r#""score_multiplier":1.0,"#));
    let script =
        "process.stdout.write(JSON.stringify(JSON.parse(require('fs').readFileSync(0)).items))";
    for (program, arguments) in [
        ("jq", vec!["-c", ".items"]),
        ("jq", vec![".items | map(.score_multiplier += 0)"]),
        ("node", vec!["-e", script]),
    ] {
        let Some(made) = piped(program, &arguments, &board.body) else {
            continue;
        };
        let again = app.admin(Method::POST, CHALLENGES, made.clone()).await;
        let made = String::from_utf8(made).unwrap();
        assert_eq!(again.text(), r#"{"inserted":0,"unchanged":1}"#, "{made}");
    }
    for number in ["1", "1.00", "1e0", "10E-1", "0.1e+1"] {
        let json = item.to_string().replace("1.0", number);
        let again = app.admin(Method::PUT, &path("a"), json).await;
        assert_eq!(again.text(), r#"{"inserted":0,"unchanged":1}"#, "{number}");
    }
    assert_eq!(app.get(BOARD).await.body, board.body);
    app.stop().await;
}

/// Returns what a program makes of its input; `None` if it is not installed.
fn piped(program: &str, arguments: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        let skipped = format!("SKIPPED: {program} is not installed\n");
        std::io::stderr().write_all(skipped.as_bytes()).unwrap();
        return None;
    };
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program}");
    Some(output.stdout)
}
