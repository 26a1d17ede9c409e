//! `demo` and `sample`.

use std::{
    fs,
    io::{self, Write},
    path::Path,
    thread,
};

use anyhow::Context as _;
use cathedral_publisher::{
    config::{Demo, Sample, SampleKind},
    demo::{key, sample, simulation},
    keys::JwkSet,
    metrics::DroppedLines,
    server::{Inherited, Signals},
    store::{
        Store,
        sqlite::{SqliteStore, kept_open::KeptOpen},
    },
};

use super::serve::{admin_tokens, listen, parts};

pub(crate) fn demo(mut options: Demo, dropped: DroppedLines) -> anyhow::Result<()> {
    let inherited = Inherited::take()?;
    let address = options.address.listen()?;
    options.settings.fit_descriptors()?;
    // Deleted when it is dropped, at the end.
    let temporary = tempfile::TempDir::with_prefix("cathedral-publisher-demo-")?;
    let path = options.database.clone();
    let path = path.unwrap_or_else(|| temporary.path().join("demo.db"));
    let formulas = options.settings.cnf.folder.clone();
    let formulas = formulas.unwrap_or_else(|| temporary.path().join("cnf"));
    fs::create_dir_all(&formulas).with_context(|| formulas.display().to_string())?;
    options.settings.cnf.folder = Some(formulas.clone());
    let mut database = KeptOpen::open(&path, false, options.settings.store.busy_timeout)?;
    simulation::populate(&mut database, options.rows, Some(&formulas))?;
    actix_web::rt::System::new().block_on(async {
        let signals = Signals::new()?;
        let tokens = admin_tokens(&options.admin)?;
        let file = database.file().clone();
        let store = SqliteStore::new(file, options.settings.store, true);
        let parts = parts(Store::Sqlite(store), tokens, true, dropped);
        parts
            .jwk_set
            .replace(JwkSet::from_json(key::jwk_set().into())?);
        let running = listen(address, inherited, options.settings, parts).await?;
        if let Some(writer) = running.writer.clone() {
            actix_web::rt::spawn(simulation::run(path.clone(), formulas, writer));
        }
        if let Some(address) = running.addresses.first() {
            let url = match address.ip().is_unspecified() {
                true => format!("http://localhost:{}", address.port()),
                false => format!("http://{address}"),
            };
            // If nobody reads stdout, the demo serves all the same.
            thread::spawn(move || what_to_try(&path, &url));
        }
        anyhow::Ok(running.serve_until_signal(signals, None).await?)
    })?;
    database.close();
    Ok(())
}

fn what_to_try(path: &Path, url: &str) -> io::Result<()> {
    let board = format!("{url}/v1/synthetic-boolean/active-challenges");
    let feed = format!("{url}/v1/leaderboard/recent?since_ran_at=2026-06-07T00:00:00Z&limit=50");
    write!(
        io::stdout(),
        r#"
The publisher serves sample data from {path}.
Eval runs arrive every second; every ten seconds a challenge closes and another opens.

  Look: {url}/

  The board, as a miner polls it:
    curl -i {board}
  Asked again with its entity-tag: 304 and no body, until the board changes:
    etag=$(curl -sI {board} | tr -d '\r' | sed -n 's/^etag: //p')
    curl -i -H "If-None-Match: $etag" {board}
  The board without polling: each answer says what to ask next, and comes when the board changes. As two lines of sh:
    h=; u={board}/changes; f() {{ printf '%s\n' "$h" | tr -d '\r' | sed -n "s/^$1: //p"; }}
    while :; do h=$(curl -sD - -o board.json -H "If-None-Match: $(f etag)" "$u"); n=$(f link); n=${{n#<}}; n=${{n%%>*}}; [ -z "$n" ] || u=${{u%%\?*}}$n; r=$(f retry-after); case $h in HTTP/1.1\ 200*) date; f etag;; *) sleep ${{r:-1}};; esac; done
  The formula of the first challenge, a planted random 3-SAT, and a part of it:
    formula={url}$(curl -s {url}/v1/synthetic-boolean/current-challenge | sed 's/.*"active_cnf_path":"//; s/".*//')
    curl -so first.cnf --compressed "$formula"; curl -sr 0-99 "$formula"
  The keys that have signed the eval runs, and a check of all eval runs so far:
    curl -i {url}/.well-known/cathedral-jwks.json
    {program} export rows --database {path} | {program} verify rows - --jwks {url}/.well-known/cathedral-jwks.json
  One challenge; a page of the feed, as a validator pulls it; health:
    curl -i '{url}/v1/synthetic-boolean/current-challenge?tier=2'
    curl -i '{feed}'
    curl -i {url}/health

Ctrl-C ends it.
"#,
        path = path.display(),
        program = program()
    )?;
    io::stdout().flush()
}

/// Returns how a shell calls this program again: by its path, as it need not be on the PATH.
fn program() -> String {
    let path = std::env::current_exe().ok();
    let path = path.map_or_else(
        || "cathedral-publisher".into(),
        |path| path.display().to_string(),
    );
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte);
    if path.bytes().all(is_plain) {
        path
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    }
}

/// Writes sample data, one item per line.
pub(crate) fn sample(options: &Sample) -> anyhow::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    // The command line requires it for both kinds.
    let count = options.count.unwrap_or_default();
    match options.kind {
        SampleKind::Board => {
            sample::write_board(options.seed, count, options.cnf_dir.as_deref(), out)
        }
        SampleKind::Rows => sample::write_rows(options.seed, count, out),
        SampleKind::Jwks => {
            writeln!(out, "{}", key::jwk_set())?;
            Ok(out.flush()?)
        }
    }
}
