//! Admission to the writer: bounded, and decided at once.

use std::sync::Arc;

use actix::Recipient;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{
    Settings,
    actor::Enqueue,
    operation::{Acknowledgement, Operation, Rejected},
};

/// Permission to write one operation. Its share of the bounds is released when the operation is answered.
#[derive(Debug)]
pub struct Admission {
    _operation: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

/// The writer, for request handlers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct WriterHandle {
    settings: Settings,
    operations: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    writer: Recipient<Enqueue>,
}

impl WriterHandle {
    pub(super) fn new(settings: Settings, writer: Recipient<Enqueue>) -> Self {
        Self {
            settings,
            operations: Arc::new(Semaphore::new(settings.max_writes as usize)),
            bytes: Arc::new(Semaphore::new(settings.max_write_bytes as usize)),
            writer,
        }
    }

    /// Admits one operation whose body has at most `bytes` bytes.
    ///
    /// # Errors
    /// [`Rejected::Busy`], at once: nothing is queued for admission.
    pub fn admit(&self, bytes: u32) -> Result<Admission, Rejected> {
        let operation = Arc::clone(&self.operations).try_acquire_owned();
        let bytes = Arc::clone(&self.bytes).try_acquire_many_owned(bytes);
        match (operation, bytes) {
            (Ok(operation), Ok(bytes)) => Ok(Admission {
                _operation: operation,
                _bytes: bytes,
            }),
            _ => Err(Rejected::Busy),
        }
    }

    /// Writes, and waits until the commit is durable. If it changes the board, waits until the published
    /// board shows it. Goes on even if the caller stops waiting.
    ///
    /// # Errors
    /// [`Rejected`]; then nothing of the operation is stored.
    pub async fn write(
        &self,
        admission: Admission,
        operation: Operation,
    ) -> Result<Acknowledgement, Rejected> {
        let (caller, answer) = oneshot::channel();
        self.writer.do_send(Enqueue {
            operation,
            caller,
            admission,
        });
        answer.await.unwrap_or(Err(Rejected::Stopped))
    }

    /// Returns the longest body that can ever be admitted, in bytes.
    pub fn max_bytes(&self) -> u32 {
        self.settings.max_write_bytes
    }

    /// Returns how many operations are admitted and not yet answered.
    pub fn in_flight(&self) -> usize {
        self.settings.max_writes as usize - self.operations.available_permits()
    }

    /// Returns whether the actor still runs.
    pub fn is_alive(&self) -> bool {
        self.writer.connected()
    }

    /// Waits until every admitted operation has been answered.
    pub async fn idle(&self) {
        // Cannot fail: the semaphore is never closed.
        let all = self.operations.acquire_many(self.settings.max_writes);
        let _ = all.await;
    }
}
