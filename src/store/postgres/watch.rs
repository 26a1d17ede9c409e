//! Notices what other replicas and programs write: it listens, and looks.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_postgres::{AsyncMessage, types::Type};

use super::{
    connect::{Session, SessionLimits},
    error::PostgresError,
    row::{self, get},
    store::PostgresStore,
};
use crate::store::{DatabaseState, FeedStamp, StoreError};

/// How long one look may take, and opening a session.
const LOOK: Duration = Duration::from_secs(5);
/// How long preparing a database may take that came into reach only now: it may have to be migrated.
const PREPARE: Duration = Duration::from_secs(60);
/// How long a notice may take to arrive when listening begins.
const SELF_TEST: Duration = Duration::from_secs(2);
const LIMITS: SessionLimits = SessionLimits {
    lock: LOOK,
    statement: LOOK,
};
/// How long connecting to the listen URL may take.
const LISTENER: Duration = Duration::from_secs(2);
/// After this time a listen URL that could not be reached is tried again.
const LISTEN_AGAIN: Duration = Duration::from_secs(30);
const FIRST_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(1);

/// What there is to see, at one moment. `is_same` is NULL on a standby.
const STATE: &str = "SELECT s.*, b.version AS board_version, b.change_id AS board_change_id,
        r.ordinal AS restored_ordinal, r.id AS restored, l.mark = publisher_mark() AS is_same,
        pg_is_in_recovery() AS is_standby,
        (SELECT floor(extract(epoch FROM ran_at::timestamp))::bigint FROM eval_runs
         WHERE schema_version >= 5 ORDER BY ran_at DESC, id DESC LIMIT 1) AS newest_run_secs,
        pg_total_relation_size('eval_runs') + pg_total_relation_size('challenges')
            + pg_total_relation_size('merkle_epochs') AS database_bytes,
        CASE
            WHEN NOT pg_is_in_recovery() THEN 0
            WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() AND EXISTS (SELECT FROM pg_stat_wal_receiver) THEN 0
            ELSE greatest(extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()), 0)
        END::bigint AS lag_secs
    FROM publisher_stamp() AS s, board_version AS b,
        (SELECT mark FROM lineages ORDER BY ordinal DESC LIMIT 1) AS l,
        (SELECT ordinal, id FROM lineages WHERE shared_through IS NULL
         ORDER BY is_restore DESC, ordinal DESC LIMIT 1) AS r";

/// Notices changes of the database with a connection of its own. A standby cannot listen, and a pooler may swallow
/// notices: then only polls notice changes.
#[derive(Debug)]
pub struct PostgresWatcher {
    store: PostgresStore,
    bell: watch::Sender<u64>,
    listening: Option<Listening>,
    /// What the last poll saw; `None` if it failed.
    seen: Option<DatabaseState>,
    /// The furthest that was seen of a database that this store writes.
    furthest: Option<FeedStamp>,
    backoff: Backoff,
    has_warned: bool,
}

struct Listening {
    session: Session,
    /// Whether a notice has ever come.
    has_heard: Arc<AtomicBool>,
    since: Instant,
    is_standby: bool,
    /// When to try the listen URL again, if it could not be reached: until then it only polls.
    listen_again: Option<Instant>,
}

/// Rings when a notice comes, and when the connection ends.
#[derive(Clone)]
struct Bell {
    news: watch::Sender<u64>,
    has_heard: Arc<AtomicBool>,
}

impl PostgresWatcher {
    pub(super) fn new(store: PostgresStore) -> Self {
        Self {
            store,
            bell: watch::Sender::new(0),
            listening: None,
            seen: None,
            furthest: None,
            backoff: Backoff::default(),
            has_warned: false,
        }
    }

    /// Returns what changes when the server tells of a commit, and when the connection ends.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }

    /// Returns whether the server's notices arrive.
    pub fn hears(&self) -> bool {
        self.listening.as_ref().is_some_and(Listening::hears)
    }

