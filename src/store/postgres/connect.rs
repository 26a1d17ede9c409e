//! Opens sessions: which host, encryption, the settings of a session, and what the server must be.

use std::{
    borrow::Cow,
    fmt,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    task::{JoinHandle, spawn_blocking},
    time::timeout,
};
use tokio_postgres::{
    AsyncMessage, Client, Config, Connection, SimpleQueryMessage, SimpleQueryRow, Socket,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    cancel::cancel,
    error::{PostgresError, ServerError},
    password::{self, PasswordFault},
    url::{PostgresUrl, Target},
};

/// The oldest server that is supported: 13.
const MIN_VERSION: u32 = 130_000;
/// How long a request to cancel a statement may take.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the server lets a session wait. They are for sessions whose client has gone: a client waits no longer than its
/// own deadline.
#[derive(Debug, Clone, Copy)]
pub(super) struct SessionLimits {
    /// For a lock; zero for no limit.
    pub(super) lock: Duration,
    /// For a statement; zero for no limit.
    pub(super) statement: Duration,
}

/// Opens sessions of one database. Cloning shares what is known of its hosts.
#[derive(Clone)]
pub(super) struct Connector(Arc<Inner>);

struct Inner {
    url: PostgresUrl,
    tls: MakeRustlsConnect,
    password_file: Option<PathBuf>,
    /// The schema whose tables were found at the start: another one that is made later, before it in the search_path of
    /// the role, does not take its place.
    schema: Arc<OnceLock<String>>,
    /// Which host accepted the last session: the next one begins with it.
    preferred: AtomicUsize,
    /// Whether the log says that acknowledged writes may be lost.
    told_doubtful: AtomicBool,
}

/// What the server said of itself when the session began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServerFacts {
    version_num: u32,
    encoding: String,
    synchronous_commit: String,
    synchronous_standby_names: String,
    /// Whether it is a standby.
    pub(super) is_standby: bool,
}

/// A session, and the task that drives its socket. Dropping it closes the socket.
pub(super) struct Session {
    client: Client,
    driver: JoinHandle<()>,
    /// The host that it is at.
    config: Config,
    tls: MakeRustlsConnect,
    facts: ServerFacts,
}

impl Connector {
    /// Prepares sessions of `url`. The file of the password is read for each of them, so that the password can be changed.
    pub(super) fn new(
        url: PostgresUrl,
        tls: MakeRustlsConnect,
        password_file: Option<PathBuf>,
        schema: Arc<OnceLock<String>>,
    ) -> Self {
        Self(Arc::new(Inner {
            url,
            tls,
            password_file,
            schema,
            preferred: AtomicUsize::new(0),
            told_doubtful: AtomicBool::new(false),
        }))
    }

    /// Opens a session at the first host that accepts one. `on_message` gets the notices and notifications of the
    /// server. Await it on the thread of PostgreSQL's runtime, or in its `block_on`.
    ///
    /// # Errors
    /// [`PostgresError::Connect`] with what each host said.
    pub(super) async fn connect(
        &self,
        limits: SessionLimits,
        deadline: Instant,
        on_message: impl FnMut(AsyncMessage) + Send + Clone + 'static,
    ) -> Result<Session, PostgresError> {
        let targets = self.0.url.targets();
        let first = self.0.preferred.load(Ordering::Relaxed);
        let mut causes = Vec::new();
        for tried in 0..targets.len() {
            let index = (first + tried) % targets.len();
            let target = &targets[index];
            // If the caller stops waiting, the next attempt begins with another host.
            self.0
                .preferred
                .store((index + 1) % targets.len(), Ordering::Relaxed);
            // A host that hangs leaves time for the others.
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(targets.len() - tried).unwrap_or(u32::MAX);
            let wait = share.min(self.0.url.connect_timeout());
            let opened = timeout(wait, self.open(target, limits, on_message.clone()));
            let cause = match opened.await {
                Ok(Ok(session)) => {
                    self.0.preferred.store(index, Ordering::Relaxed);
                    return Ok(session);
                }
                Ok(Err(refusal)) => refusal.to_string(),
                Err(_) => "no answer in time".to_owned(),
            };
            causes.push(format!("{}: {cause}", target.name));
        }
        Err(PostgresError::Connect {
            url: self.0.url.clone(),
            causes: causes.join("; "),
        })
    }

