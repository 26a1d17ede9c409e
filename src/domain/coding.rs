//! Content codings, and which of them a client accepts (RFC 9110 §8.4.1, §12.5.3).

use super::weight::{self, Weight};

/// A supported content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Coding {
    /// No coding.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// RFC 7932.
    Brotli,
}

impl Coding {
    /// All codings; among equally preferred ones the first one is chosen, which makes the fewest bytes.
    pub const ALL: [Self; 4] = [Self::Brotli, Self::Zstd, Self::Gzip, Self::Identity];

    /// The name in `Accept-Encoding` and `Content-Encoding`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Brotli => "br",
        }
    }

    /// What the entity-tags of this coding end in: its name, and the generation of its encoder if that is
    /// not the first (WIRE.md). A strong tag names one sequence of bytes for ever (RFC 9110 §8.8.1), so a
    /// new generation begins whenever our encoder makes other bytes of the same body.
    ///
    /// Brotli is in its second generation: an earlier encoder used another window.
    pub fn tag_suffix(self) -> &'static str {
        match self {
            Self::Identity => "",
            Self::Gzip => "-gzip",
            Self::Zstd => "-zstd",
            Self::Brotli => "-br2",
        }
    }

    fn parse(name: &[u8]) -> Option<Self> {
        // An old name of gzip (RFC 9110 §8.4.1.3).
        if name.eq_ignore_ascii_case(b"x-gzip") {
            return Some(Self::Gzip);
        }
        let mut all = Self::ALL.into_iter();
        all.find(|coding| name.eq_ignore_ascii_case(coding.as_str().as_bytes()))
    }
}

/// The codings that a client accepts, the most preferred first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acceptable {
    order: [Coding; Coding::ALL.len()],
    /// How many of them are acceptable; the others come last.
    count: usize,
}

impl Default for Acceptable {
    /// The codings of a client that sends no `Accept-Encoding`.
    fn default() -> Self {
        Self::IDENTITY
    }
}

impl Acceptable {
    /// A client that does not ask for a coding may not know any.
    const IDENTITY: Self = Self {
        order: [Coding::Identity; Coding::ALL.len()],
        count: 1,
    };

    /// A client that accepts one coding and no other.
    pub fn alone(coding: Coding) -> Self {
        Self {
            order: [coding; Coding::ALL.len()],
            count: 1,
        }
    }

    /// Parses the lines of `Accept-Encoding`. Never fails: malformed members and unknown codings are
    /// skipped; the last duplicate wins.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut preferences: Option<Preferences> = None;
        for line in lines {
            let preferences = preferences.get_or_insert_default();
            for member in line.split(|byte| *byte == b',') {
                if let Some((name, weight)) = parse_member(member) {
                    preferences.set(name, weight);
                }
            }
        }
        preferences.map_or_else(Self::default, Preferences::acceptable)
    }

    /// Returns the acceptable codings, the most preferred first; equally preferred ones in the order of
    /// [`Coding::ALL`]. Identity comes last if the field does not name it, and is left out if the field
    /// excludes it (RFC 9110 §12.5.3). Without the field, identity alone is acceptable.
    pub fn in_order(&self) -> impl Iterator<Item = Coding> {
        self.order.into_iter().take(self.count)
    }
}

/// What the field says.
#[derive(Debug, Default)]
struct Preferences {
    named: [Option<Weight>; Coding::ALL.len()],
    /// The weight of `*`, for codings that are not named.
    others: Option<Weight>,
}

impl Preferences {
    fn acceptable(self) -> Acceptable {
        let mut order = Coding::ALL;
        // Stable: equals keep their order. Excluded codings come last.
        order
            .sort_by_key(|coding| std::cmp::Reverse((self.accepts(*coding), self.weight(*coding))));
        let count = order.iter().filter(|coding| self.accepts(**coding)).count();
        Acceptable { order, count }
    }

    fn accepts(&self, coding: Coding) -> bool {
        match self.stated(coding) {
            Some(weight) => weight > 0,
            None => coding == Coding::Identity,
        }
    }

    fn weight(&self, coding: Coding) -> Weight {
        self.stated(coding).unwrap_or(0)
    }

    fn stated(&self, coding: Coding) -> Option<Weight> {
        self.named[coding as usize].or(self.others)
    }

    fn set(&mut self, name: &[u8], weight: Weight) {
        if name == b"*" {
            self.others = Some(weight);
        } else if let Some(coding) = Coding::parse(name) {
            self.named[coding as usize] = Some(weight);
        }
    }
}

/// `codings [ OWS ";" OWS "q=" qvalue ]`
fn parse_member(member: &[u8]) -> Option<(&[u8], Weight)> {
    let mut parts = member.splitn(2, |byte| *byte == b';');
    let name = parts.next()?.trim_ascii();
    if name.is_empty() {
        return None;
    }
    let weight = match parts.next().map(<[u8]>::trim_ascii) {
        None => weight::MAX,
        Some(parameter) => weight::parse(parameter)?,
    };
    Some((name, weight))
}
