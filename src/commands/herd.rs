//! `herd` and `herd-compare`.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use cathedral_publisher::{
    config::{Herd, HerdCompare},
    herd::{
        self,
        plan::Plan,
        report,
        run::{FORMAT, Run},
        table::table,
    },
};

pub(crate) fn herd(options: &Herd) -> anyhow::Result<()> {
    let plan = Plan::new(options, std::env::var("PUBLISHER_ADMIN_TOKEN").ok())?;
    // Before the run: a report that cannot be written must not cost a run.
    report::check(&options.output.report)?;
    let run = actix_web::rt::System::new().block_on(herd::run(plan, async {
        // Without signals there is no stopping early.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }))?;
    write_reports(std::slice::from_ref(&run), &options.output.report)?;
    let mut out = io::stdout().lock();
    if options.json {
        serde_json::to_writer(&mut out, &run)?;
        writeln!(out)?;
    } else {
        write!(out, "{}", table(std::slice::from_ref(&run)))?;
    }
    out.flush()?;
    ensure!(
        !options.strict || run.is_clean(),
        "a poll failed, timed out, broke or got 5xx (--strict)"
    );
    Ok(())
}

pub(crate) fn compare(options: &HerdCompare) -> anyhow::Result<()> {
    report::check(&options.output.report)?;
    let runs: Vec<Run> = options
        .runs
        .iter()
        .map(|path| read(path).with_context(|| path.display().to_string()))
        .collect::<anyhow::Result<_>>()?;
    write_reports(&runs, &options.output.report)?;
    write!(io::stdout(), "{}", table(&runs))?;
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Run> {
    let run: Run = serde_json::from_slice(&fs::read(path)?)?;
    ensure!(run.format == FORMAT, "written by another version of herd");
    Ok(run)
}

fn write_reports(runs: &[Run], paths: &[PathBuf]) -> anyhow::Result<()> {
    for path in paths {
        let written = report::write(runs, path);
        written.with_context(|| path.display().to_string())?;
    }
    Ok(())
}
