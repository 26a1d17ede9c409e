//! What the checks found.

use std::fmt;

use serde::Serialize;

use super::session::SessionError;
use crate::domain::Invalid;

/// The longest text of what was seen, in characters.
const MAX_SEEN: usize = 400;

/// Why a check does not hold.
#[derive(Debug)]
pub(super) enum Finding {
    /// The server breaks the contract.
    Fails(String),
    /// Two answers that should agree differ. One of them may be older, if the server has changed in between or a cache
    /// has kept it.
    Differs(String),
    /// The server does not have what was added to the contract later.
    NotOffered(String),
}

/// Returns a failure.
pub(super) fn fails<T>(seen: impl Into<String>) -> Result<T, Finding> {
    Err(Finding::Fails(seen.into()))
}

/// Returns that two answers differ.
pub(super) fn differs<T>(seen: impl Into<String>) -> Result<T, Finding> {
    Err(Finding::Differs(seen.into()))
}

/// Returns that something is not offered.
pub(super) fn not_offered<T>(seen: impl Into<String>) -> Result<T, Finding> {
    Err(Finding::NotOffered(seen.into()))
}

impl Finding {
    /// Says where it was found.
    pub(super) fn at(self, place: &str) -> Self {
        match self {
            Self::Fails(seen) => Self::Fails(format!("{place}: {seen}")),
            Self::Differs(seen) => Self::Differs(format!("{place}: {seen}")),
            Self::NotOffered(seen) => Self::NotOffered(format!("{place}: {seen}")),
        }
    }
}

impl From<SessionError> for Finding {
    fn from(error: SessionError) -> Self {
        Self::Fails(error.to_string())
    }
}

impl From<Invalid> for Finding {
    fn from(invalid: Invalid) -> Self {
        Self::Fails(invalid.to_string())
    }
}

/// Whether a rule holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It does.
    Holds,
    /// It does not.
    Fails,
    /// The server does not have what the rule is about, and need not.
    NotOffered,
}

/// One line of the table.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The check.
    pub name: String,
    /// What came of it.
    pub verdict: Verdict,
    /// What was seen, in one line of printable characters.
    pub seen: String,
}

impl Outcome {
    pub(super) fn new(name: &str, verdict: Verdict, seen: &str) -> Self {
        let mut text = String::new();
        for character in seen.chars().take(MAX_SEEN) {
            // What the server sent must not control a terminal.
            match character {
                '"' | '\'' | '\\' => text.push(character),
                character => text.extend(character.escape_debug()),
            }
        }
        if seen.chars().nth(MAX_SEEN).is_some() {
            text.push('…');
        }
        Self {
            name: name.to_owned(),
            verdict,
            seen: text,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Holds => "ok",
            Verdict::Fails => "FAIL",
            Verdict::NotOffered => "-",
        };
        write!(f, "{verdict:<5} {:<24} {}", self.name, self.seen)
    }
}

/// The whole table.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The server.
    pub url: String,
    /// How many requests it was sent.
    pub requests: u64,
    /// How many bytes of bodies it sent.
    pub body_bytes: u64,
    /// In the order of the table.
    pub checks: Vec<Outcome>,
}

impl Report {
    /// Returns the names of the checks that fail.
    pub fn failed(&self) -> Vec<&str> {
        let failed = self.checks.iter().filter(|it| it.verdict == Verdict::Fails);
        failed.map(|it| it.name.as_str()).collect()
    }

    /// Returns how many checks have this outcome.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.checks
            .iter()
            .filter(|it| it.verdict == verdict)
            .count()
    }
}

/// The last line of the table.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} hold, {} fail, {} not offered; {} requests, {} bytes of bodies",
            self.count(Verdict::Holds),
            self.count(Verdict::Fails),
            self.count(Verdict::NotOffered),
            self.requests,
            self.body_bytes,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_sent_is_one_line_of_printable_characters() {
        let outcome = Outcome::new("a", Verdict::Fails, "\u{1b}[31m\r\n\u{2028}\"é'\\");
        assert_eq!(outcome.seen, r#"\u{1b}[31m\r\n\u{2028}"é'\"#);
        let long = Outcome::new("a", Verdict::Fails, &"x".repeat(1000));
        assert_eq!(long.seen.chars().count(), MAX_SEEN + 1);
    }
}
