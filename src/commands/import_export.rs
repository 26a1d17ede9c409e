//! `import` and `export`.

use std::{
    fs::File,
    io::{self, BufReader, IsTerminal, Read, Write},
    path::Path,
};

use anyhow::Context as _;
use cathedral_publisher::{
    config::{Content, Export, Import},
    import_export::{
        all,
        export::export,
        import::{Progress, Transactions, import},
    },
};
use indicatif::{ProgressBar, ProgressStyle};

use super::{database, verify::public_keys};

pub(crate) fn import_file(options: &Import) -> anyhow::Result<()> {
    let keys = match &options.jwks {
        Some(_) if options.content != Content::Rows => {
            anyhow::bail!("--jwks verifies eval runs: use it with import rows")
        }
        Some(jwks) => Some(public_keys(jwks, options.ca_file.as_deref())?),
        None => None,
    };
    let (source, bytes): (Box<dyn Read>, Option<u64>) = if options.file == Path::new("-") {
        (Box::new(io::stdin()), None)
    } else {
        let name = options.file.display();
        let file = File::open(&options.file).with_context(|| name.to_string())?;
        let metadata = file.metadata().with_context(|| name.to_string())?;
        (Box::new(file), metadata.is_file().then_some(metadata.len()))
    };
    let reading = progress_bar(match bytes {
        Some(bytes) => (
            Some(bytes),
            "reading {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        ),
        None => (None, "{spinner} reading {bytes} {bytes_per_sec}"),
    })?;
    let writing = progress_bar((Some(0), "writing {wide_bar} {pos}/{len} items {eta}"))?;
    let source = BufReader::with_capacity(64 * 1024, reading.wrap_read(source));
    let transactions = if options.batches {
        Transactions::Batches
    } else {
        Transactions::One
    };
    let session = database::import_session(&options.database)?;
    let show = |progress| match progress {
        Progress::Read { items } => {
            reading.finish_and_clear();
            log::info!("{items} items were read and checked, and are written now");
            writing.set_length(items);
        }
        Progress::Written => writing.inc(1),
    };
    let done = match options.content.kind() {
        Some(kind) => import(session, kind, transactions, keys.as_ref(), source, show)
            .map_err(|error| (error.is_unknown(), error.into())),
        None if options.batches => anyhow::bail!("import all is one transaction: omit --batches"),
        None => all::import(session, source).map_err(|error| (error.is_unknown(), error.into())),
    };
    reading.finish_and_clear();
    writing.finish_and_clear();
    let done = done.map_err(|(is_unknown, error): (bool, anyhow::Error)| {
        let file = options.file.display();
        error.context(match transactions {
            Transactions::One if !is_unknown => format!("{file}: nothing was imported"),
            Transactions::One | Transactions::Batches => file.to_string(),
        })
    })?;
    writeln!(
        io::stdout(),
        "{} inserted, {} unchanged",
        done.inserted,
        done.unchanged
    )?;
    Ok(())
}

/// A bar on a terminal, given its length and its template.
pub(super) fn progress_bar((length, template): (Option<u64>, &str)) -> anyhow::Result<ProgressBar> {
    if !io::stderr().is_terminal() {
        return Ok(ProgressBar::hidden());
    }
    let bar = length.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    Ok(bar.with_style(ProgressStyle::with_template(template)?))
}

pub(crate) fn export_to_stdout(options: &Export) -> anyhow::Result<()> {
    let out = io::BufWriter::new(io::stdout().lock());
    let dump = database::dump(&options.database)?;
    match options.content.kind() {
        Some(kind) => export(&dump, kind, options.ndjson, out)?,
        None => all::export(&dump, out)?,
    }
    Ok(())
}
