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
//! | `conditional` | If-None-Match and If-Match, 200, 304 and 412 |
//! | `own_bodies` | a worker's own count of the bodies that it sends |
//! | `query` | the parameters of a query string |
//! | `error` | every error's status and JSON, in one place |

mod admin;
mod board;
mod conditional;
mod error;
mod health;
mod leaderboard;
mod metrics;
mod own_bodies;
mod query;
mod routes;
pub mod token;

pub use admin::AdminHandles;
pub use routes::configure;

use crate::{cache::uncached::Board, feed::FeedHandle, health::HealthHandle, metrics::Metrics};

/// What handlers hold.
#[derive(Debug, Clone)]
pub struct Handles {
    /// The board.
    pub board: Board,
    /// The feed.
    pub feed: FeedHandle,
    /// The database's health.
    pub health: HealthHandle,
    /// What is counted.
    pub metrics: Metrics,
    /// The write side, where there is one and somebody may use it.
    pub admin: Option<AdminHandles>,
}
