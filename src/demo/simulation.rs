//! Simulates a subnet: writes eval runs and rotates challenges.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, TransactionBehavior};

use super::sample::Sample;
use crate::{
    domain::{challenge::Status, eval_run::EvalRun, ran_at::RanAt},
    store::{
        operation::Operation,
        sqlite::{open::open_reader, read, write},
    },
    writer::handle::WriterHandle,
};

/// The interval at which rows are written.
const TICK: Duration = Duration::from_secs(1);
/// After so many ticks one challenge closes and another opens.
const TICKS_PER_CHALLENGE: u64 = 10;
const SEED: u64 = 20_260_609;
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Fills an empty database with sample data; leaves a database that has challenges unchanged.
///
/// # Errors
/// Errors of the database.
pub fn populate(connection: &mut Connection, rows: u32) -> anyhow::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if !read::active_challenges(&transaction)?.is_empty() {
        return Ok(());
    }
    let mut sample = Sample::new(SEED);
    for challenge in sample.board() {
        write::put_challenge(&transaction, &challenge)?;
    }
    for run in sample.eval_runs(rows) {
        write::insert_eval_run(&transaction, &EvalRun::from_json(&run?)?)?;
    }
    transaction.commit()?;
    Ok(())
}

/// Writes for ever: eval runs every second, and every ten seconds a new challenge in place of another.
pub async fn run(path: PathBuf, writer: WriterHandle) {
    // Not the seed of the first rows, whose ids must not come again, nor of an earlier run.
    let mut sample = Sample::new(fastrand::u64(..));
    let mut tick = 0;
    loop {
        tokio::time::sleep(TICK).await;
        tick += 1;
        let operation = if tick % TICKS_PER_CHALLENGE == 0 {
            rotate(&path, &mut sample)
        } else {
            runs(&mut sample)
        };
        let written = match operation {
            Ok(operation) => write(&writer, operation).await,
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            log::warn!("demo: {error:#}");
        }
    }
}

async fn write(writer: &WriterHandle, operation: Operation) -> anyhow::Result<()> {
    writer.write(writer.admit(0)?, operation).await?;
    Ok(())
}

fn runs(sample: &mut Sample) -> anyhow::Result<Operation> {
    let now = RanAt::parse(&jiff::Timestamp::now().to_string())?;
    let runs = (0..fastrand::u8(1..=3)).map(|_| sample_run(sample, &now));
    Ok(Operation::InsertEvalRuns(runs.collect::<Result<_, _>>()?))
}

fn sample_run(sample: &mut Sample, at: &RanAt) -> anyhow::Result<EvalRun> {
    Ok(EvalRun::from_json(&sample.eval_run(at)?)?)
}

/// Closes one challenge and opens another of its tier.
fn rotate(path: &Path, sample: &mut Sample) -> anyhow::Result<Operation> {
    let mut active = read::active_challenges(&open_reader(path, BUSY_TIMEOUT)?)?;
    if active.is_empty() {
        return Ok(Operation::PutChallenges(Vec::new()));
    }
    let mut closing = active.swap_remove(fastrand::usize(..active.len()));
    closing.status = Status::Locked;
    let opening = sample.challenge(closing.tier);
    let (closes, opens) = (&closing.challenge_id, &opening.challenge_id);
    log::info!("demo: closed challenge {closes}, opened challenge {opens}");
    Ok(Operation::PutChallenges(vec![closing, opening]))
}
