//! Reads many JSON items one by one, from an import file or a request body.
//!
//! A saved answer (`{"items":[…],…}`), a bare array, or NDJSON: told apart by the first line, so
//! that memory holds one item and never the file.

use std::{
    cell::Cell,
    collections::HashSet,
    fmt,
    io::{self, BufRead, Cursor, Read},
    rc::Rc,
};

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::domain::MAX_ITEM_BYTES;

/// The most bytes that are read for one item: the item, and whitespace and separators around it. The item's own
/// length is checked by its parser.
const MAX_READ_BYTES: u64 = MAX_ITEM_BYTES as u64 + 64 * 1024;

/// The position of an item in its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The item's index, from 0.
    Item(u64),
    /// The line's number, from 1.
    Line(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Item(index) => write!(f, "item {index}"),
            Self::Line(number) => write!(f, "line {number}"),
        }
    }
}

/// Why a source could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum SourceError<E> {
    /// Reading failed.
    #[error("the input cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The text has an unknown form, or ends early.
    #[error("{0}")]
    Form(String),
    /// An item was rejected.
    #[error("{0}: {1}")]
    Item(Place, E),
}

/// The values beside the items of a saved answer; all empty for the other forms.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// `count` of the board.
    pub count: Option<u64>,
    /// `merkle_epoch_latest` of the feed.
    pub merkle_epoch_latest: Option<i64>,
}

/// Hands each item's JSON to `each`, exactly as it stands in the source, and stops at the first
/// that is rejected.
///
/// # Errors
/// [`SourceError`].
pub fn read_items<E>(
    mut source: impl BufRead,
    mut each: impl FnMut(Place, &str) -> Result<(), E>,
) -> Result<Envelope, SourceError<E>> {
    let mut lines_before = 0;
    let mut first = Vec::new();
    while first.trim_ascii().is_empty() {
        first.clear();
        lines_before += 1;
        if read_line(&mut source, &mut first)? == 0 {
            return Ok(Envelope::default());
        }
    }
    if first.starts_with(b"\xef\xbb\xbf") {
        let reason = "begins with a byte order mark: expected UTF-8 without it";
        return Err(SourceError::Form(reason.to_owned()));
    }
    if is_ndjson(&first) {
        read_lines(source, first, lines_before, each)?;
        Ok(Envelope::default())
    } else {
        read_document(Cursor::new(first).chain(source), &mut each)
    }
}

fn read_line(source: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
    source.take(MAX_READ_BYTES + 1).read_until(b'\n', line)
}

/// An object on the first line that is not a saved answer: that is a line of NDJSON. (A saved answer has items
/// and no id; it may well stand on one line.) A line with an id is one even if its JSON is invalid, so that the
/// error says where.
fn is_ndjson(line: &[u8]) -> bool {
    let mut keys = Keys::default();
    let whole = serde_json::Deserializer::from_slice(line)
        .deserialize_map(&mut keys)
        .is_ok();
    keys.has_id || (whole && !keys.has_items)
}

/// Which keys a line has.
#[derive(Default)]
struct Keys {
    has_id: bool,
    has_items: bool,
}

