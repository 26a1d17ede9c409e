//! The command line and the environment. The options of a server are those of its rooms.

#![expect(
    missing_docs,
    reason = "clap would take the doc of a flattened field for its own"
)]

mod address;
mod environment;
mod log_filter;

use std::{path::PathBuf, time::Duration};

use clap::{
    Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum,
    builder::NonEmptyStringValueParser,
};

use crate::{
    check,
    domain::ran_at::RanAt,
    follow,
    server::Settings,
    store::{
        location::{Location, LocationParser},
        postgres::url::PostgresUrl,
    },
    units,
};

pub use address::{Address, InvalidAddress};
pub use environment::variable;
pub use log_filter::{LogFilter, NotAFilter};

/// Publishes a subnet's challenges and signed eval runs over HTTP.
///
/// Every option can also be given by the environment variable that its help names; the command line
/// wins. An empty variable counts as unset. The variable of an option without a value is 1, yes, on or true, or
/// 0, no, off or false.
#[derive(Debug, Parser)]
#[command(name = "cathedral-publisher", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What to log on stderr: off, error, warn, info, debug or trace, or a list with levels of single
    /// targets, such as `info,cathedral_publisher::cache=debug,access=off`. Libraries log warnings and
    /// errors only, unless they are named: `info,r2d2=debug`. A target that is neither a module of this program
    /// nor a crate is refused. If nobody reads stderr, lines are dropped.
    #[arg(
        long,
        global = true,
        env = "PUBLISHER_LOG",
        default_value = "info",
        value_name = "FILTER"
    )]
    pub log_level: LogFilter,
    /// How to log.
    #[arg(
        long,
        global = true,
        env = "PUBLISHER_LOG_FORMAT",
        default_value = "text",
        value_name = "FORMAT"
    )]
    pub log_format: LogFormat,
}

impl Cli {
    /// Returns the definition of the command line, with the rules of environment variables.
    #[must_use]
    pub fn definition() -> clap::Command {
        environment::read_by_the_rules(Self::command())
    }

    /// Reads the arguments and the environment of this process.
    ///
    /// # Errors
    /// If they are invalid, or ask for help or the version.
    pub fn read() -> Result<Self, clap::Error> {
        let mut definition = Self::definition();
        let read = definition.try_get_matches_from_mut(std::env::args_os());
        let read = read.and_then(|matches| Self::from_arg_matches(&matches));
        read.map_err(|error| environment::name_variable(error, &definition))
    }
}

/// How to log, one line each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people: time, level, module, message, key=value.
    Text,
    /// A JSON object.
    Json,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the board and the feed from a database.
    ///
    /// The database is created if it is missing, and migrated. SIGTERM or Ctrl-C finishes the requests in flight and
    /// stops; a second signal stops at once.
    Serve(Box<Serve>),
    /// Import what another publisher serves: a saved answer of either endpoint, or NDJSON.
    ///
    /// Reads and checks the whole input first; only then other writers have to wait, and readers
    /// never. Imports all items or nothing. Items that are stored already with the same bytes are
    /// skipped. A row whose id is stored with different bytes is an error, and so is a challenge whose
    /// status would go back. The database is created if it is missing.
    Import(Import),
    /// Write what is stored to stdout, in the form that `import` reads.
    ///
    /// `board` writes the answer of active-challenges; `rows` writes all eval runs in the order of the
    /// feed. Both leave out what is not published, and are no backup: `backup` is. `all` writes every row of
    /// every table as NDJSON.
    Export(Export),
    /// Write a copy of the database to one file, while a server serves it and clients write.
    ///
    /// The copy is of one moment, and contains everything that was acknowledged before. It gets its name only
    /// when it is complete, checked and durable. It is a SQLite file, also if the database is one of PostgreSQL.
    Backup(Backup),
    /// Replace the content of the database by that of a backup, while a server serves it.
    ///
    /// The backup is checked first, and migrated. Then it is brought in as a whole: clients see the old or
    /// the new content. Writes wait meanwhile, or get 503. The database gets a new lineage. It is created if
    /// it is missing. The backup may be one of a SQLite file or of a PostgreSQL database.
    Restore(Restore),
    /// Remove old eval runs, while a server serves the database and clients write.
    ///
    /// Removes those whose `ran_at` is before a time, published or not, in short transactions. Clients go on with the
    /// cursors that they have; `since_seq` says from where on all eval runs are kept. The file keeps its size, and new
    /// eval runs use the space. What was removed is not refused if it is written again.
    Prune(Prune),
    /// Serve sample data that keeps changing, and print requests to try.
    Demo(Box<Demo>),
    /// Check that a publisher keeps the wire contract: this program, the same behind a proxy or a CDN, or another one.
    ///
    /// Prints one line for each rule with what was seen, and ends with exit code 1 if one does not hold. What was added
    /// to the contract later, and the server does not have, is not offered; that is no failure. Sends about 180
    /// requests, one at a time, and changes nothing.
    Check(Check),
    /// Write sample data to stdout as NDJSON, one item per line, which `import` reads.
    ///
    /// Eval runs are signed with a key that everybody knows, whose JWK set is `sample jwks`.
    Sample(Sample),
    /// Check the signatures of eval runs.
    ///
    /// Writes how many are valid, and names each invalid one on stderr. Exits with 1 if any is invalid, or if the input has
    /// no eval runs. An eval run is valid if it could be imported, and a key of the JWK set has signed it.
    Verify(Verify),
    /// Ask a server whether it is ready: exit code 0 if it answers 200, 1 if it answers anything else or nothing in
    /// time, and one line that says what. For health checks of containers.
    Health(Health),
    /// Write a script to stdout that completes this program's options in a shell.
    Completions(Completions),
    /// Write the manual page of this program to stdout, or all pages into a folder.
    Man(Man),
}

