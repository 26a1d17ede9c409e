//! WIRE.md, leaderboard/recent:
//!
//! - the saved production page of 50 rows comes back byte for byte, and all 50 signatures verify
//! - the tuple cursor and the legacy cursor differ within a millisecond
//! - a time is accepted in every notation of the contract
//! - a pull over all pages returns every row once, however many share a millisecond
//! - invalid limits and missing cursors get their errors
//! - rows below schema version 5 are not published
//! - a row is served with exactly its stored bytes

use std::{collections::BTreeSet, fs};

use cathedral_publisher::{
    config::Kind, domain::signature::PublicKeys, store::operation::Operation,
};
use serde_json::{Value, value::RawValue};

use crate::app::{App, Data, FEED, live_answer};

fn ids(page: &Value) -> Vec<&str> {
    let items = page["items"].as_array().unwrap();
    items
        .iter()
        .map(|row| row["id"].as_str().unwrap())
        .collect()
}

#[actix_web::test]
async fn the_saved_production_page_comes_back_byte_for_byte_and_its_signatures_verify() {
    let (Some(rows), Some(keys)) = (live_answer("rows.json"), live_answer("jwks.json")) else {
        return;
    };
    let rows = fs::read(rows).unwrap();
    let data = Data::empty();
    data.import(Kind::Rows, &rows[..]);
    let app = App::start(data).await;
    for cursor in [
        "since_ran_at=2026-06-07T00:00:01.765Z",
        "since=2026-06-07T00%3A00%3A01.765999%2B00:00",
    ] {
        let page = app.get(&format!("{FEED}?{cursor}&limit=50")).await;
        assert_eq!(page.status, 200);
        assert!(page.body == rows, "{cursor}");
    }

    let keys = PublicKeys::from_jwk_set(&fs::read(keys).unwrap()).unwrap();
    let served = app.get(&format!("{FEED}?since=2026-01-01T00:00:00Z")).await;
    let served = rows_of(&served.body);
    assert_eq!(served.len(), 50);
    assert_eq!(keys.verify_all(served), []);
    app.stop().await;
}

/// Returns the eval runs of a page, to the byte.
pub fn rows_of(page: &[u8]) -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct Page {
        items: Vec<Box<RawValue>>,
    }
    let page: Page = serde_json::from_slice(page).unwrap();
    let rows = page.items.iter().map(|row| row.get().to_owned());
    rows.collect()
}

