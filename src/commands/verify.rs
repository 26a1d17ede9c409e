//! `verify`.

use std::{
    fs::File,
    io::{self, BufReader, Read, Write},
    path::Path,
    time::Duration,
};

use anyhow::Context as _;
use cathedral_publisher::{
    config::{Verifiable, Verify},
    domain::{jwk_set::MAX_JWK_SET_BYTES, signature::PublicKeys},
    fetch::{Ask, Fetcher},
    import_export::verify::verify,
    keys::JwkSet,
};

use crate::logging;

/// How long a server may take to send its JWK set.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn verify_file(options: &Verify) -> anyhow::Result<()> {
    let Verifiable::Rows = options.content;
    let keys = public_keys(&options.jwks, options.ca_file.as_deref())?;
    let name = options.file.display();
    let source: Box<dyn Read> = if options.file == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(&options.file).with_context(|| name.to_string())?)
    };
    let source = BufReader::with_capacity(64 * 1024, source);
    let verified = verify(&keys, source, |row, error| {
        let line = logging::escaped(&format!("{row}: {error}"));
        // If nobody reads stderr, the counts and the exit code still say it.
        let _ = writeln!(io::stderr(), "{line}");
    });
    let verified = verified.with_context(|| name.to_string())?;
    let (valid, invalid) = (verified.valid, verified.invalid);
    writeln!(io::stdout(), "{valid} valid, {invalid} invalid")?;
    // What fetched the page may have asked for the wrong rows: nothing verified is no success.
    anyhow::ensure!(
        valid + invalid > 0,
        "{name}: there are no eval runs, so nothing was verified"
    );
    anyhow::ensure!(
        invalid == 0,
        "{name}: {invalid} of {} eval runs are invalid",
        valid + invalid
    );
    Ok(())
}

/// Reads a JWK set from a file or, given a URL, from a server.
pub(crate) fn public_keys(source: &str, ca_file: Option<&Path>) -> anyhow::Result<PublicKeys> {
    let is_tls = source.starts_with("https://");
    if !is_tls && !source.starts_with("http://") {
        return Ok(JwkSet::read_any(Path::new(source))?.keys);
    }
    let fetcher = Fetcher::new("--ca-file", ca_file, is_tls)?;
    let fetched = fetcher.ask(Ask {
        method: "GET",
        url: source,
        fields: &[],
        timeout: FETCH_TIMEOUT,
        max_body_bytes: MAX_JWK_SET_BYTES as u64,
    });
    let fetched = fetched.with_context(|| source.to_owned())?;
    let status = fetched.status;
    anyhow::ensure!(status == 200, "{source}: the server answered {status}");
    PublicKeys::from_jwk_set(&fetched.body).with_context(|| format!("the JWK set {source}"))
}
