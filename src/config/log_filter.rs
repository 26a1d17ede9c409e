//! What `--log-level` may be.

use std::str::FromStr;

use log::LevelFilter;

/// The level of this program's log lines, and levels of single targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter {
    level: LevelFilter,
    targets: Vec<(String, LevelFilter)>,
}

// `MODULES` and `CRATES`: see scripts/log_targets.rs.
include!(concat!(env!("OUT_DIR"), "/log_targets.rs"));

/// Targets that are no modules: the access log, and the lines of panics.
const NAMED: [&str; 2] = ["access", "panic"];

/// The text is not a filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAFilter {
    /// A part of it has another form.
    #[error(
        "must be off, error, warn, info, debug or trace, or a list such as info,access=off with target=level"
    )]
    Form,
    /// Two parts without a target.
    #[error("has two levels without a target: one holds for all that is not named")]
    TwoLevels,
    /// Nothing logs with this target.
    #[error("nothing logs as {0:?}: a target is access, a module of this program or a crate{hint}", hint = hint(.0))]
    Unknown(String),
}

impl LogFilter {
    /// Returns the level of targets of this program that are not named. Libraries never log more than warnings
    /// unless they are named.
    pub fn level(&self) -> LevelFilter {
        self.level
    }

    /// Returns the targets that are named: modules, and `access`.
    pub fn targets(&self) -> impl Iterator<Item = (&str, LevelFilter)> {
        let targets = self.targets.iter();
        targets.map(|(target, level)| (target.as_str(), *level))
    }
}

impl FromStr for LogFilter {
    type Err = NotAFilter;

    fn from_str(text: &str) -> Result<Self, NotAFilter> {
        let level = |text: &str| text.trim().parse().map_err(|_| NotAFilter::Form);
        let mut filter = Self {
            level: LevelFilter::Info,
            targets: Vec::new(),
        };
        let mut has_level = false;
        for part in text.split(',') {
            match part.split_once('=') {
                None => {
                    filter.level = level(part)?;
                    if std::mem::replace(&mut has_level, true) {
                        return Err(NotAFilter::TwoLevels);
                    }
                }
                Some((target, text)) => {
                    let (target, level) = (target.trim(), level(text)?);
                    if target.is_empty() {
                        return Err(NotAFilter::Form);
                    }
                    if !is_target(target) {
                        return Err(NotAFilter::Unknown(target.to_owned()));
                    }
                    filter.targets.push((target.to_owned(), level));
                }
            }
        }
        Ok(filter)
    }
}

/// Returns whether something may log with this target. Of other crates any module may.
fn is_target(text: &str) -> bool {
    let is_path = text.split("::").all(|name| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        !name.is_empty() && name.bytes().all(fits)
    });
    let first = text.split("::").next().unwrap_or_default();
    let is_own = Some(&first) == MODULES.first();
    NAMED.contains(&text)
        || MODULES.contains(&text)
        || (is_path && !is_own && CRATES.contains(&first))
}

/// Returns what the target may have meant: a module or crate with the same name and another path, or a name that differs
/// in one character or in two exchanged ones.
fn hint(target: &str) -> String {
    let name = |path: &str| path.rsplit("::").next().unwrap_or_default().to_owned();
    let meant = target.replace('-', "_");
    let all = || NAMED.iter().chain(MODULES).chain(CRATES);
    let found = all()
        .find(|known| **known == meant)
        .or_else(|| all().find(|known| is_close(&meant, known)))
        .or_else(|| all().find(|known| name(known) == meant));
    found.map_or_else(String::new, |found| format!("; is it {found}?"))
}

fn is_close(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[same..], &b[same..]);
    match (a, b) {
        ([_, a @ ..], [_, b @ ..]) if a == b => true,
        ([x, y, a @ ..], [v, w, b @ ..]) if (x, y) == (w, v) && a == b => true,
        _ => a.get(1..) == Some(b) || b.get(1..) == Some(a) || a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_targets_are_read_and_all_else_is_refused() -> Result<(), NotAFilter> {
        let filter: LogFilter = "WARN, cathedral_publisher::http=trace,access=off".parse()?;
        assert_eq!(filter.level(), LevelFilter::Warn);
        let targets: Vec<_> = filter.targets().collect();
        let expected = [
            ("cathedral_publisher::http", LevelFilter::Trace),
            ("access", LevelFilter::Off),
        ];
        assert_eq!(targets, expected);
        let named: LogFilter = "access=off".parse()?;
        assert_eq!(named.level(), LevelFilter::Info);
        for text in [
            "",
            "bogus",
            "5",
            "info,",
            "a=",
            "=info",
            "access=b=c",
            "info/x",
        ] {
            assert_eq!(text.parse::<LogFilter>(), Err(NotAFilter::Form), "{text}");
        }
        for text in ["info,debug", "info,access=off,info"] {
            assert_eq!(text.parse::<LogFilter>(), Err(NotAFilter::TwoLevels));
        }
        Ok(())
    }

    #[test]
    fn a_target_that_logs_nothing_is_refused_and_close_ones_are_told() {
        for (target, meant) in [
            ("cathedral_publisher::cahce", "cathedral_publisher::cache"),
            ("cathedral_publisher::cach", "cathedral_publisher::cache"),
            ("cathedral-publisher", "cathedral_publisher"),
            ("cache", "cathedral_publisher::cache"),
            ("acces", "access"),
            ("actix-server", "actix_server"),
            (
                "cathedral_publisher::http::dor",
                "cathedral_publisher::http::door",
            ),
            ("cathedral_publisher::", ""),
            ("actix_server::a-b", ""),
            ("Access", "access"),
            ("a b", ""),
        ] {
            let error = format!("info,{target}=debug").parse::<LogFilter>();
            assert_eq!(error, Err(NotAFilter::Unknown(target.to_owned())));
            let said = error.map_or_else(|error| error.to_string(), |_| String::new());
            assert!(
                said.contains(&format!("is it {meant}?")) || meant.is_empty(),
                "{said}"
            );
        }
        for target in [
            "cathedral_publisher",
            "cathedral_publisher::cache",
            "cathedral_publisher::http::door::connection",
            "cathedral_publisher::commands::serve",
            "actix_server",
            "rustls::client",
            "panic",
        ] {
            assert!(is_target(target), "{target}");
        }
    }
}
