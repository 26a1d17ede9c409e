//! Arguments, logger, and dispatch to a subcommand.

use std::{
    fs::File,
    io::{self, BufReader, IsTerminal, Read, Write},
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context as _;
use cathedral_publisher::{
    cache::build::SqliteBuilder,
    config::{Admin, CacheMode, Cli, Command, Demo, Export, Limits, Serve, Transfer},
    demo::life,
    domain::clock::SystemClock,
    http::token::AdminTokens,
    server::{self, Parts, Running},
    store::{
        open::{Journal, open_reader, open_writer, open_writer_with},
        pool::ReadPool,
    },
    transfer::{export::export, import::import},
};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

fn main() -> ExitCode {
    let cli = Cli::parse();
    init_logger(&cli.log_level);
    let done = match cli.command {
        Command::Serve(options) => serve(&options),
        Command::Import(options) => import_file(&options),
        Command::Export(options) => export_to_stdout(&options),
        Command::Demo(options) => demo(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line, whatever the log level: this is the program's answer, not an event.
            let _ = writeln!(io::stderr(), "cathedral-publisher: {}", one_line(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes; a cause that is quoted already is not said again.
fn one_line(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |line, cause| {
        let cause = cause.to_string();
        if line.is_empty() {
            cause
        } else if line.contains(&cause) {
            line
        } else {
            format!("{line}: {cause}")
        }
    })
}

fn init_logger(filter: &str) {
    env_logger::Builder::new()
        .parse_filters(filter)
        .format(|out, record| {
            let now = jiff::Timestamp::now();
            let (level, target) = (record.level(), record.target());
            writeln!(out, "{now:.3} {level} {target}: {}", record.args())
        })
        .init();
}

fn serve(options: &Serve) -> anyhow::Result<()> {
    let path = &options.database.database;
    let busy_timeout = options.limits.busy_timeout();
    let tokens = admin_tokens(&options.admin)?;
    let journal = match options.cache {
        CacheMode::On => Journal::Wal,
        CacheMode::Off => Journal::Rollback,
    };
    // Held while serving: the last connection that closes would checkpoint and delete the log.
    let _kept_open = if options.read_only {
        open_reader(path, busy_timeout)?
    } else {
        open_writer_with(path, busy_timeout, journal)?
    };
    actix_web::rt::System::new().block_on(async {
        let mut parts = parts(path, &options.limits, tokens, !options.read_only);
        if options.cache == CacheMode::Off {
            log::warn!("without a cache, in rollback-journal mode, over one shared connection");
            parts.cached = false;
            parts.pool = ReadPool::one_shared(path, busy_timeout);
            parts.builder = Arc::new(SqliteBuilder {
                pool: parts.pool.clone(),
            });
        }
        let running = listen(&options.address.address, &options.limits, parts).await?;
        for address in &running.addresses {
            log::info!("serving {} on http://{address}", path.display());
        }
        running.serve_until_signal().await?;
        Ok(())
    })
}

fn admin_tokens(options: &Admin) -> anyhow::Result<AdminTokens> {
    let variables = ["PUBLISHER_ADMIN_TOKEN", "PUBLISHER_ADMIN_TOKEN_NEXT"];
    let given = variables.iter().filter_map(|name| std::env::var(name).ok());
    Ok(AdminTokens::load(
        options.admin_token_file.as_deref(),
        given,
    )?)
}

fn parts(path: &Path, limits: &Limits, tokens: AdminTokens, writable: bool) -> Parts {
    let pool = ReadPool::new(path, limits.pool_size, limits.busy_timeout(), !writable);
    Parts {
        builder: Arc::new(SqliteBuilder { pool: pool.clone() }),
        pool,
        clock: Arc::new(SystemClock),
        path: path.to_owned(),
        cached: true,
        writable,
        tokens,
    }
}

async fn listen(address: &str, limits: &Limits, parts: Parts) -> anyhow::Result<Running> {
    server::start(address, limits, parts)
        .await
        .with_context(|| format!("cannot listen on {address}"))
}

fn import_file(options: &Transfer) -> anyhow::Result<()> {
    let (source, bytes): (Box<dyn Read>, Option<u64>) = if options.file == Path::new("-") {
        (Box::new(io::stdin()), None)
    } else {
        let name = options.file.display();
        let file = File::open(&options.file).with_context(|| name.to_string())?;
        let metadata = file.metadata().with_context(|| name.to_string())?;
        (Box::new(file), metadata.is_file().then_some(metadata.len()))
    };
    let bar = progress_bar(bytes)?;
    let source = BufReader::with_capacity(64 * 1024, bar.wrap_read(source));
    let done = import(&options.database.database, options.kind, source);
    bar.finish_and_clear();
    let done = done.with_context(|| format!("{}: nothing imported", options.file.display()))?;
    writeln!(
        io::stdout(),
        "{} inserted, {} unchanged",
        done.inserted,
        done.unchanged
    )?;
    Ok(())
}

fn progress_bar(bytes: Option<u64>) -> anyhow::Result<ProgressBar> {
    if !io::stderr().is_terminal() {
        return Ok(ProgressBar::hidden());
    }
    Ok(match bytes {
        Some(bytes) => ProgressBar::new(bytes).with_style(ProgressStyle::with_template(
            "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        )?),
        None => ProgressBar::new_spinner().with_style(ProgressStyle::with_template(
            "{spinner} {bytes} {bytes_per_sec}",
        )?),
    })
}

fn export_to_stdout(options: &Export) -> anyhow::Result<()> {
    let out = io::BufWriter::new(io::stdout().lock());
    Ok(export(
        &options.database.database,
        options.kind,
        options.ndjson,
        out,
    )?)
}

fn demo(options: &Demo) -> anyhow::Result<()> {
    // Dropped, and so deleted, at the end.
    let temporary = match &options.database {
        Some(_) => None,
        None => Some(tempfile::TempDir::with_prefix("cathedral-publisher-demo-")?),
    };
    let path = match (&options.database, &temporary) {
        (Some(path), _) => path.clone(),
        (None, Some(folder)) => folder.path().join("demo.db"),
        (None, None) => anyhow::bail!("no database"),
    };
    let mut kept_open = open_writer(&path, options.limits.busy_timeout())?;
    life::populate(&mut kept_open, options.rows)?;
    actix_web::rt::System::new().block_on(async {
        let tokens = admin_tokens(&options.admin)?;
        let parts = parts(&path, &options.limits, tokens, true);
        let running = listen(&options.address.address, &options.limits, parts).await?;
        if let Some(writer) = running.writer.clone() {
            actix_web::rt::spawn(life::live(path.clone(), writer));
        }
        if let Some(address) = running.addresses.first() {
            what_to_try(&path, &format!("http://{address}"))?;
        }
        Ok(running.serve_until_signal().await?)
    })
}

fn what_to_try(path: &Path, url: &str) -> io::Result<()> {
    let board = format!("{url}/v1/synthetic-boolean/active-challenges");
    let feed = format!("{url}/v1/leaderboard/recent?since_ran_at=2026-06-07T00:00:00Z&limit=50");
    write!(
        io::stdout(),
        r#"
The publisher serves sample data from {path}.
Eval runs arrive every second; every ten seconds a challenge closes and another opens.

  The board, as a miner polls it:
    curl -i {board}
  Asked again with its entity-tag: 304 and no body, until the board changes:
    etag=$(curl -sI {board} | tr -d '\r' | sed -n 's/^etag: //p')
    curl -i -H "If-None-Match: $etag" {board}
  One challenge; a page of the feed, as a validator pulls it; health:
    curl -i '{url}/v1/synthetic-boolean/current-challenge?tier=2'
    curl -i '{feed}'
    curl -i {url}/health

Ctrl-C ends it.
"#,
        path = path.display()
    )?;
    io::stdout().flush()
}
