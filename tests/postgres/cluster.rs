//! PostgreSQL servers for tests: one that all tests of the process share, and servers of their own for tests that
//! kill, stop or promote them.
//!
//! A server runs as an ordinary user, on a free port below 32768 (outgoing connections use higher ones) and on a Unix
//! socket, in a temporary folder. A shell watches the test process and ends the server with it, also after a panic
//! or `kill -9`. Logs stay in `target/tmp/postgres`.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::{
        fs::{MetadataExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use tempfile::TempDir;

use crate::{ports::free_port, process::signal};

/// The role of the publisher: it owns its databases and has no other rights.
pub const ROLE: &str = "publisher";
const SUPERUSER: &str = "postgres";
const SCRIPT: &str = include_str!("cluster.sh");
const LOGS: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/postgres");
/// For a start, a promotion, and for a standby to catch up.
const LIMIT: Duration = Duration::from_secs(60);

/// For speed. Without fsync, `kill -9` loses nothing; only a loss of power would.
const SETTINGS: &str = "
    listen_addresses = '127.0.0.1'
    fsync = off
    full_page_writes = off
    shared_buffers = 32MB
    max_connections = 300
    min_wal_size = 32MB
    max_wal_size = 256MB
    wal_keep_size = 256MB
    wal_receiver_status_interval = 1s
    wal_retrieve_retry_interval = 100ms
    jit = off
    log_line_prefix = '%m %p %u@%d %a '
";

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A PostgreSQL server. Dropping it kills it and removes its folder.
#[derive(Debug)]
pub struct Cluster {
    user: &'static User,
    folder: PathBuf,
    port: u16,
    settings: Vec<String>,
    log: PathBuf,
    postmaster: Mutex<Option<Child>>,
    /// Ends everything when its standard input is closed.
    watchdog: Child,
}

/// How long a commit waits for a standby.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replication {
    /// Not at all: what was acknowledged may be lost by a promotion.
    Asynchronous,
    /// Until the standby has flushed it.
    Synchronous,
}

/// Programs of PostgreSQL, and the user that runs them.
#[derive(Debug)]
struct User {
    programs: PathBuf,
    /// User and group, when the tests run as root: PostgreSQL refuses to run as root.
    ids: Option<(u32, u32)>,
}

/// Returns the server that all tests of this process share. Each test needs a database of its own. If PostgreSQL
/// is not installed, prints SKIPPED and returns `None`.
pub fn shared() -> Option<Arc<Cluster>> {
    static SHARED: OnceLock<Option<Arc<Cluster>>> = OnceLock::new();
    SHARED
        .get_or_init(|| Cluster::start(&[]).map(Arc::new))
        .clone()
}

impl User {
    fn get() -> Option<&'static Self> {
        static USER: OnceLock<Option<User>> = OnceLock::new();
        let user = USER.get_or_init(|| Self::find().inspect_err(|why| skipped(why)).ok());
        user.as_ref()
    }

    fn find() -> Result<Self, String> {
        let programs = programs().ok_or("initdb is missing (Debian: the package postgresql)")?;
        let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
        let ids = if is_root {
            let ids = ["postgres", "nobody"].into_iter().find_map(ids_of);
            Some(ids.ok_or("PostgreSQL does not run as root, and there is no user `postgres`")?)
        } else {
            None
        };
        Ok(Self { programs, ids })
    }

    /// Returns a command that runs as this user, in the folder.
    fn command(&self, program: impl AsRef<Path>, folder: &Path) -> Command {
        let mut command = Command::new(program.as_ref());
        if let Some((user, group)) = self.ids {
            command.uid(user).gid(group);
        }
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"PG") {
                command.env_remove(name);
            }
        }
        command
            .current_dir(folder)
            .env("LC_ALL", "C")
            .stdin(Stdio::null());
        command
    }
}

/// Returns the folder of initdb. Debian does not put it on the PATH.
fn programs() -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path().join("bin"))
        .collect();
    // The newest version first.
    folders.sort_by_key(|folder| {
        let version = folder.parent().and_then(Path::file_name);
        version.and_then(|it| it.to_str()?.parse::<u32>().ok())
    });
    folders.reverse();
    let path = std::env::var_os("PATH").unwrap_or_default();
    folders.extend(std::env::split_paths(&path));
    let mut found = folders
        .into_iter()
        .filter_map(|folder| fs::canonicalize(folder.join("initdb")).ok());
    found.find_map(|initdb| {
        let folder = initdb.parent()?;
        folder
            .join("postgres")
            .exists()
            .then(|| folder.to_path_buf())
    })
}

