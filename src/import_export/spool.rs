//! Items that were read and checked and wait to be written: in memory, and beyond that in a file.

use std::{
    io::{self, BufReader, BufWriter, ErrorKind, Read, Seek, Write},
    path::Path,
};

use tempfile::SpooledTempFile;

use crate::{
    config::Kind,
    domain::{Invalid, challenge::Challenge, eval_run::EvalRun, ran_at::RanAt},
    json_stream::Place,
    store::import::ImportItem,
};

/// The most bytes in memory.
const MEMORY_BYTES: usize = 8 * 1024 * 1024;

/// An item of an import.
#[derive(Debug)]
pub(super) enum Item {
    Challenge(Challenge),
    Run(EvalRun),
}

impl Item {
    /// Reads and checks an item.
    ///
    /// # Errors
    /// [`Invalid`] naming the field.
    pub(super) fn parse(kind: Kind, json: &str) -> Result<Self, Invalid> {
        Ok(match kind {
            Kind::Board => Self::Challenge(Challenge::from_item(json)?),
            Kind::Rows => Self::Run(EvalRun::from_json(json)?),
        })
    }
}

impl From<Item> for ImportItem {
    fn from(item: Item) -> Self {
        match item {
            Item::Challenge(challenge) => Self::Challenge(challenge),
            Item::Run(run) => Self::EvalRun { seq: None, run },
        }
    }
}

/// Takes the items in. The file has no name and mode 0600: nothing of it is left however the process ends.
pub(super) struct Spool {
    file: BufWriter<SpooledTempFile>,
    items: u64,
}

impl Spool {
    /// An empty spool. Its file will be in `folder`.
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            file: BufWriter::new(tempfile::spooled_tempfile_in(MEMORY_BYTES, folder)),
            items: 0,
        }
    }

    /// Appends an item.
    ///
    /// # Errors
    /// The file cannot be made or written.
    pub(super) fn push(&mut self, place: Place, item: &Item) -> io::Result<()> {
        let (is_line, number) = match place {
            Place::Item(index) => (0, index),
            Place::Line(number) => (1, number),
        };
        self.items += 1;
        self.file.write_all(&[is_line])?;
        self.file.write_all(&number.to_le_bytes())?;
        match item {
            Item::Challenge(challenge) => {
                let mut json = Vec::new();
                challenge.write_item(&mut json)?;
                self.write_text(&json)
            }
            Item::Run(run) => {
                self.write_text(run.id.as_bytes())?;
                self.write_text(run.ran_at.as_str().as_bytes())?;
                self.file.write_all(&run.schema_version.to_le_bytes())?;
                self.write_text(run.body.as_bytes())
            }
        }
    }

    fn write_text(&mut self, text: &[u8]) -> io::Result<()> {
        let bytes = u32::try_from(text.len()).map_err(io::Error::other)?;
        self.file.write_all(&bytes.to_le_bytes())?;
        self.file.write_all(text)
    }

    /// Returns the items, in the order in which they came.
    ///
    /// # Errors
    /// The file cannot be written or read.
    pub(super) fn into_items(self, kind: Kind) -> io::Result<Items> {
        let mut file = self.file.into_inner()?;
        file.rewind()?;
        Ok(Items {
            file: BufReader::with_capacity(64 * 1024, file),
            kind,
            left: self.items,
        })
    }
}

/// The items of a [`Spool`], one by one.
pub(super) struct Items {
    file: BufReader<SpooledTempFile>,
    kind: Kind,
    left: u64,
}

impl Items {
    /// Returns how many items are left.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    fn read_item(&mut self) -> io::Result<(Place, Item)> {
        let [is_line] = self.read_bytes()?;
        let number = u64::from_le_bytes(self.read_bytes()?);
        let place = match is_line {
            0 => Place::Item(number),
            _ => Place::Line(number),
        };
        let item = match self.kind {
            Kind::Board => {
                let challenge = Challenge::from_item(&self.read_text()?);
                Item::Challenge(challenge.map_err(|error| invalid(error.to_string()))?)
            }
            Kind::Rows => Item::Run(EvalRun {
                id: self.read_text()?,
                ran_at: RanAt::parse(&self.read_text()?)
                    .map_err(|error| invalid(error.to_string()))?,
                schema_version: i64::from_le_bytes(self.read_bytes()?),
                body: self.read_text()?,
            }),
        };
        Ok((place, item))
    }

    fn read_bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn read_text(&mut self) -> io::Result<String> {
        let mut text = vec![0; u32::from_le_bytes(self.read_bytes()?) as usize];
        self.file.read_exact(&mut text)?;
        String::from_utf8(text).map_err(|error| invalid(error.to_string()))
    }
}

impl Iterator for Items {
    type Item = io::Result<(Place, Item)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        Some(self.read_item())
    }
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, reason)
}
