//! The page for browsers, in a browser:
//!
//! - the board and the feed change while somebody looks, without a reload, and the page says what changed
//! - what other programs wrote is shown as text
//! - the page is legible in both themes, has landmarks, and fits a narrow screen
//! - without the stream of notices the page polls, and goes on by itself after the server was away
//! - a tab in the background asks nothing, and shows the present state when somebody looks again
//! - an address without metrics says so
//! - pictures of the page are written on request

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use cathedral_publisher::demo::sample::Sample;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    app::{BOARD, TOKENS, wait_until},
    browser::Browser,
    client::Connection,
    command_line::{Guard, publisher},
    service::{Service, post, serve},
};

/// Writes challenges over HTTP.
fn put(address: &str, challenges: &[Value]) {
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
fn challenge(id: &str, values: Value) -> Value {
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
fn run(id: &str, miner: &str) -> String {
    run_at(id, miner, jiff::Timestamp::now())
}

fn run_at(id: &str, miner: &str, at: jiff::Timestamp) -> String {
    let version = "eval_output_schema_version";
    let ran_at = at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string();
    json!({ "id": id, "ran_at": ran_at, version: 6, "agent_display_name": miner, "difficulty_tier": 2,
            "weighted_score": 0.5, "task_id_public": "0123456789abcdef" })
    .to_string()
}

/// Returns the text of the first element.
async fn text(browser: &Browser, selector: &str) -> String {
    let script = format!("return document.querySelector({selector:?}).innerText");
    browser.run(&script).await.as_str().unwrap().to_owned()
}

/// Waits until an element contains a text.
async fn shows(browser: &Browser, selector: &str, text: &str) {
    let text = json!(text);
    let shown = format!("document.querySelector({selector:?})?.innerText.includes({text})");
    browser.until(&shown).await;
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
    shows(&browser, "#challenges", "No challenge is active.").await;
    shows(&browser, "#runs", "No eval run in the last 30 days.").await;
    shows(&browser, "#state", "Live").await;
    browser.run("window.isSamePage = true").await;

    put(
        address,
        &[challenge("b", json!({})), challenge("d", json!({}))],
    );
    browser
        .until("document.querySelectorAll('#challenges tr').length === 2")
        .await;
    shows(&browser, "#challenges tr", "new").await;
    shows(&browser, "#count", "2").await;
    // What other programs wrote: text, in its place, and nothing else.
    let hostile = "c <img src=x onerror=alert(1)>";
    let label = json!({ "difficulty_label": "<b>hard</b>", "score_multiplier": 2.5 });
    put(address, &[challenge(hostile, label)]);
    shows(&browser, "#challenges tr:nth-child(2) th", hostile).await;
    shows(&browser, "#challenges tr:nth-child(2)", "<b>hard</b>").await;
    shows(&browser, "#challenges tr:nth-child(2)", "2.5").await;
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
    shows(&browser, "#challenges tr:nth-child(1)", "changed").await;
    shows(&browser, "#challenges tr.gone", "closed").await;
    shows(&browser, "#count", "2").await;
    shows(&browser, "#state", "board changed").await;

    assert!(post(address, &run("1", "first miner")).starts_with("HTTP/1.1 200 "));
    shows(&browser, "#runs tr:nth-child(1)", "first miner").await;
    assert!(post(address, &run("2", "<i>second</i>")).starts_with("HTTP/1.1 200 "));
    shows(&browser, "#runs tr:nth-child(1)", "<i>second</i>").await;
    shows(&browser, "#runs tr:nth-child(2)", "first miner").await;
    // It ran before the others and is committed after them.
    let late = run_at(
        "3",
        "late miner",
        jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1),
    );
    assert!(post(address, &late).starts_with("HTTP/1.1 200 "));
    shows(&browser, "#runs tr:nth-child(3)", "late miner").await;
    shows(&browser, "#runs tr:nth-child(3)", "1\u{a0}h ago").await;

    shows(&browser, "#health", "ready").await;
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

/// Returns the texts whose contrast with what is behind them is less than 4.5 (WCAG 2.2, 1.4.3).
const FAINT: &str = r#"
const channel = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
const parse = (color) => color.match(/[\d.]+/g).map(Number);
const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const behind = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const color = parse(getComputedStyle(at).backgroundColor);
    if (color.length === 3 || color[3] === 1) return color;
  }
  return [255, 255, 255];
};
const isShown = (element) => element.checkVisibility() && element.getClientRects().length > 0;
const hasText = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
return [...document.body.querySelectorAll("*")]
  .filter((element) => element.tagName !== "SCRIPT" && hasText(element) && isShown(element))
  .map((element) => {
    const [a, b] = [parse(getComputedStyle(element).color), behind(element)].map(luminance);
    return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), element.outerHTML.slice(0, 100)];
  })
  .filter(([contrast]) => contrast < 4.5);
"#;

