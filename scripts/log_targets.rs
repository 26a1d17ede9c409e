//! Writes the names that `--log-level` accepts as targets: the modules of this program, and the crates of `Cargo.lock`.
//! So neither list can be out of date.

use std::{
    env, fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

fn main() -> io::Result<()> {
    for input in ["scripts/log_targets.rs", "src", "Cargo.lock"] {
        writeln!(io::stdout(), "cargo::rerun-if-changed={input}")?;
    }
    let mut modules = Vec::new();
    add_modules(Path::new("src"), "cathedral_publisher", &mut modules)?;
    modules.sort();
    let lock = fs::read_to_string("Cargo.lock")?;
    let names = lock.lines().filter_map(|line| {
        let name = line.strip_prefix("name = \"")?.strip_suffix('"')?;
        Some(name.replace('-', "_"))
    });
    let mut crates: Vec<String> = names.collect();
    crates.sort();
    crates.dedup();
    let out = env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?;
    let text =
        format!("const MODULES: &[&str] = &{modules:?};\nconst CRATES: &[&str] = &{crates:?};\n");
    fs::write(PathBuf::from(out).join("log_targets.rs"), text)
}

/// Adds the module of a folder, and those of the files and folders in it.
fn add_modules(folder: &Path, module: &str, modules: &mut Vec<String>) -> io::Result<()> {
    modules.push(module.to_owned());
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let module = format!("{module}::{name}");
        if path.is_dir() {
            add_modules(&path, &module, modules)?;
        } else if path.extension().is_some_and(|ending| ending == "rs")
            && !["lib", "main", "mod", "tests"].contains(&name.as_ref())
            // A module may have both a file and a folder.
            && !path.with_extension("").is_dir()
        {
            modules.push(module);
        }
    }
    Ok(())
}
