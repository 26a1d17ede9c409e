//! One request to the upstream, and what its answer says. Blocks.

use std::time::Duration;

use super::{body, counted::Counted, lie::Lie, settings::Upstream, slots::Age};
use crate::{
    domain::{position::Position, ran_at::RanAt, seq_cursor::SeqCursor},
    fetch::{Ask, FetchError, Fetched, Fetcher},
    metrics::{FollowMetrics, FollowOutcome, FollowRejected},
    store::KeptFrom,
};

/// The longest body, encoded or not: a board of ten thousand challenges, or a page of 200 rows of the greatest length.
const MAX_BODY_BYTES: u64 = 16 * 1024 * 1024;
/// The longest link to the next request.
const MAX_LINK_BYTES: usize = 1000;
/// The longest body of an error that is read.
const MAX_DETAIL_BYTES: usize = 1000;

/// Asks the upstream.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) upstream: Upstream,
    pub(super) fetcher: Fetcher,
    pub(super) metrics: FollowMetrics,
}

/// What to ask for.
#[derive(Debug, Clone)]
pub(super) struct Question {
    /// The path and the query.
    pub(super) target: String,
    /// The entity-tag of the answer that is known.
    pub(super) tag: Option<String>,
    pub(super) timeout: Duration,
}

/// An answer.
#[derive(Debug)]
pub(super) enum Reply<T> {
    /// 200, with what was read from the body.
    New(T, Fields),
    /// 304.
    NotModified(Fields),
    /// Another status.
    Refused(Refusal),
}

/// An answer with another status than 200 and 304.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    /// What it says, if that has the form of the wire contract.
    detail: String,
}

impl Refusal {
    /// A status that says nothing more.
    pub(super) fn of(status: u16) -> Self {
        Self {
            status,
            retry_after: None,
            detail: String::new(),
        }
    }

    fn new(fetched: &Fetched) -> Self {
        #[derive(serde::Deserialize)]
        struct Body {
            detail: String,
        }
        let retry_after = fetched.field("retry-after");
        let retry_after = retry_after.and_then(|secs| secs.trim().parse().ok());
        let body = fetched.body.get(..MAX_DETAIL_BYTES.min(fetched.body.len()));
        let body = body.and_then(|body| serde_json::from_slice(body).ok());
        Self {
            status: fetched.status,
            retry_after: retry_after.map(Duration::from_secs),
            detail: body.map_or_else(String::new, |Body { detail }| detail),
        }
    }

    /// Returns whether the upstream does not know the cursor yet (WIRE.md, "The order of commits").
    pub(super) fn is_behind(&self) -> bool {
        self.status == 503 && self.detail.contains("behind since_seq")
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "it answers {}", self.status)?;
        if self.is_behind() {
            f.write_str(
                ": it is behind the copy, as a replica that lags, or an older database that took its place; if it still is after an hour, all is copied anew",
            )
        } else if self.detail.is_empty() {
            Ok(())
        } else {
            write!(f, ": {:?}", self.detail)
        }
    }
}

/// Header fields of a 200 or 304.
#[derive(Debug)]
pub(super) struct Fields {
    pub(super) tag: Option<String>,
    /// The query of the next request, with its question mark, if the answer links to one.
    pub(super) next: Option<String>,
    /// For how long a cache may answer with it.
    pub(super) fresh_for: Option<Duration>,
    /// For how long caches have kept it, by their own account (RFC 9111 §5.1).
    pub(super) age: Duration,
    /// What the slot that it links to tells of its age.
    pub(super) by_slot: Age,
    /// From where on the upstream has all eval runs.
    pub(super) kept_from: Option<KeptFrom>,
    /// Counts the answer.
    pub(super) counted: Counted,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    Fetch(FetchError),
    Lie(Lie),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fetch(error) => error.fmt(f),
            Self::Lie(lie) => write!(f, "its answer is rejected: {lie}"),
        }
    }
}

impl Source {
    /// Asks, and has the body of a 200 read. Counts the outcome, when the reply is dropped.
    ///
    /// # Errors
    /// [`Failure`]: there is no whole answer in time, or it is not what a publisher may say.
    pub(super) fn ask<T>(
        &self,
        question: &Question,
        read: impl FnOnce(&str) -> Result<T, Lie>,
    ) -> Result<Reply<T>, Failure> {
        let url = self.upstream.url(&question.target);
        let mut fields = vec![
            ("accept", "application/json"),
            ("accept-encoding", body::ACCEPT_ENCODING),
        ];
        if let Some(tag) = &question.tag {
            fields.push(("if-none-match", tag));
        }
        let fetched = self.fetcher.ask(Ask {
            method: "GET",
            url: &url,
            fields: &fields,
            timeout: question.timeout,
            max_body_bytes: MAX_BODY_BYTES,
        });
        let bytes = fetched
            .as_ref()
            .map_or(0, |fetched| fetched.body.len() as u64);
        let mut counted = Counted::new(&self.metrics, bytes);
        let reply = match fetched {
            Ok(fetched) => reply(fetched, question, read, counted),
            Err(FetchError::TooLong(bytes)) => Err(Lie::new(
                FollowRejected::Size,
                format!("it has more than {bytes} bytes"),
            )),
            Err(error) => {
                let is_late = matches!(error, FetchError::TimedOut(_));
                counted.note(if is_late {
                    FollowOutcome::TimedOut
                } else {
                    FollowOutcome::Failed
                });
                return Err(Failure::Fetch(error));
            }
        };
        reply.map_err(|lie| {
            self.metrics.rejected(lie.reason);
            Failure::Lie(lie)
        })
    }
}

