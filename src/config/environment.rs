//! How options are read from environment variables: one rule for all of them.

use std::env;

use clap::{
    Arg, ArgAction, Command,
    builder::{BoolishValueParser, Resettable},
};

/// Makes every option of a command and its subcommands read its environment variable by these rules:
///
/// - An empty variable counts as unset. Containers and service managers often can set a variable, but not remove it.
/// - The variable of an option without a value is 1, yes, y, on, true, t or 0, no, n, off, false, f, in any case.
#[must_use]
pub(super) fn read_by_the_rules(command: Command) -> Command {
    let command = command.mut_args(option);
    command.mut_subcommands(read_by_the_rules)
}

/// Returns the value of a variable that no option has, unless it is unset or empty.
#[must_use]
pub fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn option(option: Arg) -> Arg {
    let Some(name) = option.get_env() else {
        return option;
    };
    if env::var_os(name).is_some_and(|value| value.is_empty()) {
        return option.env(Resettable::Reset);
    }
    match option.get_action() {
        ArgAction::SetTrue => option.value_parser(BoolishValueParser::new()),
        _ => option,
    }
}
