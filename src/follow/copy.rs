//! What both parts of a follower use: the upstream, the database, and what is told of failures.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex as SyncMutex, PoisonError},
    time::{Duration, Instant, UNIX_EPOCH},
};

use tokio::sync::Mutex;

use super::{
    hand::Hand,
    lie::Lie,
    pace::Pace,
    rows::{self, LeftOut, NumberedPage},
    slots::{Age, Slots},
    source::{Failure, Fields, Question, Refusal, Reply, Source, slot_of},
    status::{Part, UpstreamStatus},
};
use crate::{
    cache::handle::CacheHandle,
    domain::{clock::Clock, cursor::PageLimit, eval_run::EvalRun, seq_cursor::SeqCursor},
    keys::JwkSetHandle,
    metrics::FollowRejected,
    store::{
        WriteError,
        operation::{Mirror, MirrorRefused, MirroredPage, Operation},
        sqlite::{SqliteStore, mirror::Mirrored},
    },
    throttle::Throttle,
    writer::{
        handle::WriterHandle,
        outcome::{Acknowledgement, Rejected},
    },
};

pub(super) const FEED: &str = "/v1/leaderboard/recent";

/// A request that may wait: twice the longest wait of an upstream with the default slots.
pub(super) const WAIT_TIMEOUT: Duration = Duration::from_secs(60);
/// Any other request.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);
/// A wait that ends sooner and brings nothing new is followed by a pause (WIRE.md, "Waiting").
pub(super) const SHORT_WAIT: Duration = Duration::from_secs(1);
/// The least pause after news at the end of the feed, or of the board: news that follow each other closely come together.
pub(super) const LEAST_PAUSE: Duration = Duration::from_millis(50);
/// How long a read of the own database may take.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Eval runs that were left out and are remembered, so that each is told once.
const MAX_LEFT_OUT: usize = 10_000;
/// Lines of the log about eval runs that were left out, for each reason and minute.
const LEFT_OUT_LINES: u32 = 3;

/// What both parts use. Cheap to clone.
#[derive(Clone)]
pub(super) struct Copy {
    pub(super) source: Arc<Source>,
    pub(super) store: SqliteStore,
    pub(super) writer: WriterHandle,
    pub(super) cache: CacheHandle,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) status: UpstreamStatus,
    /// Verifies eval runs, if there is one.
    pub(super) jwk_set: JwkSetHandle,
    pub(super) left_out: Arc<Mutex<HashSet<String>>>,
    /// Bounds the lines of the log about single eval runs, and about those that the upstream has removed.
    pub(super) told: Arc<Throttle<FollowRejected>>,
    /// Locked while a page is asked for that nobody waits for: both parts may ask.
    pub(super) asking: Arc<Mutex<()>>,
    /// What the answers so far tell of the upstream's clock.
    pub(super) slots: Arc<SyncMutex<Slots>>,
}

/// Why a step came to nothing.
#[derive(Debug)]
pub(super) enum Stop {
    /// No answer at this path, or one that is rejected.
    Upstream(String, Failure),
    /// A status that is no answer, at this path.
    Status(String, Refusal),
    /// An answer that a cache has kept, at this path.
    Old(String),
    /// What was said does not fit what is stored.
    Refused(MirrorRefused),
    /// An eval run is stored with another number: the upstream has lost it since, and got it again.
    Conflict(String),
    /// The own database cannot be read or written.
    Own(String),
}

impl Stop {
    /// Returns whether the answer is at fault: not if another one was faster, and a promotion of the upstream's standby is no
    /// fault either.
    pub(super) fn is_rejection(&self) -> bool {
        match self {
            Self::Conflict(_)
            | Self::Refused(MirrorRefused::UnknownLineage | MirrorRefused::Numbers(_)) => true,
            Self::Refused(MirrorRefused::Overtaken | MirrorRefused::Parted)
            | Self::Upstream(..)
            | Self::Status(..)
            | Self::Old(_)
            | Self::Own(_) => false,
        }
    }
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Upstream(path, failure) => write!(f, "{path}: {failure}"),
            Self::Status(path, refusal) => write!(f, "{path}: {refusal}"),
            Self::Old(path) => write!(f, "{path}: its answer is old: a cache answers in its place"),
            Self::Refused(refused @ (MirrorRefused::Overtaken | MirrorRefused::Parted)) => {
                refused.fmt(f)
            }
            Self::Refused(refused) => {
                write!(f, "its answer is rejected: numbers: {refused}")
            }
            Self::Conflict(reason) => {
                write!(f, "its answer is rejected: numbers: {reason}")
            }
            Self::Own(reason) => write!(f, "what it says cannot be stored: {reason}"),
        }
    }
}

