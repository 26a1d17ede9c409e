//! Reads a JSON object into a struct, and says what is wrong with it in words for its sender: the field, and what it may
//! be. serde's own words name types of Rust.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error, Unexpected, Visitor},
};

use super::{Invalid, readable};

/// The most characters of a value or an unknown key in an error: what is sent back must not grow with what was sent.
const SHOWN_CHARS: usize = 64;

/// Checks that every common parser reads the JSON object, and reads it into a struct. serde would read one from
/// an array as well.
pub(super) fn parse_object<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, Invalid> {
    if !json.trim_ascii_start().starts_with('{') {
        return Err(Invalid::new("", "must be a JSON object"));
    }
    readable::check(json)?;
    let mut deserializer = serde_json::Deserializer::from_str(json);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let (field, reason) = words(&plain(error.inner()));
        // A field that is missing or unknown has no path, only a name.
        let path = error.path().iter().next();
        let field = path.map_or(field, |path| shortened(&path.to_string()));
        Invalid::new(field, reason)
    })
}

/// Returns serde_json's words without the position, which counts from the item's own first byte.
pub(super) fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&position).unwrap_or(&text).to_owned()
}

/// Reads one of a few words. `names` are all of them, as they stand in an error.
pub(super) fn word<'de, T, D: Deserializer<'de>>(
    deserializer: D,
    names: &'static str,
    parse: fn(&str) -> Option<T>,
) -> Result<T, D::Error> {
    deserializer.deserialize_str(Word {
        names,
        parse,
        result: PhantomData,
    })
}

struct Word<T> {
    names: &'static str,
    parse: fn(&str) -> Option<T>,
    result: PhantomData<T>,
}

impl<T> Visitor<'_> for Word<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.names)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

/// Translates serde's words: returns the name of the field, if they have it, and what is wrong.
fn words(text: &str) -> (String, String) {
    let named = |rest: &str| shortened(rest.split('`').next().unwrap_or_default());
    if let Some(rest) = text.strip_prefix("missing field `") {
        return (named(rest), "is missing".to_owned());
    }
    if let Some((field, known)) = text
        .strip_prefix("unknown field `")
        .and_then(|rest| rest.rsplit_once("`, expected "))
    {
        let known = known.trim_start_matches("one of ").replace('`', "");
        let reason = format!("is an unknown key; the keys are: {known}");
        return (shortened(field), reason.replace(" or ", ", "));
    }
    let mismatch = ["invalid type: ", "invalid value: "]
        .iter()
        .find_map(|kind| text.strip_prefix(kind)?.rsplit_once(", expected "));
    let reason = match mismatch {
        Some((found, expected)) => format!("must be {}, not {}", allowed(expected), given(found)),
        None => text.to_owned(),
    };
    (String::new(), reason)
}

/// Returns what a value may be, for the name of a type of Rust.
fn allowed(expected: &str) -> &str {
    match expected {
        // SQLite's integers are signed.
        "u64" => "an integer from 0 to 2^63-1",
        "i64" => "an integer from -2^63 to 2^63-1",
        "a boolean" => "true or false",
        "a sequence" => "an array",
        "a map" => "an object",
        other => other,
    }
}

/// Returns what was sent.
fn given(found: &str) -> String {
    match found {
        "map" => return "an object".to_owned(),
        "sequence" => return "an array".to_owned(),
        _ => {}
    }
    let text = ["string ", "integer ", "floating point ", "boolean "]
        .iter()
        .find_map(|kind| found.strip_prefix(kind));
    shortened(text.unwrap_or(found).trim_matches('`'))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Read {
        natural: u64,
        integer: Option<i64>,
        switch: Option<bool>,
        text: Option<String>,
    }

    fn said(json: &str) -> String {
        match parse_object::<Read>(json) {
            Ok(read) => format!("{read:?}"),
            Err(invalid) => invalid.to_string(),
        }
    }

    #[test]
    fn errors_name_the_field_and_what_it_may_be() {
        let long = "x".repeat(100_000);
        let cut = "x".repeat(SHOWN_CHARS);
        let keys = "natural, integer, switch, text";
        for (json, expected) in [
            ("{}", "natural: is missing".to_owned()),
            (
                r#"{"natural":null}"#,
                "natural: must be an integer from 0 to 2^63-1, not null".to_owned(),
            ),
            (
                r#"{"natural":"5"}"#,
                r#"natural: must be an integer from 0 to 2^63-1, not "5""#.to_owned(),
            ),
            (
                r#"{"natural":-5}"#,
                "natural: must be an integer from 0 to 2^63-1, not -5".to_owned(),
            ),
            (
                r#"{"natural":1.5}"#,
                "natural: must be an integer from 0 to 2^63-1, not 1.5".to_owned(),
            ),
            (
                r#"{"integer":[1]}"#,
                "integer: must be an integer from -2^63 to 2^63-1, not an array".to_owned(),
            ),
            (
                r#"{"switch":1}"#,
                "switch: must be true or false, not 1".to_owned(),
            ),
            (
                r#"{"text":{}}"#,
                "text: must be a string, not an object".to_owned(),
            ),
            (
                r#"{"text":true}"#,
                "text: must be a string, not true".to_owned(),
            ),
            (
                r#"{"other":1}"#,
                format!("other: is an unknown key; the keys are: {keys}"),
            ),
            (
                &format!(r#"{{"{long}":1}}"#),
                format!("{cut}…: is an unknown key; the keys are: {keys}"),
            ),
            (
                &format!(r#"{{"switch":"{long}"}}"#),
                format!("switch: must be true or false, not \"{}…", &cut[1..]),
            ),
            (
                r#"{"switch":", expected ` at line 1"}"#,
                r#"switch: must be true or false, not ", expected ` at line 1""#.to_owned(),
            ),
            ("{", "EOF while parsing an object".to_owned()),
        ] {
            assert_eq!(said(json), expected);
        }
    }
}
