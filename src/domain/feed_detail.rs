//! What a follower learns beside the eval runs of a page in the order of commits (WIRE.md, "For followers"): enough to
//! give its own clients the same cursors.

use serde::{Deserialize, Serialize};

use super::{
    lineages::{KnownLineage, Lineages},
    position::Position,
    seq_cursor::SeqCursor,
};

/// What stands behind the eval runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedDetail {
    /// The cursor after the page.
    pub next: SeqCursor,
    /// The `seq` of each eval run of the page.
    pub seqs: Vec<i64>,
    /// The lineages that the database knows.
    pub lineages: Lineages,
    /// The greatest epoch stored.
    pub merkle_epoch_latest: Option<i64>,
}

/// The same as JSON.
#[derive(Serialize, Deserialize)]
struct Wire {
    next_since_seq: String,
    seqs: Vec<i64>,
    lineages: Vec<WireLineage>,
    merkle_epoch_latest: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct WireLineage {
    lineage: String,
    first_seq: i64,
    shared_through: Option<i64>,
    is_restore: bool,
}

impl FeedDetail {
    /// Returns what stands after the rows of a page.
    ///
    /// # Errors
    /// Never in practice: serde_json serialises strings and numbers without errors.
    pub fn end(self) -> Result<Vec<u8>, serde_json::Error> {
        let known = self.lineages.known().iter();
        let object = serde_json::to_vec(&Wire {
            next_since_seq: self.next.to_string(),
            seqs: self.seqs,
            lineages: known.map(WireLineage::of).collect(),
            merkle_epoch_latest: self.merkle_epoch_latest,
        })?;
        let mut text = b"],".to_vec();
        // The members continue the object that the page has begun.
        text.extend_from_slice(&object[1..]);
        Ok(text)
    }

    /// Reads the members of a page. Unknown ones are ignored: a later release may add some.
    pub fn of_page(page: &str) -> Option<Self> {
        let wire: Wire = serde_json::from_str(page).ok()?;
        let known = wire.lineages.iter().map(WireLineage::known);
        let known = known.collect::<Option<Vec<_>>>()?;
        let mut ordinals: Vec<u32> = known.iter().map(|known| known.lineage.ordinal).collect();
        ordinals.dedup();
        let is_ordered = ordinals.len() == known.len() && ordinals.is_sorted();
        let mut ids: Vec<u64> = known.iter().map(|known| known.lineage.id).collect();
        ids.sort_unstable();
        if !ids.is_sorted_by(|a, b| a < b) {
            return None;
        }
        Some(Self {
            next: SeqCursor::parse(&wire.next_since_seq).ok()?,
            seqs: wire.seqs,
            lineages: Lineages::new(known).filter(|_| is_ordered)?,
            merkle_epoch_latest: wire.merkle_epoch_latest.filter(|epoch| *epoch >= 0),
        })
    }
}

impl WireLineage {
    fn of(known: &KnownLineage) -> Self {
        Self {
            lineage: known.lineage.to_string(),
            first_seq: known.first_seq,
            shared_through: known.shared_through,
            is_restore: known.is_restore,
        }
    }

    fn known(&self) -> Option<KnownLineage> {
        let is_number = self.first_seq > 0 && self.shared_through.is_none_or(|seq| seq >= 0);
        let first: Position = format!("{}.0", self.lineage).parse().ok()?;
        is_number.then_some(KnownLineage {
            lineage: first.lineage,
            first_seq: self.first_seq,
            shared_through: self.shared_through,
            is_restore: self.is_restore,
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

    use super::*;
    use crate::domain::position::Lineage;

    fn known(ordinal: u32, first_seq: i64, shared_through: Option<i64>) -> KnownLineage {
        KnownLineage {
            lineage: Lineage {
                ordinal,
                id: u64::from(ordinal) << 40,
            },
            first_seq,
            shared_through,
            is_restore: ordinal == 1,
        }
    }

    #[test]
    fn what_a_follower_reads_is_what_was_written() {
        let lineages = vec![known(1, 1, None), known(2, 5, Some(3)), known(3, 4, None)];
        let detail = FeedDetail {
            next: "3-0000030000000000.4".parse().map(SeqCursor::At).unwrap(),
            seqs: vec![4],
            lineages: Lineages::new(lineages).unwrap(),
            merkle_epoch_latest: Some(7),
        };
        let mut page = br#"{"items":[{"id":"a"}"#.to_vec();
        page.extend(detail.clone().end().unwrap());
        let page = String::from_utf8(page).unwrap();
        assert!(
            page.ends_with(
                r#"{"lineage":"3-0000030000000000","first_seq":4,"shared_through":null,"is_restore":false}],"merkle_epoch_latest":7}"#
            ),
            "{page}"
        );
        assert_eq!(FeedDetail::of_page(&page), Some(detail));
        for (part, other) in [
            (r#""lineages":["#, r#""lineage":["#),
            ("0000030000000000.4", "0000030000000000.04"),
            (r#""first_seq":5"#, r#""first_seq":0"#),
            (r#""shared_through":3"#, r#""shared_through":-1"#),
            ("\"2-", "\"1-"),
            ("\"2-", "\"4-"),
            ("\"2-0000020000000000", "\"2-0000030000000000"),
        ] {
            assert_eq!(
                FeedDetail::of_page(&page.replace(part, other)),
                None,
                "{part}"
            );
        }
    }
}
