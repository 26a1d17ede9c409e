//! Licences and sources of all dependencies, for machines without cargo-deny (`.cargo/deny.toml`):
//!
//! - every dependency has a permissive licence
//! - every dependency comes from crates.io

use std::{path::Path, process::Command};

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Returns the licences that `.cargo/deny.toml` allows.
fn allowed() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cargo/deny.toml");
    let config = std::fs::read_to_string(path).unwrap();
    let list = config.split("allow = [").nth(1).unwrap();
    let list = list.split(']').next().unwrap();
    // Every second piece between quotation marks is a name.
    list.split('"')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// Returns whether allowed licences satisfy an SPDX expression: one operand of each OR, all operands of each AND. A
/// slash is the older form of OR.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let expression = expression.replace('/', " OR ");
    let one_of = |part: &str| {
        let mut names = part
            .split(" OR ")
            .map(|name| name.trim().trim_matches(['(', ')']));
        names.any(|name| allowed.iter().any(|allowed| allowed == name))
    };
    expression.split(" AND ").all(one_of)
}

#[test]
fn every_dependency_has_a_permissive_licence() {
    let allowed = allowed();
    assert!(allowed.len() > 5, "{allowed:?}");
    // For this platform only: dependencies of other platforms need not be downloaded.
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--workspace", "--offline", "--locked"])
        .args(["--prefix", "none"])
        .args(["--edges", "normal,build", "--format", "{l}\t{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let tree = String::from_utf8(output.stdout).unwrap();
    assert!(tree.lines().count() > 100, "{tree}");
    let has_allowed = |line: &&str| is_allowed(line.split_once('\t').unwrap().0, &allowed);
    // Blank lines separate the trees of the packages.
    let packages = tree.lines().filter(|line| !line.is_empty());
    let others: Vec<&str> = packages.filter(|line| !has_allowed(line)).collect();
    assert!(others.is_empty(), "{others:#?}");
    assert!(!is_allowed("GPL-3.0-or-later", &allowed));
    assert!(!is_allowed("MIT AND AGPL-3.0", &allowed));
}

#[test]
fn every_dependency_comes_from_crates_io() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock");
    let lock = std::fs::read_to_string(path).unwrap();
    let sources = lock
        .lines()
        .filter_map(|line| line.strip_prefix("source = "));
    let sources: Vec<&str> = sources.map(|source| source.trim_matches('"')).collect();
    assert!(sources.len() > 100, "{sources:?}");
    let others: Vec<_> = sources.iter().filter(|it| **it != CRATES_IO).collect();
    assert!(others.is_empty(), "{others:?}");
}
