//! The page for browsers, in a browser:
//!
//! - the board and the feed change while somebody looks, without a reload, and the page says what changed
//! - what other programs wrote is shown as text
//! - without the stream of notices the page polls, and goes on by itself after the server was away
//! - a tab in the background asks nothing, and shows the present state when somebody looks again
//! - an address without metrics says so

use std::{net::TcpListener, time::Duration};

use cathedral_publisher::demo::sample::Sample;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    app::{TOKENS, wait_until},
    browser::Browser,
    client::Connection,
    process::{Service, post, publisher, serve},
};

/// Writes challenges over HTTP.
pub fn put(address: &str, challenges: &[Value]) {
    let headers = format!(
        "Authorization: Bearer {}\r\nContent-Type: application/json\r\n",
        TOKENS[0]
    );
    let body = json!(challenges).to_string();
    let mut connection = Connection::open(address).unwrap();
    let answer = connection.request("POST", "/v1/admin/challenges", &headers, body.as_bytes());
    let (status, body) = answer.unwrap();
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
}

/// A challenge of the sample, with another id and these values.
pub fn challenge(id: &str, values: Value) -> Value {
    let mut item = Vec::new();
    let sample = Sample::new(1).challenge(2);
    sample.write_item(&mut item).unwrap();
    let mut item: Value = serde_json::from_slice(&item).unwrap();
    item.as_object_mut().unwrap().remove("active_cnf_path");
    item["challenge_id"] = id.into();
    for (name, value) in values.as_object().unwrap() {
        item[name] = value.clone();
    }
    item
}

/// An eval run that ran now.
pub fn run(id: &str, miner: &str) -> String {
    run_at(id, miner, jiff::Timestamp::now())
}

fn run_at(id: &str, miner: &str, at: jiff::Timestamp) -> String {
    let version = "eval_output_schema_version";
    let ran_at = at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string();
    json!({ "id": id, "ran_at": ran_at, version: 6, "agent_display_name": miner, "difficulty_tier": 2,
            "weighted_score": 0.5, "task_id_public": "0123456789abcdef" })
    .to_string()
}

#[actix_web::test]
async fn board_and_feed_change_while_somebody_looks_and_the_page_says_what_changed() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let service = Service::start(serve(&folder.path().join("a.db"), &[]));
    let address = &service.address;
    browser
        .client
        .goto(&format!("http://{address}/"))
        .await
        .unwrap();
    browser
        .shows("#challenges", "No challenge is active.")
        .await;
    browser
        .shows("#runs", "No eval run in the last 30 days.")
        .await;
    browser.shows("#state", "Live").await;
    browser.run("window.isSamePage = true").await;

    put(
        address,
        &[challenge("b", json!({})), challenge("d", json!({}))],
    );
    browser
        .until("document.querySelectorAll('#challenges tr').length === 2")
        .await;
    browser.shows("#challenges tr", "new").await;
    browser.shows("#count", "2").await;
    // What other programs wrote: text, in its place, and nothing else.
    let hostile = "c <img src=x onerror=alert(1)>";
    let label = json!({ "difficulty_label": "<b>hard</b>", "score_multiplier": 2.5 });
    put(address, &[challenge(hostile, label)]);
    browser
        .shows("#challenges tr:nth-child(2) th", hostile)
        .await;
    browser
        .shows("#challenges tr:nth-child(2)", "<b>hard</b>")
        .await;
    browser.shows("#challenges tr:nth-child(2)", "2.5").await;
    assert_eq!(
        browser
            .run("return document.querySelector('main img, main b')")
            .await,
        Value::Null
    );

    put(
        address,
        &[
            challenge("b", json!({ "score_multiplier": 3.0 })),
            challenge("d", json!({ "status": "locked" })),
        ],
    );
    browser
        .shows("#challenges tr:nth-child(1)", "changed")
        .await;
    browser.shows("#challenges tr.gone", "closed").await;
    browser.shows("#count", "2").await;
    browser.shows("#state", "board changed").await;

    assert!(post(address, &run("1", "first miner")).starts_with("HTTP/1.1 200 "));
    browser.shows("#runs tr:nth-child(1)", "first miner").await;
    assert!(post(address, &run("2", "<i>second</i>")).starts_with("HTTP/1.1 200 "));
    browser
        .shows("#runs tr:nth-child(1)", "<i>second</i>")
        .await;
    browser.shows("#runs tr:nth-child(2)", "first miner").await;
    // It ran before the others and is committed after them.
    let late = run_at(
        "3",
        "late miner",
        jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1),
    );
    assert!(post(address, &late).starts_with("HTTP/1.1 200 "));
    browser.shows("#runs tr:nth-child(3)", "late miner").await;
    browser.shows("#runs tr:nth-child(3)", "1\u{a0}h ago").await;

    browser.shows("#health", "ready").await;
    browser
        .until("/^\\d+$/.test(document.querySelector('#builds').innerText)")
        .await;
    browser
        .until("/%$/.test(document.querySelector('#share').innerText)")
        .await;
    // The closed challenge goes, after it was seen.
    browser
        .until("document.querySelectorAll('#challenges tr').length === 2")
        .await;
    assert_eq!(browser.run("return window.isSamePage").await, json!(true));
    assert_eq!(browser.console().await, Vec::<String>::new());
    browser.close().await;
}

