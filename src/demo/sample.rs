//! Sample data of the live data's shape and size. The same seed always gives the same data.
//!
//! Eval runs are signed with the key of [`key`], which everybody knows.
//!
//! [`key`]: super::key

use std::{io::Write, path::Path};

use anyhow::Context as _;
use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{key::DemoKey, planted};
use crate::{
    cnf,
    domain::{
        Invalid,
        challenge::{Challenge, Status, Storage},
        ran_at::RanAt,
        signature,
    },
};

const BASE58: &[u8] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const MINERS: u64 = 40;
const FIRST_RUN: Timestamp = Timestamp::constant(1_780_790_400, 0); // 2026-06-07T00:00:00Z
const RUN_INTERVAL_MS: i64 = 1_283;
/// Challenges of the live board.
const LIVE_CHALLENGES: u32 = 51;

/// A source of sample challenges and rows.
#[derive(Debug)]
pub struct Sample {
    rng: Rng,
    key: DemoKey,
}

/// An eval run in the order of the live rows' keys.
#[derive(Serialize)]
struct Row {
    id: String,
    agent_id: String,
    agent_display_name: String,
    miner_hotkey: String,
    task_type: &'static str,
    task_id_public: String,
    epoch_salt: &'static str,
    difficulty_tier: u64,
    weighted_score: f64,
    score_parts: ScoreParts,
    answer_hash: String,
    verifier_details_hash: String,
    rejection_reason: Option<&'static str>,
    ran_at: String,
    challenge_value: f64,
    solve_rank: u64,
    solved: bool,
    operator: String,
    output_card: OutputCard,
    eval_output_schema_version: u64,
    cathedral_signature: String,
    merkle_epoch: Option<u64>,
}

#[derive(Serialize)]
struct ScoreParts {
    binary_correct: f64,
}

#[derive(Serialize)]
struct OutputCard {
    difficulty_tier: u64,
    rejection_reason: Option<&'static str>,
    task_id_public: String,
    task_type: &'static str,
    weighted_score: f64,
    worker_owner_hotkey: String,
}

