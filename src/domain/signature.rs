//! Signatures of eval runs: what is signed, and whether a signature verifies (Ed25519, RFC 8032).
//!
//! The producer signs some values of a row, chosen by its `eval_output_schema_version`, as Python writes them
//! (`python_json`). The other values are no part of the signature: validators ignore them too.

use std::{collections::BTreeMap, mem};

use base64::{Engine, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::value::RawValue;

use super::{
    Invalid, check_length, eval_run::MAX_ROW_BYTES, jwk_set, parse_object, plain, python_json,
};

/// The key of the signature: 64 bytes in base64.
const SIGNATURE: &str = "cathedral_signature";
const SCHEMA_VERSION: &str = "eval_output_schema_version";
/// What version 5 signs. A key that the row does not have is left out.
const SIGNED_BY_5: [&str; 14] = [
    "agent_display_name",
    "agent_id",
    "answer_hash",
    "difficulty_tier",
    "epoch_salt",
    "id",
    "miner_hotkey",
    "ran_at",
    "rejection_reason",
    "score_parts",
    "task_id_public",
    "task_type",
    "verifier_details_hash",
    "weighted_score",
];
/// What version 6 signs beside the keys of version 5. `output_card` is in no signature.
const SIGNED_BY_6: [&str; 4] = ["challenge_value", "operator", "solve_rank", "solved"];
/// The most rows of one batch.
const BATCH_ROWS: usize = 256;

/// Returns the text that the producer of `row` signs.
///
/// # Errors
/// [`Invalid`] if `row` is no JSON object that every common parser reads alike, is longer than [`MAX_ROW_BYTES`],
/// or its version is neither 5 nor 6.
pub fn signed_text(row: &str) -> Result<String, Invalid> {
    Ok(Signed::parse(row)?.text)
}

/// What is signed, and by which signature.
struct Signed {
    text: String,
    signature: Result<Signature, Invalid>,
}

impl Signed {
    fn parse(row: &str) -> Result<Self, Invalid> {
        let row = row.trim_ascii();
        check_length("a row", row.len(), MAX_ROW_BYTES)?;
        let mut members: BTreeMap<String, &RawValue> = parse_object(row)?;
        let version = members.get(SCHEMA_VERSION).map(|version| version.get());
        let signed_by_6 = match version {
            Some("5") => &[][..],
            Some("6") => &SIGNED_BY_6,
            _ => {
                let reason = "must be 5 or 6: what other versions sign is unknown";
                return Err(Invalid::new(SCHEMA_VERSION, reason));
            }
        };
        let signature = signature_of(members.get(SIGNATURE).copied());
        members.retain(|key, _| {
            SIGNED_BY_5.contains(&key.as_str()) || signed_by_6.contains(&key.as_str())
        });
        let mut text = String::with_capacity(row.len());
        python_json::write_object(&members, &mut text)
            .map_err(|error| Invalid::new("", plain(&error)))?;
        Ok(Self { text, signature })
    }
}

fn signature_of(value: Option<&RawValue>) -> Result<Signature, Invalid> {
    let value = value.ok_or_else(|| Invalid::new(SIGNATURE, "is missing"))?;
    let encoded: Option<String> = serde_json::from_str(value.get()).ok();
    encoded
        .and_then(|encoded| STANDARD.decode(encoded).ok())
        .and_then(|bytes| Signature::from_slice(&bytes).ok())
        .ok_or_else(|| Invalid::new(SIGNATURE, "must be 64 bytes in base64"))
}

/// The public keys whose signatures are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKeys(Vec<VerifyingKey>);

impl PublicKeys {
    /// Reads a JWK set (RFC 7517). Its keys whose `kid` begins with `cathedral-eval-signing` verify rows; if it has
    /// no such key, all Ed25519 signature keys do.
    ///
    /// # Errors
    /// [`Invalid`] if the text is no JWK set, is longer than 64 KiB, has no such key or more than 8, contains a
    /// secret key, or if one of these keys is malformed or weak.
    pub fn from_jwk_set(json: &[u8]) -> Result<Self, Invalid> {
        jwk_set::eval_signing_keys(json).map(Self)
    }

    /// Returns how many keys there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Checks that one of the keys made the signature of `row`. Costs about 65 µs a key.
    ///
    /// # Errors
    /// [`Invalid`] naming what is wrong; the errors of [`signed_text`] among others.
    pub fn verify(&self, row: &str) -> Result<(), Invalid> {
        let signed = Signed::parse(row)?;
        self.verify_one(&signed.text, &signed.signature?)
    }

    fn verify_one(&self, text: &str, signature: &Signature) -> Result<(), Invalid> {
        let verifies = |key: &VerifyingKey| key.verify_strict(text.as_bytes(), signature).is_ok();
        if self.0.iter().any(verifies) {
            return Ok(());
        }
        let reason = "does not verify: the row was changed, or signed with another key";
        Err(Invalid::new(SIGNATURE, reason))
    }

    /// Returns which rows [`PublicKeys::verify`] refuses, by their index, in order. See [`Verifier`].
    pub fn verify_all<R: AsRef<str>>(
        &self,
        rows: impl IntoIterator<Item = R>,
    ) -> Vec<(usize, Invalid)> {
        let mut verifier = Verifier::new(self);
        let mut invalid = Vec::new();
        for (index, row) in rows.into_iter().enumerate() {
            invalid.extend(verifier.push(index, row.as_ref()));
        }
        invalid.extend(verifier.finish());
        invalid
    }
}

/// Verifies rows as they come, up to 256 at once, which costs about a third as much per row; one by one only if
/// that fails. Each row has a mark of the caller's, such as its index.
///
/// The holder of a secret key can make signatures that this accepts and [`PublicKeys::verify`] refuses; nobody
/// else can.
#[derive(Debug)]
pub struct Verifier<'k, M> {
    keys: &'k PublicKeys,
    marks: Vec<M>,
    rows: Vec<Result<Row, Invalid>>,
}

