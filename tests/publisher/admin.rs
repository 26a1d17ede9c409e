//! The admin routes:
//!
//! - without a configured token the admin routes do not exist
//! - a missing or wrong token gets 401
//! - tokens can come from a file, two of them during a rotation
//! - written challenges, eval runs and Merkle epochs are served; an identical repeat is unchanged
//! - the same id with different bytes gets 409, and nothing is stored
//! - an invalid item gets 422 with index, field and reason, and nothing is stored
//! - a status only moves forward
//! - the number of items, the body length, the content type and the method are checked
//! - random bodies cause neither a panic nor a 5xx

use std::io::{Read as _, Write as _};

use awc::http::Method;
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use serde_json::{Value, json};

use crate::{
    app::{Answer, App, BOARD, Data, FEED, TOKENS},
    chaos::server::{Server, row},
    client::Connection,
    process::get,
};

const CHALLENGES: &str = "/v1/admin/challenges";
const RUNS: &str = "/v1/admin/eval-runs";
const EPOCHS: &str = "/v1/admin/merkle-epochs";

pub fn challenge(id: &str, status: &str) -> Value {
    json!({
        "challenge_id": id, "status": status, "tier": 1, "difficulty_label": null,
        "score_multiplier": 1.5, "kind": "random_3sat", "storage": "file",
        "cnf_sha256": "ab".repeat(32), "cnf_bytes": 10, "num_vars": 3, "num_clauses": 4,
        "solve_on_submit_enabled": false
    })
}

#[track_caller]
fn assert_ok(answer: &Answer, inserted: u64, unchanged: u64) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        answer.text(),
        format!(r#"{{"inserted":{inserted},"unchanged":{unchanged}}}"#)
    );
}

async fn feed_ids(app: &App) -> Vec<String> {
    let page = app
        .get(&format!("{FEED}?since=2020-01-01T00:00:00Z&limit=1000"))
        .await
        .json();
    let items = page["items"].as_array().unwrap();
    items
        .iter()
        .map(|row| row["id"].as_str().unwrap().to_owned())
        .collect()
}

#[actix_web::test]
async fn a_missing_or_wrong_token_gets_401() {
    let app = App::start(Data::empty()).await;
    let body = format!("[{}]", row("a")).into_bytes();
    for authorization in [
        "",
        "Bearer",
        "Bearer ",
        &format!("Bearer {}x", TOKENS[0]),
        &format!("Bearer {}", &TOKENS[0][1..]),
        &format!("Basic {}", TOKENS[0]),
        TOKENS[0],
    ] {
        let headers = [("authorization", authorization)];
        let headers = if authorization.is_empty() {
            &headers[..0]
        } else {
            &headers[..]
        };
        let answer = app
            .send_body(Method::POST, RUNS, headers, body.clone())
            .await;
        answer.assert_error(401, "a valid bearer token is required");
        assert!(answer.header("www-authenticate").starts_with("Bearer "));
    }
    assert!(feed_ids(&app).await.is_empty());
    for (token, scheme) in [(TOKENS[0], "bearer"), (TOKENS[1], "Bearer")] {
        let authorization = format!("{scheme} {token}");
        let headers = [("authorization", authorization.as_str())];
        assert_eq!(
            app.send_body(Method::POST, RUNS, &headers, body.clone())
                .await
                .status,
            200
        );
    }
    app.stop().await;
}

#[test]
fn without_a_configured_token_the_admin_routes_do_not_exist() {
    let publisher = std::path::Path::new(env!("CARGO_BIN_EXE_cathedral-publisher"));
    let data = Data::empty();
    let database = data.location();
    let with = Server::start(publisher, &database, &[]);
    assert!(get(&with.address, RUNS, "").starts_with("HTTP/1.1 405"));
    let read_only = Server::start(publisher, &database, &["--read-only"]);
    assert!(get(&read_only.address, RUNS, "").starts_with("HTTP/1.1 404"));
    for (token, said) in [
        ("short", "at least 32 characters"),
        (&"ü".repeat(20), "visible ASCII"),
    ] {
        let output =
            crate::process::publisher(&["serve", "--database", database.to_str().unwrap()])
                .env("PUBLISHER_ADMIN_TOKEN", token)
                .output()
                .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr.contains(said) && !stderr.contains(token), "{stderr}");
    }
}

#[test]
fn tokens_can_come_from_a_file_two_of_them_during_a_rotation() {
    let folder = tempfile::TempDir::new().unwrap();
    let publisher = std::path::Path::new(env!("CARGO_BIN_EXE_cathedral-publisher"));
    let (data, file) = (Data::empty(), folder.path().join("tokens"));
    std::fs::write(&file, format!("{}\n\n{}\n", TOKENS[0], TOKENS[1])).unwrap();
    let options = ["--admin-token-file", file.to_str().unwrap()];
    let server = Server::start(publisher, &data.location(), &options);
    let mut connection = Connection::open(&server.address).unwrap();
    for (number, token) in TOKENS.iter().enumerate() {
        let bearer = format!("Authorization: Bearer {token}\r\n");
        let body = row(&number.to_string());
        let (status, _) = connection
            .request("POST", RUNS, &bearer, body.as_bytes())
            .unwrap();
        assert_eq!(status, 200);
    }
}