    /// Returns the state of the database at the first poll, at the first one after an error, and whenever it is another
    /// one than at the last poll. Blocks. After errors it waits before it connects again: 100 ms, then longer up to 1 s.
    /// A database that came into reach only now is migrated.
    ///
    /// It ends at once when the last receiver of [`PostgresWatcher::news`] is dropped meanwhile.
    ///
    /// If numbers may be given again there (a standby was promoted, a copy was restored) it begins a new lineage, unless
    /// the store is read-only.
    ///
    /// # Errors
    /// [`StoreError::Postgres`] if the database is out of reach.
    pub fn poll(&mut self) -> Result<Option<DatabaseState>, StoreError> {
        let runtime = self.store.0.runtime.clone();
        // Each step has a limit of its own; this one is never met.
        let deadline = Instant::now() + MAX_DELAY + PREPARE + 4 * LOOK;
        let bell = self.bell.clone();
        let has_listeners = bell.receiver_count() > 0;
        let looked = runtime.block_on(deadline, async {
            tokio::select! {
                looked = self.look() => looked,
                // Nobody waits for the answer any more: the process ends.
                () = bell.closed(), if has_listeners => Err(PostgresError::Timeout.into()),
            }
        });
        match &looked {
            Ok(_) => self.backoff = Backoff::default(),
            Err(_) => {
                self.seen = None;
                // While the process ends there is no time to cancel: the session is only closed.
                let is_ending = has_listeners && self.bell.is_closed();
                if let Some(listening) = self.listening.take().filter(|_| !is_ending) {
                    listening.session.discard(runtime.handle());
                }
            }
        }
        looked
    }

    async fn look(&mut self) -> Result<Option<DatabaseState>, StoreError> {
        let listen_again = self.listening.as_ref().and_then(|it| it.listen_again);
        if listen_again.is_some_and(|at| at <= Instant::now()) {
            self.listening = None;
        }
        if self.listening.is_none() {
            sleep(self.backoff.next_delay()).await;
            self.listening = Some(self.listen().await?);
        }
        self.warn_if_deaf();
        let Some(listening) = &self.listening else {
            return Ok(None);
        };
        let mut view = View::of(&listening.session).await?;
        let sight = &self.store.0.sight;
        sight.saw(listening.hears(), view.lag_secs, view.database_bytes);
        if self.begins_lineage(&view) {
            self.begin_lineage(listening).await?;
            view = View::of(&listening.session).await?;
        }
        if listening.is_standby && !view.is_standby {
            log::info!("the standby was promoted");
            // The next poll listens.
            self.listening = None;
        }
        if !self.store.0.read_only {
            self.furthest = Some(view.state.feed);
        }
        let is_new = self.seen.as_ref() != Some(&view.state);
        self.seen = Some(view.state.clone());
        Ok(is_new.then_some(view.state))
    }

    /// Opens a session and listens.
    async fn listen(&self) -> Result<Listening, StoreError> {
        let inner = &self.store.0;
        // Idle connections may be those of a server that is no primary any more.
        inner.pool.close_idle();
        let has_heard = Arc::new(AtomicBool::new(false));
        let bell = Bell {
            news: self.bell.clone(),
            has_heard: Arc::clone(&has_heard),
        };
        let on_message = move |message| {
            if matches!(message, AsyncMessage::Notification(_)) {
                bell.has_heard.store(true, Ordering::Relaxed);
                bell.ring();
            }
        };
        let limit = if inner.has_listen_url { LISTENER } else { LOOK };
        let deadline = Instant::now() + limit;
        let listener = inner.listener.connect(LIMITS, deadline, on_message).await;
        let (mut session, listen_again) = match listener {
            Ok(session) => (session, None),
            // Readers and writers may have another way.
            Err(error) if inner.has_listen_url => {
                let deadline = Instant::now() + LOOK;
                let session = inner.connector.connect(LIMITS, deadline, |_| {}).await?;
                log::warn!(
                    "--database-listen-url: {error}: changes are noticed every --change-poll-ms only"
                );
                (session, Some(Instant::now() + LISTEN_AGAIN))
            }
            Err(error) => return Err(error.into()),
        };
        let prepared = timeout(PREPARE, inner.prepare_with(&mut session)).await;
        prepared.map_err(|_| PostgresError::Timeout)??;
        let is_standby = session.facts().is_standby;
        if !is_standby && listen_again.is_none() {
            in_time(subscribe(&session)).await?;
            // Through another connection, as the notices of other replicas come.
            inner.runtime.handle().spawn(ring_once(self.store.clone()));
        }
        Ok(Listening {
            session,
            has_heard,
            since: Instant::now(),
            is_standby,
            listen_again,
        })
    }

    fn warn_if_deaf(&mut self) {
        let is_deaf = self.listening.as_ref().is_some_and(|listening| {
            let expects = !listening.is_standby && listening.listen_again.is_none();
            expects && !listening.hears() && listening.since.elapsed() > SELF_TEST
        });
        if is_deaf && !self.has_warned {
            self.has_warned = true;
            log::warn!(
                "PostgreSQL's notices do not arrive, as behind a pooler that shares connections: changes are noticed \
                 every --change-poll-ms only. Name the server itself by --database-listen-url"
            );
        }
    }