fn reply<T>(
    fetched: Fetched,
    question: &Question,
    read: impl FnOnce(&str) -> Result<T, Lie>,
    counted: Counted,
) -> Result<Reply<T>, Lie> {
    let mut fields = Fields {
        counted,
        tag: fetched.field("etag").map(str::to_owned),
        next: fetched.values("link").into_iter().find_map(next),
        fresh_for: fresh_for(&fetched),
        age: age(&fetched),
        by_slot: Age::Unknown,
        kept_from: match fetched.field("kept-from") {
            Some(text) => Some(kept_from(text).ok_or_else(|| {
                Lie::new(
                    FollowRejected::Form,
                    "Kept-From is not as the wire contract has it",
                )
            })?),
            None => None,
        },
    };
    match fetched.status {
        200 => {
            let coding = fetched.field("content-encoding").unwrap_or_default();
            let tag = fields.tag.as_deref();
            let body = body::decoded(&fetched.body, coding, tag, MAX_BODY_BYTES)?;
            let new = read(&body)?;
            fields.counted.note(FollowOutcome::Ok);
            Ok(Reply::New(new, fields))
        }
        304 if question.tag.is_some() => {
            fields.counted.note(FollowOutcome::NotModified);
            Ok(Reply::NotModified(fields))
        }
        304 => Err(Lie::new(
            FollowRejected::Form,
            "it is a 304 to a request without an entity-tag",
        )),
        _ => {
            fields.counted.note(FollowOutcome::Status);
            Ok(Reply::Refused(Refusal::new(&fetched)))
        }
    }
}

/// Returns the query of a link to the next request, as WIRE.md has it: a relative one.
fn next(link: &str) -> Option<String> {
    let (target, parameters) = link.strip_prefix('<')?.split_once('>')?;
    let is_next = parameters.split(';').any(|it| it.trim() == "rel=\"next\"");
    let is_query = target.starts_with('?') && target.bytes().all(|byte| byte.is_ascii_graphic());
    let fits = target.len() <= MAX_LINK_BYTES && !target.contains('#');
    (is_next && is_query && fits).then(|| target.to_owned())
}

/// Returns the position that the link of an answer with the board names.
pub(super) fn position_of(next: &str) -> Option<Position> {
    let mut parameters = next.trim_start_matches('?').split('&');
    parameters.find_map(|it| it.strip_prefix("after=")?.parse().ok())
}

/// Returns the time slot that the link of an answer names.
pub(super) fn slot_of(next: &str) -> Option<u64> {
    let mut parameters = next.trim_start_matches('?').split('&');
    parameters.find_map(|it| it.strip_prefix("slot=")?.parse().ok())
}

/// Returns for how long a cache may answer with it (RFC 9111 §4.2).
fn fresh_for(fetched: &Fetched) -> Option<Duration> {
    let control = fetched.values("cache-control").join(",");
    let mut directives = control.split(',').map(str::trim);
    let max_age = directives.find_map(|it| it.strip_prefix("max-age=")?.parse::<u64>().ok())?;
    Some(Duration::from_secs(max_age).saturating_sub(age(fetched)))
}

fn age(fetched: &Fetched) -> Duration {
    let age = fetched.field("age").and_then(|age| age.parse().ok());
    Duration::from_secs(age.unwrap_or(0))
}

/// Reads `Kept-From` (WIRE.md, "The order of commits").
fn kept_from(text: &str) -> Option<KeptFrom> {
    let (cursor, ran_at) = text.strip_prefix('"')?.split_once("\";ran-at=\"")?;
    let ran_at = RanAt::parse(ran_at.strip_suffix('"')?).ok()?;
    Some(KeptFrom {
        cursor: SeqCursor::parse(cursor).ok()?,
        ran_at: ran_at.as_str().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_from_is_read_as_it_is_written() {
        let text = "\"9-0000000000000007.17\";ran-at=\"2026-06-01T00:00:00.000Z\"";
        let kept = kept_from(text);
        let parts = kept.map(|kept| (kept.cursor.to_string(), kept.ran_at));
        let expected = ("9-0000000000000007.17", "2026-06-01T00:00:00.000Z");
        assert_eq!(parts, Some((expected.0.to_owned(), expected.1.to_owned())));
        for text in [
            "",
            "\"0\"",
            "0;ran-at=x",
            &text.replace("06-01", "06-31"),
            &text.replace("-000", "-"),
        ] {
            assert!(kept_from(text).is_none(), "{text}");
        }
    }

    #[test]
    fn only_a_relative_link_to_the_next_request_is_followed() {
        let link = "<?after=1-00000000000000aa.17&slot=7>; rel=\"next\"";
        let query = next(link);
        assert_eq!(
            query.as_deref(),
            Some("?after=1-00000000000000aa.17&slot=7")
        );
        let position = query.as_deref().and_then(position_of);
        assert_eq!(
            position.map(|it| it.to_string()).as_deref(),
            Some("1-00000000000000aa.17")
        );
        let long = format!("<?{}>; rel=\"next\"", "a".repeat(MAX_LINK_BYTES));
        for link in [
            "",
            "<?a>",
            "<?a>; rel=\"prev\"",
            "</a?b>; rel=\"next\"",
            "<https://a/?b>; rel=\"next\"",
            "<?a b>; rel=\"next\"",
            "<?a#b>; rel=\"next\"",
            "?a; rel=\"next\"",
            &long,
        ] {
            assert_eq!(next(link), None, "{link}");
        }
    }
}
