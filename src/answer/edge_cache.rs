//! How long shared caches, such as those of a CDN, may reuse what clients poll: directives beside `max-age` (RFC 9111
//! §5.2.2, RFC 5861), in `Cache-Control` or in a field of their own (RFC 9213).

use std::str::FromStr;

use super::CachePolicy;

/// The longest time of a directive, a year, in seconds.
const MAX_SECS: u64 = 365 * 24 * 60 * 60;
/// Directives with a time in seconds.
const TIMES: [&str; 3] = ["s-maxage", "stale-while-revalidate", "stale-if-error"];
/// Directives that forbid stale answers, and so contradict `stale-while-revalidate` and `stale-if-error`.
const FORBID_STALE: [&str; 2] = ["must-revalidate", "proxy-revalidate"];
/// Another directive without a value.
const NO_TRANSFORM: &str = "no-transform";
/// Directives that the publisher decides by itself, or that contradict `public`.
const NOT_CHOSEN: [&str; 6] = [
    "max-age",
    "public",
    "private",
    "no-cache",
    "no-store",
    "immutable",
];

/// Valid directives for shared caches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives(String);

/// The directives cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDirectives {
    /// Not one of those that a server may choose.
    #[error(
        "{0:?} is no directive for shared caches; known are s-maxage, stale-while-revalidate, stale-if-error, \
         must-revalidate, proxy-revalidate and no-transform"
    )]
    Unknown(String),
    /// The publisher decides it.
    #[error("{0} cannot be chosen: the publisher sends public, max-age")]
    NotChosen(String),
    /// A directive is there twice.
    #[error("{0} is there twice")]
    Twice(String),
    /// A time is missing or invalid.
    #[error("{0} needs a number of seconds, up to {MAX_SECS}")]
    Seconds(String),
    /// A directive without a value has one.
    #[error("{0} has no value")]
    HasValue(String),
    /// One directive allows stale answers, another one forbids them.
    #[error("{0} forbids the stale answers that another directive allows")]
    Contradiction(String),
}

impl FromStr for Directives {
    type Err = InvalidDirectives;

    fn from_str(text: &str) -> Result<Self, InvalidDirectives> {
        let mut names: Vec<String> = Vec::new();
        let mut lines: Vec<String> = Vec::new();
        for part in text.split(',') {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name, Some(value.trim())),
                None => (part, None),
            };
            let name = name.trim().to_ascii_lowercase();
            lines.push(directive(&name, value)?);
            if names.contains(&name) {
                return Err(InvalidDirectives::Twice(name));
            }
            names.push(name);
        }
        let allows_stale = names.iter().any(|name| name.starts_with("stale-"));
        let forbids = names
            .iter()
            .find(|name| FORBID_STALE.contains(&name.as_str()));
        match forbids {
            Some(name) if allows_stale => Err(InvalidDirectives::Contradiction(name.clone())),
            _ => Ok(Self(lines.join(", "))),
        }
    }
}

/// Returns one directive as it is sent.
fn directive(name: &str, value: Option<&str>) -> Result<String, InvalidDirectives> {
    if NOT_CHOSEN.contains(&name) {
        Err(InvalidDirectives::NotChosen(name.to_owned()))
    } else if TIMES.contains(&name) {
        let is_digits = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit());
        let seconds = value.filter(is_digits).and_then(|text| text.parse().ok());
        match seconds {
            Some(seconds @ 0..=MAX_SECS) => Ok(format!("{name}={seconds}")),
            _ => Err(InvalidDirectives::Seconds(name.to_owned())),
        }
    } else if FORBID_STALE.contains(&name) || name == NO_TRANSFORM {
        match value {
            None => Ok(name.to_owned()),
            Some(_) => Err(InvalidDirectives::HasValue(name.to_owned())),
        }
    } else {
        Err(InvalidDirectives::Unknown(name.to_owned()))
    }
}

/// The name of a field for one kind of cache (RFC 9213 §2), in lower case: `cdn-cache-control`, or that of one CDN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetedField(String);

/// The name is not that of a targeted field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be CDN-Cache-Control, or another name that ends in -Cache-Control")]
pub struct NotATargetedField;

impl FromStr for TargetedField {
    type Err = NotATargetedField;