#[actix_web::test]
async fn the_page_is_legible_in_both_themes_has_landmarks_and_fits_a_narrow_screen() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let service = Service::start(serve(&folder.path().join("a.db"), &[]));
    let id = format!("sat-t2-{}", "0123456789abcdef".repeat(8));
    let wide = json!({ "difficulty_label": "x".repeat(300), "kind": "sha256_preimage" });
    put(
        &service.address,
        &[challenge(&id, wide), challenge("b", json!({}))],
    );
    post(&service.address, &run("1", &"5".repeat(60)));
    for theme in ["light", "dark"] {
        for width in [400, 1280] {
            browser.show(width, 900, theme).await;
            let url = format!("http://{}/", service.address);
            browser.client.goto(&url).await.unwrap();
            browser
                .until("document.querySelectorAll('#challenges th').length === 2")
                .await;
            shows(&browser, "#runs", "555").await;
            browser
                .until("/%$/.test(document.querySelector('#share').innerText)")
                .await;
            put(
                &service.address,
                &[challenge(
                    "b",
                    json!({ "score_multiplier": width, "kind": theme }),
                )],
            );
            shows(&browser, "#challenges .mark", "changed").await;
            // The background is not in between any more.
            let settled = "document.getAnimations().length === 0";
            browser.until(settled).await;
            let faint = browser.run(FAINT).await;
            assert_eq!(faint, json!([]), "{theme} {width}");
            let widest = "return document.scrollingElement.scrollWidth";
            assert_eq!(browser.run(widest).await, json!(width), "{theme}");
            let background = "return getComputedStyle(document.documentElement).backgroundColor";
            let background = browser.run(background).await.to_string();
            assert_eq!(
                background.contains("rgb(25"),
                theme == "light",
                "{background}"
            );
        }
    }
    for (selector, count) in [
        ("html[lang=en]", 1),
        ("main", 1),
        ("body > header", 1),
        ("body > footer", 1),
        ("h1", 1),
        ("[role=status]", 1),
        ("table > caption", 2),
        ("thead th:not([scope=col])", 0),
        ("tbody tr > th:not([scope=row])", 0),
        ("section:not([aria-labelledby])", 0),
        ("[style]", 0),
    ] {
        let found = format!("return document.querySelectorAll({selector:?}).length");
        assert_eq!(browser.run(&found).await, json!(count), "{selector}");
    }
    // What scrolls can be reached with the keyboard.
    let stops = "return [...document.querySelectorAll('a[href], [tabindex=\"0\"]')].map(it => it.id || it.textContent)";
    let stops = browser.run(stops).await;
    assert_eq!(stops[0], "Skip to the board");
    assert_eq!(stops[1], "board");
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
    shows(&browser, "#state", "Polling every 5\u{a0}s").await;
    browser.run("window.isSamePage = true").await;
    put(&address, &[challenge("b", json!({}))]);
    post(&address, &run("1", "a miner"));
    shows(&browser, "#challenges tr:nth-child(2)", "new").await;
    shows(&browser, "#runs", "a miner").await;
    assert_eq!(browser.console().await, Vec::<String>::new());

    service.signal("-KILL");
    drop(service);
    shows(&browser, "#state", "Cannot reach the server since").await;
    assert!(
        text(&browser, "#challenges").await.contains('b'),
        "what is known stays"
    );
    let _service = start();
    put(&address, &[challenge("c", json!({}))]);
    shows(&browser, "#challenges tr:nth-child(3)", "new").await;
    shows(&browser, "#state", "Polling").await;
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
    shows(&browser, "#state", "Live").await;
    shows(&browser, "#challenges", "No challenge is active.").await;
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
    shows(&browser, "#challenges", "a").await;
    shows(&browser, "#state", "Live").await;
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
    shows(
        &browser,
        "main",
        "Statistics are not available on this address.",
    )
    .await;
    let main = text(&browser, "main").await;
    assert!(
        !main.contains("Builds of the board") && main.contains("ready"),
        "{main}"
    );
    browser.close().await;
}

#[actix_web::test]
#[ignore = "writes pictures into the folder that PAGE_PICTURES names"]
async fn pictures_of_the_page_are_written_on_request() {
    let folder = PathBuf::from(std::env::var_os("PAGE_PICTURES").unwrap());
    let browser = Browser::start().await.unwrap();
    let mut demo = publisher(&["demo", "--address", "127.0.0.1:0"]);
    demo.env("PUBLISHER_ADMIN_TOKEN", TOKENS[0])
        .stdout(Stdio::piped());
    let mut demo = Guard(demo.spawn().unwrap());
    let mut lines = BufReader::new(demo.0.stdout.take().unwrap()).lines();
    let address = lines.find_map(|line| {
        let line = line.unwrap();
        let (_, address) = line.split_once("Look: http://")?;
        Some(address.trim_end_matches('/').to_owned())
    });
    let address = address.unwrap();
    let mut connection = Connection::open(&address).unwrap();
    for n in 0..4000 {
        let field = match n % 40 {
            0 => "Accept-Encoding: gzip\r\n",
            _ => "If-None-Match: *\r\n",
        };
        connection.request("GET", BOARD, field, b"").unwrap();
    }
    for (width, height) in [(1280, 1150), (400, 1620)] {
        for theme in ["light", "dark"] {
            browser.show(width, height, theme).await;
            browser
                .client
                .goto(&format!("http://{address}/"))
                .await
                .unwrap();
            shows(&browser, "#state", "Live").await;
            browser
                .until("document.querySelectorAll('#runs tr').length > 9")
                .await;
            let (_, board) = connection.request("GET", BOARD, "", b"").unwrap();
            let mut board: Value = serde_json::from_slice(&board).unwrap();
            let mut items = board["items"].take().as_array().unwrap()[..8].to_vec();
            items[1]["status"] = "locked".into();
            items[3]["difficulty_label"] = theme.into();
            items[3]["score_multiplier"] = json!(f64::from(width) / 1000.0);
            items[6]["challenge_id"] =
                format!("{}-{theme}", items[6]["challenge_id"].as_str().unwrap()).into();
            for item in &mut items {
                item.as_object_mut().unwrap().remove("active_cnf_path");
            }
            put(&address, &items);
            shows(&browser, "#challenges", "changed").await;
            tokio::time::sleep(Duration::from_secs(6)).await;
            let picture = browser.client.screenshot().await.unwrap();
            fs::write(folder.join(format!("{width}-{theme}.png")), picture).unwrap();
        }
    }
    browser.close().await;
}
