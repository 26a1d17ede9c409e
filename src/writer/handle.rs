//! The writer, for request handlers: admission, and a bound for every wait.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use actix::Recipient;
use tokio::sync::oneshot;

pub use super::admission::{Admission, Admissions, Bearer};
use super::{
    Settings,
    actor::Enqueue,
    outcome::{Acknowledgement, Rejected},
};
use crate::{domain::clock::Clock, store::operation::Operation};

/// The writer, for request handlers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct WriterHandle {
    admissions: Admissions,
    write_timeout: Duration,
    clock: Arc<dyn Clock>,
    commit_since: CommitSince,
    writer: Recipient<Enqueue>,
}

/// Since when the commit in flight runs.
#[derive(Debug, Clone, Default)]
pub(super) struct CommitSince(Arc<Mutex<Option<Instant>>>);

impl CommitSince {
    pub(super) fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    fn get(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A write on its way through the queue. Either the actor takes its operation, to commit it, or the caller
/// takes it back: nobody else decides whether it is carried out.
#[derive(Debug)]
pub(super) struct Ticket {
    operation: Mutex<Option<(Operation, Admission)>>,
    /// It is durable, and the answer waits for the board.
    is_stored: AtomicBool,
}

impl Ticket {
    pub(super) fn take(&self) -> Option<(Operation, Admission)> {
        let mut operation = self.operation.lock();
        operation
            .as_mut()
            .map_or_else(|poisoned| poisoned.get_mut().take(), |known| known.take())
    }

    pub(super) fn is_queued(&self) -> bool {
        let operation = self.operation.lock();
        operation.unwrap_or_else(PoisonError::into_inner).is_some()
    }

    pub(super) fn stored(&self) {
        self.is_stored.store(true, Relaxed);
    }
}

impl WriterHandle {
    pub(super) fn new(
        settings: &Settings,
        clock: Arc<dyn Clock>,
        commit_since: CommitSince,
        writer: Recipient<Enqueue>,
    ) -> Self {
        Self {
            admissions: Admissions::new(settings, Arc::clone(&clock)),
            write_timeout: settings.write_timeout,
            clock,
            commit_since,
            writer,
        }
    }

    /// Admits one operation whose body is about to arrive.
    ///
    /// # Errors
    /// [`Rejected::Busy`], at once: nothing is queued for admission.
    pub fn begin(&self, bearer: Bearer) -> Result<Admission, Rejected> {
        self.admissions.begin(bearer)
    }

    /// Returns admissions of their own, for bodies of any length that the writer does not get.
    pub fn separate_admissions(&self, max_operations: u64) -> Admissions {
        // Far from an overflow.
        Admissions::bounded(max_operations, u64::MAX / 4, Arc::clone(&self.clock))
    }

    /// Admits one operation whose body has `bytes` bytes.
    ///
    /// # Errors
    /// [`Rejected::Busy`], at once: nothing is queued for admission.
    pub fn admit(&self, bytes: usize) -> Result<Admission, Rejected> {
        let admission = self.begin(Bearer::ONLY)?;
        admission.grow(bytes)?;
        admission.complete()?;
        Ok(admission)
    }

    /// Writes, and waits until the commit is durable. If it changes the board, waits until the published
    /// board shows it. Goes on even if the caller is dropped.
    ///
    /// Waits for at most `--write-timeout-ms` in the queue, and as long for its commit.
    ///
    /// # Errors
    /// [`Rejected`]; then nothing of the operation is stored, unless it is [`Rejected::Unknown`].
    pub async fn write(
        &self,
        admission: Admission,
        operation: Operation,
    ) -> Result<Acknowledgement, Rejected> {
        let (caller, mut answer) = oneshot::channel();
        let ticket = Arc::new(Ticket {
            operation: Mutex::new(Some((operation, admission))),
            is_stored: AtomicBool::new(false),
        });
        self.writer.do_send(Enqueue {
            ticket: Arc::clone(&ticket),
            caller,
        });
        let timeout = || {
            self.clock
                .sleep_until(self.clock.now() + self.write_timeout)
        };
        tokio::select! {
            biased;
            answer = &mut answer => return answer.unwrap_or(Err(Rejected::Stopped)),
            () = timeout() => {}
        }
        if ticket.take().is_some() {
            return Err(Rejected::Queued);
        }
        tokio::select! {
            biased;
            answer = &mut answer => return answer.unwrap_or(Err(Rejected::Stopped)),
            () = timeout() => {}
        }
        if ticket.is_stored.load(Relaxed) {
            // The board's rebuild has a time limit of its own.
            return answer.await.unwrap_or(Err(Rejected::Stopped));
        }
        Err(Rejected::Unknown)
    }

    /// Returns the longest body that can ever be admitted, in bytes.
    pub fn max_bytes(&self) -> u32 {
        u32::try_from(self.admissions.longest_body()).unwrap_or(u32::MAX)
    }

    /// Returns how many operations are admitted and not yet answered.
    pub fn in_flight(&self) -> usize {
        self.admissions.operations()
    }

    /// Returns for how long the commit in flight has been running; `None` while no commit runs.
    pub fn commit_runs_for(&self) -> Option<Duration> {
        let since = self.commit_since.get()?;
        Some(self.clock.now().saturating_duration_since(since))
    }

    /// Returns whether the actor still runs.
    pub fn is_alive(&self) -> bool {
        self.writer.connected()
    }

    /// Waits until every admitted operation has been answered.
    pub async fn idle(&self) {
        self.admissions.idle().await;
    }
}
