//! The decision on random groups is that of SQLite's savepoints: the same results, and the same content afterwards.

#![expect(clippy::expect_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*};
use rusqlite::Connection;

use super::*;
use crate::{
    domain::challenge::Status,
    store::{
        StoreError,
        sqlite::{open::open_writer, read, write, writer},
    },
};

fn run(id: u8, body: u8) -> EvalRun {
    let json = format!(
        r#"{{"id":"run {id}","ran_at":"2026-06-07T00:00:00Z","eval_output_schema_version":5,"body":{body}}}"#
    );
    EvalRun::from_json(&json).expect("a valid eval run")
}

fn challenge(id: u8, status: Status, tier: u8) -> Challenge {
    let json = format!(
        r#"{{"status":"{status}","tier":{tier},"difficulty_label":null,"score_multiplier":0.1,"kind":"k",
            "storage":"file","cnf_sha256":"{}","cnf_bytes":null,"num_vars":1,"num_clauses":1,
            "solve_on_submit_enabled":false}}"#,
        "a".repeat(64)
    );
    Challenge::from_admin(&json, Some(&format!("challenge {id}"))).expect("a valid challenge")
}

fn operation() -> impl Strategy<Value = Operation> {
    let statuses = [
        Status::Pending,
        Status::Active,
        Status::Locked,
        Status::Retired,
    ];
    let run = (0..5u8, proptest::bool::weighted(0.1)).prop_map(|(id, other)| run(id, other.into()));
    let challenge = (0..3u8, proptest::sample::select(statuses.to_vec()), 0..2u8)
        .prop_map(|(id, status, tier)| challenge(id, status, tier));
    prop_oneof![
        3 => vec(run, 0..4).prop_map(Operation::InsertEvalRuns),
        3 => vec(challenge, 0..4).prop_map(Operation::PutChallenges),
        1 => (0..3i64, 0..2u8).prop_map(|(epoch, body)| Operation::PutMerkleEpoch {
            epoch,
            body: format!("{{\"root\":{body}}}"),
        }),
    ]
}

/// Everything that is stored; eval runs in the order of their numbers.
#[derive(Debug, Default, PartialEq)]
struct Content {
    runs: Vec<(String, String)>,
    challenges: BTreeMap<String, Challenge>,
    epochs: BTreeMap<i64, Option<String>>,
}

/// What a test compares of a result.
type Outcome = Result<Counts, (usize, String)>;

fn outcome(result: Result<Counts, RefusedItem>) -> Outcome {
    result.map_err(|refused| (refused.index, refused.error.to_string()))
}

impl Content {
    fn of(connection: &Connection) -> Self {
        let mut content = Self::default();
        read::every_eval_run_in_order::<StoreError>(connection, |run| {
            content.runs.push((run.id, run.body));
            Ok(())
        })
        .expect("eval runs");
        read::every_challenge::<StoreError>(connection, |challenge| {
            content
                .challenges
                .insert(challenge.challenge_id.clone(), challenge);
            Ok(())
        })
        .expect("challenges");
        read::every_merkle_epoch::<StoreError>(connection, |epoch| {
            content.epochs.insert(epoch.epoch, epoch.body);
            Ok(())
        })
        .expect("epochs");
        content
    }

    /// What a look finds; the revisions are those that the test counts.
    fn stored(&self, revisions: &BTreeMap<String, i64>) -> Stored {
        let hash = |text: &String| Sha256::digest(text).into();
        let challenge = |(id, challenge): (&String, &Challenge)| {
            (id.clone(), (challenge.clone(), revisions[id]))
        };
        Stored {
            runs: self
                .runs
                .iter()
                .map(|(id, body)| (id.clone(), hash(body)))
                .collect(),
            challenges: self.challenges.iter().map(challenge).collect(),
            epochs: self
                .epochs
                .iter()
                .map(|(epoch, body)| (*epoch, body.as_ref().map(hash)))
                .collect(),
        }
    }

    /// Stores a decision as `publisher_commit()` does, and checks that it raises nothing.
    fn store(&mut self, decision: &Decision<'_>, revisions: &mut BTreeMap<String, i64>) {
        for run in &decision.runs {
            assert!(self.runs.iter().all(|(id, _)| *id != run.id));
            self.runs.push((run.id.clone(), run.body.clone()));
        }
        for (challenge, revision) in &decision.challenges {
            let id = &challenge.challenge_id;
            assert_eq!(revisions.get(id), revision.as_ref());
            revisions.insert(id.clone(), revision.unwrap_or_default() + 1);
            self.challenges.insert(id.clone(), (*challenge).clone());
        }
        for (epoch, body) in &decision.epochs {
            let earlier = self.epochs.insert(*epoch, Some((*body).to_owned()));
            assert_eq!(earlier.flatten(), None);
        }
    }
}

/// Carries a group out in savepoints.
fn commit(connection: &mut Connection, operations: &[Operation]) -> Vec<Outcome> {
    let mut transaction = connection.transaction().expect("a transaction");
    let mut outcomes = Vec::new();
    for operation in operations {
        let savepoint = transaction.savepoint().expect("a savepoint");
        let result = writer::apply(operation, &savepoint);
        if result.is_ok() {
            savepoint.commit().expect("a release");
        }
        outcomes.push(outcome(result));
    }
    transaction.commit().expect("a commit");
    outcomes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn a_group_has_the_outcome_of_sqlite(
        groups in vec(vec(operation(), 1..7), 1..5),
        known in proptest::option::of(0..3i64),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("publisher.db");
        let mut sqlite = open_writer(&path, std::time::Duration::ZERO).expect("a database");
        sqlite.pragma_update(None, "synchronous", "OFF").expect("a pragma");
        let mut content = Content::default();
        let mut revisions = BTreeMap::new();
        if let Some(epoch) = known {
            write::put_merkle_epoch(&sqlite, epoch, None).expect("an epoch");
            content.epochs.insert(epoch, None);
        }
        for operations in &groups {
            let stored = content.stored(&revisions);
            let decision = decide(operations, &stored);
            content.store(&decision, &mut revisions);
            let outcomes: Vec<_> = decision.results.into_iter().map(outcome).collect();
            prop_assert_eq!(outcomes, commit(&mut sqlite, operations));
            prop_assert_eq!(&content, &Content::of(&sqlite));
        }
    }
}
