//! WIRE.md: active-challenges, current-challenge, the prefix, methods, errors and health:
//!
//! - the saved production board comes back byte for byte, with its entity-tag
//! - an empty board is served, and has no current challenge
//! - only active challenges are published, ordered by tier and then by id
//! - an item has exactly the bytes of the contract
//! - current-challenge answers by tier and label, and falls back to a challenge without a label
//! - HEAD has the header fields of GET and no body
//! - other methods get 405 with Allow, and unknown paths 404; errors are JSON
//! - health says that the database answers

use std::fs;

use awc::http::Method;
use cathedral_publisher::{
    config::Kind,
    demo::sample::Sample,
    domain::challenge::{Challenge, Status},
};

use crate::app::{App, BOARD, CURRENT, Data, FEED, live_answer};

fn challenge(id: &str, tier: u64, label: Option<&str>, status: Status) -> Challenge {
    Challenge {
        challenge_id: id.to_owned(),
        difficulty_label: label.map(str::to_owned),
        status,
        ..Sample::new(3).challenge(tier)
    }
}

#[actix_web::test]
async fn the_saved_production_board_comes_back_byte_for_byte_with_its_entity_tag() {
    let Some(path) = live_answer("board.json") else {
        return;
    };
    let board = fs::read(path).unwrap();
    let data = Data::empty();
    data.import(Kind::Board, &board[..]);
    let app = App::start(data).await;
    for prefix in ["", "/api/cathedral"] {
        let answer = app.get(&format!("{prefix}{BOARD}?_=1718")).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body.len(), 32_669);
        assert!(answer.body == board);
        assert_eq!(answer.header("etag"), "\"4f98c197b81eb6a7\"");
        assert_eq!(answer.header("cache-control"), "public, max-age=15");
        assert_eq!(answer.header("content-type"), "application/json");
    }
    app.stop().await;
}

#[actix_web::test]
async fn an_empty_board_is_served_and_has_no_current_challenge() {
    let app = App::start(Data::empty()).await;
    assert_eq!(
        app.get(BOARD).await.text(),
        r#"{"family_id":"synthetic_boolean_v1","count":0,"items":[]}"#
    );
    app.get(CURRENT)
        .await
        .assert_error(404, "no_active_challenge");
    app.stop().await;
}

