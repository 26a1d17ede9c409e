//! `backup` and `restore`.

use std::io::{self, Write};

use cathedral_publisher::{
    config,
    store::sqlite::{backup::Backup, page_copy::Step, restore::Restore},
};
use indicatif::ProgressBar;

use super::{database, import_export::progress_bar, on_signal::remove_on_signal};

const COPYING: &str = "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";

pub(crate) fn backup(options: &config::Backup) -> anyhow::Result<()> {
    let prepare = || {
        let database = database::file(&options.database, "back it up with pg_dump")?;
        Ok(Backup::prepare(database, &options.file, options.overwrite)?)
    };
    let backup = remove_on_signal(prepare, Backup::scratch)?;
    let bar = progress_bar((Some(0), COPYING))?;
    let done = backup.run(|step| show(&bar, step));
    bar.finish_and_clear();
    writeln!(io::stdout(), "{}: {}", options.file.display(), done?)?;
    Ok(())
}

pub(crate) fn restore(options: &config::Restore) -> anyhow::Result<()> {
    let database = database::file(&options.database, "restore it with pg_restore")?;
    let prepare = || Ok(Restore::prepare(&options.file, database)?);
    let restore = remove_on_signal(prepare, Restore::scratch)?;
    let bar = progress_bar((Some(0), COPYING))?;
    let done = restore.run(|step| show(&bar, step));
    bar.finish_and_clear();
    let restored = done?;
    let mut out = io::stdout();
    if let Some(replaced) = restored.replaced {
        writeln!(out, "{}: replaced: {replaced}", database.display())?;
    }
    writeln!(
        out,
        "{}: restored: {}",
        database.display(),
        restored.contents
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