/// Options of `completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell.
    pub shell: clap_complete::Shell,
}

/// Options of `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Where the publisher is: http://HOST:PORT, or an https URL. A path in it stands before those of the contract,
    /// such as https://HOST/api/cathedral.
    pub url: String,
    /// Write one JSON object with all checks instead of the table.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub settings: check::Settings,
}

/// Options of `man`.
#[derive(Debug, Args)]
pub struct Man {
    /// Write a page for this program and for each subcommand into this folder, such as
    /// /usr/local/share/man/man1. It is created if it is missing.
    #[arg(long, value_name = "FOLDER")]
    pub dir: Option<PathBuf>,
}

/// Options of `health`.
#[derive(Debug, Args)]
pub struct Health {
    /// The URL to ask; without a path, its /health/ready [default: that of --address on this machine].
    pub url: Option<String>,
    #[command(flatten)]
    pub address: Address,
    /// How long the answer may take, in seconds.
    #[arg(long = "timeout-secs", alias = "timeout", value_name = "SECONDS")]
    #[arg(default_value = "5", value_parser = units::secs(1..=3600))]
    pub timeout: Duration,
    /// https: a file with the certificates, as PEM, that may have issued the server's [default: those that the
    /// system trusts].
    #[arg(long, value_name = "PATH")]
    pub ca_file: Option<PathBuf>,
}

/// A kind of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Challenges: the items of active-challenges.
    Board,
    /// Eval runs: the items of leaderboard/recent.
    Rows,
}

/// What is imported or exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Content {
    /// Challenges: what active-challenges answers.
    Board,
    /// Eval runs: what leaderboard/recent answers.
    Rows,
    /// Every challenge, eval run and epoch, with every column; always NDJSON.
    All,
}

impl Content {
    /// Returns the kind of its items; `None` if it has items of all kinds.
    pub fn kind(self) -> Option<Kind> {
        match self {
            Self::Board => Some(Kind::Board),
            Self::Rows => Some(Kind::Rows),
            Self::All => None,
        }
    }
}

/// What is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Verifiable {
    /// Eval runs: what leaderboard/recent answers.
    Rows,
}

/// What `sample` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SampleKind {
    /// Challenges.
    Board,
    /// Eval runs.
    Rows,
    /// The JWK set of the key that signs sample eval runs.
    Jwks,
}