/// What is signed, and the signature.
type Row = (String, Signature);

impl<'k, M> Verifier<'k, M> {
    /// Verifies with these keys.
    pub fn new(keys: &'k PublicKeys) -> Self {
        Self {
            keys,
            marks: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// Takes one more row. Returns which rows are invalid, in order, whenever a batch is full.
    #[must_use = "it returns the rows that are invalid"]
    pub fn push(&mut self, mark: M, row: &str) -> Vec<(M, Invalid)> {
        let signed = Signed::parse(row);
        self.marks.push(mark);
        self.rows
            .push(signed.and_then(|signed| Ok((signed.text, signed.signature?))));
        if self.rows.len() < BATCH_ROWS {
            return Vec::new();
        }
        self.verify()
    }

    /// Returns which of the last rows are invalid.
    #[must_use = "it returns the rows that are invalid"]
    pub fn finish(mut self) -> Vec<(M, Invalid)> {
        self.verify()
    }

    fn verify(&mut self) -> Vec<(M, Invalid)> {
        let rows = mem::take(&mut self.rows);
        let all_verify = self.all_verify(&rows);
        let marked = self.marks.drain(..).zip(rows);
        let verified = marked.filter_map(|(mark, row)| {
            let verified = match row {
                Ok(_) if all_verify => Ok(()),
                Ok((text, signature)) => self.keys.verify_one(&text, &signature),
                Err(error) => Err(error),
            };
            Some((mark, verified.err()?))
        });
        verified.collect()
    }

    /// Returns whether one key made all signatures. While one key replaces another, rows are verified one by one.
    fn all_verify(&self, rows: &[Result<Row, Invalid>]) -> bool {
        let signed: Vec<&Row> = rows.iter().flatten().collect();
        let texts: Vec<&[u8]> = signed.iter().map(|(text, _)| text.as_bytes()).collect();
        let signatures: Vec<Signature> = signed.iter().map(|(_, signature)| *signature).collect();
        self.keys.0.iter().any(|key| {
            let keys = vec![*key; texts.len()];
            ed25519_dalek::verify_batch(&texts, &signatures, &keys).is_ok()
        })
    }
}

#[cfg(test)]
mod tests;