impl Sample {
    /// Sample data from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            key: DemoKey::default(),
        }
    }

    /// Returns 51 challenges as on the live board: 25 of tier 1, 25 of tier 2, one of tier 3.
    pub fn board(&mut self) -> Vec<Challenge> {
        self.challenges(LIVE_CHALLENGES).collect()
    }

    /// Returns `count` challenges: half of tier 1, half of tier 2, the last of tier 3.
    pub fn challenges(&mut self, count: u32) -> impl Iterator<Item = Challenge> {
        let tiers = (1..=count).map(move |at| match at {
            _ if at == count => 3,
            _ if at <= count / 2 => 1,
            _ => 2,
        });
        tiers.map(|tier| self.challenge(tier))
    }

    /// Returns an active challenge of the tier, with random digits in place of the hash of a formula
    /// (see [`planted::plant`]).
    pub fn challenge(&mut self, tier: u64) -> Challenge {
        let (kind, name, num_vars, num_clauses) = match tier {
            1 => ("random_3sat", "random-3sat", 6_000, 25_560),
            2 => ("random_3sat", "random-3sat", 24_000, 102_240),
            _ => ("sha256_preimage", "sha256-preimage", 82_672, 362_993),
        };
        Challenge {
            challenge_id: format!("sat-t{tier}-{name}-20260609-{}", self.hex(8)),
            status: Status::Active,
            tier,
            difficulty_label: None,
            score_multiplier: 1.0,
            kind: Some(kind.to_owned()),
            storage: Storage::File,
            cnf_sha256: self.hex(32),
            cnf_bytes: Some(num_clauses * 18 - 1_500 + self.rng.u64(..500)),
            num_vars,
            num_clauses,
            announced_time_limit_secs: Some(604_800),
            solve_on_submit_enabled: true,
        }
    }

    /// Returns the JSON of an eval run that ran at `ran_at`, signed.
    ///
    /// # Errors
    /// Never in practice: such rows can be serialised and signed.
    pub fn eval_run(&mut self, ran_at: &RanAt) -> Result<String, Invalid> {
        let miner = Rng::with_seed(self.rng.u64(..MINERS));
        let miner_hotkey = format!("5{}", text(miner, BASE58, 47));
        let task_id_public = self.hex(8);
        let difficulty_tier = self.rng.u64(1..=3);
        let task_type = crate::domain::challenge::FAMILY_ID;
        let mut row = Row {
            id: self.uuid(),
            agent_id: self.uuid(),
            agent_display_name: format!("AL-SAT-{}", &miner_hotkey[..8]),
            task_type,
            epoch_salt: "epoch_202623:synthetic_boolean_v1",
            difficulty_tier,
            weighted_score: 1.0,
            score_parts: ScoreParts {
                binary_correct: 1.0,
            },
            answer_hash: self.hex(32),
            verifier_details_hash: self.hex(32),
            rejection_reason: None,
            ran_at: ran_at.to_string(),
            challenge_value: 1.0,
            solve_rank: self.rng.u64(1..=50),
            solved: true,
            operator: miner_hotkey.clone(),
            output_card: OutputCard {
                difficulty_tier,
                rejection_reason: None,
                task_id_public: task_id_public.clone(),
                task_type,
                weighted_score: 1.0,
                worker_owner_hotkey: miner_hotkey.clone(),
            },
            eval_output_schema_version: 6,
            cathedral_signature: String::new(),
            merkle_epoch: None,
            miner_hotkey,
            task_id_public,
        };
        let text = signature::signed_text(&json(&row)?)?;
        row.cathedral_signature = self.key.sign(&text);
        json(&row)
    }

    /// Returns the JSON of `count` eval runs, one every 1.283 s from 2026-06-07 on.
    ///
    /// # Errors
    /// Those of [`Sample::eval_run`].
    pub fn eval_runs(&mut self, count: u32) -> impl Iterator<Item = anyhow::Result<String>> {
        (0..count).map(|row| {
            let at = FIRST_RUN + SignedDuration::from_millis(i64::from(row) * RUN_INTERVAL_MS);
            Ok(self.eval_run(&RanAt::parse(&at.to_string())?)?)
        })
    }

    fn hex(&mut self, bytes: usize) -> String {
        (0..bytes)
            .map(|_| format!("{:02x}", self.rng.u8(..)))
            .collect()
    }

    fn uuid(&mut self) -> String {
        let hex = self.hex(16);
        format!(
            "{}-{}-4{}-a{}-{}",
            &hex[..8],
            &hex[8..12],
            &hex[13..16],
            &hex[17..20],
            &hex[20..]
        )
    }
}

fn json(row: &Row) -> Result<String, Invalid> {
    serde_json::to_string(row).map_err(|error| Invalid::new("", error.to_string()))
}

fn text(mut rng: Rng, alphabet: &[u8], length: usize) -> String {
    (0..length)
        .map(|_| char::from(alphabet[rng.usize(..alphabet.len())]))
        .collect()
}

/// Writes `count` challenges as NDJSON, and their formulas into a folder if there is one. Without it, their hashes are
/// random digits.
///
/// # Errors
/// Errors of the writer and of the folder.
pub fn write_board(
    seed: u64,
    count: u32,
    formulas: Option<&Path>,
    mut out: impl Write,
) -> anyhow::Result<()> {
    for mut challenge in Sample::new(seed).challenges(count) {
        if let Some(folder) = formulas {
            let text = planted::plant(&mut challenge);
            cnf::store(folder, &text).with_context(|| folder.display().to_string())?;
        }
        let mut line = Vec::new();
        challenge.write_item(&mut line)?;
        line.push(b'\n');
        out.write_all(&line)?;
    }
    Ok(out.flush()?)
}

/// Writes `count` eval runs as NDJSON.
///
/// # Errors
/// Errors of the writer.
pub fn write_rows(seed: u64, count: u32, mut out: impl Write) -> anyhow::Result<()> {
    for row in Sample::new(seed).eval_runs(count) {
        writeln!(out, "{}", row?)?;
    }
    Ok(out.flush()?)
}
