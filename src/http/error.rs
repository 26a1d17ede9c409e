//! Every error that a client can see, its status and its JSON (WIRE.md).

use std::{sync::Arc, time::Duration};

use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use serde::Serialize;

use crate::{
    answer::Denied,
    cache::handle::Unavailable,
    cnf::{Fault, UploadError},
    domain::{
        Invalid, challenge::Status, cursor::NotALimit, ran_at::NotATime, seq_cursor::NotASeqCursor,
    },
    feed::FeedError,
    store::WriteError,
    writer::outcome::Rejected,
};

/// The body of an error.
#[derive(Debug, Serialize)]
struct Detail<'a> {
    detail: &'a str,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    item: Option<BadItem<'a>>,
}

/// The item of a request that is invalid.
#[derive(Debug, Serialize)]
struct BadItem<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    field: &'a str,
    reason: &'a str,
}

impl<'a> BadItem<'a> {
    fn new(index: Option<usize>, id: Option<&'a str>, invalid: &'a Invalid) -> Self {
        Self {
            index,
            id,
            field: &invalid.field,
            reason: &invalid.reason,
        }
    }
}

/// An error that a client sees.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error("not found")]
    NotFound,
    #[error("method not allowed")]
    MethodNotAllowed { allow: &'static str },
    #[error("no_active_challenge")]
    NoActiveChallenge,
    #[error("not served here: {0}")]
    NotServedHere(&'static str),
    #[error("no active challenge has this id")]
    NotActive,
    #[error(transparent)]
    BadFormula(Fault),
    #[error("missing parameter: challenge_id")]
    MissingChallengeId,
    #[error("the formula has {bytes} bytes, and none of them is in the range")]
    RangeNotSatisfiable { bytes: u64 },
    #[error("no such challenge")]
    NoSuchChallenge,
    #[error("status must be {}", Status::WORDS)]
    BadStatus,
    #[error("{0}")]
    Differs(String),
    #[error("difficulty requires tier")]
    DifficultyWithoutTier,
    #[error("tier must be an integer of at least 0")]
    BadTier,
    #[error("missing cursor: pass since_ran_at (v1.1.0) or since (v1.0.x)")]
    MissingCursor,
    #[error("since / since_ran_at must be ISO-8601")]
    BadCursor,
    #[error(transparent)]
    BadSeqCursor(#[from] NotASeqCursor),
    #[error("since_seq is a cursor of another database: start again with since_seq=0")]
    UnknownLineage,
    #[error("this server is behind since_seq, try again")]
    Behind,
    #[error("after must be a position, as the Link of an answer gives it")]
    BadAfter,
    #[error("slot must be a number, as the Link of an answer gives it")]
    BadSlot,
    #[error("{0} must be UTF-8 without U+0000, percent-encoded")]
    BadText(&'static str),
    #[error(transparent)]
    BadLimit(#[from] NotALimit),
    #[error("precondition failed")]
    PreconditionFailed,
    #[error("no available content coding is acceptable")]
    NotAcceptable,
    #[error("malformed request: {0}")]
    Malformed(&'static str),
    #[error("the head of the request did not arrive in time")]
    HeadTimeout,
    #[error("temporarily unavailable, try again")]
    Unavailable { retry_after: Duration },
    #[error("outcome unknown, send again")]
    OutcomeUnknown,
    #[error("the database refuses the write, see the publisher's log")]
    RefusedByDatabase,
    #[error("too many requests from this address, try again")]
    TooManyRequests { retry_after: Duration },
    #[error("the request target is too long")]
    UriTooLong,
    #[error("a valid bearer token is required")]
    Unauthorized,
    #[error("content-type must be {}", accepted.join(" or "))]
    UnsupportedMediaType { accepted: &'static [&'static str] },
    #[error("a body may have at most {max_bytes} bytes")]
    PayloadTooLarge { max_bytes: u64 },
    #[error("the header section is too long")]
    HeaderTooLong,
    #[error("the body did not arrive in time")]
    BodyTimeout,
    #[error("the body ended early or is malformed")]
    BodyBroken,
    #[error("{}{invalid}", place(*index))]
    BadItem {
        /// `None` if the request has only one item, or none can be read.
        index: Option<usize>,
        invalid: Invalid,
    },
    #[error("item {index}, id {id}: {invalid}")]
    BadSignature {
        index: usize,
        id: String,
        invalid: Invalid,
    },
    #[error("{}{reason}", place(*index))]
    Conflict {
        index: Option<usize>,
        reason: String,
    },
    #[error("internal error")]
    Internal,
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::NotAcceptable => Self::NotAcceptable,
            Denied::PreconditionFailed => Self::PreconditionFailed,
            Denied::NotEncodedYet => Self::busy(),
        }
    }
}

impl From<UploadError> for ApiError {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Differs(how) => Self::Differs(how),
            UploadError::Disk { .. } => {
                log::error!("{error}");
                Self::busy()
            }
        }
    }
}

impl From<NotATime> for ApiError {
    fn from(_: NotATime) -> Self {
        Self::BadCursor
    }
}

impl From<Unavailable> for ApiError {
    fn from(unavailable: Unavailable) -> Self {
        Self::Unavailable {
            retry_after: unavailable.retry_after,
        }
    }
}

