//! The page for browsers, in a browser:
//!
//! - the board and the feed change while somebody looks, without a reload, and the page says what changed
//! - what other programs wrote is shown as text
//! - nothing is wrong: no error in the console, contrast of at least 4.5 in both themes, landmarks, nothing beyond the
//!   edge of a narrow screen
//! - without the stream of notices the page polls, and it goes on by itself when the server was away
//! - pictures of the page (on request)

use std::{fs, path::PathBuf, time::Duration};

use awc::http::Method;
use cathedral_publisher::demo::sample::Sample;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    app::{App, BOARD, Data, TOKENS, wait_until},
    browser::Browser,
    client::Connection,
    service::{Service, post, serve},
};

/// Marks in the page that it was not loaded again.
const STAYS: &str = "window.isSamePage = true";

/// Writes a challenge over HTTP: one of the sample with these values.
fn put(address: &str, id: &str, values: Value) {
    let mut item = Vec::new();
    Sample::new(1).challenge(2).write_item(&mut item).unwrap();
    let mut item: Value = serde_json::from_slice(&item).unwrap();
    let given = json!({ "challenge_id": id, "active_cnf_path": null });
    for (name, value) in given.as_object().unwrap().iter().chain(values.as_object().unwrap()) {
        item[name] = value.clone();
    }
    item.as_object_mut().unwrap().remove("active_cnf_path");
    let headers = format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\n", TOKENS[0]);
    let body = json!([item]).to_string();
    let mut connection = Connection::open(address).unwrap();
    let answer = connection.request("POST", "/v1/admin/challenges", &headers, body.as_bytes());
    let (status, body) = answer.unwrap();
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
}
