//! Reads the lines: checks all of them first, then writes them in one transaction.

use std::{
    io::{self, BufRead, BufReader, BufWriter, Read, Seek, Write},
    path::Path,
    time::Duration,
};

use rusqlite::{Connection, TransactionBehavior};

use super::{End, FORMAT, Header, Line, VERSION};
use crate::{
    domain::{Invalid, challenge::Challenge, check_id, eval_run::EvalRun, ran_at::RanAt, readable},
    store::{
        StoreError,
        file::FileFault,
        kept_open::KeptOpen,
        open::OpenError,
        read::{self, StoredEvalRun},
        write::{self, Counts, WriteError},
    },
};

const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// The most bytes of a line: SQLite stores no text that is longer than 1 GB.
const MAX_LINE_BYTES: u64 = 1 << 30;

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportAllError {
    /// The database could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The files of the database were deleted or replaced during the import.
    #[error(transparent)]
    File(#[from] FileFault),
    /// The input could not be read, or not be kept until it is written.
    #[error("the input cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The input has another form, or was cut off.
    #[error("not a whole export of all: {0}")]
    Form(String),
    /// An item is rejected.
    #[error("line {number}: {reason}")]
    Line {
        /// From 1.
        number: u64,
        /// Why.
        reason: WriteError,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for ImportAllError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Imports what [`super::export`] wrote into the database at `path`, which is created if missing. Nothing is locked
/// while `source` is read.
///
/// A new eval run keeps its `seq` if it comes after all that were ever given there; otherwise it gets the next
/// one.
///
/// # Errors
/// [`ImportAllError`]; then nothing has been imported.
pub fn import(path: &Path, source: impl BufRead) -> Result<Counts, ImportAllError> {
    let open = || KeptOpen::open(path, false, BUSY_TIMEOUT);
    // A wrong path is reported before the input is read. A new database is created after that.
    let opened = path.exists().then(open).transpose()?;
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut kept = tempfile::tempfile_in(folder)?;
    let end = check(source, BufWriter::new(&kept))?;
    kept.rewind()?;
    let mut connection = opened.map_or_else(open, Ok)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let counts = write_all(&transaction, BufReader::new(kept), end.last_seq)?;
    transaction.commit()?;
    // What went into a file that nobody finds any more is lost.
    connection.check()?;
    connection.close();
    Ok(counts)
}

/// Checks every line, and copies the items to `kept`.
fn check(source: impl BufRead, mut kept: impl Write) -> Result<End, ImportAllError> {
    let mut lines = Lines::of(source);
    let form = |reason: &str| ImportAllError::Form(reason.to_owned());
    let header = lines.next()?.ok_or_else(|| form("the input is empty"))?;
    let header: Header = serde_json::from_str(header)
        .map_err(|_| form("the first line does not name the format"))?;
    if header.format != FORMAT || header.version != VERSION {
        let Header { format, version } = header;
        return Err(ImportAllError::Form(format!(
            "the format is {format:?} version {version}, and this program knows {FORMAT:?} version {VERSION}"
        )));
    }
    let mut found = End::default();
    loop {
        let Some(text) = lines.next()? else {
            return Err(form("the last line is missing: the input was cut off"));
        };
        kept.write_all(text.as_bytes())?;
        kept.write_all(b"\n")?;
        let checked = parse(text).map(|line| {
            match line {
                Item::Challenge(_) => found.challenges += 1,
                Item::EvalRun(..) => found.eval_runs += 1,
                Item::MerkleEpoch(..) => found.merkle_epochs += 1,
                Item::End(end) => return Some(end),
            }
            None
        });
        let Some(end) = checked.map_err(|invalid| lines.error(invalid.into()))? else {
            continue;
        };
        found.last_seq = end.last_seq;
        if found != end {
            return Err(form(
                "the counts of the last line differ: items are missing",
            ));
        }
        if lines.next()?.is_some() {
            return Err(form("there are lines after the last one"));
        }
        kept.flush()?;
        return Ok(end);
    }
}

fn write_all(
    connection: &Connection,
    kept: impl BufRead,
    last_seq: i64,
) -> Result<Counts, ImportAllError> {
    let mut lines = Lines::of(kept);
    // The header was not kept.
    lines.number = 1;
    let mut counts = Counts::default();
    let mut greatest = read::last_seq(connection)?;
    while let Some(text) = lines.next()? {
        let written = parse(text)
            .map_err(WriteError::from)
            .and_then(|item| match item {
                Item::Challenge(challenge) => {
                    write::put_challenge(connection, &challenge).map(Some)
                }
                Item::EvalRun(seq, run) => {
                    let seq = (seq > greatest).then_some(seq);
                    let written = write::insert_eval_run_at(connection, seq, &run)?;
                    greatest = greatest.max(seq.unwrap_or(greatest));
                    Ok(Some(written))
                }
                Item::MerkleEpoch(epoch, body) => {
                    write::put_merkle_epoch(connection, epoch, body.as_deref()).map(Some)
                }
                Item::End(_) => Ok(None),
            });
        if let Some(written) = written.map_err(|reason| lines.error(reason))? {
            counts.add(written);
        }
    }
    write::raise_last_seq(connection, last_seq)?;
    Ok(counts)
}

enum Item {
    Challenge(Challenge),
    EvalRun(i64, EvalRun),
    MerkleEpoch(i64, Option<String>),
    End(End),
}

fn parse(text: &str) -> Result<Item, Invalid> {
    let line: Line =
        serde_json::from_str(text).map_err(|error| Invalid::new("", error.to_string()))?;
    Ok(match line {
        Line::Challenge(columns) => Item::Challenge(Challenge::from_admin(columns.get(), None)?),
        Line::EvalRun(run) => Item::EvalRun(run.seq, eval_run(run)?),
        Line::MerkleEpoch(stored) => {
            if stored.epoch < 0 {
                return Err(Invalid::new("epoch", "must not be negative"));
            }
            if let Some(body) = &stored.body {
                readable_body(body)?;
            }
            Item::MerkleEpoch(stored.epoch, stored.body)
        }
        Line::End(end) => Item::End(end),
    })
}

/// Takes the columns as they are, also if another program changed them. The body must be readable by everybody, as in
/// every other way in.
fn eval_run(stored: StoredEvalRun) -> Result<EvalRun, Invalid> {
    if stored.seq < 1 {
        return Err(Invalid::new("seq", "must be greater than 0"));
    }
    check_id("id", &stored.id)?;
    let ran_at = RanAt::parse(&stored.ran_at)
        .ok()
        .filter(|parsed| parsed.as_str() == stored.ran_at)
        .ok_or_else(|| Invalid::new("ran_at", "must have the form 2026-06-07T00:00:01.766Z"))?;
    readable_body(&stored.body)?;
    Ok(EvalRun {
        id: stored.id,
        ran_at,
        schema_version: stored.schema_version,
        body: stored.body,
    })
}

fn readable_body(json: &str) -> Result<(), Invalid> {
    readable::check(json).map_err(|wrong| Invalid::new("body", wrong.to_string()))
}

/// The lines of a text.
struct Lines<R> {
    source: R,
    number: u64,
    text: String,
}

impl<R: BufRead> Lines<R> {
    fn of(source: R) -> Self {
        Self {
            source,
            number: 0,
            text: String::new(),
        }
    }

    fn next(&mut self) -> io::Result<Option<&str>> {
        self.text.clear();
        self.number += 1;
        let mut limited = (&mut self.source).take(MAX_LINE_BYTES);
        let read = limited.read_line(&mut self.text)?;
        Ok((read > 0).then(|| self.text.trim_end_matches('\n')))
    }

    fn error(&self, reason: WriteError) -> ImportAllError {
        ImportAllError::Line {
            number: self.number,
            reason,
        }
    }
}
