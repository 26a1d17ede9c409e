//! Copies the feed: in the order of commits, with the upstream's numbers, if it tells them; otherwise by the cursor
//! (ran_at, id), with a poll now and then.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    PROBE_AGAIN,
    behind::Behind,
    copy::{Copy, FEED, LEAST_PAUSE, SHORT_WAIT, Stop, TIMEOUT, Told, feed_status},
    hand::Hand,
    pace::Pace,
    rows::{self, LeftOut},
    source::{Question, Refusal, Reply},
    status::Part,
    walk::Walk,
};
use crate::{
    domain::{
        cursor::{Cursor, PageLimit},
        seq_cursor::SeqCursor,
    },
    metrics::FollowRejected,
    store::operation::{Mirror, MirrorRefused},
};

/// The time of the earliest eval run that is stored (see `RanAt::of_run`).
const FIRST_TIME: &str = "2000-01-01T00:00:00.000Z";

/// How the upstream is asked.
#[derive(Debug)]
enum Way {
    /// It is not known what it offers.
    Unknown,
    /// In the order of commits.
    Numbered {
        /// The query of the last link, and the cursor that it goes on from.
        next: Option<(SeqCursor, String)>,
        /// Whether it does not know the stored cursor, or contradicts what is stored.
        starts_again: bool,
    },
    /// In the order of (ran_at, id); since then it tells no numbers.
    Places(Walk, Instant, Phase),
}

impl Way {
    /// In the order of commits, from the start.
    fn anew() -> Self {
        Self::Numbered {
            next: None,
            starts_again: true,
        }
    }
}

/// Where a poll of the pages is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Begins,
    GoesOn,
}

/// Copies the feed.
pub(super) struct FeedPart {
    copy: Copy,
    hand: Hand,
    poll: Duration,
    overlap: Duration,
    pace: Pace,
    told: Told,
    behind: Behind,
    /// Whether all is being read anew: the end of that says nothing of the next request.
    is_anew: bool,
    /// Whether all was read anew, from the first page on, and the upstream has not been well since.
    has_begun_anew: bool,
    way: Way,
}

/// What a step came to.
enum Done {
    /// Another request must follow: nothing is known yet of how the upstream is.
    On,
    /// The pause before the next request. The upstream has answered as it should.
    End(Duration),
    /// Likewise, but it may be another server that answers next.
    Perhaps(Duration),
}

impl FeedPart {
    pub(super) fn new(copy: Copy, hand: Hand, poll: Duration, overlap: Duration) -> Self {
        Self {
            copy,
            hand,
            poll,
            overlap,
            pace: Pace::new(fastrand::Rng::new()),
            told: Told::new("feed"),
            behind: Behind::default(),
            is_anew: false,
            has_begun_anew: false,
            way: Way::Unknown,
        }
    }

    /// Asks once, and stores the answer. Returns the pause before the next request.
    pub(super) async fn step(&mut self) -> Duration {
        match self.try_step().await {
            Ok(Done::On) => Duration::ZERO,
            Ok(Done::Perhaps(pause)) => pause,
            Ok(Done::End(pause)) => {
                self.behind.caught_up();
                self.has_begun_anew = false;
                self.told.succeeded(&self.copy, &mut self.pace);
                pause
            }
            Err(stop) => {
                // The next answer may come from another program.
                self.way = Way::Unknown;
                let is_behind = matches!(&stop, Stop::Status(_, refusal) if refusal.is_behind());
                if is_behind && self.behind.is_for_good(self.copy.now()) {
                    self.way = Way::anew();
                }
                // Once for each lineage: the first page that is stored makes it a known one.
                let has_parted = matches!(stop, Stop::Refused(MirrorRefused::Parted));
                // Once: an upstream that contradicts itself is not read in circles.
                let has_conflict = matches!(stop, Stop::Conflict(_)) && !self.has_begun_anew;
                if has_parted || has_conflict {
                    self.way = Way::anew();
                }
                self.told.failed(&self.copy, &mut self.pace, &stop)
            }
        }
    }

