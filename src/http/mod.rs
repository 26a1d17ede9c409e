//! The wire: routes, conditional requests, errors. The only place that knows HTTP.
//!
//! | file | knows |
//! |---|---|
//! | `routes` | which path is answered by what, with and without the prefix |
//! | `board` | active-challenges and current-challenge |
//! | `leaderboard` | leaderboard/recent |
//! | `admin` | what comes in: challenges, eval runs, Merkle epochs |
//! | `token` | who may write |
//! | `health`, `metrics` | /health, /metrics |
//! | `lending` | bodies that are lent to a connection instead of copied into it |
//! | `conditional` | If-None-Match and If-Match, 200, 304 and 412 |
//! | `access` | what every request passes: limits, counts, the access log |
//! | `client_address`, `rate_limit` | who asks, and how often it may |
//! | `description` | /openapi.json |
//! | `worker`, `own_bodies` | what a worker has for itself, as its count of the bodies that it sends |
//! | `cache_status` | how an answer was come by, for who wants to know |
//! | `query` | the parameters of a query string |
//! | `fast_path` | the board, as nearly everybody asks for it, without the framework |
//! | `error` | every error's status and JSON, in one place |

mod access;
mod admin;
mod board;
mod cache_status;
mod client_address;
mod conditional;
mod description;
mod error;
pub mod fast_path;
mod health;
mod leaderboard;
mod lending;
mod metrics;
mod own_bodies;
mod query;
mod rate_limit;
mod routes;
pub mod token;
mod worker;

pub use access::{AccessLog, AccessRules};
pub use admin::AdminHandles;
pub use lending::{LendingStream, Loan};
pub use rate_limit::RateLimit;
pub use routes::{Face, configure};

use crate::{cache::handle::CacheHandle, feed::FeedHandle, health::HealthHandle, metrics::Metrics};

/// What handlers hold.
#[derive(Debug, Clone)]
pub struct Handles {
    /// The board.
    pub board: CacheHandle,
    /// The feed.
    pub feed: FeedHandle,
    /// The database's health.
    pub health: HealthHandle,
    /// What is counted.
    pub metrics: Metrics,
    /// What is asked of every request.
    pub rules: AccessRules,
    /// Whether pages of other origins may read.
    pub cors: bool,
    /// Whether the board's answers tell how the cache came by them.
    pub cache_status: bool,
    /// The write side, where there is one and somebody may use it.
    pub admin: Option<AdminHandles>,
}
