//! The parameters of a query string, and the last segment of a path. Unknown parameters are ignored; the last
//! duplicate wins.
//!
//! Bytes that are not UTF-8 are refused. Replaced by U+FFFD, `%FF` and `%FE` would be one value.

use std::borrow::Cow;

use percent_encoding::percent_decode;

use super::error::ApiError;
use crate::domain::{
    Invalid,
    cursor::{Cursor, NotALimit, PageLimit},
};

/// Returns the decoded values of `names`, in that order; `None` for an absent parameter.
fn parameters<'q, const N: usize>(query: &'q str, names: [&str; N]) -> [Option<Cow<'q, [u8]>>; N] {
    let mut values = [const { None }; N];
    for parameter in query.split('&') {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let name = decode(name);
        if let Some(at) = names.iter().position(|wanted| wanted.as_bytes() == &*name) {
            values[at] = Some(decode(value));
        }
    }
    values
}

/// Decodes `application/x-www-form-urlencoded`: a `+` is a space.
fn decode(encoded: &str) -> Cow<'_, [u8]> {
    if encoded.contains('+') {
        let spaced = encoded.replace('+', " ");
        return Cow::Owned(percent_decode(spaced.as_bytes()).collect());
    }
    percent_decode(encoded.as_bytes()).into()
}

/// Returns the bytes as text: UTF-8 without U+0000, which no stored text has.
fn text(bytes: Cow<'_, [u8]>) -> Option<Cow<'_, str>> {
    let text = match bytes {
        Cow::Borrowed(bytes) => Cow::Borrowed(std::str::from_utf8(bytes).ok()?),
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8(bytes).ok()?),
    };
    (!text.contains('\0')).then_some(text)
}

/// Decodes the last segment of a path: the id that it names. `field` is the name of the id.
///
/// # Errors
/// [`Invalid`] if it is not text.
pub(super) fn id_of_path(path: &str, field: &str) -> Result<String, Invalid> {
    let segment = path.rsplit('/').next().unwrap_or_default();
    text(percent_decode(segment.as_bytes()).into())
        .map(Cow::into_owned)
        .ok_or_else(|| Invalid::new(field, "must be UTF-8 without U+0000, percent-encoded"))
}

/// The challenge that a request of current-challenge chooses.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice<'q> {
    First,
    OfTier(u64),
    OfLabel(u64, Cow<'q, str>),
}

impl<'q> Choice<'q> {
    pub(super) fn parse(query: &'q str) -> Result<Self, ApiError> {
        let [tier, difficulty] = parameters(query, ["tier", "difficulty"]);
        let label = |value| text(value).ok_or(ApiError::BadText("difficulty"));
        let difficulty = difficulty.map(label).transpose()?;
        match (tier.as_deref().map(parse_tier).transpose()?, difficulty) {
            (None, None) => Ok(Self::First),
            (None, Some(_)) => Err(ApiError::DifficultyWithoutTier),
            (Some(tier), None) => Ok(Self::OfTier(tier)),
            (Some(tier), Some(label)) => Ok(Self::OfLabel(tier, label)),
        }
    }
}

fn parse_tier(text: &[u8]) -> Result<u64, ApiError> {
    let digits = std::str::from_utf8(text).map_err(|_| ApiError::BadTier)?;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ApiError::BadTier);
    }
    // An integer beyond u64 is a tier that no challenge can have.
    Ok(digits.parse().unwrap_or(u64::MAX))
}

/// Parses the cursor and limit of leaderboard/recent. The limit is checked first.
pub(super) fn feed_page(query: &str) -> Result<(Cursor, PageLimit), ApiError> {
    let [since_ran_at, since_id, since, limit] =
        parameters(query, ["since_ran_at", "since_id", "since", "limit"]);
    let limit = limit
        .map(|value| PageLimit::parse(&text(value).ok_or(NotALimit)?))
        .transpose()?
        .unwrap_or_default();
    let time = |value| text(value).ok_or(ApiError::BadCursor);
    let id = |value| text(value).ok_or(ApiError::BadText("since_id"));
    let since_id = since_id.map(id).transpose()?;
    let cursor = match (since_ran_at, since) {
        (Some(since_ran_at), _) => Cursor::tuple(&time(since_ran_at)?, since_id.as_deref())?,
        (None, Some(since)) => Cursor::legacy(&time(since)?, since_id.as_deref())?,
        (None, None) => return Err(ApiError::MissingCursor),
    };
    Ok((cursor, limit))
}
