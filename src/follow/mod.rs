//! Follows another publisher: copies its board and its feed into the database of this one (`serve --follow`).
//!
//! An upstream that is this program is waited for, and its numbers, lineages and positions are taken over: clients may
//! go to and fro between the two. Any other upstream is polled by conditional requests, as validators and miners do.
//!
//! Nothing that an upstream says is believed: an answer must be whole, have the form of the wire contract and the
//! entity-tag of its bytes, and be in order. One that is not is rejected as a whole, and what was copied before stays.
//!
//! | file | knows |
//! |---|---|
//! | `settings` | the options of following |
//! | `board_part`, `feed_part` | what to ask next, and what is done with an answer |
//! | `copy` | what both use: requests on a thread of their own, writes through the writer, the log of failures |
//! | `source` | one request to the upstream, and what its answer says |
//! | `body` | decodes a body within bounds, and compares it with its entity-tag |
//! | `board`, `rows` | what is accepted of a board, and of a page of the feed (pure) |
//! | `walk` | which page of an upstream without `since_seq` to ask for next (pure) |
//! | `slots` | whether an answer comes from the upstream itself, and not from a cache (pure) |
//! | `behind` | for how long the upstream has been behind the copy (pure) |
//! | `pace` | pauses between requests (pure) |
//! | `counted` | counts how a request ended |
//! | `lie` | why an answer is rejected |
//! | `hand` | a thread that asks and waits |
//! | `status` | when the upstream last confirmed what is here |

mod behind;
mod board;
mod board_part;
mod body;
mod copy;
mod counted;
mod feed_part;
mod hand;
mod lie;
mod pace;
mod rows;
mod settings;
mod slots;
mod source;
mod status;
mod walk;

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    cache::handle::CacheHandle,
    domain::clock::Clock,
    fetch::{FetchError, Fetcher},
    keys::JwkSetHandle,
    liveness::LivenessGuard,
    metrics::FollowMetrics,
    store::sqlite::SqliteStore,
    writer::handle::WriterHandle,
};
use board_part::BoardPart;
use copy::Copy;
use feed_part::FeedPart;
use hand::Hand;
use source::Source;

pub use settings::{Settings, Upstream};
pub use status::UpstreamStatus;

/// How often an upstream without waiting is asked whether it offers it now.
const PROBE_AGAIN: Duration = Duration::from_secs(600);
/// How long the start waits for the first look at the own database.
const FIRST_READ: Duration = Duration::from_secs(5);

/// An upstream that is to be followed.
#[derive(Clone)]
pub struct Follow {
    upstream: Upstream,
    settings: Settings,
    fetcher: Fetcher,
}

/// The parts of the server that copies.
pub(crate) struct Own {
    /// Its database.
    pub(crate) store: SqliteStore,
    /// Its writer; nobody else writes.
    pub(crate) writer: WriterHandle,
    /// The cache of its board.
    pub(crate) cache: CacheHandle,
    /// If there is a set, only eval runs that it verifies are stored.
    pub(crate) jwk_set: JwkSetHandle,
    /// Decides how long pauses last.
    pub(crate) clock: Arc<dyn Clock>,
    /// What is counted.
    pub(crate) metrics: FollowMetrics,
    /// Once it is set, nothing more is written.
    pub(crate) stopping: Arc<AtomicBool>,
}

impl fmt::Debug for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let upstream = &self.upstream;
        f.debug_struct("Follow")
            .field("upstream", upstream)
            .finish_non_exhaustive()
    }
}

impl Follow {
    /// Returns what is to be followed; `None` if nothing is.
    ///
    /// # Errors
    /// [`FetchError::Certificates`].
    pub fn new(settings: Settings) -> Result<Option<Self>, FetchError> {
        let Some(upstream) = settings.follow.clone() else {
            return Ok(None);
        };
        let ca_file = settings.follow_ca_file.as_deref();
        let fetcher = Fetcher::new("--follow-ca-file", ca_file, upstream.is_https())?;
        Ok(Some(Self {
            upstream,
            settings,
            fetcher,
        }))
    }

    /// Returns the upstream.
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// Starts two tasks on the current arbiter, each with a thread of its own, that copy until the process ends.
    ///
    /// # Errors
    /// If the system has no threads.
    pub(crate) fn launch(
        self,
        own: Own,
        guard: impl Fn(&'static str) -> LivenessGuard,
    ) -> io::Result<UpstreamStatus> {
        let Own {
            store,
            writer,
            cache,
            jwk_set,
            clock,
            metrics,
            stopping,
        } = own;
        let hands = (Hand::start("follow-board")?, Hand::start("follow-feed")?);
        let before = store.mirrored(Instant::now() + FIRST_READ);
        let copied = before.map_or([false; 2], |it| [it.has_board, it.has_feed]);
        let status = UpstreamStatus::new(Arc::clone(&clock), copied);
        let copy = Copy {
            source: Arc::new(Source {
                upstream: self.upstream,
                fetcher: self.fetcher,
                metrics,
            }),
            store,
            writer,
            cache,
            clock: Arc::clone(&clock),
            status: status.clone(),
            jwk_set,
            left_out: Arc::default(),
            told: copy::throttle(),
            asking: Arc::default(),
            slots: Arc::default(),
        };
        let (poll, overlap) = (self.settings.follow_poll, self.settings.follow_overlap);
        let mut board = BoardPart::new(copy.clone(), hands.0, poll);
        let mut feed = FeedPart::new(copy, hands.1, poll, overlap);
        let (board_guard, feed_guard) = (guard("following the board"), guard("following the feed"));
        let (is_stopping, timer) = (Arc::clone(&stopping), Arc::clone(&clock));
        actix_rt::spawn(async move {
            let _guard = board_guard;
            loop {
                let pause = board.step().await;
                pause_for(pause, &timer, &is_stopping).await;
            }
        });
        let (is_stopping, timer) = (stopping, clock);
        actix_rt::spawn(async move {
            let _guard = feed_guard;
            loop {
                let pause = feed.step().await;
                pause_for(pause, &timer, &is_stopping).await;
            }
        });
        Ok(status)
    }
}

/// Waits; for ever, once the server stops.
async fn pause_for(pause: Duration, clock: &Arc<dyn Clock>, stopping: &Arc<AtomicBool>) {
    if !pause.is_zero() {
        clock.sleep_until(clock.now() + pause).await;
    }
    if stopping.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}
