//! The parameters of a query string, and the last segment of a path. Unknown parameters are ignored; the last
//! duplicate wins.
//!
//! Bytes that are not UTF-8 and malformed escapes are refused. Replaced by U+FFFD, `%FF` and `%FE` would be one
//! value; taken literally, `%` and `%25`.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::{error::ApiError, waiting::Slot};
use crate::{
    domain::{
        Invalid,
        challenge::Status,
        cursor::{Cursor, NotALimit, PageLimit},
        position::Position,
        seq_cursor::{NotASeqCursor, SeqCursor},
    },
    feed::{After, PageKey, SeqPage},
};

/// The value of a parameter, as it was sent.
#[derive(Clone, Copy)]
struct Encoded<'q>(&'q str);

/// Returns the values of `names`, in that order; `None` for an absent parameter.
fn parameters<'q, const N: usize>(query: &'q str, names: [&str; N]) -> [Option<Encoded<'q>>; N] {
    let mut values = [const { None }; N];
    for parameter in query.split('&') {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let name = Encoded(name).text();
        if let Some(at) = names
            .iter()
            .position(|wanted| name.as_deref() == Some(wanted))
        {
            values[at] = Some(Encoded(value));
        }
    }
    values
}

impl<'q> Encoded<'q> {
    /// Decodes `application/x-www-form-urlencoded`: a `+` is a space.
    fn text(self) -> Option<Cow<'q, str>> {
        if self.0.contains('+') {
            let spaced = self.0.replace('+', " ");
            return text(&spaced).map(|text| Cow::Owned(text.into_owned()));
        }
        text(self.0)
    }
}

/// Decodes text: well-formed escapes (RFC 3986 §2.1) of UTF-8 without U+0000, which no stored text has.
fn text(encoded: &str) -> Option<Cow<'_, str>> {
    let is_escape = |rest: &str| {
        let digits = rest.as_bytes().first_chunk::<2>();
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !encoded.split('%').skip(1).all(is_escape) {
        return None;
    }
    let text = percent_decode_str(encoded).decode_utf8().ok()?;
    (!text.contains('\0')).then_some(text)
}

/// Decodes the last segment of a path: the id that it names. `field` is the name of the id.
///
/// # Errors
/// [`Invalid`] if it is not text.
pub(super) fn id_of_path(path: &str, field: &str) -> Result<String, Invalid> {
    let segment = path.rsplit('/').next().unwrap_or_default();
    text(segment)
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
        let label = |value: Encoded<'q>| value.text().ok_or(ApiError::BadText("difficulty"));
        let difficulty = difficulty.map(label).transpose()?;
        match (tier.map(parse_tier).transpose()?, difficulty) {
            (None, None) => Ok(Self::First),
            (None, Some(_)) => Err(ApiError::DifficultyWithoutTier),
            (Some(tier), None) => Ok(Self::OfTier(tier)),
            (Some(tier), Some(label)) => Ok(Self::OfLabel(tier, label)),
        }
    }
}

/// Parses the parameter of active-cnf.
pub(super) fn challenge_id(query: &str) -> Result<Cow<'_, str>, ApiError> {
    let [id] = parameters(query, ["challenge_id"]);
    let id = id.ok_or(ApiError::MissingChallengeId)?;
    id.text().ok_or(ApiError::BadText("challenge_id"))
}

fn parse_tier(tier: Encoded<'_>) -> Result<u64, ApiError> {
    let digits = tier.text().ok_or(ApiError::BadTier)?;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ApiError::BadTier);
    }
    // An integer beyond u64 is a tier that no challenge can have.
    Ok(digits.parse().unwrap_or(u64::MAX))
}

/// What a request for a change of the board has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Changes {
    /// The position of the board that the client has.
    pub(super) after: Option<Position>,
    /// Until the end of which slot it waits.
    pub(super) slot: Option<Slot>,
}

