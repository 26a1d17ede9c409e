//! `backup` and `restore`.

use std::io::{self, Write};

use cathedral_publisher::{
    config,
    store::{
        location::Location,
        sqlite::{backup::Backup, page_copy::Step, restore::Restore},
    },
};
use indicatif::ProgressBar;

use super::{database, import_export::progress_bar, on_signal::remove_on_signal};

const COPYING: &str = "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";

pub(crate) fn backup(options: &config::Backup) -> anyhow::Result<()> {
    let prepare = || {
        let (file, overwrite) = (&options.file, options.overwrite);
        Ok(match &options.database.database {
            Location::Sqlite(path) => Backup::prepare(path, file, overwrite)?,
            Location::Postgres(url) => {
                let store = database::server(&options.database, url, true)?;
                Backup::of_server(store, file, overwrite)?
            }
        })
    };
    let bar = progress_bar((Some(0), COPYING))?;
    let done = remove_on_signal(prepare, Backup::scratch, |backup| {
        backup.run(|step| show(&bar, step))
    })?;
    bar.finish_and_clear();
    writeln!(io::stdout(), "{}: {}", options.file.display(), done?)?;
    Ok(())
}

pub(crate) fn restore(options: &config::Restore) -> anyhow::Result<()> {
    let prepare = || {
        Ok(match &options.database.database {
            Location::Sqlite(path) => Restore::prepare(&options.file, path)?,
            Location::Postgres(url) => {
                let store = database::server(&options.database, url, false)?;
                Restore::into_server(&options.file, store)?
            }
        })
    };
    let bar = progress_bar((Some(0), COPYING))?;
    let done = remove_on_signal(prepare, Restore::scratch, |restore| {
        restore.run(|step| show(&bar, step))
    })?;
    bar.finish_and_clear();
    let restored = done?;
    let mut out = io::stdout();
    if let Some(replaced) = restored.replaced {
        writeln!(out, "{}: replaced: {replaced}", options.database.database)?;
    }
    writeln!(
        out,
        "{}: restored: {}",
        options.database.database, restored.contents
    )?;
    Ok(())
}

fn show(bar: &ProgressBar, step: Step) {
    match step {
        Step::Copying { bytes, of } => {
            bar.set_length(of);
            bar.set_position(bytes);
        }
        Step::Checking => bar.println("checking the copy"),
    }
}
