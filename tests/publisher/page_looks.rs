//! What the page for browsers looks like, in a browser:
//!
//! - it is legible in both themes, has landmarks, and fits a narrow screen
//! - pictures of it are written on request

use std::{
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    app::{BOARD, TOKENS},
    browser::Browser,
    client::Connection,
    page_live::{challenge, put, run},
    process::{Guard, publisher},
    process::{Service, post, serve},
};

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
async fn it_is_legible_in_both_themes_has_landmarks_and_fits_a_narrow_screen() {
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
            browser.shows("#runs", "555").await;
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
            browser.shows("#challenges .mark", "changed").await;
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
#[ignore = "writes pictures into the folder that PAGE_PICTURES names"]
async fn pictures_of_it_are_written_on_request() {
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
            browser.shows("#state", "Live").await;
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
            browser.shows("#challenges", "changed").await;
            tokio::time::sleep(Duration::from_secs(6)).await;
            let picture = browser.client.screenshot().await.unwrap();
            fs::write(folder.join(format!("{width}-{theme}.png")), picture).unwrap();
        }
    }
    browser.close().await;
}
