//! The alarms of OPERATIONS.md:
//!
//! - every row has a rule and every rule a row, and the rules name existing metrics only
//! - every rule has a test, and promtool says that they pass

use std::{collections::BTreeSet, fs, io::Write as _, path::PathBuf, process::Command};

use regex::Regex;

use crate::app::{App, Data};

fn deploy(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("scripts/deploy")
        .join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(deploy(name)).unwrap()
}

/// Returns the first group of every match.
fn all<'t>(pattern: &str, text: &'t str) -> BTreeSet<&'t str> {
    let pattern = Regex::new(pattern).unwrap();
    let found = pattern.captures_iter(text);
    found.map(|found| found.get(1).unwrap().as_str()).collect()
}

#[actix_web::test]
async fn every_row_has_a_rule_and_every_rule_a_row_and_the_rules_name_existing_metrics_only() {
    let (page, rules) = (read("OPERATIONS.md"), read("alerts.yml"));
    let mut rows = Vec::new();
    for table in page.split("\n| alarm | meaning | what to do |\n").skip(1) {
        rows.extend(
            table
                .lines()
                .skip(1)
                .take_while(|line| line.starts_with("| ")),
        );
    }
    let named = Regex::new(r"^\| `(Publisher[A-Za-z]+)`: ").unwrap();
    let names = rows.iter().map(|row| match named.captures(row) {
        Some(name) => name.get(1).unwrap().as_str(),
        None => panic!("a row without a rule: {row}"),
    });
    let (names, count): (BTreeSet<&str>, usize) = (names.clone().collect(), names.count());
    assert_eq!(names.len(), count, "a rule in two rows");
    assert_eq!(names, all(r"(?m)^ +- alert: (\w+)$", &rules));
    assert!(count > 15, "{count}");
    let app = App::start(Data::sample()).await;
    // A scrape makes the checks of readiness begin, and a later one shows them.
    crate::app::wait_until("readiness", async || {
        app.get("/metrics")
            .await
            .text()
            .contains("publisher_ready{")
    })
    .await;
    let metrics = app.get("/metrics").await;
    let existing = all(r"(?m)^([a-z_]+)[{ ]", metrics.text());
    let metric = r"\b((?:publisher|process)_[a-z_]+)\b";
    for used in all(metric, &rules)
        .into_iter()
        .chain(all(metric, &rows.join("\n")))
    {
        let is_histogram = existing.contains(format!("{used}_bucket").as_str());
        assert!(existing.contains(used) || is_histogram, "{used}");
    }
    // A label that is matched and that no series has would never fire.
    for (label, value) in Regex::new(r#"(route|outcome|kind|access)="([a-z-]+)""#)
        .unwrap()
        .captures_iter(&rules)
        .map(|found| (found[1].to_owned(), found[2].to_owned()))
    {
        let is_there = metrics.text().contains(&format!("{label}=\"{value}\""));
        assert!(is_there || value == "postgresql", "{label}={value}");
    }
    app.stop().await;
}

#[test]
fn every_rule_has_a_test_and_promtool_says_that_they_pass() {
    let (rules, tests) = (read("alerts.yml"), read("alerts_test.yml"));
    let fires = all(r"alertname: (\w+)\n +exp_alerts:", &tests);
    assert_eq!(fires, all(r"(?m)^ +- alert: (\w+)$", &rules));
    let files = [("check", "alerts.yml"), ("test", "alerts_test.yml")];
    for (command, file) in files {
        let promtool = Command::new("promtool")
            .args([command, "rules"])
            .arg(deploy(file))
            .output();
        let Ok(output) = promtool else {
            let skipped = "SKIPPED: promtool is not installed, so no alarm was tested\n";
            std::io::stderr().write_all(skipped.as_bytes()).unwrap();
            return;
        };
        let said = String::from_utf8_lossy(&output.stdout);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}{error}");
    }
}
