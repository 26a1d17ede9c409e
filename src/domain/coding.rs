//! Content codings, and which of them a client takes (RFC 9110 §8.4.1, §12.5.3).

/// A content coding that is spoken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coding {
    /// None at all.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// RFC 7932.
    Brotli,
}

impl Coding {
    /// All of them, the one that is preferred among equals first: what makes the fewest bytes.
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

    fn parse(name: &[u8]) -> Option<Self> {
        // An old name of gzip, to be taken for it (RFC 9110 §8.4.1.3).
        if name.eq_ignore_ascii_case(b"x-gzip") {
            return Some(Self::Gzip);
        }
        let mut all = Self::ALL.into_iter();
        all.find(|coding| name.eq_ignore_ascii_case(coding.as_str().as_bytes()))
    }
}

/// How much a client wants something: thousandths, 0 is not at all.
type Weight = u16;
const MOST: Weight = 1000;

/// What a client takes, the most wanted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acceptable {
    order: [Coding; Coding::ALL.len()],
    /// How many of them it takes.
    count: usize,
}

impl Default for Acceptable {
    /// What a client takes that does not say so.
    fn default() -> Self {
        Self::IDENTITY
    }
}

impl Acceptable {
    /// Who does not ask for a coding may not know any.
    const IDENTITY: Self = Self {
        order: [Coding::Identity; Coding::ALL.len()],
        count: 1,
    };

    /// Reads the lines of the field, if there are any. Never fails: a member that is none, or of a
    /// coding that is not spoken here, is skipped. Of one that is there twice the last one counts.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut wishes: Option<Wishes> = None;
        for line in lines {
            let wishes = wishes.get_or_insert_default();
            for member in line.split(|byte| *byte == b',') {
                if let Some((name, weight)) = parse_member(member) {
                    wishes.set(name, weight);
                }
            }
        }
        wishes.map_or_else(Self::default, Wishes::acceptable)
    }

    /// The codings that it takes, the most wanted first; among equals in the order of
    /// [`Coding::ALL`]. Identity comes last where nothing is said of it, and is left out where it is
    /// refused (RFC 9110 §12.5.3). Without a field this is identity alone.
    pub fn in_order(&self) -> impl Iterator<Item = Coding> {
        self.order.into_iter().take(self.count)
    }
}

/// What a field says.
#[derive(Debug, Default)]
struct Wishes {
    named: [Option<Weight>; Coding::ALL.len()],
    /// What `*` says of those that are not named.
    others: Option<Weight>,
}

impl Wishes {
    fn acceptable(self) -> Acceptable {
        let mut order = Coding::ALL;
        // Stable: equals keep their order. Those that are not taken come last.
        order.sort_by_key(|coding| std::cmp::Reverse((self.takes(*coding), self.weight(*coding))));
        let count = order.iter().filter(|coding| self.takes(**coding)).count();
        Acceptable { order, count }
    }

    fn takes(&self, coding: Coding) -> bool {
        match self.said(coding) {
            Some(weight) => weight > 0,
            None => coding == Coding::Identity,
        }
    }

    fn weight(&self, coding: Coding) -> Weight {
        self.said(coding).unwrap_or(0)
    }

    fn said(&self, coding: Coding) -> Option<Weight> {
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
        None => MOST,
        Some([b'q' | b'Q', b'=', value @ ..]) => parse_weight(value)?,
        Some(_) => return None,
    };
    Some((name, weight))
}

/// `( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] )` (RFC 9110 §12.4.2)
fn parse_weight(value: &[u8]) -> Option<Weight> {
    let (whole, rest) = value.split_first()?;
    let digits = match rest {
        [] => &[],
        [b'.', digits @ ..] if digits.len() <= 3 => digits,
        _ => return None,
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let places = digits.iter().chain(std::iter::repeat(&b'0')).take(3);
    let fraction = places.fold(0, |sum, digit| sum * 10 + Weight::from(digit - b'0'));
    match (whole, fraction) {
        (b'0', fraction) => Some(fraction),
        (b'1', 0) => Some(MOST),
        _ => None,
    }
}
