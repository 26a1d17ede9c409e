//! One request to the upstream, and what its answer says. Blocks.

use std::time::Duration;

use super::{body, lie::Lie, settings::Upstream};
use crate::{
    domain::position::Position,
    fetch::{Ask, FetchError, Fetched, Fetcher},
    metrics::{FollowMetrics, FollowOutcome, FollowRejected},
};

/// The longest body, encoded or not: a board of ten thousand challenges, or a page of 200 rows of the greatest length.
const MAX_BODY_BYTES: u64 = 16 * 1024 * 1024;
/// The longest link to the next request.
const MAX_LINK_BYTES: usize = 1000;

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
    Status(u16, Option<Duration>),
}

/// Header fields of a 200 or 304.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) tag: Option<String>,
    /// The query of the next request, with its question mark, if the answer links to one.
    pub(super) next: Option<String>,
    /// For how long a cache may answer with it.
    pub(super) fresh_for: Option<Duration>,
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
    /// Asks, and has the body of a 200 read. Counts the outcome.
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
        let reply = match fetched {
            Ok(fetched) => reply(fetched, question, read).map_err(Failure::Lie),
            Err(FetchError::TooLong(bytes)) => Err(Failure::Lie(Lie::new(
                FollowRejected::Size,
                format!("it has more than {bytes} bytes"),
            ))),
            Err(error) => Err(Failure::Fetch(error)),
        };
        self.metrics.requested(outcome(&reply), bytes);
        if let Err(Failure::Lie(lie)) = &reply {
            self.metrics.rejected(lie.reason);
        }
        reply
    }
}

fn outcome<T>(reply: &Result<Reply<T>, Failure>) -> FollowOutcome {
    match reply {
        Ok(Reply::New(..)) => FollowOutcome::Ok,
        Ok(Reply::NotModified(_)) => FollowOutcome::NotModified,
        Ok(Reply::Status(..)) => FollowOutcome::Status,
        Err(Failure::Fetch(FetchError::TimedOut(_))) => FollowOutcome::TimedOut,
        Err(Failure::Fetch(_)) => FollowOutcome::Failed,
        Err(Failure::Lie(_)) => FollowOutcome::Rejected,
    }
}

fn reply<T>(
    fetched: Fetched,
    question: &Question,
    read: impl FnOnce(&str) -> Result<T, Lie>,
) -> Result<Reply<T>, Lie> {
    let fields = Fields {
        tag: fetched.field("etag").map(str::to_owned),
        next: fetched.values("link").into_iter().find_map(next),
        fresh_for: fresh_for(&fetched),
    };
    match fetched.status {
        200 => {
            let coding = fetched.field("content-encoding").unwrap_or_default();
            let tag = fields.tag.as_deref();
            let body = body::decoded(&fetched.body, coding, tag, MAX_BODY_BYTES)?;
            Ok(Reply::New(read(&body)?, fields))
        }
        304 if question.tag.is_some() => Ok(Reply::NotModified(fields)),
        304 => Err(Lie::new(
            FollowRejected::Form,
            "it is a 304 to a request without an entity-tag",
        )),
        status => {
            let retry_after = fetched.field("retry-after");
            let retry_after = retry_after.and_then(|secs| secs.trim().parse().ok());
            Ok(Reply::Status(status, retry_after.map(Duration::from_secs)))
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

/// Returns for how long a cache may answer with it (RFC 9111 §4.2).
fn fresh_for(fetched: &Fetched) -> Option<Duration> {
    let control = fetched.values("cache-control").join(",");
    let mut directives = control.split(',').map(str::trim);
    let max_age = directives.find_map(|it| it.strip_prefix("max-age=")?.parse::<u64>().ok())?;
    let age = fetched.field("age").and_then(|age| age.parse::<u64>().ok());
    Some(Duration::from_secs(
        max_age.saturating_sub(age.unwrap_or(0)),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

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