fn ids_of(name: &str) -> Option<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let line = users
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let mut fields = line.split(':').skip(1).map(str::parse);
    Some((fields.next()?.ok()?, fields.next()?.ok()?))
}

/// Prints this even if the test passes: the test harness hides what `eprintln!` prints.
pub fn skipped(why: &str) {
    let line = format!("SKIPPED: no test with PostgreSQL: {why}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// Creates a log file. Those of yesterday are deleted.
fn new_log() -> PathBuf {
    fs::create_dir_all(LOGS).unwrap();
    for entry in fs::read_dir(LOGS).unwrap().flatten() {
        let changed = entry.metadata().and_then(|metadata| metadata.modified());
        let age = changed.map(|then| SystemTime::now().duration_since(then).unwrap_or_default());
        if age.is_ok_and(|age| age > Duration::from_secs(86_400)) {
            let _ = fs::remove_file(entry.path());
        }
    }
    let number = NUMBER.fetch_add(1, Relaxed);
    let log = Path::new(LOGS).join(format!("{}-{number}.log", std::process::id()));
    File::create(&log).unwrap();
    log
}

impl Cluster {
    /// Starts a server of its own with these settings (`"fsync=on"`). If PostgreSQL is not installed, prints SKIPPED
    /// and returns `None`.
    pub fn start(settings: &[&str]) -> Option<Self> {
        let cluster = Self::prepare(User::get()?, settings);
        cluster.run(
            cluster
                .program("initdb")
                .args(["--encoding", "UTF8", "--locale", "C", "--auth", "trust"])
                .args(["--username", SUPERUSER, "--no-sync", "--wal-segsize", "4"])
                .arg("--pgdata")
                .arg(cluster.data()),
        );
        let file = OpenOptions::new()
            .append(true)
            .open(cluster.data().join("postgresql.conf"));
        file.unwrap().write_all(SETTINGS.as_bytes()).unwrap();
        // Roles in this group need their password over TCP.
        let file = cluster.data().join("pg_hba.conf");
        let rules = fs::read_to_string(&file).unwrap();
        // A publisher may run in a network namespace, too.
        let rules = format!(
            "host all +passwords samenet scram-sha-256\nhost all all samenet trust\n{rules}"
        );
        fs::write(&file, rules).unwrap();
        let cluster = cluster.started();
        cluster.sql(
            "postgres",
            &format!("CREATE ROLE {ROLE} LOGIN; CREATE ROLE passwords"),
        );
        Some(cluster)
    }

    /// Makes the folder, and starts the shell that ends everything with this process.
    fn prepare(user: &'static User, settings: &[&str]) -> Self {
        let folder = TempDir::with_prefix("pg-").unwrap().keep();
        if let Some((uid, gid)) = user.ids {
            chown(&folder, Some(uid), Some(gid)).unwrap();
        }
        let watchdog = user
            .command("/bin/sh", Path::new("/"))
            .args(["-c", SCRIPT, "sh", "watch"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        Self {
            user,
            folder,
            port: free_port(),
            settings: settings.iter().map(|&it| it.to_owned()).collect(),
            log: new_log(),
            postmaster: Mutex::new(None),
            watchdog: watchdog.unwrap(),
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of the Unix socket.
    pub fn socket_folder(&self) -> &Path {
        &self.folder
    }

    /// Returns a command for a program of PostgreSQL.
    pub fn program(&self, name: &str) -> Command {
        self.user
            .command(self.user.programs.join(name), &self.folder)
    }

    fn run(&self, command: &mut Command) -> String {
        let output = command.output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts it, on another port if the port has been taken meanwhile.
    fn started(mut self) -> Self {
        for _ in 0..5 {
            match self.try_restart() {
                Ok(()) => return self,
                Err(log) if log.contains("Address already in use") => self.port = free_port(),
                Err(log) => panic!("PostgreSQL does not start: {log}"),
            }
        }
        panic!("no free port");
    }

    fn try_restart(&self) -> Result<(), String> {
        let mut current = self.postmaster.lock().unwrap();
        if let Some(mut running) = current.take() {
            self.script("signal", "CONT");
            // A fast shutdown: sessions are ended.
            signal(running.id(), "-INT");
            running.wait().unwrap();
        }
        let log = || OpenOptions::new().append(true).open(&self.log).unwrap();
        let before = fs::metadata(&self.log).unwrap().len() as usize;
        let mut command = self.program("postgres");
        command
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.to_string(), "-k"])
            .arg(&self.folder);
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        // Ctrl-C is for the test process; the watchdog does the rest.
        command.stdout(log()).stderr(log()).process_group(0);
        let mut postmaster = command.spawn().unwrap();
        let deadline = Instant::now() + LIMIT;
        loop {
            let said = fs::read(&self.log).unwrap_or_default();
            let said = String::from_utf8_lossy(&said[before..]).into_owned();
            if let Some(status) = postmaster.try_wait().unwrap() {
                return Err(format!("{status}: {said}"));
            }
            if said.contains("ready to accept") {
                *current = Some(postmaster);
                return Ok(());
            }
            assert!(Instant::now() < deadline, "{said}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts it, after a fast shutdown if it runs: on the same port, with the same data.
    pub fn restart(&self) {
        self.try_restart().unwrap();
    }

    /// Shuts it down (fast: sessions are ended), and waits for that.
    pub fn shut_down(&self) -> Option<ExitStatus> {
        let mut postmaster = self.postmaster.lock().unwrap().take()?;
        signal(postmaster.id(), "-INT");
        Some(postmaster.wait().unwrap())
    }

    /// Sends SIGKILL to the postmaster and all of its children.
    pub fn kill(&self) {
        let mut postmaster = self.postmaster.lock().unwrap();
        self.script("kill", "");
        if let Some(mut postmaster) = postmaster.take() {
            postmaster.wait().unwrap();
        }
    }

    /// Sends SIGSTOP to the postmaster and all of its children: connections stay open, and nothing answers.
    pub fn pause(&self) {
        self.script("signal", "STOP");
    }

    /// Lets a paused server go on.
    pub fn resume(&self) {
        self.script("signal", "CONT");
    }

    fn script(&self, action: &str, signal: &str) {
        let mut shell = self.user.command("/bin/sh", Path::new("/"));
        shell.args(["-c", SCRIPT, "sh", action]);
        self.run(shell.arg(&self.folder).arg(signal));
    }

    /// Starts a standby that follows this server, and waits until it streams.
    pub fn standby(&self, replication: Replication) -> Self {
        self.follow(Self::prepare(self.user, &[]), replication)
    }

    /// As [`Cluster::standby`], at the port of a server that has been killed.
    pub fn standby_at(&self, port: u16, replication: Replication) -> Self {
        let mut standby = Self::prepare(self.user, &[]);
        standby.port = port;
        let standby = self.follow(standby, replication);
        assert_eq!(standby.port, port, "the port was taken meanwhile");
        standby
    }

    fn follow(&self, standby: Self, replication: Replication) -> Self {
        let name = format!("standby_{}", standby.port);
        let from = format!(
            "host=127.0.0.1 port={} user={SUPERUSER} application_name={name}",
            self.port
        );
        standby.run(
            standby
                .program("pg_basebackup")
                .args(["--write-recovery-conf", "--wal-method", "stream"])
                .args(["--checkpoint", "fast", "--no-sync", "--dbname", &from])
                .arg("--pgdata")
                .arg(standby.data()),
        );
        let standby = standby.started();
        let wanted = match replication {
            Replication::Asynchronous => "async",
            Replication::Synchronous => {
                self.set("synchronous_standby_names", &name);
                "sync"
            }
        };
        let state = format!(
            "SELECT sync_state FROM pg_stat_replication
             WHERE application_name = '{name}' AND state = 'streaming'"
        );
        self.until("the standby streams", || {
            self.sql("postgres", &state) == wanted
        });
        standby
    }

    /// Ends the replication of a standby: it keeps what it has, and gets nothing new.
    pub fn stop_following(&self) {
        self.set("primary_conninfo", "");
        let receivers = "SELECT count(*) FROM pg_stat_wal_receiver";
        self.until("no replication", || self.sql("postgres", receivers) == "0");
    }

    /// Makes a standby a primary, and waits until it accepts writes.
    pub fn promote(&self) {
        let limit = LIMIT.as_secs();
        let promoted = self.sql("postgres", &format!("SELECT pg_promote(true, {limit})"));
        assert_eq!(promoted, "t");
    }

    /// Changes a setting, and waits until it holds.
    pub fn set(&self, name: &str, value: &str) {
        // Neither of the two may be in a transaction of several statements.
        self.sql("postgres", &format!("ALTER SYSTEM SET {name} = '{value}'"));
        self.sql("postgres", "SELECT pg_reload_conf()");
        let show = format!("SHOW {name}");
        self.until(name, || self.sql("postgres", &show) == value);
    }

    /// Waits until the standby has replayed what this server has written so far.
    pub fn wait_for(&self, standby: &Self) {
        let position = self.sql("postgres", "SELECT pg_current_wal_lsn()");
        let has = format!("SELECT pg_last_wal_replay_lsn() >= '{position}'");
        self.until("the standby has replayed", || {
            standby.sql("postgres", &has) == "t"
        });
    }

    fn until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !condition() {
            assert!(Instant::now() < deadline, "{what}; log: {:?}", self.log);
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs statements as superuser. Returns the rows: fields separated by `|`, one row per line.
    #[track_caller]
    pub fn sql(&self, database: &str, statements: &str) -> String {
        self.try_sql(SUPERUSER, database, statements).unwrap()
    }

    /// Runs statements as this role.
    ///
    /// # Errors
    ///
    /// What psql prints.
    pub fn try_sql(&self, role: &str, database: &str, statements: &str) -> Result<String, String> {
        let mut psql = self.program("psql");
        psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-p"])
            .arg(self.port.to_string())
            .arg("-h")
            .arg(&self.folder)
            .args(["-U", role, "-d", database, "-c", statements]);
        let output = psql.output().unwrap();
        if output.status.success() {
            let rows = String::from_utf8(output.stdout).unwrap();
            return Ok(rows.trim_end_matches('\n').to_owned());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Creates an empty database that [`ROLE`] owns.
    pub fn database(self: &Arc<Self>) -> Database {
        let name = format!("test_{}", NUMBER.fetch_add(1, Relaxed));
        self.sql(
            "postgres",
            &format!("CREATE DATABASE {name} OWNER {ROLE} TEMPLATE template0"),
        );
        Database {
            cluster: Arc::clone(self),
            name,
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        let postmaster = self.postmaster.get_mut().unwrap_or_else(|e| e.into_inner());
        if let Some(postmaster) = postmaster {
            let _ = postmaster.wait();
        }
        let _ = self.watchdog.wait();
    }
}

/// A database of a test. Dropping it removes it.
#[derive(Debug)]
pub struct Database {
    pub cluster: Arc<Cluster>,
    pub name: String,
}

impl Database {
    /// The URL for `--database`.
    pub fn url(&self) -> String {
        self.url_at(&self.cluster)
    }

    /// The URL of the same database at another server: a standby.
    pub fn url_at(&self, cluster: &Cluster) -> String {
        self.url_through(cluster.port)
    }

    /// The URL of the same database at another port: what listens there passes bytes on.
    pub fn url_through(&self, port: u16) -> String {
        format!("postgres://{ROLE}@127.0.0.1:{port}/{}", self.name)
    }

    /// The URL that tries these servers one after the other, and takes the primary.
    pub fn url_of(&self, clusters: &[&Cluster]) -> String {
        let hosts: Vec<String> = clusters
            .iter()
            .map(|cluster| format!("127.0.0.1:{}", cluster.port))
            .collect();
        format!(
            "postgres://{ROLE}@{}/{}?target_session_attrs=read-write",
            hosts.join(","),
            self.name
        )
    }

    /// Runs statements as [`ROLE`].
    #[track_caller]
    pub fn sql(&self, statements: &str) -> String {
        self.cluster.try_sql(ROLE, &self.name, statements).unwrap()
    }

    /// Runs statements as superuser.
    #[track_caller]
    pub fn sql_as_superuser(&self, statements: &str) -> String {
        self.cluster.sql(&self.name, statements)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // That of a server of its own goes with the server, which may wait for its standby for ever.
        if shared().is_some_and(|shared| Arc::ptr_eq(&shared, &self.cluster)) {
            let drop = format!("DROP DATABASE {} WITH (FORCE)", self.name);
            let _ = self.cluster.try_sql(SUPERUSER, "postgres", &drop);
        }
    }
}
