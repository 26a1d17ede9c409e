//! The form of a line of the log. Text that came from a client cannot end a line or control a terminal: control
//! characters are written as in JSON, `\n` or `\u001b`.

use std::{collections::BTreeMap, fmt::Write as _, time::SystemTime};

use cathedral_publisher::config::LogFormat;
use log::{
    Record,
    kv::{self, Key, Value, VisitSource, VisitValue},
};

/// Returns the line of a record, with its line feed.
pub(super) fn of(format: LogFormat, record: &Record<'_>) -> String {
    let line = match format {
        LogFormat::Text => text(record),
        LogFormat::Json => json(record),
    };
    let mut line = escaped(&line);
    line.push('\n');
    line
}

fn text(record: &Record<'_>) -> String {
    let now = now();
    let (level, target) = (record.level(), record.target());
    let mut line = format!("{now:.3} {level} {target}: {}", record.args());
    for (key, value) in pairs(record) {
        // Writing to a string never fails.
        let _ = match value.as_str() {
            Some(text) if is_plain(text) => write!(line, " {key}={text}"),
            Some(_) | None => write!(line, " {key}={value}"),
        };
    }
    line
}

fn json(record: &Record<'_>) -> String {
    let mut line = pairs(record);
    let mut say = |key: &str, value: String| line.insert(key.to_owned(), value.into());
    say("time", format!("{:.3}", now()));
    say("level", record.level().to_string());
    say("target", record.target().to_owned());
    say("message", record.args().to_string());
    serde_json::Value::from_iter(line).to_string()
}

/// Returns the time; 1970 if the machine's clock is beyond the year 9999: a panic here would end the process.
fn now() -> jiff::Timestamp {
    jiff::Timestamp::try_from(SystemTime::now()).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

/// Returns the text with control characters and line separators replaced. JSON stays the same JSON.
pub(crate) fn escaped(text: &str) -> String {
    let is_bad = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    let mut line = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        let _ = match c {
            '\n' => write!(line, "\\n"),
            c if is_bad(c) => write!(line, "\\u{:04x}", u32::from(c)),
            c => write!(line, "{c}"),
        };
    }
    line
}

fn pairs(record: &Record<'_>) -> BTreeMap<String, serde_json::Value> {
    struct Pairs(BTreeMap<String, serde_json::Value>);
    impl<'kvs> VisitSource<'kvs> for Pairs {
        fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
            // `None`, as of a time that a request did not wait.
            let mut is_absent = IsAbsent(false);
            value.visit(&mut is_absent)?;
            if is_absent.0 {
                return Ok(());
            }
            let number = value.to_u64().map(serde_json::Value::from);
            let value = number.unwrap_or_else(|| value.to_string().into());
            self.0.insert(key.to_string(), value);
            Ok(())
        }
    }
    let mut pairs = Pairs(BTreeMap::new());
    // The visitor above never fails.
    let _ = record.key_values().visit(&mut pairs);
    pairs.0
}

/// Whether a value is `None`.
struct IsAbsent(bool);

impl<'v> VisitValue<'v> for IsAbsent {
    fn visit_any(&mut self, _: Value<'_>) -> Result<(), kv::Error> {
        Ok(())
    }

    fn visit_null(&mut self) -> Result<(), kv::Error> {
        self.0 = true;
        Ok(())
    }
}

/// Returns whether a text can be written as a value without quotes.
fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b'"' && b != b'=')
}