/// Parses the parameters of active-challenges/changes.
pub(super) fn changes(query: &str) -> Result<Changes, ApiError> {
    let [after, slot] = parameters(query, ["after", "slot"]);
    let position = |value: Encoded<'_>| value.text()?.parse().ok();
    let after = after.map(|value| position(value).ok_or(ApiError::BadAfter));
    Ok(Changes {
        after: after.transpose()?,
        slot: slot.map(parse_slot).transpose()?,
    })
}

fn parse_slot(slot: Encoded<'_>) -> Result<Slot, ApiError> {
    let slot = slot.text().and_then(|text| Slot::parse(&text));
    slot.ok_or(ApiError::BadSlot)
}

/// A page of the challenges that are stored, as an operator asks for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StoredChallenges {
    /// Which ones; `None` for all.
    pub(super) status: Option<Status>,
    /// The id that they follow; empty for the first page.
    pub(super) after: String,
    pub(super) limit: PageLimit,
}

/// Parses the parameters of admin/challenges.
pub(super) fn stored_challenges(query: &str) -> Result<StoredChallenges, ApiError> {
    let [status, cursor, limit] = parameters(query, ["status", "cursor", "limit"]);
    let status = status.map(|value| {
        let status = value.text().and_then(|word| Status::parse(&word));
        status.ok_or(ApiError::BadStatus)
    });
    let after = cursor.map(|value| value.text().ok_or(ApiError::BadText("cursor")));
    Ok(StoredChallenges {
        status: status.transpose()?,
        after: after.transpose()?.unwrap_or_default().into_owned(),
        limit: page_limit(limit)?,
    })
}

fn page_limit(limit: Option<Encoded<'_>>) -> Result<PageLimit, ApiError> {
    let limit = limit.map(|value| PageLimit::parse(&value.text().ok_or(NotALimit)?));
    Ok(limit.transpose()?.unwrap_or_default())
}

/// A page of the feed, as a request asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FeedQuery {
    pub(super) key: PageKey,
    /// Until the end of which slot it waits, if there are no eval runs yet.
    pub(super) slot: Option<Slot>,
}

/// Parses the parameters of leaderboard/recent. The limit is checked first. `since_seq` makes the other cursors of no
/// effect: a client may send them for servers that do not know it. They never wait: beside them, `slot` is unknown.
pub(super) fn feed<'q>(query: &'q str) -> Result<FeedQuery, ApiError> {
    let names = [
        "since_seq",
        "slot",
        "since_ran_at",
        "since_id",
        "since",
        "limit",
        "detail",
    ];
    let [
        since_seq,
        slot,
        since_ran_at,
        since_id,
        since,
        limit,
        detail,
    ] = parameters(query, names);
    let limit = page_limit(limit)?;
    if let Some(since_seq) = since_seq {
        let text = since_seq.text().ok_or(NotASeqCursor)?;
        let page = SeqPage {
            cursor: SeqCursor::parse(&text)?,
            limit,
            is_detailed: detail.and_then(Encoded::text).as_deref() == Some("1"),
        };
        return Ok(FeedQuery {
            key: page.key(),
            slot: slot.map(parse_slot).transpose()?,
        });
    }
    let time = |value: Encoded<'q>| value.text().ok_or(ApiError::BadCursor);
    let id = |value: Encoded<'q>| value.text().ok_or(ApiError::BadText("since_id"));
    let since_id = since_id.map(id).transpose()?;
    let cursor = match (since_ran_at, since) {
        (Some(since_ran_at), _) => Cursor::tuple(&time(since_ran_at)?, since_id.as_deref())?,
        (None, Some(since)) => Cursor::legacy(&time(since)?, since_id.as_deref())?,
        (None, None) => return Err(ApiError::MissingCursor),
    };
    Ok(FeedQuery {
        key: PageKey::new(After::Place(cursor), limit),
        slot: None,
    })
}
