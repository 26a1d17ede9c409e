//! Quality values: how much a client prefers a coding or a media type (RFC 9110 §12.4.2).

/// A quality value in thousandths; 0 means not acceptable.
pub(super) type Weight = u16;

/// The weight of a member without a quality value.
pub(super) const MAX: Weight = 1000;

/// Parses `"q=" ( "0" [ "." 0*3DIGIT ] / "1" [ "." 0*3("0") ] )`.
pub(super) fn parse(parameter: &[u8]) -> Option<Weight> {
    let [b'q' | b'Q', b'=', value @ ..] = parameter else {
        return None;
    };
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
        (b'1', 0) => Some(MAX),
        _ => None,
    }
}