    fn from_str(text: &str) -> Result<Self, NotATargetedField> {
        let name = text.to_ascii_lowercase();
        let prefix = name
            .strip_suffix("-cache-control")
            .ok_or(NotATargetedField)?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(is_plain) {
            return Err(NotATargetedField);
        }
        Ok(Self(name))
    }
}

/// The fields of caching of what clients poll, prepared once. The default has no directive for shared caches.
#[derive(Debug, Clone, Default)]
pub struct EdgeCache {
    cache_control: Option<String>,
    targeted: Option<(String, String)>,
}

impl EdgeCache {
    /// Adds the directives to `Cache-Control`, or sends them in `field`.
    #[must_use]
    pub fn new(directives: Option<&Directives>, field: Option<&TargetedField>) -> Self {
        let Some(Directives(directives)) = directives else {
            return Self::default();
        };
        let value = format!("{}, {directives}", CachePolicy::Polled.value());
        match field {
            None => Self {
                cache_control: Some(value),
                targeted: None,
            },
            Some(TargetedField(name)) => Self {
                cache_control: None,
                targeted: Some((name.clone(), value)),
            },
        }
    }

    /// Returns the value of `Cache-Control`, and the targeted field if there is one.
    pub(super) fn fields(&self, policy: CachePolicy) -> (&str, Option<(&str, &str)>) {
        if policy != CachePolicy::Polled {
            return (policy.value(), None);
        }
        let value = self.cache_control.as_deref();
        let targeted = self.targeted.as_ref();
        (
            value.unwrap_or(policy.value()),
            targeted.map(|(name, value)| (name.as_str(), value.as_str())),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<String, InvalidDirectives> {
        text.parse().map(|Directives(text)| text)
    }

    #[test]
    fn directives_are_written_in_one_form() {
        for (text, expected) in [
            ("s-maxage=60", "s-maxage=60"),
            (
                " S-MaxAge = 060 ,stale-while-revalidate=30, stale-if-error=900",
                "s-maxage=60, stale-while-revalidate=30, stale-if-error=900",
            ),
            ("No-Transform,s-maxage=0", "no-transform, s-maxage=0"),
            (
                "proxy-revalidate, s-maxage=5",
                "proxy-revalidate, s-maxage=5",
            ),
            ("stale-if-error=31536000", "stale-if-error=31536000"),
        ] {
            assert_eq!(parsed(text).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn what_is_unknown_invalid_or_contradicts_is_refused() {
        for (text, word) in [
            ("", "no directive"),
            ("s-maxage=60,", "no directive"),
            ("s-maxage=60; stale-if-error=1", "needs a number"),
            ("s_maxage=60", "no directive"),
            ("stale-if-eror=60", "no directive"),
            ("s-maxage", "needs a number"),
            ("s-maxage=", "needs a number"),
            ("s-maxage=-1", "needs a number"),
            ("s-maxage=+1", "needs a number"),
            ("s-maxage=1.5", "needs a number"),
            ("s-maxage=\"60\"", "needs a number"),
            ("s-maxage=31536001", "needs a number"),
            ("s-maxage=99999999999999999999", "needs a number"),
            ("s-maxage=1, S-MAXAGE=2", "twice"),
            ("max-age=60", "cannot be chosen"),
            ("private", "cannot be chosen"),
            ("no-store, s-maxage=1", "cannot be chosen"),
            ("no-cache=set-cookie", "cannot be chosen"),
            ("no-transform=1", "has no value"),
            ("must-revalidate, stale-if-error=1", "forbids"),
            ("stale-while-revalidate=1, proxy-revalidate", "forbids"),
            ("s-maxage=1\r\nx: y", "needs a number"),
        ] {
            let error = parsed(text).map_err(|error| error.to_string());
            assert!(error.as_ref().is_err_and(|it| it.contains(word)), "{text}");
        }
    }

    #[test]
    fn a_targeted_field_ends_in_cache_control() {
        for name in ["CDN-Cache-Control", "Cloudflare-CDN-Cache-Control"] {
            assert!(name.parse::<TargetedField>().is_ok(), "{name}");
        }
        for name in [
            "Cache-Control",
            "-Cache-Control",
            "Surrogate-Control",
            "a b-Cache-Control",
            "a:-Cache-Control",
            "CDN-Cache-Control ",
            "",
        ] {
            assert_eq!(
                name.parse::<TargetedField>(),
                Err(NotATargetedField),
                "{name}"
            );
        }
    }
}