#[actix_web::test]
async fn without_notices_the_page_polls_and_goes_on_by_itself_after_the_server_was_away() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let database = folder.path().join("a.db");
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let start = || {
        let mut command = publisher(&["serve", "--address", &address, "--database"]);
        command
            .arg(&database)
            .env("PUBLISHER_ADMIN_TOKEN", TOKENS[0]);
        Service::start(command)
    };
    let service = start();
    put(&address, &[challenge("a", json!({}))]);
    let script = json!({ "source": "delete window.EventSource" });
    browser
        .devtools("Page.addScriptToEvaluateOnNewDocument", script)
        .await;
    browser
        .client
        .goto(&format!("http://{address}/"))
        .await
        .unwrap();
    browser.shows("#state", "Polling every 5\u{a0}s").await;
    browser.run("window.isSamePage = true").await;
    put(&address, &[challenge("b", json!({}))]);
    post(&address, &run("1", "a miner"));
    browser.shows("#challenges tr:nth-child(2)", "new").await;
    browser.shows("#runs", "a miner").await;
    assert_eq!(browser.console().await, Vec::<String>::new());

    service.signal("-KILL");
    drop(service);
    browser
        .shows("#state", "Cannot reach the server since")
        .await;
    assert!(
        browser.text("#challenges").await.contains('b'),
        "what is known stays"
    );
    let _service = start();
    put(&address, &[challenge("c", json!({}))]);
    browser.shows("#challenges tr:nth-child(3)", "new").await;
    browser.shows("#state", "Polling").await;
    assert_eq!(browser.run("return window.isSamePage").await, json!(true));
    browser.close().await;
}

#[actix_web::test]
async fn a_tab_in_the_background_asks_nothing_and_shows_the_present_state_afterwards() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let service = Service::start(serve(&folder.path().join("a.db"), &[]));
    let address = &service.address;
    let url = format!("http://{address}/");
    browser.client.goto(&url).await.unwrap();
    browser.shows("#state", "Live").await;
    browser
        .shows("#challenges", "No challenge is active.")
        .await;
    let page = browser.client.window().await.unwrap();
    let other = browser.client.new_window(true).await.unwrap();
    browser.client.switch_to_window(other.handle).await.unwrap();
    wait_until("no stream", async || {
        metrics(address, "publisher_waiters") == ["0"]
    })
    .await;
    let asked = || {
        metrics(
            address,
            "publisher_http_requests_total{route=\"active-challenges\"",
        )
    };
    let before = asked();
    put(address, &[challenge("a", json!({}))]);
    // Longer than the pause between two notices.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(asked(), before);
    browser.client.switch_to_window(page).await.unwrap();
    browser.shows("#challenges", "a").await;
    browser.shows("#state", "Live").await;
    browser.close().await;
}

/// Returns the values of the metrics whose names and labels begin with this.
fn metrics(address: &str, name: &str) -> Vec<String> {
    let mut connection = Connection::open(address).unwrap();
    let (_, text) = connection.request("GET", "/metrics", "", b"").unwrap();
    let text = String::from_utf8(text).unwrap();
    let lines = text.lines().filter(|line| line.starts_with(name));
    lines
        .map(|line| line.rsplit(' ').next().unwrap().to_owned())
        .collect()
}

#[actix_web::test]
async fn an_address_without_metrics_says_so() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let options = ["--page", "on", "--admin-address", "127.0.0.1:0"];
    let service = Service::start(serve(&folder.path().join("a.db"), &options));
    browser
        .client
        .goto(&format!("http://{}/", service.address))
        .await
        .unwrap();
    browser
        .shows("main", "Statistics are not available on this address.")
        .await;
    let main = browser.text("main").await;
    assert!(
        !main.contains("Builds of the board") && main.contains("ready"),
        "{main}"
    );
    browser.close().await;
}
