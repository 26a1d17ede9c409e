//! Holds the map in the crate's documentation against the `use crate::…` lines.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

type Map = BTreeMap<String, BTreeSet<String>>;

/// The rows of the map: a module and what it says that it imports.
fn documented() -> Map {
    let rows = include_str!("lib.rs").lines().filter_map(|line| {
        let row = line.strip_prefix("//! | `")?;
        let mut cells = row.split(" | ");
        let module = cells.next()?.trim_end_matches('`');
        let imports = cells.nth(1)?.trim_end_matches(" |");
        let imports = imports.split(", ").filter(|import| *import != "-");
        Some((module.to_owned(), imports.map(str::to_owned).collect()))
    });
    rows.collect()
}

/// The modules that a file imports from this crate, unit tests left out.
fn imports_of(text: &str) -> BTreeSet<String> {
    let text = text
        .split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or_default();
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.insert(first_name(rest));
            continue;
        };
        let mut depth = 0;
        let mut is_name_next = true;
        for (at, character) in group.char_indices() {
            match character {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => is_name_next = true,
                character if is_name_next && character.is_alphabetic() => {
                    found.insert(first_name(&group[at..]));
                    is_name_next = false;
                }
                _ => {}
            }
        }
    }
    found
}

fn first_name(text: &str) -> String {
    let is_name = |character: &char| character.is_alphanumeric() || *character == '_';
    text.chars().take_while(is_name).collect()
}

fn add_imports(path: &Path, imports: &mut BTreeSet<String>) -> io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            add_imports(&entry?.path(), imports)?;
        }
    } else if path.file_name().is_some_and(|name| name != "tests.rs") {
        imports.extend(imports_of(&fs::read_to_string(path)?));
    }
    Ok(())
}

fn found() -> io::Result<Map> {
    let mut map = Map::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in fs::read_dir(source)? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default();
        let module = name.to_string_lossy().into_owned();
        if ["lib", "main", "map", "commands", "logging"].contains(&module.as_str())
            || !(path.is_dir() || path.extension().is_some_and(|ending| ending == "rs"))
        {
            continue;
        }
        let mut imports = BTreeSet::new();
        add_imports(&path, &mut imports)?;
        imports.remove(&module);
        map.insert(module, imports);
    }
    Ok(map)
}

#[test]
fn every_module_imports_what_the_map_says_and_no_more() -> io::Result<()> {
    let (documented, found) = (documented(), found()?);
    let names = documented
        .keys()
        .chain(found.keys())
        .collect::<BTreeSet<_>>();
    for module in names {
        assert_eq!(documented.get(module), found.get(module), "{module}");
    }
    Ok(())
}

#[test]
fn imports_are_read_from_paths_and_groups() {
    let text = "use crate::{\n    answer::{A, B},\n    domain::c,\n};\nuse crate::feed::D;";
    let names: Vec<String> = imports_of(text).into_iter().collect();
    assert_eq!(names, ["answer", "domain", "feed"]);
}
