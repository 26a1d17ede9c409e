//! Everything that goes into the program may be given away under MIT or Apache-2.0, as far as Cargo knows.

use std::process::Command;

/// Each on its own asks for no more than to be named.
const PERMISSIVE: [&str; 14] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Of an SPDX expression: one of each OR, all of each AND. Slashes are an OR of old.
fn is_permissive(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    let every = |part: &str| {
        let mut one_of = part
            .split(" OR ")
            .map(|name| name.trim().trim_matches(['(', ')']));
        one_of.any(|name| PERMISSIVE.contains(&name))
    };
    expression.split(" AND ").all(every)
}

#[test]
fn every_dependency_has_a_permissive_licence() {
    let cargo = env!("CARGO");
    // Of this platform: those of others need not have been downloaded.
    let output = Command::new(cargo)
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
    let is_fine = |line: &&str| is_permissive(line.split_once('\t').unwrap().0);
    // Blank lines separate the trees of the packages.
    let packages = tree.lines().filter(|line| !line.is_empty());
    let others: Vec<&str> = packages.filter(|line| !is_fine(line)).collect();
    assert!(others.is_empty(), "{others:#?}");
    assert!(!is_permissive("GPL-3.0-or-later") && !is_permissive("MIT AND AGPL-3.0"));
}
