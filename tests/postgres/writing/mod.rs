//! Writes to PostgreSQL, without a server in front: what is stored, and what is said of it.

mod backups;
mod importing;
mod lineages;
mod outcomes;
mod replicas;
mod tables;

use std::time::Duration;

use cathedral_publisher::{
    domain::{
        challenge::{Challenge, Status},
        eval_run::EvalRun,
    },
    store::{
        CommitError, Committed, Counts, Store, Writer, WriterSettings, operation::Operation,
        postgres::PostgresStore,
    },
};

/// The time of a commit in these tests.
pub const COMMIT: Duration = Duration::from_secs(3);

/// Counts who has or waits for the lock of all writers of the database.
pub const LOCKS: &str = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

pub fn writer(store: &PostgresStore) -> Writer {
    writer_with(store, COMMIT)
}

pub fn writer_with(store: &PostgresStore, busy_timeout: Duration) -> Writer {
    Store::Postgres(store.clone()).writer(WriterSettings {
        busy_timeout,
        wal_soft_bytes: 0,
        wal_hard_bytes: 0,
        long_wait: Duration::ZERO,
    })
}

/// A published eval run; `body` makes it another one.
pub fn run(id: &str, body: u32) -> EvalRun {
    let json = format!(
        r#"{{"id":"{id}","ran_at":"2026-06-07T00:00:00Z","eval_output_schema_version":5,"body":{body}}}"#
    );
    EvalRun::from_json(&json).unwrap()
}

pub fn runs(ids: &[&str]) -> Operation {
    Operation::InsertEvalRuns(ids.iter().map(|id| run(id, 0)).collect())
}

pub fn challenge(id: &str, status: Status, tier: u64) -> Challenge {
    let json = format!(
        r#"{{"status":"{status}","tier":{tier},"difficulty_label":null,"score_multiplier":0.1,"kind":null,"storage":"file",
            "cnf_sha256":"{}","cnf_bytes":null,"num_vars":9223372036854775807,"num_clauses":1,
            "solve_on_submit_enabled":true}}"#,
        "a".repeat(64)
    );
    Challenge::from_admin(&json, Some(id)).unwrap()
}

pub fn put(id: &str, status: Status, tier: u64) -> Operation {
    Operation::PutChallenges(vec![challenge(id, status, tier)])
}

pub fn epoch(epoch: i64, body: &str) -> Operation {
    Operation::PutMerkleEpoch {
        epoch,
        body: body.to_owned(),
    }
}

pub fn inserted(inserted: u64) -> Counts {
    Counts {
        inserted,
        unchanged: 0,
    }
}

pub fn unchanged(unchanged: u64) -> Counts {
    Counts {
        inserted: 0,
        unchanged,
    }
}

/// Returns the counts, or the index and the reason.
pub fn results(committed: Result<Committed, CommitError>) -> Vec<Result<Counts, String>> {
    let committed = committed.unwrap();
    let results = committed.results.into_iter();
    results.map(|it| it.map_err(|it| it.to_string())).collect()
}
