//! What a client does when a poll fails: pure decisions.

use std::time::Duration;

use fastrand::Rng;

use crate::config::OnFailure;

/// The first wait of a client that backs off is up to this.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// No wait is longer.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Why an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No whole answer in time.
    TimedOut,
    /// No connection, or it broke.
    Broken,
    /// 429 or 5xx, and what Retry-After said in seconds (RFC 9110 §10.2.3).
    Refused {
        /// How long to stay away.
        retry_after: Option<Duration>,
    },
}

/// A client's manners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// What it does.
    pub on_failure: OnFailure,
    /// Whether it waits as long as it is told to, where that is longer.
    pub honour_retry_after: bool,
    /// Retries of one poll; none: as many as it takes.
    pub max_retries: Option<u32>,
}

impl RetryPolicy {
    /// How long to wait before the next attempt, after `retries` of them; none: give up.
    pub fn wait(&self, failure: Failure, retries: u32, rng: &mut Rng) -> Option<Duration> {
        if self.max_retries.is_some_and(|most| retries >= most) {
            return None;
        }
        let wait = match self.on_failure {
            OnFailure::GiveUp => return None,
            OnFailure::Retry => Duration::ZERO,
            OnFailure::BackOff => {
                let longest = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(retries));
                // Anything between none and all of it: clients that failed together come apart.
                longest.min(LONGEST_WAIT).mul_f64(rng.f64())
            }
        };
        let told = match failure {
            Failure::Refused { retry_after } if self.honour_retry_after => retry_after,
            Failure::Refused { .. } | Failure::TimedOut | Failure::Broken => None,
        };
        Some(wait.max(told.unwrap_or_default()))
    }
}
