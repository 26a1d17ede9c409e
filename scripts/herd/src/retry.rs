//! What a client does after a failed request, without I/O.

use std::time::Duration;

use fastrand::Rng;

use crate::{config::OnFailure, failures::Reason};

/// Maximum of the first wait of a client that backs off.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Maximum of all waits.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Why an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No complete response in time.
    TimedOut,
    /// The connection failed or was lost.
    Broken,
    /// 429 or 5xx.
    Refused {
        /// Retry-After (RFC 9110 §10.2.3).
        retry_after: Option<Duration>,
    },
}

impl Failure {
    /// Returns the failure after which a client retries; `None` if the same request would fail again.
    pub(super) fn of(reason: Reason, retry_after: Option<Duration>) -> Option<Self> {
        match reason {
            Reason::TimedOut => Some(Self::TimedOut),
            Reason::Status(429 | 500..) => Some(Self::Refused { retry_after }),
            Reason::Status(_) | Reason::InvalidPage | Reason::NotSent | Reason::OutOfResources => {
                None
            }
            Reason::Unresolved
            | Reason::Refused
            | Reason::Unreachable
            | Reason::Tls
            | Reason::Reset
            | Reason::RefusedStream
            | Reason::Closed
            | Reason::Truncated
            | Reason::Malformed
            | Reason::TooLarge => Some(Self::Broken),
        }
    }
}

/// Retry policy of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Action after a failure.
    pub on_failure: OnFailure,
    /// Whether it waits at least as long as Retry-After says.
    pub honour_retry_after: bool,
    /// Maximum of retries of one poll; `None` for no limit.
    pub max_retries: Option<u32>,
    /// Added to each wait of a client that backs off.
    pub least: Duration,
}

impl RetryPolicy {
    /// Returns the wait before the next attempt after `retries` retries; `None` to give up.
    pub fn wait(&self, failure: Failure, retries: u32, rng: &mut Rng) -> Option<Duration> {
        if self.max_retries.is_some_and(|most| retries >= most) {
            return None;
        }
        let wait = match self.on_failure {
            OnFailure::GiveUp => return None,
            OnFailure::Retry => Duration::ZERO,
            OnFailure::BackOff => {
                let longest = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(retries));
                // Between zero and all of it, so that clients that failed together spread out.
                self.least + longest.min(LONGEST_WAIT - self.least).mul_f64(rng.f64())
            }
        };
        let told = match failure {
            Failure::Refused { retry_after } if self.honour_retry_after => retry_after,
            Failure::Refused { .. } | Failure::TimedOut | Failure::Broken => None,
        };
        Some(wait.max(told.unwrap_or_default()))
    }
}
