//! `check`.

use std::{
    fs,
    io::{self, Write},
};

use anyhow::Context as _;
use cathedral_publisher::{
    check::{self, Subject},
    config::Check,
    domain::signature::PublicKeys,
    fetch::{self, Fetcher},
};

/// The most bytes of a file with keys.
const MAX_JWKS_BYTES: u64 = 64 * 1024;

/// Prints the table, and fails if a check fails.
pub(crate) fn check(options: &Check) -> anyhow::Result<()> {
    let settings = &options.settings;
    let is_https = fetch::uri(&options.url)?.scheme_str() == Some("https");
    let keys = match &settings.jwks {
        Some(path) => {
            let name = || format!("--jwks {}", path.display());
            let bytes = fs::metadata(path).with_context(name)?.len();
            anyhow::ensure!(
                bytes <= MAX_JWKS_BYTES,
                "{}: more than {MAX_JWKS_BYTES} bytes",
                name()
            );
            let text = fs::read(path).with_context(name)?;
            Some(PublicKeys::from_jwk_set(&text).with_context(name)?)
        }
        None => None,
    };
    let subject = Subject {
        url: &options.url,
        fetcher: Fetcher::new("--ca-file", settings.ca_file.as_deref(), is_https)?,
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