impl Copy {
    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Asks on the thread, and has the body read there.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        hand: &Hand,
        question: Question,
        read: impl FnOnce(&str) -> Result<T, Lie> + Send + 'static,
    ) -> Result<Reply<T>, Stop> {
        let source = Arc::clone(&self.source);
        // Without the query: the log tells each failure once.
        let path = question.target.split('?').next().unwrap_or_default();
        let path = path.to_owned();
        let asked = hand.run(move || source.ask(&question, read)).await;
        let asked = asked.map_err(|error| Stop::Own(error.to_string()))?;
        let mut reply = asked.map_err(|failure| Stop::Upstream(path.clone(), failure))?;
        if let Reply::New(_, fields) | Reply::NotModified(fields) = &mut reply {
            fields.by_slot = self.age_of(fields);
            if fields.by_slot == Age::Old {
                return Err(Stop::Old(path));
            }
        }
        Ok(reply)
    }

    fn age_of(&self, fields: &Fields) -> Age {
        let slot = fields.next.as_deref().and_then(slot_of);
        let slots = self.slots.lock();
        let mut slots = slots.unwrap_or_else(PoisonError::into_inner);
        let since_1970 = self.clock.wall().duration_since(UNIX_EPOCH);
        slots.note(slot, self.now(), since_1970.unwrap_or_default().as_secs())
    }

    /// Returns how far the copy has got.
    pub(super) async fn mirrored(&self, hand: &Hand) -> Result<Mirrored, Stop> {
        let store = self.store.clone();
        let read = move || store.mirrored(Instant::now() + READ_TIMEOUT);
        let own = |error: String| Stop::Own(error);
        let read = hand
            .run(read)
            .await
            .map_err(|error| own(error.to_string()))?;
        read.map_err(|error| own(error.to_string()))
    }

    /// Stores what the upstream says.
    pub(super) async fn write(
        &self,
        bytes: usize,
        mirrored: Mirror,
    ) -> Result<Acknowledgement, Stop> {
        let bytes = bytes.min(self.writer.max_bytes() as usize);
        let admission = self.writer.admit(bytes).map_err(refused)?;
        let written = self.writer.write(admission, Operation::Mirror(mirrored));
        written.await.map_err(refused)
    }

    /// Asks for the next page in the order of commits and stores it, so that the lineages are known.
    pub(super) async fn learn_lineages(&self, hand: &Hand) -> Result<(), Stop> {
        let _asking = self.asking.lock().await;
        let cursor = self.mirrored(hand).await?.cursor;
        self.numbered_step(hand, cursor, None).await.map(drop)
    }

    /// Asks for a page in the order of commits and stores it. `target` is the query if it is not simply the next page.
    /// Returns whether it was the last one, and how many eval runs it had.
    pub(super) async fn numbered_step(
        &self,
        hand: &Hand,
        asked: SeqCursor,
        target: Option<String>,
    ) -> Result<(NumberedStep, Option<String>), Stop> {
        let (query, timeout) = match target {
            Some(query) => (query, WAIT_TIMEOUT),
            None => (format!("?since_seq={asked}&detail=1"), TIMEOUT),
        };
        let question = Question {
            target: format!("{FEED}{query}"),
            tag: None,
            timeout,
        };
        let jwk_set = self.jwk_set.clone();
        let read = move |body: &str| {
            let page = rows::numbered_page(body, PageLimit::default(), jwk_set.get().as_deref())?;
            Ok((page, body.len()))
        };
        let (page, bytes, mut fields) = match self.ask(hand, question, read).await? {
            Reply::New((page, bytes), fields) => (page, bytes, fields),
            Reply::NotModified(_) => return Err(feed_status(Refusal::of(304))),
            Reply::Refused(refusal) => return Err(feed_status(refusal)),
        };
        let NumberedPage {
            accepted,
            count,
            detail,
        } = page;
        let is_last = count < PageLimit::default().rows();
        self.tell(accepted.left_out).await;
        // All pages up to there say it.
        if let Some(kept_from) = &fields.kept_from
            && asked != SeqCursor::Start
            && self
                .told
                .admit(FollowRejected::Numbers, Instant::now())
                .is_some()
        {
            log::warn!(
                "{} has removed eval runs that ran before {} and may not have been copied: the copy says so by Kept-From",
                self.source.upstream,
                kept_from.ran_at
            );
        }
        let page = MirroredPage {
            asked,
            detail,
            rows: accepted.rows,
            is_last,
            kept_from: fields.kept_from,
        };
        if let Err(stop) = self.write(bytes, Mirror::Page(page)).await {
            fields.counted.not_stored(&stop);
            return Err(stop);
        }
        if is_last {
            self.status.confirmed(Part::Feed, fields.age);
        }
        Ok((NumberedStep { count, is_last }, fields.next))
    }

    /// Returns the ids of those eval runs that are stored with other bytes.
    pub(super) async fn conflicting(
        &self,
        hand: &Hand,
        rows: Arc<Vec<EvalRun>>,
    ) -> Result<Vec<String>, Stop> {
        let store = self.store.clone();
        let read = move || store.conflicting(&rows, Instant::now() + READ_TIMEOUT);
        let read = hand.run(read).await;
        let read = read.map_err(|error| Stop::Own(error.to_string()))?;
        read.map_err(|error| Stop::Own(error.to_string()))
    }

    /// Counts and logs eval runs that were left out, each once.
    pub(super) async fn tell(&self, left_out: Vec<LeftOut>) {
        let mut known = self.left_out.lock().await;
        for LeftOut { reason, id, text } in left_out {
            if known.len() >= MAX_LEFT_OUT {
                known.clear();
            }
            if !known.insert(id.clone()) {
                continue;
            }
            self.source.metrics.rejected(reason);
            if let Some(suppressed) = self.told.admit(reason, Instant::now()) {
                log::error!(
                    "the eval run {id:?} of the upstream is left out for good: {text} ({suppressed} more before it)"
                );
            }
        }
    }
}

