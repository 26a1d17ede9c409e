//! Arguments, logger, and dispatch to a subcommand.

mod commands;
mod logging;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use cathedral_publisher::config::{Cli, Command};
use clap::{CommandFactory, Parser};

use commands::{backup, demo, import_export, serve};

fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::init(&cli.log_level, cli.log_format);
    let done = match cli.command {
        Command::Serve(options) => serve::serve(options),
        Command::Import(options) => import_export::import_file(&options),
        Command::Export(options) => import_export::export_to_stdout(&options),
        Command::Backup(options) => backup::backup(&options),
        Command::Restore(options) => backup::restore(&options),
        Command::Demo(options) => demo::demo(options),
        Command::Sample(options) => demo::sample(&options),
        Command::Completions(options) => {
            clap_complete::generate(
                options.shell,
                &mut Cli::command(),
                env!("CARGO_BIN_NAME"),
                &mut io::stdout(),
            );
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Written at any log level: this is the result of the command, not an event.
            let _ = writeln!(io::stderr(), "cathedral-publisher: {}", one_line(&error));
            ExitCode::FAILURE
        }
    }
}

/// Returns the error and its causes in one line, without causes that the line already contains.
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
