//! Admission to the writer: how many operations, and how many bytes of them, may be in flight. Decided at once;
//! nothing is queued for admission.
//!
//! An operation is admitted before its body has arrived, and its bytes count as they arrive. So that slow bodies
//! keep nobody out:
//!
//! - An upload must keep pace: [`PACE_BYTES_PER_SEC`] of the last second. If there is no room for another
//!   operation, the slowest upload that does not is cut off.
//! - A quarter of the bytes is reserved for the first [`SHORT_BYTES`] of each body: long bodies cannot keep
//!   short ones out.
//! - If several tokens are configured, each may have three quarters of the operations and seven eighths of the
//!   bytes: half of what is reserved is always left for the others.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{Settings, outcome::Rejected};
use crate::domain::clock::Clock;

/// The pace of an upload that is not cut off, if others need its room.
const PACE_BYTES_PER_SEC: u64 = 64 * 1024;
/// How far behind its pace an upload may be; also how long its first bytes may take.
const PACE_SLACK: Duration = Duration::from_secs(1);
/// A body of at most so many bytes is short.
const SHORT_BYTES: u64 = 64 * 1024;

/// Which of the configured tokens a client has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bearer {
    /// The token's number, from 0.
    pub token: usize,
    /// How many tokens are configured.
    pub tokens: usize,
}

impl Bearer {
    /// The only one there is.
    pub const ONLY: Self = Self {
        token: 0,
        tokens: 1,
    };

    /// How much of `all` this token may have: all but a part of it, which is for other tokens.
    fn share(self, all: u64, part: u64) -> u64 {
        if self.tokens > 1 {
            all - all / part
        } else {
            all
        }
    }
}

/// All that is admitted. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Admissions {
    max_operations: u64,
    max_bytes: u64,
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
    /// Signals that nothing is admitted any more.
    idle: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    admitted: BTreeMap<u64, Admitted>,
    bytes: u64,
    /// Of `bytes`, those beyond the first [`SHORT_BYTES`] of each body.
    long_bytes: u64,
    /// By the number of the token.
    of_tokens: BTreeMap<usize, Totals>,
}

/// What one token has in flight.
#[derive(Debug, Default)]
struct Totals {
    operations: u64,
    bytes: u64,
}

#[derive(Debug)]
struct Admitted {
    bearer: Bearer,
    bytes: u64,
    /// `None` once its body is complete.
    upload: Option<Progress>,
}

#[derive(Debug)]
struct Progress {
    /// When it falls behind its pace.
    slow_from: Instant,
    cut_off: Arc<Notify>,
}

/// Permission to write one operation. Its share of the bounds is released when it is dropped.
#[derive(Debug)]
pub struct Admission {
    admissions: Admissions,
    id: u64,
    cut_off: Arc<Notify>,
}

impl Admissions {
    pub(super) fn new(settings: &Settings, clock: Arc<dyn Clock>) -> Self {
        let max_bytes = settings.max_write_bytes.into();
        Self::bounded(settings.max_writes.into(), max_bytes, clock)
    }

    pub(super) fn bounded(max_operations: u64, max_bytes: u64, clock: Arc<dyn Clock>) -> Self {
        Self {
            max_operations,
            max_bytes,
            clock,
            state: Arc::default(),
            idle: Arc::default(),
        }
    }

    /// Admits an operation whose body has not arrived.
    ///
    /// # Errors
    /// [`Rejected::Busy`], at once: nothing is queued for admission.
    pub fn begin(&self, bearer: Bearer) -> Result<Admission, Rejected> {
        let now = self.clock.now();
        let mut state = self.lock();
        self.make_room(&mut state, bearer, None, 0, now)?;
        let id = state.next_id;
        state.next_id += 1;
        let cut_off = Arc::new(Notify::new());
        let upload = Progress {
            slow_from: now + PACE_SLACK,
            cut_off: Arc::clone(&cut_off),
        };
        let admitted = Admitted {
            bearer,
            bytes: 0,
            upload: Some(upload),
        };
        state.admitted.insert(id, admitted);
        state.of_tokens.entry(bearer.token).or_default().operations += 1;
        drop(state);
        Ok(Admission {
            admissions: self.clone(),
            id,
            cut_off,
        })
    }

    /// Returns the longest body that can be admitted, in bytes.
    pub(super) fn longest_body(&self) -> u64 {
        (self.max_long_bytes() + SHORT_BYTES).min(self.max_bytes)
    }

