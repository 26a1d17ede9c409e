//! Reads what is stored of the items of a group of operations.

use tokio_postgres::{Client, types::Type};

use super::{
    decide::{Stored, TextHash},
    row,
};
use crate::store::{Operation, StoreError};

// Hashes of the bodies: most of what is sent again is equal, and may be large.
const RUNS: &str = "SELECT id, sha256(convert_to(body, 'UTF8')) FROM eval_runs WHERE id = ANY($1)";
const CHALLENGES: &str = "SELECT * FROM challenges WHERE challenge_id = ANY($1)";
const EPOCHS: &str =
    "SELECT epoch, sha256(convert_to(body, 'UTF8')) FROM merkle_epochs WHERE epoch = ANY($1)";

/// Reads what is stored of a group: one query for each kind of item that it has.
///
/// # Errors
/// Those of PostgreSQL; [`StoreError::Corrupt`].
pub(super) async fn look(client: &Client, operations: &[Operation]) -> Result<Stored, StoreError> {
    let mut runs = Vec::new();
    let mut challenges = Vec::new();
    let mut epochs = Vec::new();
    for operation in operations {
        match operation {
            Operation::InsertEvalRuns(items) => runs.extend(items.iter().map(|it| it.id.as_str())),
            Operation::PutChallenges(items) => {
                challenges.extend(items.iter().map(|it| it.challenge_id.as_str()));
            }
            Operation::ReplaceChallenge { new, .. } => challenges.push(new.challenge_id.as_str()),
            Operation::PutMerkleEpoch { epoch, .. } => epochs.push(*epoch),
            // Rejected by the decision.
            Operation::Mirror(_) => {}
        }
    }
    let mut stored = Stored::default();
    if !runs.is_empty() {
        let rows = client.query_typed(RUNS, &[(&runs, Type::TEXT_ARRAY)]).await;
        for row in rows? {
            stored.runs.insert(row.try_get(0)?, hash(row.try_get(1)?));
        }
    }
    if !challenges.is_empty() {
        let rows = client
            .query_typed(CHALLENGES, &[(&challenges, Type::TEXT_ARRAY)])
            .await;
        for row in rows? {
            let challenge = row::challenge(&row)?;
            let id = challenge.challenge_id.clone();
            stored
                .challenges
                .insert(id, (challenge, row.try_get("revision")?));
        }
    }
    if !epochs.is_empty() {
        let rows = client
            .query_typed(EPOCHS, &[(&epochs, Type::INT8_ARRAY)])
            .await;
        for row in rows? {
            let body: Option<&[u8]> = row.try_get(1)?;
            stored.epochs.insert(row.try_get(0)?, body.map(hash));
        }
    }
    Ok(stored)
}

/// The bytes are those of SHA-256: 32.
fn hash(bytes: &[u8]) -> TextHash {
    bytes.try_into().unwrap_or_default()
}
