//! Reads the lines: checks all of them first, then writes them in one transaction.

use std::{
    io::{self, BufRead, BufReader, BufWriter, Read, Seek, Write},
    path::Path,
    time::Duration,
};

use rusqlite::{Connection, TransactionBehavior};

use super::{End, FORMAT, Header, Line, VERSION};
use crate::{
    domain::{Invalid, MAX_ITEM_BYTES, challenge::Challenge, eval_run::EvalRun, merkle_epoch},
    store::{
        Counts, StoreError, WriteError,
        sqlite::{
            file::FileFault,
            kept_open::KeptOpen,
            open::OpenError,
            read::{self, StoredEvalRun},
            write,
        },
    },
};

const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// The most bytes of a line. In a JSON string a byte of an item takes up to six bytes (`\u0022`); the columns beside
/// it are short.
const MAX_LINE_BYTES: u64 = 7 * MAX_ITEM_BYTES as u64;
/// The greatest `seq`: the greatest integer that every JSON parser reads exactly (RFC 8259 §6). At 2^63-1 SQLite would
/// refuse every later row.
const MAX_SEQ: i64 = (1 << 53) - 1;

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
    write::continue_lineage(&transaction)?;
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
    let line: Line = serde_json::from_str(text).map_err(|error| {
        let reason = error.to_string();
        // There is only one line.
        Invalid::new("", reason.replace(" at line 1 column ", " at column "))
    })?;
    Ok(match line {
        Line::Challenge(columns) => Item::Challenge(Challenge::from_admin(columns.get(), None)?),
        Line::EvalRun(run) => Item::EvalRun(run.seq, eval_run(run)?),
        Line::MerkleEpoch(stored) => {
            if stored.epoch < 0 {
                return Err(Invalid::new("epoch", "must not be negative"));
            }
            if let Some(body) = &stored.body {
                let read = merkle_epoch::body(body).map_err(of_body)?;
                check_trimmed(read, body)?;
            }
            Item::MerkleEpoch(stored.epoch, stored.body)
        }
        Line::End(end) => {
            check_seq("last_seq", 0, end.last_seq)?;
            Item::End(end)
        }
    })
}

/// Reads a row by the rules of every other way in. The columns beside its body must be those that follow from it:
/// pages are ordered by the columns, and clients read the body.
fn eval_run(stored: StoredEvalRun) -> Result<EvalRun, Invalid> {
    check_seq("seq", 1, stored.seq)?;
    let run = EvalRun::from_json(&stored.body).map_err(of_body)?;
    for (field, is_same) in [
        ("id", run.id == stored.id),
        ("ran_at", run.ran_at.as_str() == stored.ran_at),
        (
            "schema_version",
            run.schema_version == stored.schema_version,
        ),
    ] {
        if !is_same {
            return Err(Invalid::new(field, "differs from its body"));
        }
    }
    check_trimmed(&run.body, &stored.body)?;
    Ok(run)
}

fn check_seq(field: &str, least: i64, seq: i64) -> Result<(), Invalid> {
    if (least..=MAX_SEQ).contains(&seq) {
        Ok(())
    } else {
        let reason = format!("must be an integer from {least} to {MAX_SEQ}");
        Err(Invalid::new(field, reason))
    }
}

fn check_trimmed(read: &str, body: &str) -> Result<(), Invalid> {
    if read.len() == body.len() {
        Ok(())
    } else {
        let reason = "must not begin or end with whitespace";
        Err(Invalid::new("body", reason))
    }
}

fn of_body(wrong: Invalid) -> Invalid {
    Invalid::new("body", wrong.to_string())
}

/// The lines of a text.
struct Lines<R> {
    source: R,
    number: u64,
    text: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    fn of(source: R) -> Self {
        Self {
            source,
            number: 0,
            text: Vec::new(),
        }
    }

    fn next(&mut self) -> Result<Option<&str>, ImportAllError> {
        self.text.clear();
        self.number += 1;
        let mut limited = (&mut self.source).take(MAX_LINE_BYTES + 1);
        if limited.read_until(b'\n', &mut self.text)? == 0 {
            return Ok(None);
        }
        if self.text.len() as u64 > MAX_LINE_BYTES {
            let reason = format!("is longer than {MAX_LINE_BYTES} bytes");
            return Err(self.error(Invalid::new("", reason).into()));
        }
        let number = self.number;
        match std::str::from_utf8(&self.text) {
            Ok(text) => Ok(Some(text.trim_end_matches('\n'))),
            Err(_) => Err(line_error(number, Invalid::new("", "is not UTF-8").into())),
        }
    }

    fn error(&self, reason: WriteError) -> ImportAllError {
        line_error(self.number, reason)
    }
}

fn line_error(number: u64, reason: WriteError) -> ImportAllError {
    ImportAllError::Line { number, reason }
}
