//! The subcommands. Only these modules and `main` use anyhow.

pub(crate) mod demo;
pub(crate) mod import_export;
pub(crate) mod serve;
