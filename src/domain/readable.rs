//! JSON that every common parser reads, and reads alike.
//!
//! Rows are served to the byte, so a row that one client's parser refuses makes every page with it unreadable
//! for that client. RFC 8259 leaves these cases open; RFC 7493 (I-JSON) closes them in the same way:
//!
//! | refused | because |
//! |---|---|
//! | more than [`MAX_DEPTH`] levels | .NET's parsers stop at 64 levels of the whole page, jq 1.6 at 256, Python at its stack |
//! | a surrogate escape without its pair | jq and serde_json refuse it; Python reads it, and cannot encode it as UTF-8 |
//! | U+0000 | PostgreSQL stores it in neither `text` nor `jsonb`; C programs cut the string there |
//! | a number beyond a double | JavaScript and Python read infinity, which is not JSON; serde_json and .NET refuse it |
//! | a key twice in one object | some parsers take the first value, some the last, some refuse both |
//!
//! An integer beyond 2^53 is accepted: every parser reads it, if rounded. So is a number that a double rounds to
//! 0.

use std::{
    borrow::Cow,
    collections::HashSet,
    fmt::{self, Write as _},
};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{Invalid, plain};

/// The most levels of arrays and objects of one item. A page of the feed adds two.
pub const MAX_DEPTH: usize = 64;
/// An object with more keys looks for duplicates by hash.
const FEW_KEYS: usize = 32;
/// The most steps of a path in an error.
const SHOWN_STEPS: usize = 16;
/// The most characters of one key in an error.
const SHOWN_CHARS: usize = 64;

/// Checks one JSON value in one pass, without building it. Its stack is bounded by [`MAX_DEPTH`].
///
/// # Errors
/// [`Invalid`] with the path of the value that is wrong, such as `x.y[3]`.
pub fn check(json: &str) -> Result<(), Invalid> {
    if json.trim_ascii().is_empty() {
        return Err(Invalid::new("", "is empty: expected JSON"));
    }
    let mut walk = Walk::default();
    let mut deserializer = serde_json::Deserializer::from_str(json);
    match walk.deserialize_from(&mut deserializer) {
        Ok(()) => deserializer
            .end()
            .map_err(|error| Invalid::new("", plain(&error))),
        Err(error) => Err(Invalid::new(walk.path(), reason(&error))),
    }
}

/// Returns what is wrong. serde_json's words for these cases name its internals.
fn reason(error: &serde_json::Error) -> String {
    let text = plain(error);
    match text.as_str() {
        "lone leading surrogate in hex escape" | "unexpected end of hex escape" => {
            "contains a surrogate escape without its pair".to_owned()
        }
        "number out of range" => "is a number that a double cannot hold".to_owned(),
        _ => text,
    }
}

/// One step from the outermost value to the value that is being read.
#[derive(Debug)]
enum Step {
    /// A member of an object: the position of its key in [`Walk::keys`].
    Key(usize),
    /// An element of an array.
    Index(usize),
}

/// Where the pass is.
#[derive(Debug, Default)]
struct Walk<'de> {
    /// After an error: the path of the value that is wrong.
    steps: Vec<Step>,
    /// Of all objects that are open, the outermost first: the keys read so far, or only the last one if they are
    /// many.
    keys: Vec<Cow<'de, str>>,
}

impl<'de> Walk<'de> {
    fn deserialize_from<D: Deserializer<'de>>(&mut self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }

    /// Checks that one more array or object may begin here.
    fn check_depth<E: Error>(&self) -> Result<(), E> {
        if self.steps.len() >= MAX_DEPTH {
            return Err(E::custom(format_args!(
                "is nested deeper than {MAX_DEPTH} levels"
            )));
        }
        Ok(())
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for step in self.steps.iter().take(SHOWN_STEPS) {
            // Writing to a string cannot fail.
            let _ = match step {
                Step::Index(index) => write!(path, "[{index}]"),
                Step::Key(at) => write_key(&mut path, self.keys.get(*at).map_or("", |key| &**key)),
            };
        }
        if self.steps.len() > SHOWN_STEPS {
            path.push('…');
        }
        path
    }
}

fn write_key(path: &mut String, key: &str) -> fmt::Result {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if key.len() <= SHOWN_CHARS && !key.is_empty() && key.chars().all(is_plain) {
        let dot = if path.is_empty() { "" } else { "." };
        return write!(path, "{dot}{key}");
    }
    let shown: String = key.chars().take(SHOWN_CHARS).collect();
    let rest = if shown.len() < key.len() { "…" } else { "" };
    write!(path, "[{shown:?}{rest}]")
}

fn check_text<E: Error>(what: &str, text: &str) -> Result<(), E> {
    // An escape is the only way to write it: serde_json refuses a raw one.
    if text.contains('\0') {
        return Err(E::custom(format_args!("{what} contains U+0000")));
    }
    Ok(())
}

impl<'de> DeserializeSeed<'de> for &mut Walk<'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.deserialize_from(deserializer)
    }
}

impl<'de> Visitor<'de> for &mut Walk<'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        check_text("the text", text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        self.check_depth()?;
        for index in 0.. {
            self.steps.push(Step::Index(index));
            let element = elements.next_element_seed(&mut *self)?;
            self.steps.pop();
            if element.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        self.check_depth()?;
        let first = self.keys.len();
        let mut many: HashSet<Cow<'de, str>> = HashSet::new();
        while let Some(key) = members.next_key_seed(Key)? {
            let is_new = if many.is_empty() && self.keys.len() - first < FEW_KEYS {
                !self.keys[first..].contains(&key)
            } else {
                many.extend(self.keys.drain(first..));
                many.insert(key.clone())
            };
            self.steps.push(Step::Key(self.keys.len()));
            self.keys.push(key);
            if !is_new {
                return Err(A::Error::custom("occurs twice in one object"));
            }
            members.next_value_seed(&mut *self)?;
            self.steps.pop();
        }
        self.keys.truncate(first);
        Ok(())
    }
}

/// A key of an object, borrowed if it has no escapes.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E: Error>(self, key: &'de str) -> Result<Self::Value, E> {
        check_text("a key", key)?;
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        check_text("a key", key)?;
        Ok(Cow::Owned(key.to_owned()))
    }
}
