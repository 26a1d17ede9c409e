//! The last board on disk (`--snapshot-file`), for a start that cannot build one.
//!
//! The file is a line with a magic text, the version of the format and the SHA-256 of all that follows; then a line of
//! JSON with the board's position; then the bytes of active-challenges. `tail -n +2 FILE | sha256sum` checks it.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::snapshot::Snapshot;
use crate::domain::position::Position;

/// What every file of any version begins with.
const MAGIC: &str = "cathedral-publisher snapshot ";
/// The version of the format.
const FORMAT: &str = "1";
/// A longer file is neither read nor written.
const MAX_BYTES: u64 = 256 << 20;
/// What the name of a temporary file ends in.
const TEMPORARY: &str = ".tmp";

/// The second line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    /// Where the board stands, as clients of `…/changes` know it.
    position: String,
    /// When the board was published, in milliseconds since 1970.
    published_at_ms: u64,
}

/// A board that an earlier process published.
#[derive(Debug)]
pub struct SavedBoard {
    /// The board.
    pub snapshot: Snapshot,
    /// Where it stands.
    pub position: Position,
    /// When it was published, by the wall clock.
    pub published_at: SystemTime,
}

/// Why a file gives no board.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is a folder, a device or the like.
    #[error("is not a regular file")]
    NotAFile,
    /// It has no content.
    #[error("is empty")]
    Empty,
    /// Another program wrote it.
    #[error("is not a snapshot of the board")]
    Foreign,
    /// Another release wrote it.
    #[error("has format {0}, and this program knows format {FORMAT}")]
    Format(String),
    /// It is longer than any board that is written.
    #[error("is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// Its content is not what was written.
    #[error("is truncated or damaged: its SHA-256 is not the one that it names")]
    Damaged,
    /// The SHA-256 is right, and the content is not.
    #[error("has invalid content: {0}")]
    Invalid(String),
}

/// A file for the last board. Its methods block.
#[derive(Debug, Clone)]
pub struct SnapshotFile {
    path: PathBuf,
}

impl SnapshotFile {
    /// The file at `path`. Touches nothing.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Returns the path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the board. `None` if there is no file.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn read(&self) -> Result<Option<SavedBoard>, Unusable> {
        match self.bytes() {
            Err(Unusable::Io(error)) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(bytes) => decode(&bytes).map(Some),
        }
    }

    /// Returns whether the file has a board.
    pub fn has_board(&self) -> bool {
        matches!(self.read(), Ok(Some(_)))
    }

    fn bytes(&self) -> Result<Vec<u8>, Unusable> {
        let bytes = self.begin(MAX_BYTES + 1)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(Unusable::TooLong);
        }
        Ok(bytes)
    }

    /// Returns at most so many bytes of the beginning.
    fn begin(&self, max_bytes: u64) -> Result<Vec<u8>, Unusable> {
        // Opening a pipe would wait for its other end.
        if !fs::metadata(&self.path)?.is_file() {
            return Err(Unusable::NotAFile);
        }
        let mut begin = Vec::new();
        let file = File::open(&self.path)?;
        file.take(max_bytes).read_to_end(&mut begin)?;
        Ok(begin)
    }

    /// Checks that there is no file, or one of this program.
    fn check_replaceable(&self) -> io::Result<()> {
        match self.begin(MAGIC.len() as u64) {
            Ok(begin) if is_foreign(&begin) => Err(io::Error::other(Unusable::Foreign)),
            Ok(_) => Ok(()),
            Err(Unusable::Io(error)) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(Unusable::Io(error)) => Err(error),
            Err(other) => Err(io::Error::other(other)),
        }
    }

    /// Replaces the file as a whole: whenever the process or the machine stops, the old content or the new one is
    /// there. Only its owner may read it. A file of another program is never replaced.
    ///
    /// # Errors
    /// Those of the file system; the file is as before then.
    pub fn write(&self, snapshot: &Snapshot, position: Position, at: SystemTime) -> io::Result<()> {
        self.check_replaceable()?;
        let content = encode(snapshot, position, at)?;
        let folder = self.folder();
        let mut temporary = tempfile::Builder::new()
            .prefix(&self.temporary_prefix())
            .suffix(TEMPORARY)
            .tempfile_in(folder)?;
        temporary.write_all(&content)?;
        temporary.as_file().sync_all()?;
        temporary.persist(&self.path)?;
        File::open(folder)?.sync_all()
    }

    /// Removes temporary files that processes left when they were killed.
    pub fn remove_leftovers(&self) {
        let Ok(entries) = fs::read_dir(self.folder()) else {
            return;
        };
        let prefix = self.temporary_prefix();
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(&prefix) && name.ends_with(TEMPORARY) {
                // If it stays it does no harm.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn folder(&self) -> &Path {
        let folder = self.path.parent();
        let folder = folder.filter(|folder| !folder.as_os_str().is_empty());
        folder.unwrap_or(Path::new("."))
    }

    fn temporary_prefix(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        format!(".{}-", name.to_string_lossy())
    }
}

/// Returns whether a file that begins so was written by another program. An empty one, or the beginning of ours, has
/// nothing that could be lost.
fn is_foreign(begin: &[u8]) -> bool {
    let known = begin.len().min(MAGIC.len());
    begin[..known] != MAGIC.as_bytes()[..known]
}

fn encode(snapshot: &Snapshot, position: Position, at: SystemTime) -> io::Result<Vec<u8>> {
    let since = at.duration_since(SystemTime::UNIX_EPOCH);
    let millis = u64::try_from(since.unwrap_or_default().as_millis());
    let header = Header {
        position: position.to_string(),
        published_at_ms: millis.unwrap_or(u64::MAX),
    };
    let mut hashed = serde_json::to_vec(&header)?;
    hashed.push(b'\n');
    hashed.extend_from_slice(snapshot.board().identity().body_ref());
    let mut content = format!("{MAGIC}{FORMAT} {}\n", sha256(&hashed)).into_bytes();
    content.append(&mut hashed);
    if content.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(Unusable::TooLong));
    }
    Ok(content)
}

fn decode(bytes: &[u8]) -> Result<SavedBoard, Unusable> {
    if bytes.is_empty() {
        return Err(Unusable::Empty);
    }
    if is_foreign(bytes) {
        return Err(Unusable::Foreign);
    }
    let (first, hashed) = line(bytes).ok_or(Unusable::Damaged)?;
    let rest = first.get(MAGIC.len()..).unwrap_or_default();
    let (format, digest) = rest.split_once(' ').ok_or(Unusable::Damaged)?;
    if format != FORMAT {
        let shown: String = format.chars().take(20).collect();
        return Err(Unusable::Format(shown));
    }
    if digest != sha256(hashed) {
        return Err(Unusable::Damaged);
    }
    let invalid = |error: &dyn std::error::Error| Unusable::Invalid(error.to_string());
    let (header, board) = line(hashed).ok_or(Unusable::Damaged)?;
    let header: Header = serde_json::from_str(header).map_err(|error| invalid(&error))?;
    let since = Duration::from_millis(header.published_at_ms);
    Ok(SavedBoard {
        snapshot: Snapshot::of_board(board).map_err(|error| invalid(&error))?,
        position: header.position.parse().map_err(|error| invalid(&error))?,
        published_at: SystemTime::UNIX_EPOCH
            .checked_add(since)
            .unwrap_or(SystemTime::UNIX_EPOCH),
    })
}

/// Splits at the first end of a line.
fn line(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let line = std::str::from_utf8(&bytes[..end]).ok()?;
    Some((line, &bytes[end + 1..]))
}

fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