    pub(super) fn operations(&self) -> usize {
        self.lock().admitted.len()
    }

    /// Waits until nothing is admitted.
    pub(super) async fn idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.lock().admitted.is_empty() {
                return;
            }
            idle.await;
        }
    }

    fn max_long_bytes(&self) -> u64 {
        self.max_bytes - self.max_bytes / 4
    }

    /// Cuts slow uploads off until `more` bytes fit behind those of the upload `of`; without one, a new
    /// operation.
    fn make_room(
        &self,
        state: &mut State,
        bearer: Bearer,
        of: Option<u64>,
        more: u64,
        now: Instant,
    ) -> Result<(), Rejected> {
        loop {
            let operations = u64::from(of.is_none());
            let known = of.and_then(|id| state.admitted.get(&id));
            let known_bytes = known.map_or(0, |admitted| admitted.bytes);
            let more_long = long_bytes(known_bytes + more) - long_bytes(known_bytes);
            let of_token = state.of_tokens.get(&bearer.token);
            let token_fits = of_token.is_none_or(|of_token| {
                of_token.operations + operations <= bearer.share(self.max_operations, 4)
                    && of_token.bytes + more <= bearer.share(self.max_bytes, 8)
            });
            let all_fit = state.admitted.len() as u64 + operations <= self.max_operations
                && state.bytes + more <= self.max_bytes
                && state.long_bytes + more_long <= self.max_long_bytes();
            if token_fits && all_fit {
                return Ok(());
            }
            let slowest = state
                .admitted
                .iter()
                .filter(|(id, admitted)| {
                    Some(**id) != of && (token_fits || admitted.bearer.token == bearer.token)
                })
                .filter_map(|(id, admitted)| Some((*id, admitted.upload.as_ref()?.slow_from)))
                .filter(|(_, slow_from)| *slow_from <= now)
                .min_by_key(|(_, slow_from)| *slow_from);
            let (id, _) = slowest.ok_or(Rejected::Busy)?;
            if let Some(upload) = state.remove(id).and_then(|admitted| admitted.upload) {
                upload.cut_off.notify_one();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn remove(&mut self, id: u64) -> Option<Admitted> {
        let removed = self.admitted.remove(&id)?;
        self.bytes -= removed.bytes;
        self.long_bytes -= long_bytes(removed.bytes);
        if let Some(of_token) = self.of_tokens.get_mut(&removed.bearer.token) {
            of_token.operations -= 1;
            of_token.bytes -= removed.bytes;
        }
        Some(removed)
    }
}

fn long_bytes(bytes: u64) -> u64 {
    bytes.saturating_sub(SHORT_BYTES)
}

impl Admission {
    /// Counts bytes of the body that have arrived.
    ///
    /// # Errors
    /// [`Rejected::Busy`] if there is no room for them, [`Rejected::Slow`] if the upload has been cut off.
    pub fn grow(&self, bytes: usize) -> Result<(), Rejected> {
        let (admissions, more) = (&self.admissions, bytes as u64);
        let now = admissions.clock.now();
        let mut state = admissions.lock();
        let known = state.admitted.get(&self.id).ok_or(Rejected::Slow)?;
        let bearer = known.bearer;
        admissions.make_room(&mut state, bearer, Some(self.id), more, now)?;
        let admitted = state.admitted.get_mut(&self.id).ok_or(Rejected::Slow)?;
        if let Some(upload) = &mut admitted.upload {
            let earned = Duration::from_secs(1).mul_f64(more as f64 / PACE_BYTES_PER_SEC as f64);
            upload.slow_from = (upload.slow_from.max(now) + earned).min(now + PACE_SLACK);
        }
        let before = long_bytes(admitted.bytes);
        admitted.bytes += more;
        let more_long = long_bytes(admitted.bytes) - before;
        state.bytes += more;
        state.long_bytes += more_long;
        if let Some(of_token) = state.of_tokens.get_mut(&bearer.token) {
            of_token.bytes += more;
        }
        Ok(())
    }

    /// Says that the body is complete: the operation is not cut off any more.
    ///
    /// # Errors
    /// [`Rejected::Slow`] if that has happened already.
    pub fn complete(&self) -> Result<(), Rejected> {
        let mut state = self.admissions.lock();
        let admitted = state.admitted.get_mut(&self.id).ok_or(Rejected::Slow)?;
        admitted.upload = None;
        Ok(())
    }

    /// Waits until the upload is cut off.
    pub async fn cut_off(&self) {
        self.cut_off.notified().await;
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut state = self.admissions.lock();
        state.remove(self.id);
        if state.admitted.is_empty() {
            self.admissions.idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

    use clap::Parser as _;

    use super::*;
    use crate::domain::clock::ManualClock;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        settings: Settings,
    }

    const MIB: usize = 1024 * 1024;
    const SECOND: Duration = Duration::from_secs(1);

    fn admissions(max_writes: u32) -> (Admissions, ManualClock) {
        let mut settings = Cli::parse_from(["test"]).settings;
        settings.max_writes = max_writes;
        let clock = ManualClock::default();
        let admissions = Admissions::new(&settings, Arc::new(clock.clone()));
        (admissions, clock)
    }

    fn uploads(admissions: &Admissions, count: usize, bytes: usize) -> Vec<Admission> {
        let upload = |_| {
            let upload = admissions.begin(Bearer::ONLY).unwrap();
            upload.grow(bytes).unwrap();
            upload
        };
        (0..count).map(upload).collect()
    }

    fn is_admitted(admissions: &Admissions, bearer: Bearer) -> bool {
        admissions.begin(bearer).is_ok()
    }

    #[test]
    fn uploads_that_do_not_keep_pace_give_way() {
        let (admissions, clock) = admissions(4);
        let slow = uploads(&admissions, 4, 1);
        assert!(!is_admitted(&admissions, Bearer::ONLY));
        clock.advance(2 * SECOND);
        slow[0].grow(MIB).unwrap();
        let fifth = admissions.begin(Bearer::ONLY).unwrap();
        assert_eq!(admissions.operations(), 4);
        assert!(matches!(slow[1].grow(1), Err(Rejected::Slow)));
        assert!(matches!(slow[1].complete(), Err(Rejected::Slow)));
        // This one keeps pace again, and a complete one is never cut off.
        slow[0].grow(1).unwrap();
        fifth.complete().unwrap();
        clock.advance(60 * SECOND);
        let others: Vec<_> = (0..3)
            .map(|_| admissions.begin(Bearer::ONLY).unwrap())
            .collect();
        assert!(!is_admitted(&admissions, Bearer::ONLY));
        drop((slow, others));
        assert_eq!(admissions.operations(), 1);
        drop(fifth);
        assert_eq!(admissions.lock().bytes, 0);
        assert_eq!(admissions.lock().long_bytes, 0);
    }

    #[test]
    fn bytes_count_as_they_arrive_and_long_bodies_leave_room_for_short_ones() {
        let (admissions, _) = admissions(1024);
        let _few = uploads(&admissions, 500, 1);
        let _long = uploads(&admissions, 3, 16 * MIB);
        let more = admissions.begin(Bearer::ONLY).unwrap();
        more.grow(60 * 1024).unwrap();
        assert!(matches!(more.grow(MIB), Err(Rejected::Busy)));
        let _short = uploads(&admissions, 200, 64 * 1024);
        assert_eq!(admissions.longest_body(), (48 * MIB + 64 * 1024) as u64);
    }

    #[test]
    fn bytes_of_slow_uploads_are_released() {
        let (admissions, clock) = admissions(1024);
        let slow = uploads(&admissions, 3, 16 * MIB);
        clock.advance(2 * SECOND);
        let _long = uploads(&admissions, 2, 15 * MIB);
        assert_eq!(admissions.operations(), 3);
        let cut = slow
            .iter()
            .filter(|upload| matches!(upload.complete(), Err(Rejected::Slow)));
        assert_eq!(cut.count(), 2);
    }

    #[test]
    fn one_of_several_tokens_has_no_more_than_its_share() {
        let (admissions, clock) = admissions(8);
        let bearer = |token| Bearer { token, tokens: 2 };
        let first: Vec<_> = (0..6)
            .map(|_| admissions.begin(bearer(0)).unwrap())
            .collect();
        assert!(!is_admitted(&admissions, bearer(0)));
        let other = admissions.begin(bearer(1)).unwrap();
        // Its own slow uploads give way to it, not those of the other token.
        clock.advance(2 * SECOND);
        let _more: Vec<_> = (0..6)
            .map(|_| admissions.begin(bearer(0)).unwrap())
            .collect();
        assert!(!is_admitted(&admissions, bearer(0)));
        assert!(first.iter().all(|upload| upload.grow(1).is_err()));
        other.grow(1).unwrap();
    }
}
