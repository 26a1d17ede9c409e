//! Group commit: look, decide, one call. Another replica, or psql, may write between the look and the call: then the call
//! stores nothing, and all begins again.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{pin, time::timeout_at};
use tokio_postgres::{
    AsyncMessage,
    error::{DbError, Severity},
};

use super::{
    call::{CallError, Known, Stamps, publisher_commit},
    connect::{Session, SessionLimits},
    decide::{Decision, decide},
    error::PostgresError,
    look::look,
    store::PostgresStore,
};
use crate::store::{CommitError, Committed, Operation, StoreError};

/// How often a group is decided on: others may store the same items again and again.
const ATTEMPTS: u32 = 5;
/// A commit without an answer is cancelled when this part of its time is left, and its answer is awaited.
const LAST_PART: u32 = 10;
/// A commit that is durable here only.
pub(super) const NOT_AWAITED: &str = "the commit did not wait for the synchronous standby";
/// The least time for a commit.
const MIN_TIMEOUT: Duration = Duration::from_millis(500);

/// Writes through one session, opened at the first commit and anew after a failure.
pub struct PostgresWriter {
    store: PostgresStore,
    timeout: Duration,
    session: Option<WriteSession>,
    known: Known,
}

/// A session that writes, and whether a commit of it may not have waited for the synchronous standby.
pub(super) struct WriteSession {
    pub(super) session: Session,
    warned: Arc<AtomicBool>,
}

impl PostgresWriter {
    /// A writer whose commits end after `timeout`, one way or another. Nothing is connected yet.
    pub(super) fn new(store: PostgresStore, timeout: Duration) -> Self {
        Self {
            store,
            timeout: timeout.max(MIN_TIMEOUT),
            session: None,
            known: Known::default(),
        }
    }

    /// Carries all operations out in one transaction; a rejected one leaves nothing. Blocks until the commit is durable,
    /// on the synchronous standbys too.
    ///
    /// # Errors
    /// [`CommitError`].
    pub(in crate::store) fn commit(
        &mut self,
        operations: &[Operation],
    ) -> Result<Committed, CommitError> {
        let deadline = Instant::now() + self.timeout;
        let runtime = self.store.0.runtime.clone();
        // It keeps to its deadline itself.
        let latest = deadline + self.timeout;
        let commit = async { Ok(self.try_commit(operations, deadline).await) };
        let ended: Result<_, StoreError> = runtime.block_on(latest, commit);
        ended.unwrap_or_else(|error| Err(CommitError::Unknown(error.to_string())))
    }

    async fn try_commit(
        &mut self,
        operations: &[Operation],
        deadline: Instant,
    ) -> Result<Committed, CommitError> {
        let mut changed = None;
        for _ in 0..ATTEMPTS {
            if deadline < Instant::now() + self.timeout / LAST_PART {
                break;
            }
            let (session, is_new) = self.session(deadline).await?;
            let looked = timeout_at(deadline.into(), look(session.session.client(), operations));
            let stored = match looked.await {
                Ok(Ok(stored)) => stored,
                // The server or a pooler may have ended it since the last commit, and its last word be on its way.
                Ok(Err(error)) if !is_new => {
                    changed = Some(error.to_string());
                    self.discard(session);
                    continue;
                }
                Ok(Err(error)) => {
                    return Err(self.fail(session, CommitError::NotStored(error.to_string())));
                }
                Err(_) => {
                    let reason = "the database does not answer".to_owned();
                    return Err(self.fail(session, CommitError::NotStored(reason)));
                }
            };
            let decision = decide(operations, &stored);
            match self.call(&session, &decision, deadline).await {
                Ok(Stamps {
                    before,
                    after,
                    board,
                    lock_wait,
                }) => {
                    self.known = Known::of(&after);
                    // A request to cancel may still be on its way.
                    if Instant::now() < deadline - self.timeout / LAST_PART {
                        self.session = Some(session);
                    }
                    return Ok(Committed {
                        results: decision.results,
                        before,
                        after,
                        board,
                        lock_wait: Some(lock_wait),
                    });
                }
                Err(CallError::Changed(error)) => {
                    self.session = Some(session);
                    changed = Some(error.to_string());
                }
                // The server may be another than before, such as a standby now: the next commit connects anew.
                Err(CallError::NotStored(error)) => {
                    let reason = error.to_string();
                    let failure = if error.is_about_data() {
                        CommitError::Refused(reason)
                    } else {
                        CommitError::NotStored(reason)
                    };
                    return Err(self.fail(session, failure));
                }
                Err(CallError::Unknown(reason)) => {
                    return Err(self.fail(session, CommitError::Unknown(reason)));
                }
            }
        }
        let reason = changed.unwrap_or_else(|| "no time is left".to_owned());
        Err(CommitError::NotStored(format!(
            "given up after several attempts: {reason}"
        )))
    }