#[actix_web::test]
async fn the_tuple_cursor_and_the_legacy_cursor_differ_within_a_millisecond() {
    let data = Data::empty();
    for (id, at) in [
        ("a", "01.000Z"),
        ("b", "01.000Z"),
        ("c", "01.000Z"),
        ("d", "01.001Z"),
    ] {
        data.run(id, &format!("2026-06-07T00:00:{at}"), 5);
    }
    let app = App::start(data).await;
    let t = "2026-06-07T00:00:01Z";
    for (query, expected) in [
        (format!("since_ran_at={t}"), &["a", "b", "c", "d"][..]),
        (format!("since_ran_at={t}&since_id="), &["a", "b", "c", "d"]),
        (format!("since_ran_at={t}&since_id=b"), &["c", "d"]),
        (format!("since={t}"), &["d"]),
        (format!("since={t}&since_id="), &["a", "b", "c", "d"]),
        (format!("since={t}&since_id=a"), &["b", "c", "d"]),
        (
            format!("since_ran_at={t}&since=2030-01-01T00:00:00Z"),
            &["a", "b", "c", "d"],
        ),
        ("since=9999-12-31T23:59:59.999Z".to_owned(), &[]),
        (
            "since=0000-01-01T00:00:00Z".to_owned(),
            &["a", "b", "c", "d"],
        ),
    ] {
        let page = app.get(&format!("{FEED}?{query}")).await;
        assert_eq!(ids(&page.json()), expected, "{query}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_time_is_accepted_in_every_notation_of_the_contract() {
    let data = Data::empty();
    data.run("before", "2026-06-07T00:00:01.765Z", 5);
    data.run("at", "2026-06-07T02:00:01.766+02:00", 5);
    data.run("after", "2026-06-07T00:00:01.767", 5);
    let app = App::start(data).await;
    for time in [
        "2026-06-07T00:00:01.766Z",
        "2026-06-07T00:00:01.766%2B00:00",
        "2026-06-07T00:00:01.766+00:00",
        "2026-06-07T05:30:01.766+05:30",
        "2026-06-06T19:00:01.766-05:00",
        "2026-06-07T00:00:01.766999Z",
        "2026-06-07T00:00:01.766",
        "2026-06-07%2000:00:01.766",
        "2026-06-07+00:00:01.766+00:00",
    ] {
        let page = app.get(&format!("{FEED}?since={time}")).await;
        assert_eq!(page.status, 200, "{time}");
        assert_eq!(ids(&page.json()), ["after"], "{time}");
    }
    for time in ["2026-06-07T00:00:01", "2026-06-07T00:00:01Z", "2026-06-07"] {
        let page = app.get(&format!("{FEED}?since={time}")).await;
        assert_eq!(ids(&page.json()), ["before", "at", "after"], "{time}");
    }
    for time in [
        "",
        "yesterday",
        "1718000000",
        "2026-13-01T00:00:00Z",
        "2026-06-07T25:00:00Z",
        "2026-06-07T00:00:00Z[UTC]",
        "-000001-01-01T00:00:00Z",
        "%00",
        "%ff",
    ] {
        for name in ["since", "since_ran_at"] {
            let answer = app.get(&format!("{FEED}?{name}={time}")).await;
            answer.assert_error(400, "since / since_ran_at must be ISO-8601");
        }
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_pull_over_all_pages_returns_every_row_once() {
    let data = Data::empty();
    data.sample_runs(257, "2026-06-07T00:00:01.766Z");
    data.run("later", "2026-06-07T00:00:01.767Z", 6);
    data.commit(&[Operation::PutMerkleEpoch {
        epoch: 41,
        body: "{}".to_owned(),
    }]);
    let app = App::start(data).await;
    for limit in [1, 7, 86, 258, 1000] {
        let mut seen = BTreeSet::new();
        let mut cursor = "since_ran_at=2020-01-01T00:00:00Z".to_owned();
        loop {
            let page = app
                .get(&format!("{FEED}?{cursor}&limit={limit}"))
                .await
                .json();
            let count = ids(&page).len();
            for id in ids(&page) {
                assert!(seen.insert(id.to_owned()), "{id} was returned twice");
            }
            assert_eq!(page["merkle_epoch_latest"], 41);
            if count < limit {
                for key in ["next_since", "next_since_ran_at", "next_since_id"] {
                    assert_eq!(page[key], Value::Null);
                }
                break;
            }
            assert_eq!(page["next_since"], page["next_since_ran_at"]);
            assert_eq!(page["next_since_id"], *ids(&page).last().unwrap());
            cursor = format!(
                "since_ran_at={}&since_id={}",
                page["next_since_ran_at"].as_str().unwrap(),
                page["next_since_id"].as_str().unwrap()
            );
        }
        assert_eq!(seen.len(), 258);
    }
    app.stop().await;
}

#[actix_web::test]
async fn invalid_limits_and_missing_cursors_get_their_errors() {
    let data = Data::empty();
    data.sample_runs(201, "2026-06-07T00:00:00Z");
    let app = App::start(data).await;
    let since = "since=2020-01-01T00:00:00Z";
    let page = app.get(&format!("{FEED}?{since}")).await;
    assert_eq!(ids(&page.json()).len(), 200, "the default limit");
    for limit in ["0", "1001", "-1", "1.5", "ten", "", "%2B5", "99999999999"] {
        for query in [format!("{since}&limit={limit}"), format!("limit={limit}")] {
            let answer = app.get(&format!("{FEED}?{query}")).await;
            answer.assert_error(422, "limit must be an integer from 1 to 1000");
        }
    }
    for query in ["", "?limit=5", "?since_id=a", "?_=17"] {
        let answer = app.get(&format!("{FEED}{query}")).await;
        answer.assert_error(
            400,
            "missing cursor: pass since_ran_at (v1.1.0) or since (v1.0.x)",
        );
    }
    app.stop().await;
}

#[actix_web::test]
async fn rows_below_schema_version_5_are_not_published() {
    let data = Data::empty();
    data.run("four", "2026-06-07T00:00:00Z", 4);
    data.run("five", "2026-06-07T00:00:00Z", 5);
    data.run("seven", "2026-06-07T00:00:00Z", 7);
    let app = App::start(data).await;
    let page = app.get(&format!("{FEED}?since=2020-01-01T00:00:00Z")).await;
    assert_eq!(ids(&page.json()), ["five", "seven"]);
    app.stop().await;
}

#[actix_web::test]
async fn a_row_is_served_with_exactly_its_stored_bytes() {
    let row = r#"{"z":1.0, "a":1e2,"id":"x","unknown":{"deep":[1.50,"\u00e9é"]},"ran_at":"2026-06-07T00:00:00.123456+00:00","eval_output_schema_version":5,"big":123456789012345678901234567890}"#;
    let data = Data::empty();
    data.import(Kind::Rows, row.as_bytes());
    let app = App::start(data).await;
    let page = app
        .get(&format!("{FEED}?since=2020-01-01T00:00:00Z&limit=1"))
        .await;
    assert_eq!(
        page.text(),
        format!(
            r#"{{"items":[{row}],"next_since":"2026-06-07T00:00:00.123Z","next_since_ran_at":"2026-06-07T00:00:00.123Z","next_since_id":"x","merkle_epoch_latest":null}}"#
        )
    );
    app.stop().await;
}