impl From<Rejected> for ApiError {
    fn from(refused: Rejected) -> Self {
        match refused {
            Rejected::Item { index, error } => match error {
                // A challenge whose status would go back: at odds with what is stored, not wrong in
                // itself.
                WriteError::Conflict { .. } | WriteError::Invalid(_) | WriteError::Mirror(_) => {
                    Self::Conflict {
                        index: Some(index),
                        reason: error.to_string(),
                    }
                }
                WriteError::Store(_) => Self::Internal,
            },
            Rejected::Slow => Self::BodyTimeout,
            Rejected::Unknown => Self::OutcomeUnknown,
            Rejected::Refused(_) => Self::RefusedByDatabase,
            Rejected::Busy | Rejected::Store(_) | Rejected::Queued | Rejected::Stopped => {
                Self::busy()
            }
        }
    }
}

impl From<Arc<FeedError>> for ApiError {
    fn from(error: Arc<FeedError>) -> Self {
        match &*error {
            FeedError::UnknownLineage => Self::UnknownLineage,
            FeedError::Ahead => Self::Behind,
            FeedError::Busy | FeedError::Store(_) => Self::busy(),
            // The database is not to blame, so asking again would not help.
            FeedError::Json(_) | FeedError::Time | FeedError::Panicked => Self::Internal,
        }
    }
}

/// The item of a request that an error is about.
fn place(index: Option<usize>) -> String {
    index.map_or_else(String::new, |index| format!("item {index}: "))
}

impl ApiError {
    /// Makes it the error of a request for one item, which has no index.
    pub(super) fn of_one(mut self) -> Self {
        if let Self::BadItem { index, .. } | Self::Conflict { index, .. } = &mut self {
            *index = None;
        }
        self
    }

    /// 503, worth another try after a second.
    pub(super) fn busy() -> Self {
        Self::Unavailable {
            retry_after: Duration::from_secs(1),
        }
    }

    /// Whether the target alone decides the error. A cache in front may keep it for a second, so that a
    /// herd at a wrong address costs one request a second; the door marks all others `no-store`.
    fn follows_from_target(&self) -> bool {
        matches!(
            self,
            Self::NotFound
                | Self::NotServedHere(_)
                | Self::NotActive
                | Self::BadFormula(_)
                | Self::MissingChallengeId
                | Self::NoActiveChallenge
                | Self::DifficultyWithoutTier
                | Self::BadTier
                | Self::MissingCursor
                | Self::BadCursor
                | Self::BadSeqCursor(_)
                | Self::BadAfter
                | Self::BadSlot
                | Self::BadText(_)
                | Self::BadLimit(_)
        )
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::NotFound
            | Self::NoActiveChallenge
            | Self::NotServedHere(_)
            | Self::NotActive
            | Self::NoSuchChallenge
            | Self::BadFormula(_) => StatusCode::NOT_FOUND,
            Self::RangeNotSatisfiable { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::DifficultyWithoutTier
            | Self::MissingChallengeId
            | Self::BadTier
            | Self::MissingCursor
            | Self::BadCursor
            | Self::BadSeqCursor(_)
            | Self::BadAfter
            | Self::BadSlot
            | Self::BadStatus
            | Self::BadText(_) => StatusCode::BAD_REQUEST,
            Self::UnknownLineage => StatusCode::GONE,
            Self::BadLimit(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::UnsupportedMediaType { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::PayloadTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::HeaderTooLong => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTimeout | Self::HeadTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyBroken | Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::BadItem { .. } | Self::BadSignature { .. } | Self::RefusedByDatabase => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::Conflict { .. } | Self::Differs(_) => StatusCode::CONFLICT,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::Unavailable { .. } | Self::OutcomeUnknown | Self::Behind => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::TooManyRequests { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        response.insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"));
        if let Self::Unavailable { retry_after } | Self::TooManyRequests { retry_after } = self {
            let seconds = retry_after.as_millis().div_ceil(1000).max(1);
            response.insert_header((header::RETRY_AFTER, seconds.to_string()));
        }
        if self.follows_from_target() {
            response.insert_header((header::CACHE_CONTROL, "public, max-age=1"));
        }
        if let Self::RangeNotSatisfiable { bytes } = self {
            response.insert_header((header::CONTENT_RANGE, format!("bytes */{bytes}")));
            response.insert_header((header::ACCEPT_RANGES, "bytes"));
        }
        if let Self::MethodNotAllowed { allow } = self {
            response.insert_header((header::ALLOW, *allow));
        }
        if matches!(self, Self::OutcomeUnknown | Self::Behind) {
            response.insert_header((header::RETRY_AFTER, "1"));
        }
        if matches!(self, Self::NotAcceptable) {
            response.insert_header((header::VARY, "accept-encoding"));
        }
        if matches!(self, Self::Unauthorized) {
            let challenge = "Bearer realm=\"cathedral-publisher\"";
            response.insert_header((header::WWW_AUTHENTICATE, challenge));
        }
        let item = if let Self::BadItem { index, invalid } = self {
            Some(BadItem::new(*index, None, invalid))
        } else if let Self::BadSignature { index, id, invalid } = self {
            Some(BadItem::new(Some(*index), Some(id), invalid))
        } else {
            None
        };
        response.json(Detail {
            detail: &self.to_string(),
            item,
        })
    }
}
