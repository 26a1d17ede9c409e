//! The `herd` program.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, ensure};
use clap::Parser as _;
use herd::{
    config::{Cli, Command, CompareOptions, RunOptions},
    plan::Plan,
    report,
    run::{FORMAT, Run},
    table::table,
};
use tokio::{runtime::Builder, task::LocalSet};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = env_logger::Env::new().filter_or("PUBLISHER_LOG", "warn");
    env_logger::Builder::from_env(filter).init();
    let done = match (cli.command, cli.url) {
        (Some(Command::Compare(options)), _) => compare(&options),
        (None, Some(url)) => run(&url, &cli.run),
        // Clap rejects a command line without either.
        (None, None) => Ok(()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line, whatever the log level.
            let _ = writeln!(io::stderr(), "herd: {}", one_line(&error));
            ExitCode::FAILURE
        }
    }
}

/// Joins the error and its causes, without causes that the text already contains.
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

fn run(url: &str, options: &RunOptions) -> anyhow::Result<()> {
    let plan = Plan::new(url, options, std::env::var("PUBLISHER_ADMIN_TOKEN").ok())?;
    // Before the run, which would otherwise be lost.
    report::check(&options.output.report)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let run = LocalSet::new().block_on(
        &runtime,
        herd::run(plan, async {
            // Without signal handling the run cannot be stopped early.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        }),
    )?;
    write_reports(std::slice::from_ref(&run), &options.output.report)?;
    let mut out = io::stdout().lock();
    if options.json {
        serde_json::to_writer(&mut out, &run)?;
        writeln!(out)?;
    } else {
        write!(out, "{}", table(std::slice::from_ref(&run)))?;
    }
    out.flush()?;
    ensure!(
        !options.strict || run.is_clean(),
        "a poll failed, timed out, lost its connection or got 5xx (--strict)"
    );
    Ok(())
}

fn compare(options: &CompareOptions) -> anyhow::Result<()> {
    report::check(&options.output.report)?;
    let runs: Vec<Run> = options
        .runs
        .iter()
        .map(|path| read(path).with_context(|| path.display().to_string()))
        .collect::<anyhow::Result<_>>()?;
    write_reports(&runs, &options.output.report)?;
    write!(io::stdout(), "{}", table(&runs))?;
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Run> {
    let run: Run = serde_json::from_slice(&fs::read(path)?)?;
    ensure!(run.format == FORMAT, "written by another version of herd");
    Ok(run)
}

fn write_reports(runs: &[Run], paths: &[PathBuf]) -> anyhow::Result<()> {
    for path in paths {
        let written = report::write(runs, path);
        written.with_context(|| path.display().to_string())?;
    }
    Ok(())
}
