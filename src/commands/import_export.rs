//! `import` and `export`.

use std::{
    fs::File,
    io::{self, BufReader, IsTerminal, Read, Write},
    path::Path,
};

use anyhow::Context as _;
use cathedral_publisher::{
    config::{Export, Import},
    import_export::{all, export::export, import::import},
};
use indicatif::{ProgressBar, ProgressStyle};

pub(crate) fn import_file(options: &Import) -> anyhow::Result<()> {
    let (source, bytes): (Box<dyn Read>, Option<u64>) = if options.file == Path::new("-") {
        (Box::new(io::stdin()), None)
    } else {
        let name = options.file.display();
        let file = File::open(&options.file).with_context(|| name.to_string())?;
        let metadata = file.metadata().with_context(|| name.to_string())?;
        (Box::new(file), metadata.is_file().then_some(metadata.len()))
    };
    let bar = progress_bar(bytes)?;
    let source = BufReader::with_capacity(64 * 1024, bar.wrap_read(source));
    let path = &options.database.database;
    let done = match options.content.kind() {
        Some(kind) => import(path, kind, source).map_err(anyhow::Error::from),
        None => all::import(path, source).map_err(anyhow::Error::from),
    };
    bar.finish_and_clear();
    let done = done.with_context(|| format!("{}: nothing was imported", options.file.display()))?;
    writeln!(
        io::stdout(),
        "{} inserted, {} unchanged",
        done.inserted,
        done.unchanged
    )?;
    Ok(())
}

/// A bar of bytes on a terminal; of an unknown number of bytes without a length.
pub(super) fn progress_bar(bytes: Option<u64>) -> anyhow::Result<ProgressBar> {
    if !io::stderr().is_terminal() {
        return Ok(ProgressBar::hidden());
    }
    Ok(match bytes {
        Some(bytes) => ProgressBar::new(bytes).with_style(ProgressStyle::with_template(
            "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        )?),
        None => ProgressBar::new_spinner().with_style(ProgressStyle::with_template(
            "{spinner} {bytes} {bytes_per_sec}",
        )?),
    })
}

pub(crate) fn export_to_stdout(options: &Export) -> anyhow::Result<()> {
    let out = io::BufWriter::new(io::stdout().lock());
    let path = &options.database.database;
    match options.content.kind() {
        Some(kind) => export(path, kind, options.ndjson, out)?,
        None => all::export(path, out)?,
    }
    Ok(())
}