/// Options of `serve`.
#[derive(Debug, Args)]
pub struct Serve {
    #[command(flatten)]
    pub database: Database,
    #[command(flatten)]
    pub address: Address,
    #[command(flatten)]
    pub admin: Admin,
    #[command(flatten)]
    pub keys: Keys,
    /// Open an existing database and never write to it: it is neither created nor migrated, and there
    /// are no admin routes.
    #[arg(long, env = "PUBLISHER_READ_ONLY")]
    pub read_only: bool,
    /// Serve a database that was copied by --follow as one of its own, and accept writes: from now on it follows nobody.
    /// Without this option such a database is refused. With it, a database that never was a copy is refused.
    #[arg(long, env = "PUBLISHER_PROMOTE")]
    pub promote: bool,
    #[command(flatten)]
    pub follow: follow::Settings,
    // Last: its help headings hold for all that follows.
    #[command(flatten)]
    pub settings: Settings,
}

/// The admin tokens.
#[derive(Debug, Clone, Default, Args)]
pub struct Admin {
    /// A file with one admin token per line, of at least 32 characters each: one token, or two while one
    /// replaces the other. SIGHUP reads it again; a file without a token is refused. Tokens may also come
    /// from the environment variables PUBLISHER_ADMIN_TOKEN and PUBLISHER_ADMIN_TOKEN_NEXT. Without a token the admin routes answer 404.
    #[arg(long, env = "PUBLISHER_ADMIN_TOKEN_FILE", value_name = "PATH")]
    pub admin_token_file: Option<PathBuf>,
}

/// The keys of the eval runs.
#[derive(Debug, Clone, Default, Args)]
pub struct Keys {
    /// A JWK set to serve at /.well-known/cathedral-jwks.json: the Ed25519 public keys that sign eval runs are those
    /// whose kid begins with cathedral-eval-signing, or all of them if no kid does. SIGHUP reads it again; a file
    /// without such a key is refused. Without this option the path answers 404.
    #[arg(long, env = "PUBLISHER_JWKS", value_name = "FILE")]
    pub jwks: Option<PathBuf>,
    /// Refuse to store eval runs that no key of --jwks has signed: the request gets 422, which names the first one.
    #[arg(long, env = "PUBLISHER_VERIFY_ROWS")]
    pub verify_rows: bool,
}

/// The database.
#[derive(Debug, Args)]
pub struct Database {
    /// The SQLite file, or the URL of a PostgreSQL database: postgres://USER@HOST:PORT/DATABASE. A URL with a password is accepted in the environment
    /// variable only. Unless the host is this machine, the connection is encrypted and the server's name verified.
    #[arg(
        long,
        env = "PUBLISHER_DATABASE",
        hide_env_values = true,
        default_value = "publisher.db",
        value_name = "PATH|URL",
        value_parser = LocationParser::ANY
    )]
    pub database: Location,
    /// PostgreSQL: a file with the password, in one line, which is read for each new connection [default: the
    /// environment variable PGPASSWORD].
    #[arg(long, env = "PUBLISHER_DATABASE_PASSWORD_FILE", value_name = "PATH")]
    pub database_password_file: Option<PathBuf>,
    /// PostgreSQL: a file with the certificates, as PEM, that may have issued the server's [default: those that the
    /// system trusts].
    #[arg(long, env = "PUBLISHER_DATABASE_CA_FILE", value_name = "PATH")]
    pub database_ca_file: Option<PathBuf>,
    /// PostgreSQL: the URL of the server itself, if --database names a pooler that shares connections. The notices of
    /// changes come from there.
    #[arg(
        long,
        env = "PUBLISHER_DATABASE_LISTEN_URL",
        hide_env_values = true,
        value_name = "URL",
        value_parser = LocationParser::URL
    )]
    pub database_listen_url: Option<PostgresUrl>,
}

/// Options of `import`.
#[derive(Debug, Args)]
pub struct Import {
    /// What the file holds.
    #[arg(value_name = "KIND")]
    pub content: Content,
    /// The file, or `-` for standard input.
    pub file: PathBuf,
    /// Write in short transactions, so that a server that uses the database can write in between: it
    /// waits for about a second, even if the input has millions of rows. If such an import fails or is
    /// killed while it writes, some items are stored; the same import again adds the others.
    #[arg(long)]
    pub batches: bool,
    /// Import eval runs only if keys of this JWK set have signed them: a file, or the URL of a server's.
    #[arg(long, value_name = "FILE|URL", value_parser = NonEmptyStringValueParser::new())]
    pub jwks: Option<String>,
    /// A file with the certificates, as PEM, that may have issued the one of the JWK set's server [default: those that
    /// the system trusts].
    #[arg(long, value_name = "PATH", requires = "jwks")]
    pub ca_file: Option<PathBuf>,
    #[command(flatten)]
    pub database: Database,
}

