//! Every error that a client can see, its status and its JSON (WIRE.md).

use std::time::Duration;

use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use serde::Serialize;

use crate::{
    cache::handle::Unavailable,
    domain::{cursor::NotALimit, ran_at::NotATime},
    feed::FeedError,
};

/// The body of an error.
#[derive(Debug, Serialize)]
pub(super) struct Detail<'a> {
    detail: &'a str,
}

impl<'a> Detail<'a> {
    pub(super) fn new(detail: &'a str) -> Self {
        Self { detail }
    }
}

/// Why a request was not answered with what it asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error("not found")]
    NotFound,
    #[error("no_active_challenge")]
    NoActiveChallenge,
    #[error("difficulty requires tier")]
    DifficultyWithoutTier,
    #[error("tier must be an integer of at least 0")]
    BadTier,
    #[error("missing cursor: pass since_ran_at (v1.1.0) or since (v1.0.x)")]
    MissingCursor,
    #[error("since / since_ran_at must be ISO-8601")]
    BadCursor,
    #[error(transparent)]
    BadLimit(#[from] NotALimit),
    #[error("precondition failed")]
    PreconditionFailed,
    #[error("temporarily unavailable, try again")]
    Unavailable { retry_after: Duration },
    #[error("internal error")]
    Internal,
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

impl From<FeedError> for ApiError {
    fn from(error: FeedError) -> Self {
        match error {
            FeedError::Busy => {}
            FeedError::Store(_) => log::warn!("leaderboard/recent: {error}"),
            // The database is not to blame, so asking again would not help.
            FeedError::Json(_) | FeedError::Panicked => {
                log::error!("leaderboard/recent: {error}");
                return Self::Internal;
            }
        }
        Self::Unavailable {
            retry_after: Duration::from_secs(1),
        }
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::NotFound | Self::NoActiveChallenge => StatusCode::NOT_FOUND,
            Self::DifficultyWithoutTier | Self::BadTier | Self::MissingCursor | Self::BadCursor => {
                StatusCode::BAD_REQUEST
            }
            Self::BadLimit(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        if let Self::Unavailable { retry_after } = self {
            let seconds = retry_after.as_millis().div_ceil(1000).max(1);
            response.insert_header((header::RETRY_AFTER, seconds.to_string()));
        }
        response.json(Detail::new(&self.to_string()))
    }
}
