//! Descriptions of the server agree with its behaviour:
//!
//! - every operation of `/openapi.json` answers with a status that it lists
//! - no public path is missing from `/openapi.json`
//! - the dashboard shows only existing metrics
//! - the page of options is what the command line accepts
//! - links of the documentation lead to files

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use awc::http::Method;
use cathedral_publisher::config::Cli;
use clap::Arg;
use serde_json::Value;

use crate::{
    app::{App, BOARD, CURRENT, Data, FEED, TOKENS},
    events::EVENTS,
    keys::JWKS,
    waiting::CHANGES,
};

const OPTIONS_HEAD: &str = "\
# Options of `serve` and `demo`

This page is generated from the definition of the command line: `UPDATE_OPTIONS=1 cargo test --test publisher
description` rewrites it, and `cargo test` fails if it is out of date. `serve --help` has the same texts.

Each option can also be given by its environment variable. If both are given, the command line wins. An empty
variable counts as unset. For an option that takes no value, the variable is 1, yes, on or true, or 0, no, off or false,
in any case.
";

async fn description(app: &App) -> Value {
    let answer = app.get("/openapi.json").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "application/json");
    answer.json()
}

#[actix_web::test]
async fn every_operation_answers_with_a_status_that_it_lists() {
    let app = App::start(Data::sample()).await;
    let description = description(&app).await;
    let bearer = format!("Bearer {}", TOKENS[0]);
    let mut operations = 0;
    for (path, methods) in description["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            operations += 1;
            let method: Method = method.to_uppercase().parse().unwrap();
            if path == EVENTS && method == Method::GET {
                // Endless: see `events`.
                continue;
            }
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
                (vec![("accept", "text/html")], ""),
            ] {
                let body = if method == Method::GET || method == Method::HEAD {
                    ""
                } else {
                    body
                };
                let answer = app
                    .send_body(method.clone(), &url, &headers, body.into())
                    .await;
                let listed = &operation["responses"][answer.status.as_str()];
                assert!(
                    listed.is_object(),
                    "{method} {path}: {} is not listed",
                    answer.status
                );
                let kind = answer.header("content-type").split(';').next().unwrap();
                let content = &listed["content"];
                // An answer to HEAD has the header fields of GET but no content.
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
async fn no_public_path_is_missing_from_openapi_json() {
    let app = App::start(Data::sample()).await;
    let description = description(&app).await;
    for path in [
        BOARD,
        CHANGES,
        CURRENT,
        FEED,
        EVENTS,
        JWKS,
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
        let head = app.send(Method::HEAD, path, &[]).await;
        assert_ne!(head.status, 404, "{path}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn the_dashboard_shows_only_existing_metrics() {
    let app = App::start(Data::sample()).await;
    let metrics = app.get("/metrics").await;
    let existing: BTreeSet<&str> = metrics
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
    let missing: Vec<&&str> = shown.difference(&existing).collect();
    assert!(missing.is_empty(), "{missing:?}");
    app.stop().await;
}

#[test]
fn the_page_of_options_is_what_the_command_line_accepts() {
    let page = options_page();
    let path = in_project("scripts/deploy/OPTIONS.md");
    if std::env::var_os("UPDATE_OPTIONS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap();
    assert!(
        written == page,
        "scripts/deploy/OPTIONS.md is out of date; to rewrite it, run: \
         UPDATE_OPTIONS=1 cargo test --test publisher description"
    );
}

/// Renders the page: the options of `serve` by heading, then how `demo` differs.
fn options_page() -> String {
    let mut cli = Cli::definition();
    // Passes the global options on to the subcommands.
    cli.build();
    let options = |subcommand: &str| {
        let subcommand = cli.find_subcommand(subcommand).unwrap();
        let options = subcommand
            .get_arguments()
            .filter(|it| it.get_env().is_some());
        options.cloned().collect::<Vec<Arg>>()
    };
    let (serve, demo) = (options("serve"), options("demo"));
    let mut page = String::from(OPTIONS_HEAD);
    let mut headings: Vec<Option<&str>> = serve.iter().map(Arg::get_help_heading).collect();
    headings.sort_unstable();
    headings.dedup();
    for heading in headings {
        let under = serve.iter().filter(|it| it.get_help_heading() == heading);
        table(&mut page, heading.unwrap_or("General"), under);
    }
    let rows: BTreeSet<String> = serve.iter().map(row).collect();
    let has_name =
        |options: &[Arg], option: &Arg| options.iter().any(|it| it.get_long() == option.get_long());
    let own = demo.iter().filter(|it| !rows.contains(&row(it)));
    table(&mut page, "Only in `demo`", own);
    let missing = serve.iter().filter(|it| !has_name(&demo, it));
    let missing: Vec<String> = missing.map(name).collect();
    writeln!(
        page,
        "\n`demo` has all other options of `serve` except {}.",
        missing.join(", ")
    )
    .unwrap();
    page
}

fn table<'a>(page: &mut String, title: &str, options: impl Iterator<Item = &'a Arg>) {
    write!(
        page,
        "\n## {title}\n\n| option | variable | default | |\n|---|---|---|---|\n"
    )
    .unwrap();
    page.extend(options.map(row));
}

fn row(option: &Arg) -> String {
    let text = option.get_help().unwrap().to_string().replace('|', "\\|");
    // A default that is not a value is in the text.
    let in_text = regex::Regex::new(r" \[default: ([^]]*)\]").unwrap();
    let defaults = option.get_default_values().first();
    let default = match (defaults, in_text.captures(&text)) {
        (Some(value), _) if option.get_action().takes_values() => {
            format!("`{}`", value.to_str().unwrap())
        }
        (None, Some(described)) => described[1].to_owned(),
        (_, None) if !option.get_action().takes_values() => "off".to_owned(),
        _ => "none".to_owned(),
    };
    let mut text = in_text.replace(&text, "").trim_end_matches('.').to_owned() + ".";
    let values = option.get_possible_values();
    if option.get_action().takes_values() && !values.is_empty() {
        let values = values.iter().map(|value| format!("`{}`", value.get_name()));
        write!(text, " Values: {}.", values.collect::<Vec<_>>().join(", ")).unwrap();
    }
    let variable = option.get_env().unwrap().to_str().unwrap();
    format!("| {} | `{variable}` | {default} | {text} |\n", name(option))
}

fn name(option: &Arg) -> String {
    format!("`--{}`", option.get_long().unwrap())
}

#[test]
fn links_of_the_documentation_lead_to_files() {
    let link = regex::Regex::new(r"\]\(([^):#]+)\)").unwrap();
    let mut links = 0;
    for page in [
        "README.md",
        ".github/CHANGELOG.md",
        ".github/CONTRIBUTING.md",
        ".github/SECURITY.md",
        "scripts/BENCHMARKS.md",
        "scripts/deploy/OPERATIONS.md",
        "scripts/herd/README.md",
        "src/http/WIRE.md",
    ] {
        let path = in_project(page);
        let text = fs::read_to_string(&path).unwrap();
        for found in link.captures_iter(&text) {
            let target = path.parent().unwrap().join(&found[1]);
            assert!(target.exists(), "{page}: {}", &found[1]);
            links += 1;
        }
    }
    assert!(links > 8, "{links}");
}

/// Returns the absolute path of a file of this repository.
fn in_project(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
