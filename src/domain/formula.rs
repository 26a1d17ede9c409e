//! The file of a challenge's formula, as the challenge names it: by its SHA-256.

use std::fmt;

use super::entity_tag::EntityTag;

/// The formula of a challenge: a file in DIMACS's format, known by its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Formula {
    /// What the file holds.
    pub hash: FileHash,
    /// The size that the challenge announces, in bytes, if it announces one.
    pub bytes: Option<u64>,
}

/// The SHA-256 of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileHash(pub [u8; 32]);

impl FileHash {
    /// Parses 64 lower-case hex digits; `None` for anything else.
    pub fn parse(hex: &str) -> Option<Self> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
        if pairs.len() != 32 || !rest.is_empty() {
            return None;
        }
        let mut hash = [0; 32];
        for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Some(Self(hash))
    }

    /// Returns the entity-tag of the file.
    pub fn tag(&self) -> EntityTag {
        EntityTag::of_digest(&self.0)
    }
}

/// 64 lower-case hex digits.
impl fmt::Display for FileHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_64_lower_case_digits() {
        let hex = "4f98c197b81eb6a7".repeat(4);
        let hash = FileHash::parse(&hex);
        assert_eq!(hash.map(|hash| hash.to_string()), Some(hex.clone()));
        assert_eq!(
            hash.map(|hash| hash.tag().to_string()),
            Some("\"4f98c197b81eb6a7\"".to_owned())
        );
        for wrong in ["", &hex[1..], &hex.to_uppercase(), &format!("{hex}0")] {
            assert_eq!(FileHash::parse(wrong), None, "{wrong}");
        }
    }
}
