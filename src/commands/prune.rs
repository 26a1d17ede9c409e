//! `prune`.

use std::{
    io::{self, Write},
    time::SystemTime,
};

use cathedral_publisher::{
    config::{Prunable, Prune},
    domain::ran_at::RanAt,
};

use super::{database, import_export::progress_bar};

pub(crate) fn prune(options: &Prune) -> anyhow::Result<()> {
    let Prunable::Rows = options.content;
    let before = &options.before;
    // A year that is mistyped would remove everything.
    if RanAt::second_of(SystemTime::now()).is_some_and(|now| *before > now) {
        anyhow::bail!("--before {} is in the future", before.as_str());
    }
    let mut session = database::prune_session(&options.database)?;
    let count = session.count(before)?;
    let before_text = before.as_str();
    let said = if options.dry_run {
        format!("{count} eval runs ran before {before_text}: nothing was removed")
    } else {
        // If there are none, no writer need wait.
        let removed = if count == 0 {
            0
        } else {
            let bar = progress_bar((Some(count), "removing {wide_bar} {pos}/{len} {eta}"))?;
            let removed = session.run(before, options.batch, |removed| bar.inc(removed));
            bar.finish_and_clear();
            removed?
        };
        format!("{removed} eval runs were removed that ran before {before_text}")
    };
    session.close();
    writeln!(io::stdout(), "{said}")?;
    Ok(())
}
