//! What the cache publishes: the board, and every answer that current-challenge can give.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    answer::Representation,
    domain::challenge::{Challenge, FAMILY_ID},
};

/// An immutable picture of the active challenges. Made once, read by every worker.
#[derive(Debug, PartialEq, Eq)]
pub struct Snapshot {
    board: Arc<Representation>,
    first: Option<Arc<Representation>>,
    tiers: BTreeMap<u64, Tier>,
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
        let mut tiers = BTreeMap::<u64, Tier>::new();
        let mut first = None;
        for (index, challenge) in challenges.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            let start = body.len();
            challenge.write_item(&mut body)?;
            let known = tiers
                .get(&challenge.tier)
                .is_some_and(|tier| tier.by_label.contains_key(&challenge.difficulty_label));
            if known {
                continue;
            }
            let item = Arc::new(Representation::new(body[start..].to_vec()));
            first.get_or_insert_with(|| Arc::clone(&item));
            tiers
                .entry(challenge.tier)
                .or_insert_with(|| Tier {
                    first: Arc::clone(&item),
                    by_label: BTreeMap::new(),
                })
                .by_label
                .insert(challenge.difficulty_label.clone(), item);
        }
        body.extend_from_slice(b"]}");
        Ok(Self {
            board: Arc::new(Representation::new(body)),
            first,
            tiers,
        })
    }

    /// Returns the answer of active-challenges.
    pub fn board(&self) -> &Arc<Representation> {
        &self.board
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
