//! Writes the lines.

use std::io::Write;

use serde::Serialize;
use serde_json::value::to_raw_value;

use super::{End, FORMAT, Header, Line, VERSION};
use crate::{
    domain::challenge::{Challenge, Status, Storage},
    import_export::export::ExportError,
    store::{StoreError, dump::Dump},
};

/// Writes everything that a database holds, as of one moment.
///
/// # Errors
/// [`ExportError`]; what was written by then is incomplete, and lacks the last line.
pub fn export(dump: &Dump, mut out: impl Write) -> Result<(), ExportError> {
    let mut end = End::default();
    let header = Header {
        format: FORMAT.to_owned(),
        version: VERSION,
    };
    write_line(&mut out, &header)?;
    dump.every_challenge::<ExportError>(|challenge| {
        end.challenges += 1;
        let columns = to_raw_value(&Columns::of(&challenge)?)?;
        write_line(&mut out, &Line::Challenge(columns))
    })?;
    dump.every_eval_run_in_order::<ExportError>(|run| {
        end.eval_runs += 1;
        write_line(&mut out, &Line::EvalRun(run))
    })?;
    dump.every_merkle_epoch::<ExportError>(|epoch| {
        end.merkle_epochs += 1;
        write_line(&mut out, &Line::MerkleEpoch(epoch))
    })?;
    end.last_seq = dump.last_seq()?;
    write_line(&mut out, &Line::End(end))?;
    out.flush()?;
    Ok(())
}

fn write_line(out: &mut impl Write, line: &impl Serialize) -> Result<(), ExportError> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    Ok(out.write_all(&text)?)
}

/// The columns of `challenges`.
#[derive(Serialize)]
struct Columns<'a> {
    challenge_id: &'a str,
    status: Status,
    tier: u64,
    difficulty_label: Option<&'a str>,
    score_multiplier: f64,
    kind: Option<&'a str>,
    storage: Storage,
    cnf_sha256: &'a str,
    cnf_bytes: Option<u64>,
    num_vars: u64,
    num_clauses: u64,
    announced_time_limit_secs: Option<u64>,
    solve_on_submit_enabled: bool,
}

impl<'a> Columns<'a> {
    /// # Errors
    /// [`StoreError::Corrupt`] if JSON cannot represent the multiplier.
    fn of(challenge: &'a Challenge) -> Result<Self, StoreError> {
        if !challenge.score_multiplier.is_finite() {
            return Err(StoreError::Corrupt {
                challenge_id: challenge.challenge_id.clone(),
                column: "score_multiplier",
            });
        }
        Ok(Self {
            challenge_id: &challenge.challenge_id,
            status: challenge.status,
            tier: challenge.tier,
            difficulty_label: challenge.difficulty_label.as_deref(),
            score_multiplier: challenge.score_multiplier,
            kind: challenge.kind.as_deref(),
            storage: challenge.storage,
            cnf_sha256: &challenge.cnf_sha256,
            cnf_bytes: challenge.cnf_bytes,
            num_vars: challenge.num_vars,
            num_clauses: challenge.num_clauses,
            announced_time_limit_secs: challenge.announced_time_limit_secs,
            solve_on_submit_enabled: challenge.solve_on_submit_enabled,
        })
    }
}
