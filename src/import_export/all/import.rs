//! Reads the lines: checks all of them first, then writes them in one transaction.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, Write};

use super::{End, FORMAT, Header, Line, VERSION};
use crate::{
    domain::{Invalid, MAX_ITEM_BYTES, challenge::Challenge, eval_run::EvalRun, merkle_epoch},
    store::{
        Counts, WriteError,
        dump::StoredEvalRun,
        import::{ImportFault, ImportItem, ImportSession},
    },
};

/// The most bytes of a line. In a JSON string a byte of an item takes up to six bytes (`\u0022`); the columns beside
/// it are short.
const MAX_LINE_BYTES: u64 = 7 * MAX_ITEM_BYTES as u64;
/// The greatest `seq`: the greatest integer that every JSON parser reads exactly (RFC 8259 §6). At 2^63-1 SQLite would
/// refuse every later row.
const MAX_SEQ: i64 = (1 << 53) - 1;

/// Why nothing was imported; but see [`ImportAllError::is_unknown`].
#[derive(Debug, thiserror::Error)]
pub enum ImportAllError {
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
    Store(ImportFault),
}

impl ImportAllError {
    /// Returns whether all of it may be stored all the same.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Store(ImportFault::Unknown(_)))
    }
}

impl From<ImportFault> for ImportAllError {
    fn from(fault: ImportFault) -> Self {
        match fault {
            ImportFault::Item { number, error } => line_error(number, error),
            fault @ (ImportFault::Store(_) | ImportFault::Broken(_) | ImportFault::Unknown(_)) => {
                Self::Store(fault)
            }
        }
    }
}

/// Imports what [`super::export`] wrote. Nothing is locked while `source` is read.
///
/// A new eval run keeps its `seq` if it comes after all that were ever given in the database; otherwise it gets the next
/// one.
///
/// # Errors
/// [`ImportAllError`]; then nothing has been imported.
pub fn import(mut session: ImportSession, source: impl BufRead) -> Result<Counts, ImportAllError> {
    // A wrong path is reported before the input is read.
    session.prepare()?;
    let mut kept = tempfile::tempfile_in(session.folder())?;
    let end = check(source, BufWriter::new(&kept))?;
    kept.rewind()?;
    session.begin()?;
    let mut counts = write_all(&mut session, BufReader::new(kept))?;
    session.raise_last_seq(end.last_seq)?;
    counts += session.commit()?;
    session.close();
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

/// Writes the lines. Returns the counts of those that the session does not count.
fn write_all(session: &mut ImportSession, kept: impl BufRead) -> Result<Counts, ImportAllError> {
    let mut lines = Lines::of(kept);
    // The header was not kept.
    lines.number = 1;
    let mut counts = Counts::default();
    while let Some(text) = lines.next()? {
        let item = match parse(text).map_err(|invalid| lines.error(invalid.into()))? {
            Item::Challenge(challenge) => ImportItem::Challenge(challenge),
            Item::EvalRun(seq, run) => ImportItem::EvalRun {
                seq: Some(seq),
                run,
            },
            Item::MerkleEpoch(epoch, Some(body)) => ImportItem::MerkleEpoch { epoch, body },
            Item::MerkleEpoch(epoch, None) => {
                counts.add(session.put_epoch_number(epoch)?);
                continue;
            }
            Item::End(_) => continue,
        };
        session.put(lines.number, item)?;
    }
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