    /// Returns the session, and whether it was opened for this.
    async fn session(&mut self, deadline: Instant) -> Result<(WriteSession, bool), CommitError> {
        if let Some(session) = self.session.take().filter(|it| !it.is_closed()) {
            return Ok((session, false));
        }
        let limits = SessionLimits {
            lock: self.timeout,
            statement: 2 * self.timeout,
        };
        let opened = timeout_at(
            deadline.into(),
            WriteSession::open(&self.store, limits, deadline),
        );
        let opened = opened.await.unwrap_or(Err(PostgresError::Timeout));
        let session = opened.map_err(|error| CommitError::NotStored(error.to_string()))?;
        Ok((session, true))
    }

    /// Calls, and cancels the call shortly before the deadline: the answer to that may still tell the outcome. A server
    /// that waits for its synchronous standby then stops waiting and warns.
    async fn call(
        &self,
        session: &WriteSession,
        decision: &Decision<'_>,
        deadline: Instant,
    ) -> Result<Stamps, CallError> {
        let cancel_at = deadline - self.timeout / LAST_PART;
        let left = cancel_at.saturating_duration_since(Instant::now());
        // Others are waited for a little shorter, so that the answer says so. Zero would be no limit.
        let lock_timeout_ms = i32::try_from((left * 9 / 10).as_millis())
            .unwrap_or(i32::MAX)
            .max(1);
        session.forget_warnings();
        let client = session.session.client();
        let call = publisher_commit(client, decision, &[], self.known, lock_timeout_ms);
        pin!(call);
        let answer = match timeout_at(cancel_at.into(), &mut call).await {
            Ok(answer) => answer,
            Err(_) => {
                session.session.cancel(self.store.0.runtime.handle());
                let answer = timeout_at(deadline.into(), call).await;
                answer.unwrap_or_else(|_| Err(CallError::Unknown("no answer in time".to_owned())))
            }
        };
        if answer.is_ok() && session.has_warned() {
            return Err(CallError::Unknown(NOT_AWAITED.to_owned()));
        }
        answer
    }

    fn fail(&self, session: WriteSession, error: CommitError) -> CommitError {
        self.discard(session);
        error
    }

    /// Ends a session that may still be busy, and may have locks.
    fn discard(&self, session: WriteSession) {
        session.session.discard(self.store.0.runtime.handle());
    }
}

impl WriteSession {
    /// Opens a session. If the schema is not known yet, creates or migrates it.
    ///
    /// # Errors
    /// [`PostgresError`].
    pub(super) async fn open(
        store: &PostgresStore,
        limits: SessionLimits,
        deadline: Instant,
    ) -> Result<Self, PostgresError> {
        let warned = Arc::new(AtomicBool::new(false));
        let noticed = Arc::clone(&warned);
        let on_message = move |message| {
            if let AsyncMessage::Notice(notice) = message
                && is_doubtful(&notice)
            {
                noticed.store(true, Ordering::Release);
            }
        };
        let mut session = store
            .0
            .connector
            .connect(limits, deadline, on_message)
            .await?;
        if !store.0.is_prepared() {
            store.0.prepare_with(&mut session).await?;
        }
        Ok(Self { session, warned })
    }

    /// Returns whether the connection has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.session.is_closed()
    }

    /// Returns whether a commit since [`WriteSession::forget_warnings`] may not have waited.
    pub(super) fn has_warned(&self) -> bool {
        self.warned.load(Ordering::Acquire)
    }

    fn forget_warnings(&self) {
        self.warned.store(false, Ordering::Release);
    }
}

/// Returns whether a notice may say that a commit was not awaited. Its text is in the language of the server, its code
/// that of all warnings; RAISE WARNING, as in a trigger that somebody has added, is told apart.
fn is_doubtful(notice: &DbError) -> bool {
    notice.parsed_severity() == Some(Severity::Warning)
        && notice.routine() != Some("exec_stmt_raise")
}

impl fmt::Debug for PostgresWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresWriter").finish_non_exhaustive()
    }
}