impl<'de> Visitor<'de> for &mut Keys {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(KeyBytes(key)) = members.next_key()? {
            self.has_id |= [&b"id"[..], b"challenge_id"].contains(&key.as_slice());
            self.has_items |= key == b"items";
            members.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

/// A key, whatever its escapes stand for: the item's own parser says what is wrong with it.
struct KeyBytes(Vec<u8>);

impl<'de> Deserialize<'de> for KeyBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = KeyBytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_bytes<E>(self, key: &[u8]) -> Result<KeyBytes, E> {
                Ok(KeyBytes(key.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

fn read_lines<E>(
    mut source: impl BufRead,
    mut line: Vec<u8>,
    mut number: u64,
    mut each: impl FnMut(Place, &str) -> Result<(), E>,
) -> Result<(), SourceError<E>> {
    loop {
        let place = Place::Line(number);
        if line.len() as u64 > MAX_READ_BYTES {
            return Err(SourceError::Form(format!(
                "{place}: longer than {MAX_ITEM_BYTES} bytes"
            )));
        }
        let text = std::str::from_utf8(&line)
            .map_err(|_| SourceError::Form(format!("{place}: is not UTF-8")))?
            .trim_ascii();
        if !text.is_empty() {
            each(place, text).map_err(|error| SourceError::Item(place, error))?;
        }
        line.clear();
        number += 1;
        if read_line(&mut source, &mut line)? == 0 {
            return Ok(());
        }
    }
}

fn read_document<E>(
    source: impl Read,
    each: &mut dyn FnMut(Place, &str) -> Result<(), E>,
) -> Result<Envelope, SourceError<E>> {
    let budget = Rc::new(Cell::new(MAX_READ_BYTES));
    let mut deserializer = serde_json::Deserializer::from_reader(Metered {
        source,
        budget: Rc::clone(&budget),
    });
    let mut rejected = None;
    let document = Document {
        each,
        rejected: &mut rejected,
        budget: &budget,
    };
    let read = document
        .deserialize(&mut deserializer)
        .and_then(|envelope| deserializer.end().map(|()| envelope));
    match (read, rejected) {
        (_, Some((place, error))) => Err(SourceError::Item(place, error)),
        (Ok(envelope), None) => Ok(envelope),
        (Err(error), None) if error.is_io() => Err(SourceError::Io(error.into())),
        (Err(error), None) => Err(SourceError::Form(format!(
            "neither a saved answer of the endpoint nor NDJSON (one item per line): {error}"
        ))),
    }
}

/// Refuses to read on when one item has used up its bytes.
struct Metered<R> {
    source: R,
    budget: Rc<Cell<u64>>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        match self.budget.get().checked_sub(read as u64) {
            Some(left) => self.budget.set(left),
            None => {
                return Err(io::Error::other(format!(
                    "an item is longer than {MAX_ITEM_BYTES} bytes"
                )));
            }
        }
        Ok(read)
    }
}

/// The whole text: an array of items, or an object that has one.
struct Document<'a, E> {
    each: &'a mut dyn FnMut(Place, &str) -> Result<(), E>,
    rejected: &'a mut Option<(Place, E)>,
    budget: &'a Cell<u64>,
}

impl<'de, E> DeserializeSeed<'de> for Document<'_, E> {
    type Value = Envelope;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Envelope, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, E> Visitor<'de> for Document<'_, E> {
    type Value = Envelope;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with the key items, or an array of items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Envelope, A::Error> {
        let mut index = 0;
        while let Some(item) = items.next_element::<Box<RawValue>>()? {
            self.budget.set(MAX_READ_BYTES);
            let place = Place::Item(index);
            if let Err(error) = (self.each)(place, item.get()) {
                *self.rejected = Some((place, error));
                return Err(A::Error::custom("an item was rejected"));
            }
            index += 1;
        }
        Ok(Envelope {
            count: Some(index),
            merkle_epoch_latest: None,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Envelope, A::Error> {
        let Self {
            each,
            rejected,
            budget,
        } = self;
        let mut found = None;
        let mut said = Envelope::default();
        let mut seen = HashSet::new();
        while let Some(key) = members.next_key::<Key>()? {
            if !seen.insert(key) {
                return Err(A::Error::custom("a key occurs twice"));
            }
            match key {
                Key::Items => {
                    let items = Document {
                        each: &mut *each,
                        rejected: &mut *rejected,
                        budget,
                    };
                    found = members.next_value_seed(items)?.count;
                }
                Key::Count => said.count = Some(members.next_value()?),
                Key::MerkleEpochLatest => said.merkle_epoch_latest = members.next_value()?,
                Key::FamilyId
                | Key::NextSince
                | Key::NextSinceRanAt
                | Key::NextSinceId
                | Key::NextSinceSeq
                | Key::NextCursor => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        match (found, said.count) {
            (None, _) => Err(A::Error::missing_field("items")),
            (Some(items), Some(count)) if items != count => Err(A::Error::custom(format!(
                "count is {count}, but there are {items} items"
            ))),
            (Some(_), _) => Ok(said),
        }
    }
}

/// The keys of the answers that have items (WIRE.md); any other means that the file is something else.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Key {
    Items,
    Count,
    FamilyId,
    NextSince,
    NextSinceRanAt,
    NextSinceId,
    NextSinceSeq,
    NextCursor,
    MerkleEpochLatest,
}
