//! What `--log-level` may be.

use std::str::FromStr;

use log::LevelFilter;

/// The level of this program's log lines, and levels of single targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter {
    level: LevelFilter,
    targets: Vec<(String, LevelFilter)>,
}

/// The text is not a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be off, error, warn, info, debug or trace, or a list such as info,access=off with target=level"
)]
pub struct NotAFilter;

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
        let level = |text: &str| text.trim().parse().map_err(|_| NotAFilter);
        let mut filter = Self {
            level: LevelFilter::Info,
            targets: Vec::new(),
        };
        for part in text.split(',') {
            match part.split_once('=') {
                None => filter.level = level(part)?,
                Some((target, text)) if is_target(target.trim()) => {
                    let target = target.trim().to_owned();
                    filter.targets.push((target, level(text)?));
                }
                Some(_) => return Err(NotAFilter),
            }
        }
        Ok(filter)
    }
}

fn is_target(text: &str) -> bool {
    let fit = |byte: u8| byte.is_ascii_alphanumeric() || b"_:-.".contains(&byte);
    !text.is_empty() && text.bytes().all(fit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_targets_are_read_and_all_else_is_refused() -> Result<(), NotAFilter> {
        let filter: LogFilter = "WARN, a::b=trace,access=off".parse()?;
        assert_eq!(filter.level(), LevelFilter::Warn);
        let targets: Vec<_> = filter.targets().collect();
        let expected = [("a::b", LevelFilter::Trace), ("access", LevelFilter::Off)];
        assert_eq!(targets, expected);
        let named: LogFilter = "access=off".parse()?;
        assert_eq!(named.level(), LevelFilter::Info);
        for text in [
            "", "bogus", "5", "info,", "a=", "=info", "a=b=c", "info/x", "a b=info",
        ] {
            assert_eq!(text.parse::<LogFilter>(), Err(NotAFilter), "{text}");
        }
        Ok(())
    }
}