#[actix_web::test]
async fn written_items_are_served_and_an_identical_repeat_is_unchanged() {
    let app = App::start(Data::empty()).await;
    let one = challenge("a b/c", "active").to_string();
    let path = format!("{CHALLENGES}/a%20b%2Fc");
    assert_ok(&app.admin(Method::PUT, &path, one.clone()).await, 1, 0);
    assert_ok(&app.admin(Method::PUT, &path, one).await, 0, 1);
    let many = format!(
        "[{},{}]",
        challenge("x", "active"),
        challenge("y", "pending")
    );
    assert_ok(&app.admin(Method::POST, CHALLENGES, many).await, 2, 0);
    let board = app.get(BOARD).await.json();
    assert_eq!(board["count"], 2);
    assert_eq!(board["items"][0]["challenge_id"], "a b/c");
    assert_eq!(board["items"][0]["announced_time_limit_secs"], 432_000);

    let array = format!("[{},\n {}]", row("1"), row("2"));
    assert_ok(&app.admin(Method::POST, RUNS, array).await, 2, 0);
    let lines = format!("{}\n{}\n", row("2"), row("3"));
    assert_ok(&app.admin(Method::POST, RUNS, lines).await, 1, 1);
    assert_ok(&app.admin(Method::POST, RUNS, "[]").await, 0, 0);
    assert_eq!(feed_ids(&app).await, ["1", "2", "3"]);

    assert_ok(
        &app.admin(Method::PUT, &format!("{EPOCHS}/7"), r#"{"root":"ab"}"#)
            .await,
        1,
        0,
    );
    assert_ok(
        &app.admin(Method::PUT, &format!("{EPOCHS}/7"), r#"{"root":"ab"}"#)
            .await,
        0,
        1,
    );
    let other = app
        .admin(Method::PUT, &format!("{EPOCHS}/7"), r#"{"root":"cd"}"#)
        .await;
    other.assert_error(409, r#""7" is already stored with different bytes"#);
    let page = app.get(&format!("{FEED}?since=2020-01-01T00:00:00Z")).await;
    assert_eq!(page.json()["merkle_epoch_latest"], 7);
    app.stop().await;
}

#[actix_web::test]
async fn the_same_id_with_different_bytes_gets_409_and_nothing_is_stored() {
    let app = App::start(Data::empty()).await;
    app.admin(Method::POST, RUNS, row("a")).await;
    let other = format!("[{},{}]", row("b"), row("a").replace("1.0", "1.00"));
    let answer = app.admin(Method::POST, RUNS, other).await;
    answer.assert_error(409, r#"item 1: "a" is already stored with different bytes"#);
    assert_eq!(feed_ids(&app).await, ["a"]);
    app.stop().await;
}

#[actix_web::test]
async fn an_invalid_item_gets_422_with_index_field_and_reason_and_nothing_is_stored() {
    let app = App::start(Data::empty()).await;
    let bad_time = row("b").replace("2026-06-07T00:00:01.766Z", "noon");
    for body in [
        format!("[{},{bad_time}]", row("a")),
        format!("{}\n{bad_time}", row("a")),
    ] {
        let answer = app.admin(Method::POST, RUNS, body).await;
        assert_eq!(answer.status, 422);
        assert_eq!(
            answer.json(),
            json!({"detail": "item 1: ran_at: must be an ISO-8601 time", "index": 1, "field": "ran_at", "reason": "must be an ISO-8601 time"})
        );
    }
    for (path, body, field) in [
        (RUNS, "[{}]".to_owned(), "id"),
        (RUNS, row("a").replace("}", ",\"id\":\"b\"}"), "id"),
        (
            CHALLENGES,
            challenge("a", "active")
                .to_string()
                .replace("num_vars", "vars"),
            "vars",
        ),
        (RUNS, "{".to_owned(), ""),
        (RUNS, "nonsense".to_owned(), ""),
        (RUNS, format!("[{}", "[".repeat(10_000)), ""),
        (
            CHALLENGES,
            challenge("", "active").to_string(),
            "challenge_id",
        ),
        (CHALLENGES, challenge("a", "open").to_string(), "status"),
        (
            CHALLENGES,
            challenge("a", "active").to_string().replace("1.5", "-0.0"),
            "score_multiplier",
        ),
    ] {
        let answer = app.admin(Method::POST, path, body.clone()).await;
        assert_eq!(answer.status, 422, "{body}");
        assert_eq!(answer.json()["index"], 0);
        assert_eq!(
            answer.json()["field"].as_str().unwrap_or_default(),
            field,
            "{}",
            answer.text()
        );
        assert!(!answer.json()["reason"].as_str().unwrap().is_empty());
    }
    let answer = app
        .admin(
            Method::PUT,
            &format!("{CHALLENGES}/b"),
            challenge("a", "active").to_string(),
        )
        .await;
    assert_eq!(answer.json()["field"], "challenge_id");
    for epoch in ["-1", "x", "99999999999999999999", "+1"] {
        let answer = app
            .admin(Method::PUT, &format!("{EPOCHS}/{epoch}"), "{}")
            .await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["field"]),
            (422, &json!("epoch"))
        );
    }
    assert!(feed_ids(&app).await.is_empty());
    assert_eq!(app.get(BOARD).await.json()["count"], 0);
    app.stop().await;
}

#[actix_web::test]
async fn a_status_only_moves_forward() {
    let app = App::start(Data::empty()).await;
    let states = ["pending", "active", "locked", "retired"];
    for (at, status) in states.iter().enumerate() {
        let path = format!("{CHALLENGES}/a");
        assert_ok(
            &app.admin(Method::PUT, &path, challenge("a", status).to_string())
                .await,
            1,
            0,
        );
        assert_eq!(
            app.get(BOARD).await.json()["count"],
            u64::from(*status == "active")
        );
        for before in &states[..at] {
            let answer = app
                .admin(Method::PUT, &path, challenge("a", before).to_string())
                .await;
            assert_eq!(answer.status, 409);
            assert!(
                answer
                    .text()
                    .contains(&format!("is {status} and cannot become {before}"))
            );
        }
    }
    app.stop().await;
}

#[actix_web::test]
async fn item_count_body_length_content_type_and_method_are_checked() {
    let app = App::start(Data::empty()).await;
    let rows: Vec<String> = (0..10_001)
        .map(|number| row(&format!("{number:05}")))
        .collect();
    let answer = app.admin(Method::POST, RUNS, rows.join("\n")).await;
    assert_eq!(answer.status, 422);
    assert!(answer.text().contains("at most 10000 items"));
    assert_ok(
        &app.admin(Method::POST, RUNS, rows[..10_000].join("\n"))
            .await,
        10_000,
        0,
    );
    // The announced length is too long: the answer comes without waiting for the body.
    let address = app.address();
    let too_long = format!(
        "POST {RUNS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n",
        TOKENS[0],
        (16 << 20) + 1
    );
    let read = actix_web::web::block(move || {
        let mut socket = std::net::TcpStream::connect(address).unwrap();
        socket.write_all(too_long.as_bytes()).unwrap();
        let mut read = String::new();
        socket.read_to_string(&mut read).unwrap();
        read
    });
    let read = read.await.unwrap();
    assert!(read.starts_with("HTTP/1.1 413 "), "{read}");
    assert!(read.ends_with(r#"{"detail":"a body may have at most 16777216 bytes"}"#));
    let bearer = format!("Bearer {}", TOKENS[0]);
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "text/html"),
    ];
    let answer = app
        .send_body(Method::POST, RUNS, &headers, b"[]".to_vec())
        .await;
    answer.assert_error(
        415,
        "content-type must be application/json or application/x-ndjson",
    );
    for (path, allow) in [
        (RUNS, "POST"),
        (CHALLENGES, "GET, HEAD, POST"),
        (&format!("{CHALLENGES}/a"), "GET, HEAD, PUT, PATCH"),
        (&format!("{EPOCHS}/1"), "PUT"),
    ] {
        let answer = app.send(Method::DELETE, path, &[]).await;
        answer.assert_error(405, "method not allowed");
        assert_eq!(answer.header("allow"), allow);
    }
    app.stop().await;
}

#[actix_web::test]
async fn random_bodies_cause_neither_a_panic_nor_a_5xx() {
    let app = App::start(Data::empty()).await;
    let piece = prop_oneof![
        Just(row("a").into_bytes()),
        Just(challenge("a", "active").to_string().into_bytes()),
        prop::sample::select(vec![
            &b"["[..],
            b"]",
            b"{",
            b"}",
            b",",
            b":",
            b"\"",
            b"\\",
            b"\n",
            b"null",
            b"1e999",
            b"-0",
            b"\0",
            b"\xff",
            b"\"items\"",
            b"\"id\"",
            b"\"\\ud800\"",
            b"99999999999999999999999999",
            b"\"count\":1",
        ])
        .prop_map(<[u8]>::to_vec),
    ];
    let bodies = prop::collection::vec(piece, 1..12).prop_map(|pieces| pieces.concat());
    let mut runner = TestRunner::default();
    for _ in 0..400 {
        let body = bodies.new_tree(&mut runner).unwrap().current();
        for (method, path) in [
            (Method::POST, RUNS),
            (Method::POST, CHALLENGES),
            (Method::PUT, "/v1/admin/merkle-epochs/1"),
            (Method::PUT, "/v1/admin/challenges/a"),
        ] {
            let answer = app.admin(method, path, body.clone()).await;
            assert!(
                [200, 409, 422].contains(&answer.status.as_u16()),
                "{path} {}: {}",
                String::from_utf8_lossy(&body),
                answer.status
            );
        }
    }
    app.stop().await;
}
