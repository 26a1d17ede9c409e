//! The parameters of a query string. Unknown ones are ignored; the last duplicate wins.

use std::borrow::Cow;

use super::error::ApiError;
use crate::domain::cursor::{Cursor, PageLimit};

/// Returns the values of `names`, in that order; `None` for an absent parameter.
fn parameters<'q, const N: usize>(query: &'q str, names: [&str; N]) -> [Option<Cow<'q, str>>; N] {
    let mut values = [const { None }; N];
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if let Some(at) = names.iter().position(|wanted| *wanted == name) {
            values[at] = Some(value);
        }
    }
    values
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
        match (tier.as_deref().map(parse_tier).transpose()?, difficulty) {
            (None, None) => Ok(Self::First),
            (None, Some(_)) => Err(ApiError::DifficultyWithoutTier),
            (Some(tier), None) => Ok(Self::OfTier(tier)),
            (Some(tier), Some(label)) => Ok(Self::OfLabel(tier, label)),
        }
    }
}

fn parse_tier(text: &str) -> Result<u64, ApiError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ApiError::BadTier);
    }
    // An integer beyond u64 is a tier that no challenge can have.
    Ok(text.parse().unwrap_or(u64::MAX))
}

/// Parses the cursor and limit of leaderboard/recent. The limit is checked first.
pub(super) fn feed_page(query: &str) -> Result<(Cursor, PageLimit), ApiError> {
    let [since_ran_at, since_id, since, limit] =
        parameters(query, ["since_ran_at", "since_id", "since", "limit"]);
    let limit = limit
        .map(|text| PageLimit::parse(&text))
        .transpose()?
        .unwrap_or_default();
    let cursor = match (since_ran_at, since) {
        (Some(since_ran_at), _) => Cursor::tuple(&since_ran_at, since_id.as_deref())?,
        (None, Some(since)) => Cursor::legacy(&since, since_id.as_deref())?,
        (None, None) => return Err(ApiError::MissingCursor),
    };
    Ok((cursor, limit))
}
