//! The subcommands. Only these modules and `main` use anyhow.

pub(crate) mod backup;
pub(crate) mod check;
mod database;
pub(crate) mod demo;
pub(crate) mod health;
pub(crate) mod import_export;
mod on_signal;
mod opening;
pub(crate) mod prune;
pub(crate) mod serve;
pub(crate) mod shell;
pub(crate) mod verify;
