//! `health`: whether a server is ready, as an exit code and one line. For HEALTHCHECK of container images, which have
//! no other program.

use std::{
    io::{self, Write},
    path::Path,
};

use cathedral_publisher::{
    config::Health,
    fetch::{self, Ask, Fetcher},
};

/// What is asked if the URL has no path.
const READY: &str = "/health/ready";
/// The longest answer that is read; `/health/ready` has a few hundred bytes.
const MAX_BODY_BYTES: u64 = 64 * 1024;
/// How much of the answer an error shows, in characters.
const SHOWN_CHARS: usize = 300;

/// Asks the server. Returns an error, which becomes exit code 1, unless it answers 200 in time.
pub(crate) fn health(options: &Health) -> anyhow::Result<()> {
    let url = match &options.url {
        Some(url) => url.clone(),
        None => options.address.local_url()?,
    };
    let uri = fetch::uri(&url)?;
    let url = match uri.path_and_query().map(|path| path.as_str()) {
        None | Some("" | "/") => format!("{}{READY}", url.trim_end_matches('/')),
        Some(_) => url,
    };
    let ca_file = options.ca_file.as_deref();
    let answer = fetcher(ca_file, uri.scheme_str() == Some("https"))?
        .ask(Ask {
            method: "GET",
            url: &url,
            fields: &[],
            timeout: options.timeout,
            max_body_bytes: MAX_BODY_BYTES,
        })
        .map_err(|error| anyhow::anyhow!("{url}: {error}"))?;
    if answer.status != 200 {
        let body = String::from_utf8_lossy(&answer.body);
        let body: String = body.chars().take(SHOWN_CHARS).collect();
        anyhow::bail!("{url}: {} {}", answer.status, body.trim_end());
    }
    writeln!(io::stdout(), "{url}: 200")?;
    Ok(())
}

fn fetcher(ca_file: Option<&Path>, with_tls: bool) -> anyhow::Result<Fetcher> {
    Ok(Fetcher::new("--ca-file", ca_file, with_tls)?)
}
