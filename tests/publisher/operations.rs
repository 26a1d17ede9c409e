//! The table of faults in OPERATIONS.md:
//!
//! - every row names a test that proves it, and every test that is named exists

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

#[test]
fn every_row_names_a_test_that_proves_it_and_every_test_that_is_named_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("scripts/deploy/OPERATIONS.md")).unwrap();
    let (_, section) = page.split_once("## What breaks").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let named: BTreeMap<usize, &str> = section
        .lines()
        .filter_map(|line| {
            let (number, name) = line.split_once(". `")?;
            Some((number.parse().ok()?, name.strip_suffix('`')?))
        })
        .collect();
    let mut faults = 0;
    let mut used = BTreeSet::new();
    for row in section
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1)
    {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 5, "{row}");
        assert!(cells.iter().all(|cell| !cell.is_empty()), "{row}");
        for number in cells[4].split(", ") {
            let number: usize = number.parse().unwrap_or_else(|_| panic!("no test: {row}"));
            assert!(
                named.contains_key(&number),
                "there is no test {number}: {row}"
            );
            used.insert(number);
        }
        faults += 1;
    }
    assert!(faults > 15, "{faults}");
    assert!(
        named.keys().eq(&used),
        "a test that no row names: {named:?}"
    );
    for name in named.values() {
        assert!(
            exists(&root.join("tests/publisher"), name),
            "{name} does not exist"
        );
    }
}

/// Whether `FILE::TEST` is a test.
fn exists(tests: &Path, name: &str) -> bool {
    let (file, test) = name.split_once("::").unwrap();
    let files = [
        tests.join(format!("{file}.rs")),
        tests.join(file).join("tests.rs"),
    ];
    let text = files.iter().find_map(|file| fs::read_to_string(file).ok());
    text.is_some_and(|text| {
        let Some((before, _)) = text.split_once(&format!("fn {test}()")) else {
            return false;
        };
        // The attribute stands in one of the lines before.
        before
            .lines()
            .rev()
            .take(3)
            .any(|line| line.ends_with("test]"))
    })
}
