//! What is written: each item is told by its key alone, so that what is stored or served can be checked.

/// The words of a challenge's status, in the order in which it may go.
pub const STATUSES: [&str; 4] = ["pending", "active", "locked", "retired"];
pub const ACTIVE: usize = 1;
pub const RETIRED: usize = 3;

/// Returns the time of all eval runs of a round, in the stored form.
pub fn ran_at(round: u32) -> String {
    let (hours, minutes, seconds) = (round / 3600 % 24, round / 60 % 60, round % 60);
    let day = 1 + round / 86_400;
    format!("2026-06-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.000Z")
}

/// Returns the eval run with this id: `ROUND-WRITER-NUMBER`.
pub fn row(id: &str) -> String {
    let padding = id.repeat(20);
    let ran_at = ran_at(round_of(id));
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
