//! The decision on a group of operations: what is written, and what each operation is told. Pure.
//!
//! The outcome is that of the savepoints of SQLite: the operations are carried out in order, each one sees those before
//! it, and a rejected one leaves nothing.

use std::{collections::HashMap, hash::Hash};

use sha2::{Digest, Sha256};

use crate::{
    domain::{Invalid, challenge::Challenge, eval_run::EvalRun},
    store::{Counts, Operation, RefusedItem, WriteError, Written, operation},
};

/// The SHA-256 of a stored text: rows may be large, and equal ones need not be sent.
pub(super) type TextHash = [u8; 32];

/// What is stored of the items of a group.
#[derive(Debug, Default)]
pub(super) struct Stored {
    /// The bodies of eval runs, by id.
    pub(super) runs: HashMap<String, TextHash>,
    /// Challenges and their revisions, by id.
    pub(super) challenges: HashMap<String, (Challenge, i64)>,
    /// The bodies of epochs; `None` if only the number is known.
    pub(super) epochs: HashMap<i64, Option<TextHash>>,
}

impl Stored {
    fn challenge(&self, id: &str) -> Option<&Challenge> {
        self.challenges.get(id).map(|(challenge, _)| challenge)
    }
}

/// What is to be stored, and the results of the operations once it is.
#[derive(Debug)]
pub(super) struct Decision<'a> {
    pub(super) results: Vec<Result<Counts, RefusedItem>>,
    /// New eval runs, in the order in which they get their numbers.
    pub(super) runs: Vec<&'a EvalRun>,
    /// New challenges, and those that replace one of that revision.
    pub(super) challenges: Vec<(&'a Challenge, Option<i64>)>,
    /// Epochs whose body is new.
    pub(super) epochs: Vec<(i64, &'a str)>,
}

/// Decides on a group.
pub(super) fn decide<'a>(operations: &'a [Operation], stored: &Stored) -> Decision<'a> {
    let mut runs = Changes::default();
    let mut challenges = Changes::default();
    let mut epochs = Changes::default();
    let results = operations
        .iter()
        .map(|operation| match operation {
            Operation::InsertEvalRuns(items) => {
                let items = items.iter().map(|run| (run.id.as_str(), run));
                runs.apply(items, |id, new: &EvalRun, earlier: Option<&EvalRun>| {
                    let old = earlier.map(|run| Text::Here(&run.body));
                    let old = old.or_else(|| stored.runs.get(id).map(Text::Stored));
                    match old {
                        None => Ok(Written::Inserted),
                        Some(old) => unchanged(old.is(&new.body), || id.to_owned()),
                    }
                })
            }
            Operation::PutChallenges(items) => {
                let items = items.iter().map(|it| (it.challenge_id.as_str(), it));
                challenges.apply(items, |id, new: &Challenge, earlier: Option<&Challenge>| {
                    operation::put(new, earlier.or_else(|| stored.challenge(id)))
                })
            }
            Operation::ReplaceChallenge { old, new } => {
                let items = [(new.challenge_id.as_str(), &**new)].into_iter();
                challenges.apply(items, |id, new: &Challenge, earlier: Option<&Challenge>| {
                    operation::replace(new, old, earlier.or_else(|| stored.challenge(id)))
                })
            }
            Operation::PutMerkleEpoch { epoch, body } => {
                let items = [(*epoch, body.as_str())].into_iter();
                epochs.apply(items, |epoch, new: &str, earlier: Option<&str>| {
                    let old = earlier.map(Text::Here);
                    let known = || stored.epochs.get(&epoch).and_then(Option::as_ref);
                    match old.or_else(|| known().map(Text::Stored)) {
                        None => Ok(Written::Inserted),
                        Some(old) => unchanged(old.is(new), || epoch.to_string()),
                    }
                })
            }
            Operation::Mirror(_) => Err(RefusedItem {
                index: 0,
                error: Invalid::new("", "the database of a follower must be a file").into(),
            }),
        })
        .collect();
    let revision = |id: &str| stored.challenges.get(id).map(|(_, revision)| *revision);
    Decision {
        results,
        runs: runs.in_order().map(|(_, run)| run).collect(),
        challenges: challenges
            .in_order()
            .map(|(id, challenge)| (challenge, revision(id)))
            .collect(),
        epochs: epochs.in_order().collect(),
    }
}

/// A text that is known whole, or by its hash.
enum Text<'a> {
    Here(&'a str),
    Stored(&'a TextHash),
}

impl Text<'_> {
    fn is(&self, other: &str) -> bool {
        match self {
            Self::Here(text) => *text == other,
            Self::Stored(hash) => **hash == *Sha256::digest(other),
        }
    }
}

fn unchanged(is_same: bool, id: impl Fn() -> String) -> Result<Written, WriteError> {
    if is_same {
        Ok(Written::Unchanged)
    } else {
        Err(WriteError::Conflict { id: id() })
    }
}

/// The items of one kind that the operations so far have changed.
struct Changes<K, V> {
    items: HashMap<K, V>,
    /// In the order in which they were first changed.
    order: Vec<K>,
}

impl<K, V> Default for Changes<K, V> {
    fn default() -> Self {
        Self {
            items: HashMap::new(),
            order: Vec::new(),
        }
    }
}

impl<K: Copy + Eq + Hash, V: Copy> Changes<K, V> {
    /// Carries an operation out, or nothing of it. `decide` gets the key, the item, and the item that an earlier
    /// operation of the group, or this one, has written.
    fn apply(
        &mut self,
        items: impl Iterator<Item = (K, V)>,
        decide: impl Fn(K, V, Option<V>) -> Result<Written, WriteError>,
    ) -> Result<Counts, RefusedItem> {
        let mut counts = Counts::default();
        let mut replaced = Vec::new();
        for (index, (key, item)) in items.enumerate() {
            let written = match decide(key, item, self.items.get(&key).copied()) {
                Ok(written) => written,
                Err(error) => {
                    self.undo(replaced);
                    return Err(RefusedItem { index, error });
                }
            };
            counts.add(written);
            if written == Written::Inserted {
                let earlier = self.items.insert(key, item);
                if earlier.is_none() {
                    self.order.push(key);
                }
                replaced.push((key, earlier));
            }
        }
        Ok(counts)
    }

    fn undo(&mut self, replaced: Vec<(K, Option<V>)>) {
        for (key, earlier) in replaced.into_iter().rev() {
            match earlier {
                Some(earlier) => {
                    self.items.insert(key, earlier);
                }
                None => {
                    self.items.remove(&key);
                    self.order.pop();
                }
            }
        }
    }

    fn in_order(self) -> impl Iterator<Item = (K, V)> {
        let items = self.items;
        self.order
            .into_iter()
            .filter_map(move |key| items.get(&key).map(|item| (key, *item)))
    }
}

#[cfg(test)]
mod tests;