    /// Returns whether numbers that are given now may have been given before.
    fn begins_lineage(&self, view: &View) -> bool {
        if self.store.0.read_only || view.is_standby {
            return false;
        }
        let went_back = self.furthest.is_some_and(|furthest| {
            let key = |stamp: &FeedStamp| (stamp.lineage.ordinal, stamp.last_seq);
            key(&view.state.feed) < key(&furthest)
        });
        went_back || view.is_same == Some(false)
    }

    async fn begin_lineage(&self, listening: &Listening) -> Result<(), StoreError> {
        let (ordinal, last_seq) = self.furthest.map_or((0, 0), |furthest| {
            (i64::from(furthest.lineage.ordinal), furthest.last_seq)
        });
        let call = "SELECT ordinal, id FROM publisher_lineage($1, $2)";
        let parameters = [(&ordinal as _, Type::INT8), (&last_seq as _, Type::INT8)];
        let client = listening.session.client();
        let began = in_time(async { Ok(client.query_typed_one(call, &parameters).await?) }).await?;
        let lineage = row::lineage(&began, "ordinal", "id")?;
        log::warn!(
            "the database is another one than before, or was promoted: its lineage is {lineage}"
        );
        Ok(())
    }
}

/// What one look sees.
struct View {
    state: DatabaseState,
    /// Whether numbers are given where the current lineage began; `None` on a standby.
    is_same: Option<bool>,
    is_standby: bool,
    /// How far a standby is behind, in seconds.
    lag_secs: i64,
    database_bytes: i64,
}

impl View {
    async fn of(session: &Session) -> Result<Self, StoreError> {
        let client = session.client();
        let row = in_time(async { Ok(client.query_typed_one(STATE, &[]).await?) }).await?;
        Ok(Self {
            state: DatabaseState {
                board: row::board_stamp(&row)?,
                feed: row::stamp(&row)?,
                restored: row::lineage(&row, "restored_ordinal", "restored")?,
                newest_run_secs: get(&row, "newest_run_secs")?,
            },
            is_same: get(&row, "is_same")?,
            is_standby: get(&row, "is_standby")?,
            lag_secs: get::<Option<i64>>(&row, "lag_secs")?.unwrap_or_default(),
            database_bytes: get(&row, "database_bytes")?,
        })
    }
}

impl Listening {
    /// Returns whether notices arrive.
    fn hears(&self) -> bool {
        self.has_heard.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listening").finish_non_exhaustive()
    }
}

impl Bell {
    fn ring(&self) {
        self.news
            .send_modify(|rings| *rings = rings.wrapping_add(1));
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        self.ring();
    }
}

async fn in_time<T>(
    answer: impl Future<Output = Result<T, PostgresError>>,
) -> Result<T, PostgresError> {
    timeout(LOOK, answer)
        .await
        .map_err(|_| PostgresError::Timeout)?
}

/// Listens for the notices of this schema.
async fn subscribe(session: &Session) -> Result<(), PostgresError> {
    let client = session.client();
    let channel = client.query_typed_one("SELECT publisher_channel() AS channel", &[]);
    let channel: String = get(&channel.await?, "channel")?;
    // It consists of letters, digits and `_`.
    Ok(client.batch_execute(&format!("LISTEN {channel}")).await?)
}

/// Sends a notice that means nothing.
async fn ring_once(store: PostgresStore) {
    let rung = store.0.pool.read(async |client| {
        let rung = client.query_typed("SELECT publisher_tell('t')", &[]).await;
        rung.map(drop)
            .map_err(|error| StoreError::from(PostgresError::from(error)))
    });
    // If it fails, no notice arrives: that is told.
    let _ = timeout(SELF_TEST, rung).await;
}

/// How long to wait before connecting again.
#[derive(Debug, Default)]
struct Backoff {
    failures: u32,
}

impl Backoff {
    fn next_delay(&mut self) -> Duration {
        let failures = self.failures;
        self.failures = failures.saturating_add(1);
        let Some(doublings) = failures.checked_sub(1) else {
            return Duration::ZERO;
        };
        let delay = FIRST_DELAY
            .saturating_mul(1 << doublings.min(10))
            .min(MAX_DELAY);
        // Replicas that lost the same server come back one after the other.
        delay.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_from_nothing_to_a_second() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next_delay(), Duration::ZERO);
        let mut longest = FIRST_DELAY;
        for _ in 0..40 {
            let delay = backoff.next_delay();
            assert!(delay >= longest / 2 && delay <= longest, "{delay:?}");
            longest = (longest * 2).min(MAX_DELAY);
        }
        assert_eq!(longest, MAX_DELAY);
    }
}
