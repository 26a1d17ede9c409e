//! The `herd` program.

use std::{
    io::{self, IsTerminal as _, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, ensure};
use herd::{
    bounded_file,
    condition::strict,
    config::{Command, CompareOptions, RunOptions},
    one_line::one_line,
    outline::outline,
    plan::Plan,
    plan_file::{OptionsError, options},
    report,
    run::{Ended, FORMAT, Run},
    table::table,
};
use tokio::{runtime::Builder, task::LocalSet};

/// Exit status for options that make no sense.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = match options(std::env::args_os().collect()) {
        Ok(cli) => cli,
        // The help and the version are no errors.
        Err(OptionsError::Clap(error)) if !error.use_stderr() => error.exit(),
        Err(OptionsError::Clap(error)) => return refused(&one_line(&error)),
        Err(OptionsError::File(error)) => return refused(&one_line(error.as_ref())),
    };
    let filter = env_logger::Env::new().filter_or("PUBLISHER_LOG", "warn");
    env_logger::Builder::from_env(filter).init();
    let done = match cli.command {
        Some(Command::Compare(options)) => compare(&options),
        None => match plan(&cli.run) {
            Ok(plan) => run(plan, &cli.run),
            Err(error) => return refused(&one_line(error.as_ref())),
        },
    };
    done.unwrap_or_else(|error| {
        print_error(&one_line(error.as_ref()));
        ExitCode::FAILURE
    })
}

fn refused(error: &str) -> ExitCode {
    print_error(error);
    ExitCode::from(USAGE)
}

/// Prints one line, whatever the log level.
fn print_error(line: &str) {
    let _ = writeln!(io::stderr(), "herd: {line}");
}

/// Checks the options before the run, which would otherwise be lost.
fn plan(options: &RunOptions) -> anyhow::Result<Plan> {
    check_reports(&options.output.report)?;
    Ok(Plan::new(options, &|name| std::env::var(name).ok())?)
}

fn run(plan: Plan, options: &RunOptions) -> anyhow::Result<ExitCode> {
    if io::stderr().is_terminal() {
        print_error(&outline(&plan));
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let run = LocalSet::new().block_on(&runtime, herd::run(plan, interrupted()))?;
    // All are tried, also after one that fails: the run cannot be repeated as it was.
    let printed = print(&run, options.json);
    let reported = write_reports(std::slice::from_ref(&run), &options.output.report);
    let code = verdict(&run, options);
    printed.and(reported).map(|()| code)
}

/// Waits for Ctrl-C, SIGTERM, or SIGHUP unless it is ignored (`nohup`). Without signal handling the run cannot be stopped
/// early.
#[cfg(unix)]
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let wait = async |kind| match signal(kind) {
        Ok(mut signal) => drop(signal.recv().await),
        Err(_) => std::future::pending().await,
    };
    let hung_up = async {
        match herd::processes::ignores_hangup() {
            true => std::future::pending().await,
            false => wait(SignalKind::hangup()).await,
        }
    };
    tokio::select! {
        () = wait(SignalKind::interrupt()) => {}
        () = wait(SignalKind::terminate()) => {}
        () = hung_up => {}
    }
}

/// Waits for Ctrl-C. Without signal handling the run cannot be stopped early.
#[cfg(not(unix))]
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn print(run: &Run, json: bool) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, run)?;
        writeln!(out)?;
    } else {
        write!(out, "{}", table(std::slice::from_ref(run)))?;
    }
    Ok(out.flush()?)
}

/// Prints a line for each condition under which the run has failed.
fn verdict(run: &Run, options: &RunOptions) -> ExitCode {
    let strict = if options.strict {
        strict(run)
    } else {
        Vec::new()
    };
    let conditions = strict.iter().chain(&options.fail_if);
    let mut failures: Vec<String> = conditions
        .filter_map(|condition| condition.failure(run))
        .collect();
    // What was not sent cannot have met them.
    if run.ended == Ended::Interrupted && (options.strict || !options.fail_if.is_empty()) {
        failures.push("the run was interrupted".to_owned());
    }
    for failure in &failures {
        print_error(&format!("failed: {failure}"));
    }
    if failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn compare(options: &CompareOptions) -> anyhow::Result<ExitCode> {
    check_reports(&options.output.report)?;
    let runs: Vec<Run> = options
        .runs
        .iter()
        .map(|path| read(path).with_context(|| path.display().to_string()))
        .collect::<anyhow::Result<_>>()?;
    let printed = write!(io::stdout(), "{}", table(&runs));
    write_reports(&runs, &options.output.report)?;
    printed?;
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> anyhow::Result<Run> {
    let run: Run = serde_json::from_slice(&bounded_file::read(path, bounded_file::LONGEST)?)?;
    ensure!(run.format == FORMAT, "written by another version of herd");
    Ok(run)
}

fn check_reports(paths: &[PathBuf]) -> anyhow::Result<()> {
    for path in paths {
        let checked = report::check(std::slice::from_ref(path));
        checked.with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Writes every report, also after one that cannot be written.
///
/// # Errors
/// The first one.
fn write_reports(runs: &[Run], paths: &[PathBuf]) -> anyhow::Result<()> {
    let written = paths.iter().map(|path| {
        let written = report::write(runs, path);
        written.with_context(|| path.display().to_string())
    });
    written.collect::<Vec<_>>().into_iter().collect()
}
