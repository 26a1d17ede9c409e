//! What each subcommand does with its options. With `main`, the only home of anyhow.

pub(crate) mod demo;
pub(crate) mod import_export;
pub(crate) mod serve;
