//! Arguments, logger, and dispatch to a subcommand.

mod commands;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use cathedral_publisher::config::{Cli, Command};
use clap::Parser;

use commands::{demo, herd, serve, transfer};

fn main() -> ExitCode {
    let cli = Cli::parse();
    init_logger(&cli.log_level);
    let done = match cli.command {
        Command::Serve(options) => serve::serve(&options),
        Command::Import(options) => transfer::import_file(&options),
        Command::Export(options) => transfer::export_to_stdout(&options),
        Command::Demo(options) => demo::demo(&options),
        Command::Sample(options) => demo::sample(&options),
        Command::Herd(options) => herd::herd(&options),
        Command::HerdCompare(options) => herd::compare(&options),
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