/// A page that was stored.
#[derive(Debug)]
pub(super) struct NumberedStep {
    pub(super) count: usize,
    pub(super) is_last: bool,
}

pub(super) fn throttle() -> Arc<Throttle<FollowRejected>> {
    Arc::new(Throttle::new(LEFT_OUT_LINES, Duration::from_secs(60)))
}

/// A status that is no answer of the feed.
pub(super) fn feed_status(refusal: Refusal) -> Stop {
    Stop::Status(FEED.to_owned(), refusal)
}

fn refused(rejected: Rejected) -> Stop {
    match rejected {
        Rejected::Item { error, .. } => match error {
            WriteError::Mirror(refused) => Stop::Refused(refused),
            WriteError::Conflict { .. } => Stop::Conflict(error.to_string()),
            WriteError::Invalid(_) | WriteError::Store(_) => Stop::Own(error.to_string()),
        },
        Rejected::Store(_)
        | Rejected::Refused(_)
        | Rejected::Busy
        | Rejected::Slow
        | Rejected::Queued
        | Rejected::Unknown
        | Rejected::Stopped => Stop::Own(rejected.to_string()),
    }
}

/// The log of one part: the first failure, every other reason, and the first success after it.
#[derive(Debug)]
pub(super) struct Told {
    what: &'static str,
    failure: Option<String>,
}

impl Told {
    pub(super) fn new(what: &'static str) -> Self {
        Self {
            what,
            failure: None,
        }
    }

    pub(super) fn failed(&mut self, copy: &Copy, pace: &mut Pace, stop: &Stop) -> Duration {
        let (what, upstream) = (self.what, &copy.source.upstream);
        let text = stop.to_string();
        if self.failure.as_ref() != Some(&text) {
            log::warn!("cannot follow the {what} of {upstream}: {text}");
            self.failure = Some(text);
        }
        let retry_after = match stop {
            Stop::Status(_, refusal) => refusal.retry_after,
            Stop::Upstream(..)
            | Stop::Old(_)
            | Stop::Refused(_)
            | Stop::Conflict(_)
            | Stop::Own(_) => None,
        };
        pace.failed(retry_after)
    }

    pub(super) fn succeeded(&mut self, copy: &Copy, pace: &mut Pace) {
        pace.succeeded();
        if self.failure.take().is_some() {
            let (what, upstream) = (self.what, &copy.source.upstream);
            log::info!("following the {what} of {upstream} again");
        }
    }
}