    async fn try_step(&mut self) -> Result<Done, Stop> {
        match &self.way {
            Way::Unknown => self.probe().await,
            Way::Numbered { .. } => self.numbered().await,
            Way::Places(_, since, Phase::Begins)
                if self.copy.now().saturating_duration_since(*since) > PROBE_AGAIN =>
            {
                self.way = Way::Unknown;
                Ok(Done::On)
            }
            Way::Places(..) => self.places().await,
        }
    }

    /// Asks for one eval run in either order, to see which one the upstream knows.
    async fn probe(&mut self) -> Result<Done, Stop> {
        let cursor = self.copy.mirrored(&self.hand).await?.cursor;
        let first = first_place()?;
        let target = format!(
            "{FEED}?since_seq={cursor}&detail=1&since_ran_at={FIRST_TIME}&since_id=&limit=1"
        );
        let question = Question {
            target,
            tag: None,
            timeout: TIMEOUT,
        };
        let read = move |body: &str| {
            if rows::is_numbered(body) {
                return Ok(true);
            }
            let limit = PageLimit::new(1).unwrap_or_default();
            rows::place_page(body, &first, limit, None).map(|_| false)
        };
        let places = || Way::Places(Walk::new(self.overlap), self.copy.now(), Phase::Begins);
        self.way = match self.copy.ask(&self.hand, question, read).await? {
            Reply::New(true, _) => Way::Numbered {
                next: None,
                starts_again: false,
            },
            Reply::New(false, _) => places(),
            Reply::Refused(Refusal { status: 410, .. }) if cursor != SeqCursor::Start => {
                Way::anew()
            }
            // It may be strict about parameters that it does not know.
            Reply::Refused(Refusal {
                status: 400 | 422, ..
            }) => places(),
            Reply::Refused(refusal) => return Err(feed_status(refusal)),
            Reply::NotModified(_) => return Err(feed_status(Refusal::of(304))),
        };
        Ok(Done::On)
    }

    async fn numbered(&mut self) -> Result<Done, Stop> {
        let Way::Numbered { next, starts_again } = &self.way else {
            return Ok(Done::On);
        };
        let starts_again = *starts_again;
        let begun = self.copy.now();
        let asking = Arc::clone(&self.copy.asking).lock_owned().await;
        let stored = self.copy.mirrored(&self.hand).await?.cursor;
        let cursor = if starts_again {
            SeqCursor::Start
        } else {
            stored
        };
        if starts_again {
            self.is_anew = true;
            let upstream = &self.copy.source.upstream;
            log::warn!(
                "{upstream} has other eval runs than those that were copied: reading all of them anew"
            );
        }
        // The other part may have stored a page meanwhile.
        let target = next.as_ref().filter(|(from, _)| *from == cursor);
        let target = target.map(|(_, query)| query.clone());
        let was_waited_for = target.is_some();
        // The other part must not wait for what this one waits for.
        let _asking = Some(asking).filter(|_| target.is_none());
        let step = self.copy.numbered_step(&self.hand, cursor, target).await;
        let (step, link) = match step {
            Ok(step) => step,
            Err(Stop::Refused(MirrorRefused::Overtaken)) => {
                self.way = Way::Numbered {
                    next: None,
                    starts_again: false,
                };
                return Ok(Done::Perhaps(LEAST_PAUSE));
            }
            // Also 410: two servers that do not know each other's cursors must not be read in turns without a pause.
            Err(stop) => return Err(stop),
        };
        self.has_begun_anew |= starts_again;
        let cursor = self.copy.mirrored(&self.hand).await?.cursor;
        // An upstream that answers at once, and never at the end of a wait, is not well.
        let is_well = (was_waited_for || link.is_none()) && !self.is_anew;
        self.way = Way::Numbered {
            next: link.filter(|_| step.is_last).map(|query| (cursor, query)),
            starts_again: false,
        };
        if !step.is_last {
            return Ok(Done::On);
        }
        self.is_anew = false;
        let lasted = self.copy.now().saturating_duration_since(begun);
        let is_short = step.count == 0 && lasted < SHORT_WAIT;
        let pause = if is_short { SHORT_WAIT } else { LEAST_PAUSE };
        Ok(if is_well {
            Done::End(pause)
        } else {
            Done::Perhaps(pause)
        })
    }

