//! Copies the board: by waiting for its changes, or by polling if the upstream does not offer that.

use std::{
    cmp::Ordering,
    time::{Duration, Instant},
};

use super::{
    PROBE_AGAIN, board,
    copy::{Copy, LEAST_PAUSE, SHORT_WAIT, Stop, TIMEOUT, Told, WAIT_TIMEOUT},
    hand::Hand,
    pace::Pace,
    slots::Age,
    source::{Question, Reply, position_of},
    status::Part,
};
use crate::{
    domain::{challenge::Challenge, position::Position, seq_cursor::SeqCursor},
    store::{
        Version,
        operation::{Mirror, MirrorRefused},
        sqlite::mirror::Mirrored,
    },
};

const BOARD: &str = "/v1/synthetic-boolean/active-challenges";
const CHANGES: &str = "/v1/synthetic-boolean/active-challenges/changes";

/// How the upstream is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    /// It is not known what it offers.
    Unknown,
    /// With the query of the last link.
    Waiting(String),
    /// When the upstream last refused to let this process wait.
    Polling(Instant),
}

/// Returns whether a position is older than the stored one, in one history.
fn is_older(position: Option<Position>, stored: Option<Position>) -> bool {
    let order = position.zip(stored);
    order.and_then(|(new, stored)| new.order(stored)) == Some(Ordering::Less)
}

/// Copies the board.
pub(super) struct BoardPart {
    copy: Copy,
    hand: Hand,
    poll: Duration,
    pace: Pace,
    told: Told,
    way: Way,
    /// The entity-tag of the board that is stored, and the version that it was stored as.
    stored: Option<(String, Version)>,
    position: Option<Position>,
}

impl BoardPart {
    pub(super) fn new(copy: Copy, hand: Hand, poll: Duration) -> Self {
        Self {
            copy,
            hand,
            poll,
            pace: Pace::new(fastrand::Rng::new()),
            told: Told::new("board"),
            way: Way::Unknown,
            stored: None,
            position: None,
        }
    }

    /// Asks once, and stores the answer. Returns the pause before the next request.
    pub(super) async fn step(&mut self) -> Duration {
        match self.try_step().await {
            Ok(pause) => pause,
            Err(stop) => {
                // A link may be too old, and the next answer may come from another server.
                if let Way::Waiting(_) = self.way {
                    self.way = Way::Unknown;
                }
                self.told.failed(&self.copy, &mut self.pace, &stop)
            }
        }
    }

    async fn try_step(&mut self) -> Result<Duration, Stop> {
        let begun = self.copy.now();
        if let Way::Polling(since) = self.way
            && begun.saturating_duration_since(since) > PROBE_AGAIN
        {
            self.way = Way::Unknown;
        }
        // Another process may have replaced the database, or the feed has brought other lineages.
        let Mirrored {
            board,
            board_position: before,
            cursor,
            ..
        } = self.copy.mirrored(&self.hand).await?;
        let version = board.version;
        if self
            .stored
            .as_ref()
            .is_some_and(|(_, stored)| *stored != version)
        {
            (self.stored, self.position) = (None, None);
        }
        let (target, timeout) = match &self.way {
            Way::Unknown => (CHANGES.to_owned(), TIMEOUT),
            // Without a tag the answer must come at once.
            Way::Waiting(_) if self.stored.is_none() => (CHANGES.to_owned(), TIMEOUT),
            Way::Waiting(query) => (format!("{CHANGES}{query}"), WAIT_TIMEOUT),
            Way::Polling(_) => (BOARD.to_owned(), TIMEOUT),
        };
        let question = Question {
            target,
            tag: self.stored.as_ref().map(|(tag, _)| tag.clone()),
            timeout,
        };
        let read = |body: &str| Ok((board::read(body)?, body.len()));
        let reply = self.copy.ask(&self.hand, question, read).await?;
        let (new, mut fields) = match reply {
            Reply::New(new, fields) => (Some(new), fields),
            Reply::NotModified(fields) => (None, fields),
            Reply::Refused(refusal)
                if self.way == Way::Unknown
                    && matches!(refusal.status, 400 | 404 | 405 | 410 | 501) =>
            {
                self.way = Way::Polling(begun);
                return Ok(Duration::ZERO);
            }
            Reply::Refused(refusal) => {
                let path = match self.way {
                    Way::Polling(_) => BOARD,
                    Way::Unknown | Way::Waiting(_) => CHANGES,
                };
                return Err(Stop::Status(path.to_owned(), refusal));
            }
        };
        let position = fields.next.as_deref().and_then(position_of);
        let is_older = is_older(position, before);
        let is_new = new.is_some();
        let (challenges, bytes) = new.map_or((None, 0), |(it, bytes)| (Some(it), bytes));
        if is_new || position != self.position {
            if position.is_some() && cursor == SeqCursor::Start {
                // Without them the position says nothing. If it fails, the board does not wait for it.
                let _ = self.copy.learn_lineages(&self.hand).await;
            }
            if let Err(stop) = self.store(challenges, bytes, position).await {
                fields.counted.not_stored(&stop);
                return Err(stop);
            }
            let version = self.copy.mirrored(&self.hand).await?.board.version;
            let before = self.stored.take().map(|(tag, _)| tag);
            let tag = if is_new { fields.tag } else { before };
            self.stored = tag.map(|tag| (tag, version));
            self.position = position;
        }
        // The same board at an older position is that of a replica which began earlier, or of a cache.
        if is_older && fields.by_slot != Age::New {
            return Err(Stop::Old(CHANGES.to_owned()));
        }
        self.copy.status.confirmed(Part::Board, fields.age);
        // Before the first copy there was nothing to build from.
        if is_new {
            self.copy.cache.retry();
        }
        // An upstream that answers at once, and never at the end of a wait, is not well.
        if self.way != Way::Unknown {
            self.told.succeeded(&self.copy, &mut self.pace);
        }
        match (&self.way, fields.next) {
            (Way::Polling(_), _) => {}
            (_, Some(query)) => self.way = Way::Waiting(query),
            (_, None) => self.way = Way::Polling(begun),
        }
        let lasted = self.copy.now().saturating_duration_since(begun);
        Ok(match self.way {
            Way::Polling(_) => self.pace.poll(self.poll, fields.fresh_for),
            // Without an entity-tag it cannot be waited for.
            Way::Waiting(_) if self.stored.is_none() => self.pace.poll(self.poll, fields.fresh_for),
            Way::Waiting(_) if !is_new && lasted < SHORT_WAIT => SHORT_WAIT,
            Way::Waiting(_) | Way::Unknown => LEAST_PAUSE,
        })
    }

    /// Stores the board. If its lineage is not known yet, asks the feed for it first: the next eval run may be far off.
    async fn store(
        &self,
        challenges: Option<Vec<Challenge>>,
        bytes: usize,
        position: Option<Position>,
    ) -> Result<(), Stop> {
        let board = |challenges| Mirror::Board {
            challenges,
            position,
        };
        let stored = self.copy.write(bytes, board(challenges.clone())).await;
        if !matches!(stored, Err(Stop::Refused(MirrorRefused::UnknownLineage))) {
            return stored.map(drop);
        }
        // The other part may be faster.
        let _ = self.copy.learn_lineages(&self.hand).await;
        self.copy.write(bytes, board(challenges)).await.map(drop)
    }
}
