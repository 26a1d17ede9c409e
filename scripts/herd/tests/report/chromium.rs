//! Opens reports in Chromium at several widths, light and dark, and measures whether they are legible.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

const CHROMIUM: &str = "/usr/bin/chromium";
const MEASURE: &str = include_str!("measure.js");

/// Returns what is wrong with the documents of a folder. If Chromium is not installed, prints SKIPPED and returns `None`.
pub fn measure(folder: &Path) -> Option<Vec<String>> {
    if !Path::new(CHROMIUM).exists() {
        // Not eprintln!: the test harness hides its output if the test passes.
        let skipped = format!("SKIPPED: {CHROMIUM} is missing, so no report was opened\n");
        std::io::stderr().write_all(skipped.as_bytes()).unwrap();
        return None;
    }
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let names = serde_json::to_string(&names).unwrap();
    let page = format!(
        "<!doctype html><meta charset=utf-8><body><script>const names = {names};\n{MEASURE}</script>"
    );
    let wrapper = folder.join("measure.html");
    fs::write(&wrapper, page).unwrap();
    let mut faults = Vec::new();
    // Values of Blink's enumeration of colour schemes.
    for (theme, scheme) in [("dark", 0), ("light", 1)] {
        let profile = folder.join(format!("profile-{theme}"));
        let output = Command::new(CHROMIUM)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--disable-dev-shm-usage",
                "--hide-scrollbars",
                "--allow-file-access-from-files",
                "--window-size=2000,1200",
                "--virtual-time-budget=60000",
                "--dump-dom",
            ])
            .arg(format!("--blink-settings=preferredColorScheme={scheme}"))
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(format!("file://{}", wrapper.display()))
            .stderr(Stdio::null())
            .output()
            .unwrap();
        let page = String::from_utf8(output.stdout).unwrap();
        let found = page
            .split_once("<pre id=\"faults\">")
            .and_then(|(_, rest)| rest.split_once("</pre>"));
        let (found, _) = found.unwrap_or_else(|| panic!("no measurements: {page}"));
        faults.extend(found.lines().map(|fault| format!("{theme}: {fault}")));
    }
    Some(faults)
}
