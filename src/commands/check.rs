//! `check`.

use std::io::{self, Write};

use cathedral_publisher::{
    check::{self, Subject},
    config::Check,
    fetch::{self, Fetcher},
};

use super::verify::public_keys;

/// Prints the table, and fails if a check fails.
pub(crate) fn check(options: &Check) -> anyhow::Result<()> {
    let settings = &options.settings;
    let is_https = fetch::uri(&options.url)?.scheme_str() == Some("https");
    let ca_file = settings.ca_file.as_deref();
    let keys = settings.jwks.as_deref();
    let keys = keys
        .map(|source| public_keys(source, ca_file))
        .transpose()?;
    let subject = Subject {
        url: &options.url,
        fetcher: Fetcher::new("--ca-file", ca_file, is_https)?,
        keys,
    };
    let mut out = io::stdout();
    let mut written = Ok(());
    let report = check::check(subject, settings, &mut |outcome| {
        if !options.json && written.is_ok() {
            written = writeln!(out, "{outcome}").and_then(|()| out.flush());
        }
    })?;
    written?;
    if options.json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        writeln!(out, "{report}")?;
    }
    let failed = report.failed();
    anyhow::ensure!(
        failed.is_empty(),
        "{}: {} of {} checks fail: {}",
        options.url,
        failed.len(),
        report.checks.len(),
        failed.join(", ")
    );
    Ok(())
}