    async fn open(
        &self,
        target: &Target,
        limits: SessionLimits,
        on_message: impl FnMut(AsyncMessage) + Send + 'static,
    ) -> Result<Session, Refusal> {
        let tls = self.0.tls.clone();
        let mut config = Cow::Borrowed(&target.config);
        if let Some(path) = self.0.password_file.clone() {
            let read = spawn_blocking(move || password::read(&path)).await;
            let password = read.map_err(|_| Refusal::Facts)??;
            config.to_mut().password(password);
        }
        let connected = config.connect(tls.clone()).await;
        let (client, connection) = connected.map_err(ServerError::from)?;
        let driver = tokio::spawn(drive(connection, on_message));
        let mut session = Session {
            client,
            driver,
            config: config.into_owned(),
            tls,
            facts: ServerFacts::default(),
        };
        let schema = self.0.schema.get().map(String::as_str);
        let begun = session.client.simple_query(&settings(limits, schema)).await;
        session.facts =
            ServerFacts::of(&begun.map_err(ServerError::from)?).ok_or(Refusal::Facts)?;
        session.facts.check()?;
        Ok(session)
    }

    /// Warns if a commit that was acknowledged may be lost with the primary.
    pub(super) fn tell_durability(&self, facts: &ServerFacts) {
        if facts.is_standby {
            return;
        }
        let warnings = facts.durability_warnings();
        let is_doubtful = !warnings.is_empty();
        // Again after a failover to a server with other settings.
        if self.0.told_doubtful.swap(is_doubtful, Ordering::Relaxed) != is_doubtful {
            for warning in &warnings {
                log::warn!("{warning}");
            }
            if warnings.is_empty() {
                log::info!("commits wait for a standby again");
            }
        }
    }

    /// Keeps to the schema that this session uses.
    ///
    /// # Errors
    /// [`PostgresError::Server`].
    pub(super) async fn keep_schema(&self, client: &Client) -> Result<(), PostgresError> {
        let row = client
            .query_typed_one("SELECT current_schema()::text", &[])
            .await?;
        let schema: String = row.try_get(0)?;
        let kept = self.0.schema.get_or_init(|| schema.clone());
        if *kept != schema {
            let set = format!("SET search_path = {}", quoted(kept));
            client.batch_execute(&set).await?;
        }
        Ok(())
    }

    /// Returns the database.
    pub(super) fn url(&self) -> &PostgresUrl {
        &self.0.url
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connector").field(&self.0.url).finish()
    }
}

/// Why a host was passed over.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error(transparent)]
    Password(#[from] PasswordFault),
    #[error("it runs version {0}; 13 or later is needed")]
    Version(u32),
    #[error("the database has the encoding {0}; UTF8 is needed")]
    Encoding(String),
    #[error("it does not answer as PostgreSQL does")]
    Facts,
}

/// Drives a session until it ends.
async fn drive<T>(mut connection: Connection<Socket, T>, mut on_message: impl FnMut(AsyncMessage))
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    // An error is what the calls of the client get.
    while let Some(Ok(message)) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
        on_message(message);
    }
}

/// Returns a name as SQL quotes it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Set by statements, not by the start packet: pgbouncer refuses `options`. The facts are read first, in the same
/// round trip.
// Without JIT: of statistics that are not there yet it expects so much work that compiling takes 400 ms, and the query 1
// ms. Without row security: a policy that hides rows is an error, and not an empty board.
fn settings(limits: SessionLimits, schema: Option<&str>) -> String {
    let search_path = schema.map_or_else(String::new, |schema| {
        format!("; SET search_path = {}", quoted(schema))
    });
    format!(
        "SELECT current_setting('server_version_num') AS version,
                current_setting('server_encoding') AS encoding,
                current_setting('synchronous_commit') AS synchronous_commit,
                current_setting('synchronous_standby_names') AS synchronous_standby_names,
                pg_is_in_recovery() AS is_standby;
         SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
         SET default_transaction_isolation = 'read committed';
         SET default_transaction_deferrable = off;
         SET client_min_messages = 'notice';
         SET jit = off;
         SET row_security = off;
         SET idle_in_transaction_session_timeout = 5000;
         SET lock_timeout = {};
         SET statement_timeout = {}{search_path}",
        limits.lock.as_millis(),
        limits.statement.as_millis()
    )
}