    async fn places(&mut self) -> Result<Done, Stop> {
        let newest = self.copy.mirrored(&self.hand).await?.newest;
        let Way::Places(walk, _, phase) = &mut self.way else {
            return Ok(Done::On);
        };
        if *phase == Phase::Begins {
            walk.begin(newest.as_ref(), &first_place()?);
        }
        let Some((after, tag)) = walk.ask() else {
            return Ok(Done::On);
        };
        let after = after.clone();
        let question = Question {
            target: format!("{FEED}?{}", query_of(&after)),
            tag: tag.map(str::to_owned),
            timeout: TIMEOUT,
        };
        let jwk_set = self.copy.jwk_set.clone();
        let read = move |body: &str| {
            let keys = jwk_set.get();
            let page = rows::place_page(body, &after, PageLimit::default(), keys.as_deref())?;
            Ok((page, body.len()))
        };
        let reply = self.copy.ask(&self.hand, question, read).await?;
        let (fresh_for, age);
        let goes_on = match reply {
            Reply::New((page, bytes), fields) => {
                (fresh_for, age) = (fields.fresh_for, fields.age);
                let is_last = page.next.is_none();
                self.store(page.accepted, page.merkle_epoch_latest, bytes, is_last)
                    .await?;
                let Way::Places(walk, ..) = &mut self.way else {
                    return Ok(Done::On);
                };
                walk.stored(fields.tag, page.next)
            }
            Reply::NotModified(fields) => {
                (fresh_for, age) = (fields.fresh_for, fields.age);
                walk.not_modified()
            }
            Reply::Refused(refusal) => return Err(feed_status(refusal)),
        };
        if let Way::Places(_, _, phase) = &mut self.way {
            *phase = if goes_on {
                Phase::GoesOn
            } else {
                Phase::Begins
            };
        }
        if goes_on {
            return Ok(Done::On);
        }
        self.copy.status.confirmed(Part::Feed, age);
        Ok(Done::End(self.pace.poll(self.poll, fresh_for)))
    }

    async fn store(
        &self,
        accepted: rows::Accepted<crate::domain::eval_run::EvalRun>,
        merkle_epoch_latest: Option<i64>,
        bytes: usize,
        is_last: bool,
    ) -> Result<(), Stop> {
        self.copy.tell(accepted.left_out).await;
        let rows = Arc::new(accepted.rows);
        let mirrored = Mirror::Rows {
            rows: Arc::clone(&rows),
            merkle_epoch_latest,
            is_last,
        };
        let counts = self.copy.write(bytes, mirrored).await?.counts;
        if counts.inserted + counts.unchanged < rows.len() as u64 {
            let ids = self.copy.conflicting(&self.hand, rows).await?;
            let left_out = ids.into_iter().map(|id| LeftOut {
                reason: FollowRejected::Conflict,
                id,
                text: "it is stored with other bytes, which stay".to_owned(),
            });
            self.copy.tell(left_out.collect()).await;
        }
        Ok(())
    }
}

/// Returns the query of a page in the order of (ran_at, id), as validators send it.
fn query_of(after: &Cursor) -> String {
    let ran_at = &after.ran_at;
    match after.id() {
        Some(id) => {
            let id = percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC);
            format!("since_ran_at={ran_at}&since_id={id}")
        }
        None => format!("since={ran_at}"),
    }
}

fn first_place() -> Result<Cursor, Stop> {
    Cursor::tuple(FIRST_TIME, None).map_err(|error| Stop::Own(error.to_string()))
}