#[actix_web::test]
async fn only_active_challenges_are_published_ordered_by_tier_and_then_by_id() {
    let data = Data::empty();
    data.put(&[
        challenge("b", 2, None, Status::Active),
        challenge("c", 1, None, Status::Active),
        challenge("Z", 2, None, Status::Active),
        challenge("a", 10, None, Status::Active),
        challenge("pending", 1, None, Status::Pending),
        challenge("locked", 1, None, Status::Locked),
        challenge("retired", 1, None, Status::Retired),
    ]);
    let app = App::start(data).await;
    let board = app.get(BOARD).await.json();
    let ids: Vec<_> = board["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["challenge_id"])
        .collect();
    assert_eq!(ids, ["c", "Z", "b", "a"]);
    assert_eq!(board["count"], 4);
    app.stop().await;
}

#[actix_web::test]
async fn an_item_has_exactly_the_bytes_of_the_contract() {
    let data = Data::empty();
    data.put(&[Challenge {
        challenge_id: "sat é/1".to_owned(),
        difficulty_label: Some("hard".to_owned()),
        score_multiplier: 1e16,
        kind: None,
        cnf_bytes: None,
        announced_time_limit_secs: None,
        cnf_sha256: "0".repeat(64),
        ..Sample::new(1).challenge(1)
    }]);
    let app = App::start(data).await;
    assert_eq!(
        app.get(CURRENT).await.text(),
        concat!(
            r#"{"family_id":"synthetic_boolean_v1","challenge_id":"sat é/1","status":"active","#,
            r#""tier":1,"difficulty_label":"hard","score_multiplier":1e+16,"#,
            r#""kind":null,"storage":"file","#,
            r#""cnf_sha256":"0000000000000000000000000000000000000000000000000000000000000000","#,
            r#""cnf_bytes":null,"num_vars":6000,"num_clauses":25560,"#,
            r#""announced_time_limit_secs":432000,"solve_on_submit_enabled":true,"#,
            r#""win_rule":"First submitted valid SAT receipt wins.","#,
            r#""active_cnf_path":"/api/cathedral/v1/synthetic-boolean/active-cnf?challenge_id=sat%20%C3%A9%2F1","#,
            r#""submit_path":"/api/cathedral/v1/agents/submit"}"#
        )
    );
    app.stop().await;
}

#[actix_web::test]
async fn current_challenge_answers_by_tier_and_label_with_a_fallback() {
    let data = Data::empty();
    data.put(&[
        challenge("a", 1, Some("hard"), Status::Active),
        challenge("b", 1, None, Status::Active),
        challenge("c", 1, Some("easy"), Status::Active),
        challenge("d", 1, Some("easy"), Status::Active),
        challenge("e", 2, Some("only"), Status::Active),
    ]);
    let app = App::start(data).await;
    for (query, id) in [
        ("", "a"),
        ("?_=17", "a"),
        ("?tier=1", "a"),
        ("?tier=1&difficulty=easy", "c"),
        ("?tier=1&difficulty=unheard-of", "b"),
        ("?tier=2", "e"),
        ("?tier=2&difficulty=only", "e"),
    ] {
        let answer = app.get(&format!("{CURRENT}{query}")).await;
        assert_eq!(answer.json()["challenge_id"], id, "{query}");
        let etag = answer.header("etag").to_owned();
        let again = app
            .get_with(&format!("{CURRENT}{query}"), &[("if-none-match", &etag)])
            .await;
        assert_eq!(again.status, 304, "{query}");
    }
    for query in [
        "?tier=3",
        "?tier=99999999999999999999999",
        "?tier=2&difficulty=other",
    ] {
        let answer = app.get(&format!("{CURRENT}{query}")).await;
        answer.assert_error(404, "no_active_challenge");
    }
    let answer = app.get(&format!("{CURRENT}?difficulty=easy")).await;
    answer.assert_error(400, "difficulty requires tier");
    for tier in ["", "-1", "1.0", "one", "%2B1", "1e3"] {
        let answer = app.get(&format!("{CURRENT}?tier={tier}")).await;
        answer.assert_error(400, "tier must be an integer of at least 0");
    }
    app.stop().await;
}

#[actix_web::test]
async fn head_has_the_header_fields_of_get_and_no_body() {
    let data = Data::sample();
    data.run("a", "2026-06-07T00:00:00Z", 5);
    let app = App::start(data).await;
    for path in [
        BOARD,
        CURRENT,
        &format!("{FEED}?since=2026-01-01T00:00:00Z"),
        "/health",
        "/nope",
    ] {
        let get = app.get(path).await;
        let head = app.send(Method::HEAD, path, &[]).await;
        assert_eq!(head.status, get.status, "{path}");
        assert!(head.body.is_empty());
        for name in ["content-length", "etag", "cache-control", "content-type"] {
            assert_eq!(head.header(name), get.header(name), "{path} {name}");
        }
        assert_eq!(get.header("content-length"), get.body.len().to_string());
    }
    app.stop().await;
}

#[actix_web::test]
async fn other_methods_get_405_with_allow_and_unknown_paths_404() {
    let app = App::start(Data::empty()).await;
    for path in [BOARD, CURRENT, FEED, "/health", "/api/cathedral/health"] {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            let answer = app.send(method, path, &[]).await;
            answer.assert_error(405, "method not allowed");
            assert_eq!(answer.header("allow"), "GET, HEAD");
        }
    }
    for path in [
        "/",
        "/v1",
        "/api/cathedral",
        "/api/cathedral/nope",
        "/v1/leaderboard/recent//",
    ] {
        app.get(path).await.assert_error(404, "not found");
    }
    app.stop().await;
}

#[actix_web::test]
async fn health_says_that_the_database_answers() {
    let app = App::start(Data::empty()).await;
    for path in ["/health", "/api/cathedral/health"] {
        let answer = app.get(path).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.text(), r#"{"status":"ok","checks":{"db":"ok"}}"#);
    }
    app.stop().await;
}
