//! What the cache publishes: the board, and every answer that current-challenge can give.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    answer::Representation,
    domain::{
        challenge::{Challenge, FAMILY_ID},
        formula::{FileHash, Formula},
    },
};

/// An immutable picture of the active challenges. Made once, read by every worker.
#[derive(Debug, PartialEq, Eq)]
pub struct Snapshot {
    board: Arc<Representation>,
    challenges: usize,
    first: Option<Arc<Representation>>,
    tiers: BTreeMap<u64, Tier>,
    formulas: HashMap<String, Formula>,
}

/// The answers of current-challenge, while they are collected.
#[derive(Debug, Default)]
struct Items {
    count: usize,
    first: Option<Arc<Representation>>,
    tiers: BTreeMap<u64, Tier>,
    formulas: HashMap<String, Formula>,
}

impl Items {
    /// Adds the next item of the board, unless one of the same tier and label came before.
    fn add(&mut self, tier: u64, label: &Option<String>, item: &[u8]) {
        self.count += 1;
        let mut known = self.tiers.get(&tier).into_iter();
        if known.any(|tier| tier.by_label.contains_key(label)) {
            return;
        }
        let item = Arc::new(Representation::new(item.to_vec()));
        self.first.get_or_insert_with(|| Arc::clone(&item));
        let tier = self.tiers.entry(tier).or_insert_with(|| Tier {
            first: Arc::clone(&item),
            by_label: BTreeMap::new(),
        });
        tier.by_label.insert(label.clone(), item);
    }

    fn with_board(self, body: Vec<u8>) -> Snapshot {
        Snapshot {
            board: Arc::new(Representation::new(body)),
            challenges: self.count,
            first: self.first,
            tiers: self.tiers,
            formulas: self.formulas,
        }
    }
}

/// The answers within one tier.
#[derive(Debug, PartialEq, Eq)]
struct Tier {
    first: Arc<Representation>,
    /// The first of each label; `None` is the first unlabelled one.
    by_label: BTreeMap<Option<String>, Arc<Representation>>,
}

impl Snapshot {
    /// Serialises and hashes challenges that come in the board's order.
    ///
    /// # Errors
    /// Those of [`Challenge::write_item`].
    pub fn new(challenges: &[Challenge]) -> Result<Self, serde_json::Error> {
        let mut body = Vec::with_capacity(100 + challenges.len() * 700);
        let count = challenges.len();
        body.extend_from_slice(
            format!(r#"{{"family_id":"{FAMILY_ID}","count":{count},"items":["#).as_bytes(),
        );
        let mut items = Items::default();
        for (index, challenge) in challenges.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            let start = body.len();
            challenge.write_item(&mut body)?;
            items.add(challenge.tier, &challenge.difficulty_label, &body[start..]);
            if let Some(formula) = challenge.formula() {
                items
                    .formulas
                    .insert(challenge.challenge_id.clone(), formula);
            }
        }
        body.extend_from_slice(b"]}");
        Ok(items.with_board(body))
    }

    /// Takes the answer of active-challenges, as it was served before, and finds the items in it. Their bytes are
    /// kept as they are, whichever release wrote them.
    ///
    /// # Errors
    /// If the text is no board.
    pub(super) fn of_board(body: &[u8]) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Board<'a> {
            #[serde(borrow)]
            items: Vec<&'a RawValue>,
        }
        #[derive(Deserialize)]
        struct Item {
            tier: u64,
            difficulty_label: Option<String>,
            challenge_id: String,
            cnf_sha256: String,
            cnf_bytes: Option<u64>,
        }
        let board: Board<'_> = serde_json::from_slice(body)?;
        let mut items = Items::default();
        for item in board.items {
            let Item {
                tier,
                difficulty_label,
                challenge_id,
                cnf_sha256,
                cnf_bytes: bytes,
            } = serde_json::from_str(item.get())?;
            items.add(tier, &difficulty_label, item.get().as_bytes());
            if let Some(hash) = FileHash::parse(&cnf_sha256) {
                items.formulas.insert(challenge_id, Formula { hash, bytes });
            }
        }
        Ok(items.with_board(body.to_vec()))
    }

    /// Returns the answer of active-challenges.
    pub fn board(&self) -> &Arc<Representation> {
        &self.board
    }

    /// Returns how many challenges the board has.
    pub fn challenges(&self) -> usize {
        self.challenges
    }

    /// Returns the formula of an active challenge.
    pub fn formula(&self, challenge_id: &str) -> Option<&Formula> {
        self.formulas.get(challenge_id)
    }

    /// Returns the formulas of all active challenges, in no order.
    pub fn formulas(&self) -> impl Iterator<Item = &Formula> {
        self.formulas.values()
    }

    /// Makes gzip and zstd, a fraction of a millisecond each. For blocking threads, before publication.
    pub fn encode_fast(&self) {
        self.board.encode_fast();
    }

    /// Makes brotli, up to a second; clients that accept it get it from then on. For blocking threads.
    pub fn precompress(&self) {
        self.board.precompress();
    }

    /// Returns the answer of current-challenge without parameters.
    pub fn first(&self) -> Option<&Arc<Representation>> {
        self.first.as_ref()
    }

    /// Returns the answer of current-challenge for a tier.
    pub fn first_of_tier(&self, tier: u64) -> Option<&Arc<Representation>> {
        Some(&self.tiers.get(&tier)?.first)
    }

    /// Returns the answer of current-challenge for a tier and a label; without a match, the first unlabelled one.
    pub fn first_of_label(&self, tier: u64, label: &str) -> Option<&Arc<Representation>> {
        let by_label = &self.tiers.get(&tier)?.by_label;
        by_label
            .get(&Some(label.to_owned()))
            .or_else(|| by_label.get(&None))
    }
}
