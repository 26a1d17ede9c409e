//! The demo's background: a thread that keeps writing, as a subnet would.

use std::{
    path::{Path, PathBuf},
    sync::mpsc::{self, RecvTimeoutError},
    thread::{self, JoinHandle},
    time::Duration,
};

use rusqlite::{Connection, TransactionBehavior};

use super::sample::Sample;
use crate::{
    cache::handle::CacheHandle,
    domain::{
        challenge::{Challenge, Status},
        eval_run::EvalRun,
        ran_at::RanAt,
    },
    store::{
        open::open_writer,
        read,
        write::{self, WriteError},
    },
};

/// How often rows are written.
const TICK: Duration = Duration::from_secs(1);
/// After so many ticks one challenge closes and another opens.
const TICKS_PER_CHALLENGE: u64 = 10;
const SEED: u64 = 20_260_609;
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Fills an empty database with sample data; leaves one that has challenges as it is.
///
/// # Errors
/// Where the database fails.
pub fn populate(connection: &mut Connection, rows: u32) -> anyhow::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if !read::active_challenges(&transaction)?.is_empty() {
        return Ok(());
    }
    let mut sample = Sample::new(SEED);
    for challenge in sample.board() {
        write::put_challenge(&transaction, &challenge)?;
    }
    let begin: jiff::Timestamp = "2026-06-07T00:00:00Z".parse()?;
    for row in 0..rows {
        let ran_at = RanAt::parse(
            &(begin + jiff::SignedDuration::from_millis(i64::from(row) * 1_283)).to_string(),
        )?;
        insert_run(&transaction, &mut sample, &ran_at)?;
    }
    transaction.commit()?;
    Ok(())
}

/// The thread, and how to end it.
#[derive(Debug)]
pub struct Life {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Life {
    /// Starts writing to the database at `path`, and tells `cache` when the board has changed.
    pub fn start(path: PathBuf, cache: CacheHandle) -> Self {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || {
            if let Err(error) = live(&path, &cache, &stopped) {
                log::error!("the demo has stopped writing: {error:#}");
            }
        });
        Self { stop, thread }
    }

    /// Ends the thread after the write under way.
    pub fn end(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            log::error!("the demo's thread panicked");
        }
    }
}

fn live(path: &Path, cache: &CacheHandle, stopped: &mpsc::Receiver<()>) -> anyhow::Result<()> {
    let mut connection = open_writer(path, BUSY_TIMEOUT)?;
    // Not the seed of the first rows, whose ids must not come again, nor of an earlier run.
    let mut sample = Sample::new(fastrand::u64(..));
    let mut tick = 0;
    while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
        tick += 1;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let now = RanAt::parse(&jiff::Timestamp::now().to_string())?;
        for _ in 0..fastrand::u8(1..=3) {
            insert_run(&transaction, &mut sample, &now)?;
        }
        let turn_over = tick % TICKS_PER_CHALLENGE == 0;
        if turn_over {
            close_one_open_another(&transaction, &mut sample)?;
        }
        transaction.commit()?;
        if turn_over {
            cache.invalidate();
        }
    }
    Ok(())
}

fn insert_run(connection: &Connection, sample: &mut Sample, at: &RanAt) -> anyhow::Result<()> {
    let run = EvalRun::from_json(&sample.eval_run(at)?)?;
    write::insert_eval_run(connection, &run)?;
    Ok(())
}

fn close_one_open_another(connection: &Connection, sample: &mut Sample) -> Result<(), WriteError> {
    let mut active = read::active_challenges(connection)?;
    if active.is_empty() {
        return Ok(());
    }
    let closing = active.swap_remove(fastrand::usize(..active.len()));
    let opening = sample.challenge(closing.tier);
    log::info!(
        "demo: {} closes, {} opens",
        closing.challenge_id,
        opening.challenge_id
    );
    write::put_challenge(
        connection,
        &Challenge {
            status: Status::Locked,
            ..closing
        },
    )?;
    write::put_challenge(connection, &opening)?;
    Ok(())
}