/// Options of `export`.
#[derive(Debug, Args)]
pub struct Export {
    /// What to write.
    #[arg(value_name = "KIND")]
    pub content: Content,
    /// One item per line instead of one JSON object.
    #[arg(long)]
    pub ndjson: bool,
    #[command(flatten)]
    pub database: Database,
}

/// Options of `backup`.
#[derive(Debug, Args)]
pub struct Backup {
    /// The file to write.
    pub file: PathBuf,
    /// Replace the file if it exists.
    #[arg(long)]
    pub overwrite: bool,
    #[command(flatten)]
    pub database: Database,
}

/// Options of `restore`.
#[derive(Debug, Args)]
pub struct Restore {
    /// The backup.
    pub file: PathBuf,
    #[command(flatten)]
    pub database: Database,
}

/// What can be pruned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Prunable {
    /// Eval runs.
    Rows,
}

/// Options of `prune`.
#[derive(Debug, Args)]
pub struct Prune {
    /// What to remove.
    #[arg(value_name = "KIND")]
    pub content: Prunable,
    /// Remove what ran before this time: a date such as 2026-06-01, which is its midnight in UTC, or an RFC 3339 time such
    /// as 2026-06-01T12:00:00Z; not in the future.
    #[arg(long, value_name = "TIME", value_parser = RanAt::of_option)]
    pub before: RanAt,
    /// Only count.
    #[arg(long)]
    pub dry_run: bool,
    /// How many to remove in one transaction: other writers wait for it.
    #[arg(long, value_name = "ROWS", default_value = "100", value_parser = units::number::<u32>(1..=100_000))]
    pub batch: u32,
    #[command(flatten)]
    pub database: Database,
}

/// Options of `sample`.
#[derive(Debug, Args)]
pub struct Sample {
    /// What to write.
    pub kind: SampleKind,
    /// How many challenges or eval runs.
    #[arg(long, value_name = "ITEMS", value_parser = units::number::<u32>(..))]
    #[arg(required_if_eq_any([("kind", "board"), ("kind", "rows")]))]
    pub count: Option<u32>,
    /// The same seed gives the same data.
    #[arg(long, default_value_t = 1, value_name = "NUMBER", value_parser = units::number::<u64>(..))]
    pub seed: u64,
    /// Write the formula of each challenge to this folder, as `serve --cnf-dir` expects it: random 3-SAT that has a
    /// solution. Without this option the hashes of challenges are random digits.
    #[arg(long, value_name = "PATH")]
    pub cnf_dir: Option<PathBuf>,
}

/// Options of `verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// What the file holds.
    #[arg(value_name = "KIND")]
    pub content: Verifiable,
    /// A page of the feed, a JSON array or NDJSON; `-` for standard input.
    pub file: PathBuf,
    /// The JWK set with the public keys: a file, or the URL of a server's, such as
    /// `https://example.org/.well-known/cathedral-jwks.json`.
    #[arg(long, value_name = "FILE|URL", value_parser = NonEmptyStringValueParser::new())]
    pub jwks: String,
    /// A file with the certificates, as PEM, that may have issued that server's [default: those that the system
    /// trusts].
    #[arg(long, value_name = "PATH")]
    pub ca_file: Option<PathBuf>,
}

/// Options of `demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Keep the database here and continue with it the next time [default: a temporary one].
    #[arg(long, env = "PUBLISHER_DEMO_DATABASE", value_name = "PATH")]
    pub database: Option<PathBuf>,
    /// Sample eval runs to begin with.
    #[arg(
        long,
        env = "PUBLISHER_DEMO_ROWS",
        default_value_t = 5000,
        value_name = "ROWS",
        value_parser = units::number::<u32>(..)
    )]
    pub rows: u32,
    #[command(flatten)]
    pub admin: Admin,
    #[command(flatten)]
    pub address: Address,
    #[command(flatten)]
    pub settings: Settings,
}
