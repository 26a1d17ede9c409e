//! What describes the server is true:
//!
//! - every operation of `/openapi.json` answers, with a status that it names
//! - no public path is missing in it
//! - the dashboard shows metrics that there are
//! - every option of `serve` stands in the README

use std::{collections::BTreeSet, fs, path::Path};

use awc::http::Method;
use cathedral_publisher::config::Cli;
use clap::CommandFactory;
use serde_json::Value;

use crate::app::{App, BOARD, CURRENT, Data, FEED, TOKENS};

async fn description(app: &App) -> Value {
    let answer = app.get("/openapi.json").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "application/json");
    answer.json()
}

#[actix_web::test]
async fn every_operation_answers_with_a_status_that_it_names() {
    let app = App::start(Data::sample()).await;
    let description = description(&app).await;
    let bearer = format!("Bearer {}", TOKENS[0]);
    let mut operations = 0;
    for (path, methods) in description["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            operations += 1;
            let method: Method = method.to_uppercase().parse().unwrap();
            let url = path.replace("{challenge_id}", "x").replace("{epoch}", "1");
            for (headers, body) in [
                (vec![], ""),
                (vec![("authorization", bearer.as_str())], "{}"),
                (
                    vec![("if-none-match", "*"), ("accept-encoding", "*;q=0")],
                    "",
                ),
                (vec![("if-none-match", "*")], ""),
                (vec![("if-match", "\"x\"")], ""),
            ] {
                let body = if method == Method::GET || method == Method::HEAD {
                    ""
                } else {
                    body
                };
                let answer = app
                    .send_body(method.clone(), &url, &headers, body.into())
                    .await;
                let named = &operation["responses"][answer.status.as_str()];
                assert!(
                    named.is_object(),
                    "{method} {path}: {} is not named",
                    answer.status
                );
                let kind = answer.header("content-type").split(';').next().unwrap();
                let content = &named["content"];
                // A HEAD has the head of a GET, and nothing to describe.
                assert!(
                    method == Method::HEAD || kind.is_empty() || content[kind].is_object(),
                    "{method} {path}: {} as {kind}",
                    answer.status
                );
            }
        }
    }
    assert!(operations >= 19, "{operations}");
    app.stop().await;
}

#[actix_web::test]
async fn no_public_path_is_missing() {
    let app = App::start(Data::sample()).await;
    let description = description(&app).await;
    for path in [
        BOARD,
        CURRENT,
        FEED,
        "/health",
        "/health/live",
        "/health/ready",
        "/metrics",
        "/openapi.json",
    ] {
        let methods = description["paths"][path].as_object().unwrap();
        assert_eq!(
            methods.keys().collect::<Vec<_>>(),
            ["get", "head"],
            "{path}"
        );
        assert_ne!(app.get(path).await.status, 404, "{path}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn the_dashboard_shows_metrics_that_there_are() {
    let app = App::start(Data::sample()).await;
    let metrics = app.get("/metrics").await;
    let there: BTreeSet<&str> = metrics
        .text()
        .lines()
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    let dashboard = fs::read_to_string(in_project("scripts/deploy/grafana.json")).unwrap();
    let _: Value = serde_json::from_str(&dashboard).unwrap();
    let names = regex::Regex::new(r"\b(?:publisher|process)_[a-z_0-9]+").unwrap();
    let shown: BTreeSet<&str> = names
        .find_iter(&dashboard)
        .map(|name| name.as_str())
        .collect();
    assert!(shown.len() > 20, "{shown:?}");
    let missing: Vec<&&str> = shown.difference(&there).collect();
    assert!(missing.is_empty(), "{missing:?}");
    app.stop().await;
}

#[test]
fn every_option_of_serve_stands_in_the_readme() {
    let readme = fs::read_to_string(in_project("README.md")).unwrap();
    let cli = Cli::command();
    let serve = cli.find_subcommand("serve").unwrap();
    let options = serve.get_arguments().chain(cli.get_arguments());
    for option in options.filter_map(|option| Some((option.get_long()?, option.get_env()))) {
        let (long, variable) = option;
        let row = format!("| `--{long}` |");
        assert!(readme.contains(&row), "--{long}");
        let variable = variable.unwrap().to_str().unwrap();
        assert!(readme.contains(&format!("`{variable}`")), "{variable}");
    }
}

fn in_project(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
