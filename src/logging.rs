//! Logging to stderr, one line for each event.

use std::{collections::BTreeMap, io::Write};

use cathedral_publisher::config::LogFormat;
use log::kv::{self, Key, Value, VisitSource};

/// Starts the logger with a filter in the syntax of `RUST_LOG`.
pub(crate) fn init(filter: &str, format: LogFormat) {
    let mut builder = env_logger::Builder::new();
    builder.parse_filters(filter);
    match format {
        LogFormat::Text => builder.format(|out, record| {
            let now = jiff::Timestamp::now();
            let (level, target) = (record.level(), record.target());
            write!(out, "{now:.3} {level} {target}: {}", record.args())?;
            for (key, value) in pairs(record) {
                match value.as_str() {
                    Some(text) if is_plain(text) => write!(out, " {key}={text}")?,
                    Some(_) | None => write!(out, " {key}={value}")?,
                }
            }
            writeln!(out)
        }),
        LogFormat::Json => builder.format(|out, record| {
            let mut line = pairs(record);
            let mut say = |key: &str, value: String| line.insert(key.to_owned(), value.into());
            say("time", format!("{:.3}", jiff::Timestamp::now()));
            say("level", record.level().to_string());
            say("target", record.target().to_owned());
            say("message", record.args().to_string());
            serde_json::to_writer(&mut *out, &line)?;
            writeln!(out)
        }),
    };
    builder.init();
}

fn pairs(record: &log::Record<'_>) -> BTreeMap<String, serde_json::Value> {
    struct Pairs(BTreeMap<String, serde_json::Value>);
    impl<'kvs> VisitSource<'kvs> for Pairs {
        fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
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

/// Returns whether a text can be written as a value without quotes.
fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b'"' && b != b'=')
}
