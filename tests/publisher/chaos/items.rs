//! What is written: each item is told by its key alone, so that what is stored or served can be checked.

/// The words of a challenge's status, in the order in which it may go.
pub const STATUSES: [&str; 4] = ["pending", "active", "locked", "retired"];
pub const ACTIVE: usize = 1;
pub const RETIRED: usize = 3;

/// The times of the eval runs of a round lie in this span.
const ROUND_MS: u64 = 120_000;

/// Returns the least time of the eval runs of a round, in the stored form. Rounds do not overlap.
pub fn ran_at(round: u32) -> String {
    time(u64::from(round) * ROUND_MS)
}

/// Returns a time after the first of June, in the stored form.
fn time(ms: u64) -> String {
    let (seconds, ms) = (ms / 1000, ms % 1000);
    let (hours, minutes, day) = (seconds / 3600 % 24, seconds / 60 % 60, 1 + seconds / 86_400);
    let seconds = seconds % 60;
    format!("2026-06-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{ms:03}Z")
}

/// Returns the eval run with this id: `ROUND-WRITER-NUMBER`.
pub fn row(id: &str) -> String {
    let padding = id.repeat(20);
    // In no order: rows are committed below and above those that clients have.
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let ran_at = time(u64::from(round_of(id)) * ROUND_MS + (hash >> 16) % ROUND_MS);
    format!(
        r#"{{"id":"{id}","ran_at":"{ran_at}","weighted_score":1.0,"x":"{padding}","eval_output_schema_version":5}}"#
    )
}

/// Returns the round in which an eval run was written.
pub fn round_of(id: &str) -> u32 {
    id.split_once('-').unwrap().0.parse().unwrap()
}

/// Returns the id at the beginning of an eval run.
pub fn id_of(row: &str) -> Option<&str> {
    Some(row.strip_prefix(r#"{"id":""#)?.split_once('"')?.0)
}

pub fn challenge(id: &str, rank: usize) -> String {
    let (status, digest) = (STATUSES[rank], "0".repeat(64));
    format!(
        r#"{{"challenge_id":"{id}","status":"{status}","tier":1,"difficulty_label":null,"score_multiplier":1.0,"kind":null,"storage":"file","cnf_sha256":"{digest}","cnf_bytes":null,"num_vars":1,"num_clauses":1,"announced_time_limit_secs":1,"solve_on_submit_enabled":true}}"#
    )
}

pub fn epoch(number: u64) -> String {
    format!(r#"{{"root":"{number}"}}"#)
}
