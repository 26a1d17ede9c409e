//! Why requests failed, and how often.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Why a request does not count as answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Reason {
    /// The server's name has no address.
    Unresolved,
    /// Nothing listens at the address.
    Refused,
    /// No connection for another reason, such as no route.
    Unreachable,
    /// This machine has no file descriptor or no local port left for a connection: a fault of the load generator, whose
    /// request is not sent.
    OutOfResources,
    /// The TLS handshake failed, or TLS ended a connection.
    Tls,
    /// The server has reset the connection (TCP RST, or RST_STREAM of HTTP/2).
    Reset,
    /// The server of HTTP/2 has refused the stream (REFUSED_STREAM, RFC 9113 §8.7), as servers with too much load do.
    RefusedStream,
    /// The server has closed the connection before the end of a response's head.
    Closed,
    /// The server has closed the connection before the end of a body (RFC 9112 §8).
    Truncated,
    /// No complete response in time.
    TimedOut,
    /// What the server sent is not HTTP, or has no end before a response.
    Malformed,
    /// A head, a Content-Length, or a body that had to be kept, is larger than this program accepts.
    TooLarge,
    /// A response with another status than 2xx, or 304 to a request without a condition.
    Status(u16),
    /// The body is not a page of the feed.
    InvalidPage,
    /// The poll was never sent: `--max-rate` or `--max-connections` left it no turn before the end of the run.
    NotSent,
}

/// The names of the reasons that are no statuses.
const NAMES: [(Reason, &str); 14] = [
    (Reason::Unresolved, "unresolved"),
    (Reason::Refused, "refused"),
    (Reason::Unreachable, "unreachable"),
    (Reason::OutOfResources, "out of resources"),
    (Reason::Tls, "tls"),
    (Reason::Reset, "reset"),
    (Reason::RefusedStream, "refused stream"),
    (Reason::Closed, "closed"),
    (Reason::Truncated, "truncated"),
    (Reason::TimedOut, "timed out"),
    (Reason::Malformed, "malformed"),
    (Reason::TooLarge, "too large"),
    (Reason::InvalidPage, "invalid page"),
    (Reason::NotSent, "not sent"),
];

impl Reason {
    /// Returns whether no complete response came to a request that was sent, for another reason than a timeout.
    pub fn is_lost(self) -> bool {
        !matches!(
            self,
            Self::TimedOut
                | Self::Status(_)
                | Self::InvalidPage
                | Self::NotSent
                | Self::OutOfResources
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Status(status) = self {
            return write!(f, "{status}");
        }
        let name = NAMES.iter().find(|(reason, _)| reason == self);
        f.write_str(name.map_or("", |(_, name)| name))
    }
}

/// A text is not the name of a [`Reason`].
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a reason for a failure")]
pub struct UnknownReason(String);

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Self, UnknownReason> {
        let named = NAMES.iter().find(|(_, name)| *name == text);
        let reason = named.map(|(reason, _)| *reason);
        let status = || text.parse().ok().map(Self::Status);
        reason
            .or_else(status)
            .ok_or_else(|| UnknownReason(text.to_owned()))
    }
}

impl TryFrom<String> for Reason {
    type Error = UnknownReason;

    fn try_from(text: String) -> Result<Self, UnknownReason> {
        text.parse()
    }
}

impl From<Reason> for String {
    fn from(reason: Reason) -> Self {
        reason.to_string()
    }
}

/// The failed requests of the clients of one kind, by reason.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Failures(BTreeMap<Reason, Failed>);

/// The requests that failed for one reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failed {
    /// Their number.
    pub count: u64,
    /// What the first of them failed with.
    pub first: String,
}

impl Failures {
    /// Counts a failure; `detail` says more about the first one.
    pub(super) fn add(&mut self, reason: Reason, detail: &str) {
        let first = || Failed {
            count: 0,
            first: detail.to_owned(),
        };
        self.0.entry(reason).or_insert_with(first).count += 1;
    }

    /// Adds those of another shard.
    pub(super) fn merge(&mut self, other: &Self) {
        for (reason, failed) in other.iter() {
            let own = self.0.entry(reason).or_insert_with(|| Failed {
                count: 0,
                first: failed.first.clone(),
            });
            own.count += failed.count;
        }
    }

    /// Returns the number of requests that failed for this reason.
    pub fn of(&self, reason: Reason) -> u64 {
        self.0.get(&reason).map_or(0, |failed| failed.count)
    }

    /// Returns the number of requests that failed for one of the reasons that `selected` accepts.
    pub fn count(&self, selected: impl Fn(Reason) -> bool) -> u64 {
        let selected = self.iter().filter(|(reason, _)| selected(*reason));
        selected.map(|(_, failed)| failed.count).sum()
    }

    /// Returns all reasons that occurred.
    pub fn iter(&self) -> impl Iterator<Item = (Reason, &Failed)> {
        self.0.iter().map(|(reason, failed)| (*reason, failed))
    }
}