impl ServerFacts {
    fn default() -> Self {
        Self {
            version_num: 0,
            encoding: String::new(),
            synchronous_commit: String::new(),
            synchronous_standby_names: String::new(),
            is_standby: false,
        }
    }

    fn of(messages: &[SimpleQueryMessage]) -> Option<Self> {
        let row = messages.iter().find_map(row)?;
        let text = |name| row.try_get(name).ok().flatten();
        Some(Self {
            version_num: text("version")?.parse().ok()?,
            encoding: text("encoding")?.to_owned(),
            synchronous_commit: text("synchronous_commit")?.to_owned(),
            synchronous_standby_names: text("synchronous_standby_names")?.to_owned(),
            is_standby: text("is_standby")? == "t",
        })
    }

    fn check(&self) -> Result<(), Refusal> {
        if self.version_num < MIN_VERSION {
            return Err(Refusal::Version(self.version_num / 10_000));
        }
        if self.encoding != "UTF8" {
            return Err(Refusal::Encoding(self.encoding.clone()));
        }
        Ok(())
    }

    fn durability_warnings(&self) -> Vec<&'static str> {
        let mut warnings = Vec::new();
        if self.synchronous_commit == "off" {
            warnings.push(
                "synchronous_commit is off for this role or database: the publisher sets it to on for its own commits",
            );
        }
        if self.synchronous_commit == "local" || self.synchronous_standby_names.is_empty() {
            warnings.push(
                "no commit waits for a standby (synchronous_standby_names is empty, or synchronous_commit is local): an \
                 acknowledged write may be lost when the primary is lost",
            );
        }
        warnings
    }
}

fn row(message: &SimpleQueryMessage) -> Option<&SimpleQueryRow> {
    match message {
        SimpleQueryMessage::Row(row) => Some(row),
        SimpleQueryMessage::CommandComplete(_) | SimpleQueryMessage::RowDescription(_) | _ => None,
    }
}

impl Session {
    /// Returns the client of the session.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the client of the session, to begin transactions.
    pub(super) fn client_mut(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Returns what the server said of itself.
    pub(super) fn facts(&self) -> &ServerFacts {
        &self.facts
    }

    /// Returns whether the connection has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Closes the socket, and asks the server to cancel what it still does for this session: it would keep its locks
    /// otherwise. Does not wait for that.
    pub(super) fn discard(self, handle: &Handle) {
        self.cancel(handle);
    }

    /// Asks the server to cancel what it does for this session. Does not wait for that.
    pub(super) fn cancel(&self, handle: &Handle) {
        let token = self.client.cancel_token();
        let (config, tls) = (self.config.clone(), self.tls.clone());
        handle.spawn(async move {
            // An error, or no answer: then the limits of the session end it.
            let _ = timeout(CANCEL_TIMEOUT, cancel(&token, &config, tls)).await;
        });
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

    use super::*;

    fn facts() -> ServerFacts {
        ServerFacts {
            version_num: MIN_VERSION,
            encoding: "UTF8".to_owned(),
            synchronous_commit: "on".to_owned(),
            synchronous_standby_names: "other".to_owned(),
            ..ServerFacts::default()
        }
    }

    #[test]
    fn old_servers_are_refused() {
        facts().check().unwrap();
        let old = ServerFacts {
            version_num: 120_022,
            ..facts()
        };
        assert!(old.check().unwrap_err().to_string().contains("version 12;"));
    }

    #[test]
    fn a_primary_of_which_commits_may_be_lost_is_told() {
        assert!(facts().durability_warnings().is_empty());
        for (synchronous_commit, synchronous_standby_names, count) in [
            ("on", "", 1),
            ("off", "other", 1),
            ("off", "", 2),
            ("local", "other", 1),
        ] {
            let facts = ServerFacts {
                synchronous_commit: synchronous_commit.to_owned(),
                synchronous_standby_names: synchronous_standby_names.to_owned(),
                ..facts()
            };
            assert_eq!(facts.durability_warnings().len(), count, "{facts:?}");
        }
    }
}
