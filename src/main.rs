//! Arguments, logger, and dispatch to a subcommand.

mod commands;
mod logging;

use std::{
    io::{self, Write},
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
};

use cathedral_publisher::config::{Cli, Command};

use commands::{backup, check, demo, health, import_export, prune, serve, shell, verify};
use logging::Output;

/// The exit code of invalid arguments, as clap has it.
const INVALID_ARGUMENTS: u8 = 2;
/// The exit code of a panic, as the standard library has it.
const PANICKED: u8 = 101;

fn main() -> ExitCode {
    let output = match logging::start() {
        Ok(output) => output,
        Err(error) => {
            let _ = writeln!(io::stderr(), "cathedral-publisher: cannot log: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = panic::catch_unwind(AssertUnwindSafe(|| start(&output)));
    logging::finish(&output);
    code.unwrap_or(ExitCode::from(PANICKED))
}

fn start(output: &Output) -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            output.push(error.render().to_string().as_bytes());
            return ExitCode::from(INVALID_ARGUMENTS);
        }
        // Help and version, on stdout.
        Err(error) => error.exit(),
    };
    logging::init(output, &cli.log_level, cli.log_format);
    let done = match cli.command {
        Command::Serve(options) => serve::serve(*options, output.dropped()),
        Command::Import(options) => import_export::import_file(&options),
        Command::Export(options) => import_export::export_to_stdout(&options),
        Command::Backup(options) => backup::backup(&options),
        Command::Restore(options) => backup::restore(&options),
        Command::Verify(options) => verify::verify_file(&options),
        Command::Prune(options) => prune::prune(&options),
        Command::Demo(options) => demo::demo(*options, output.dropped()),
        Command::Check(options) => check::check(&options),
        Command::Sample(options) => demo::sample(&options),
        Command::Health(options) => health::health(&options),
        Command::Completions(options) => shell::completions(options.shell),
        Command::Man(options) => shell::man(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Written at any log level: this is the result of the command, not an event.
            let line = logging::escaped(&one_line(&error));
            output.push(format!("cathedral-publisher: {line}\n").as_bytes());
            ExitCode::FAILURE
        }
    }
}

/// Returns the error and its causes in one line, without causes that the line already contains.
fn one_line(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |line, cause| {
        let cause = cause.to_string();
        // SQLite's codes repeat their text: "Error code 13: database or disk is full".
        let text = cause.strip_prefix("Error code ");
        let text = text.and_then(|coded| coded.split_once(": "));
        let text = text.map_or(cause.as_str(), |(_, text)| text);
        if line.is_empty() {
            cause
        } else if line.contains(text) {
            line
        } else {
            format!("{line}: {cause}")
        }
    })
}
