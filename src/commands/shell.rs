//! `completions` and `man`.

use std::{
    fmt::{self, Write as _},
    fs,
    io::{self, Write as _},
};

use anyhow::Context as _;
use cathedral_publisher::config::{Cli, Man};
use clap::Command;
use clap_complete::Shell;

const NAME: &str = env!("CARGO_BIN_NAME");

/// Writes the script for a shell.
pub(crate) fn completions(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::definition(), NAME, &mut script);
    let mut script = String::from_utf8(script)?;
    if shell == Shell::Bash {
        // clap_complete 4.6 joins the words of a name with a hyphen by other marks where it reads the name than where
        // it sets it, so that nothing behind a subcommand is completed (clap-rs/clap#6421).
        let (read, set) = (NAME.replace('-', "__subcmd__"), NAME.replace('-', "__"));
        script = script.replace(&read, &set);
    }
    if shell == Shell::Fish {
        script.push_str(&values_for_fish()?);
    }
    Ok(io::stdout().write_all(script.as_bytes())?)
}

/// Returns the lines for the values of arguments without an option, such as `rows`: clap_complete writes none for fish.
fn values_for_fish() -> Result<String, fmt::Error> {
    let mut lines = String::new();
    for command in Cli::definition().get_subcommands() {
        for argument in command.get_positionals() {
            for value in argument.get_possible_values() {
                let used = format!("__fish_{}_using_subcommand", NAME.replace('-', "_"));
                let (command, value) = (command.get_name(), value.get_name());
                writeln!(lines, "complete -c {NAME} -n '{used} {command}' -a {value}")?;
            }
        }
    }
    Ok(lines)
}

/// Writes the page of the program, or all pages into a folder.
pub(crate) fn man(options: &Man) -> anyhow::Result<()> {
    // Without a page for `help`, which needs none.
    let mut program = Cli::definition().disable_help_subcommand(true);
    // Names each subcommand as its page is named.
    program.build();
    let Some(folder) = &options.dir else {
        let mut text = Vec::new();
        page(&program).render(&mut text)?;
        return Ok(io::stdout().write_all(&text)?);
    };
    let write = || {
        fs::create_dir_all(folder)?;
        for command in program.get_subcommands().chain([&program]) {
            page(command).generate_to(folder)?;
        }
        io::Result::Ok(())
    };
    write().with_context(|| folder.display().to_string())
}

fn page(command: &Command) -> clap_mangen::Man {
    clap_mangen::Man::new(command.clone())
        // Without this, the version would stand where the date belongs. The same source makes the same page.
        .date("\"\"")
        .source(concat!(
            env!("CARGO_BIN_NAME"),
            " ",
            env!("CARGO_PKG_VERSION")
        ))
        .manual("User Commands")
}
