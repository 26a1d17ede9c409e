//! The wire: the front door, the actix-web application, limits, errors. The only place that knows HTTP.
//!
//! | file | knows |
//! |---|---|
//! | `door` | every connection: reading, answering from memory, sending, time limits |
//! | `routes` | which path is served by what, with and without the prefix |
//! | `board`, `leaderboard` | the public reads that the door does not answer from memory |
//! | `cnf` | active-cnf: formulas, whole or in part |
//! | `jwks` | the public keys of the eval runs |
//! | `respond` | the actix-web form of a decision: 200, 304, 406, 412, 503 |
//! | `admin`, `token` | writes: challenges, eval runs, Merkle epochs; bearer tokens |
//! | `health`, `metrics`, `description` | /health, /metrics, /openapi.json |
//! | `page` | the page for browsers at / |
//! | `client_address`, `rate_limit` | which client a request comes from, and how often it may ask |
//! | `cache_status` | `Cache-Status` and `Age` |
//! | `date` | `Date`, which never runs back |
//! | `query` | the parameters of a query string |
//! | `error` | every error's status and JSON |
//! | `waiting` | requests that are answered when something changes |
//! | `settings` | the options of this room |

mod admin;
mod board;
mod cache_status;
mod client_address;
mod cnf;
mod date;
mod description;
mod door;
mod error;
mod health;
mod jwks;
mod leaderboard;
mod metrics;
mod page;
mod query;
mod rate_limit;
mod respond;
mod routes;
mod settings;
mod token;
mod waiting;

pub use admin::AdminHandles;
pub use client_address::ClientAddressFrom;
pub use date::DateSource;
pub use door::Door;
pub use metrics::MetricsPage;
pub use page::HtmlPage;
pub use rate_limit::RateLimit;
pub use routes::RouteSet;
pub use settings::{AccessLog, ServesPage, Settings};
pub use token::{AdminTokens, TokenError};
pub use waiting::Waits;

use std::sync::Arc;

use self::waiting::{Next, Reason, Slots};
use crate::{
    answer::EdgeCache,
    cache::handle::{CacheHandle, Published},
    cnf::CnfHandle,
    feed::{FeedHandle, Page, PageKey},
    health::HealthHandle,
    keys::JwkSetHandle,
    metrics::{
        Metrics,
        requests::{RequestCounters, Route},
    },
    throttle::Throttle,
};

/// What requests are answered with. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handles {
    /// The board.
    pub board: CacheHandle,
    /// The feed.
    pub feed: FeedHandle,
    /// The formulas, if there is a folder of them.
    pub cnf: Option<CnfHandle>,
    /// The public keys of the eval runs.
    pub jwk_set: JwkSetHandle,
    /// The health of the server.
    pub health: HealthHandle,
    /// What is counted.
    pub metrics: Metrics,
    /// The text of that.
    pub metrics_page: Arc<MetricsPage>,
    /// The page for browsers.
    pub page: Arc<HtmlPage>,
    /// The write side, if there is one and a token is configured.
    pub admin: Option<AdminHandles>,
    /// The rate limit of each client, if there is one.
    pub rate_limit: Option<Arc<RateLimit>>,
    /// The requests that wait for a change.
    pub waits: Waits,
    /// Bounds the lines of the log about answers of 5xx, by route and status.
    pub logged_failures: Arc<Throttle<(Route, u16)>>,
    /// The date of answers.
    pub date: Arc<DateSource>,
    /// What shared caches are told about answers that clients poll.
    pub edge_cache: Arc<EdgeCache>,
    /// The options of this room.
    pub settings: Settings,
}

impl Handles {
    /// Returns how a client goes on that gets this board.
    fn next_of_board(&self, board: &Published, reason: Reason) -> Next {
        let slots = Slots::new(self.settings.waiting.wait_slot);
        let slot = slots.next(self.board.wall());
        Next::of_board(board.news.position, slot, reason)
    }

    /// Returns how a client goes on that gets this page; `None` if it is in the order of (ran_at, id).
    fn next_of_page(&self, page: &Page, key: &PageKey, reason: Reason) -> Option<Next> {
        let slots = Slots::new(self.settings.waiting.wait_slot);
        Next::of_page(page, key, slots.next(self.board.wall()), reason)
    }
}

/// What the actix-web routes of one worker hold.
#[derive(Debug)]
struct App {
    handles: Handles,
    counters: Arc<RequestCounters>,
}
