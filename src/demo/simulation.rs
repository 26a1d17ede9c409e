//! Simulates a subnet: writes eval runs and rotates challenges.

use std::{
    mem,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use rusqlite::{Connection, TransactionBehavior};

use super::{planted, sample::Sample};
use crate::{
    cnf,
    domain::{
        challenge::{Challenge, Status},
        eval_run::EvalRun,
        formula::FileHash,
        ran_at::RanAt,
    },
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

/// Fills an empty database with sample data; leaves a database that has challenges unchanged. With a folder, which must
/// exist, gives the challenges formulas, and writes those of active challenges that are missing there.
///
/// # Errors
/// Errors of the database and of the folder.
pub fn populate(
    connection: &mut Connection,
    rows: u32,
    formulas: Option<&Path>,
) -> anyhow::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let known = read::active_challenges(&transaction)?;
    if !known.is_empty() {
        return match formulas {
            Some(folder) => plant_all(known, true, folder).map(drop),
            None => Ok(()),
        };
    }
    let mut sample = Sample::new(SEED);
    let board = sample.board();
    let board = match formulas {
        Some(folder) => plant_all(board, false, folder)?,
        None => board,
    };
    for challenge in board {
        write::put_challenge(&transaction, &challenge)?;
    }
    for run in sample.eval_runs(rows) {
        write::insert_eval_run(&transaction, &EvalRun::from_json(&run?)?)?;
    }
    transaction.commit()?;
    Ok(())
}

/// Gives challenges their formulas, on every core, and stores the files. A challenge that has another formula already
/// keeps it.
fn plant_all(
    mut challenges: Vec<Challenge>,
    has_formulas: bool,
    formulas: &Path,
) -> anyhow::Result<Vec<Challenge>> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let left = Mutex::new(challenges.iter_mut());
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
    let plant = || {
        while let Some(challenge) = next() {
            let known = challenge.cnf_sha256.clone();
            let text = planted::plant(challenge);
            if !has_formulas || challenge.cnf_sha256 == known {
                cnf::store(formulas, &text)?;
            }
        }
        anyhow::Ok(())
    };
    thread::scope(|scope| {
        let planting: Vec<_> = (0..threads).map(|_| scope.spawn(plant)).collect();
        for thread in planting {
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        anyhow::Ok(())
    })?;
    Ok(challenges)
}

/// Writes for ever: eval runs every second, and every ten seconds a new challenge in place of another.
pub async fn run(path: PathBuf, formulas: PathBuf, writer: WriterHandle) {
    // Not the seed of the first rows, whose ids must not come again, nor of an earlier run.
    let mut sample = Sample::new(fastrand::u64(..));
    let mut tick = 0;
    let mut closed = None;
    loop {
        tokio::time::sleep(TICK).await;
        tick += 1;
        let operation = if tick % TICKS_PER_CHALLENGE == 0 {
            rotate(&path, &formulas, &mut sample, &mut closed).await
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

/// Closes one challenge and opens another of its tier. Deletes the formula of the one that was closed before: clients
/// may still be reading the last one.
async fn rotate(
    path: &Path,
    formulas: &Path,
    sample: &mut Sample,
    closed: &mut Option<FileHash>,
) -> anyhow::Result<Operation> {
    let mut active = read::active_challenges(&open_reader(path, BUSY_TIMEOUT)?)?;
    if active.is_empty() {
        return Ok(Operation::PutChallenges(Vec::new()));
    }
    let mut closing = active.swap_remove(fastrand::usize(..active.len()));
    closing.status = Status::Locked;
    let mut opening = sample.challenge(closing.tier);
    let formulas = formulas.to_owned();
    let before = mem::replace(closed, closing.formula().map(|formula| formula.hash));
    let planting = actix_rt::task::spawn_blocking(move || {
        cnf::store(&formulas, &planted::plant(&mut opening))?;
        if let Some(before) = before
            && let Err(error) = cnf::delete(&formulas, &before)
        {
            log::debug!("demo: {before}: {error}");
        }
        anyhow::Ok(opening)
    });
    let opening = planting.await??;
    let (closes, opens) = (&closing.challenge_id, &opening.challenge_id);
    log::info!("demo: closed challenge {closes}, opened challenge {opens}");
    Ok(Operation::PutChallenges(vec![closing, opening]))
}
