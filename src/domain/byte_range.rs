//! Ranges of bytes that `Range` asks for (RFC 9110 §14.1.2, §14.2).

use std::ops::Range;

/// What a client gets of a body of a known length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// All of it, with 200: the field is absent, malformed, of an unknown unit, or has several ranges.
    Whole,
    /// These bytes, of which there is at least one, with 206.
    Bytes(Range<u64>),
    /// None: 416, because no byte of the body is in the range.
    Unsatisfiable,
}

impl Part {
    /// Parses the lines of `Range`. A server may ignore the field (RFC 9110 §14.2), and this one ignores a list of
    /// several ranges: its answer would be a `multipart/byteranges`, which costs more than the whole body.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a [u8]>, length: u64) -> Self {
        let mut lines = lines.into_iter();
        match (lines.next(), lines.next()) {
            (Some(line), None) => parse_line(line, length).unwrap_or(Self::Whole),
            (None | Some(_), _) => Self::Whole,
        }
    }
}

/// `bytes=` and one range; `None` if it is anything else.
fn parse_line(line: &[u8], length: u64) -> Option<Part> {
    let (unit, set) = std::str::from_utf8(line).ok()?.split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    // Empty members of a list are skipped (RFC 9110 §5.6.1.2).
    let mut ranges = set.split(',').map(|range| range.trim_matches([' ', '\t']));
    let range = ranges.by_ref().find(|range| !range.is_empty())?;
    if ranges.any(|range| !range.is_empty()) {
        return None;
    }
    let (first, last) = range.split_once('-')?;
    let bytes = match (first, last) {
        // Satisfiable by its syntax, but 206 cannot say which bytes of none these are (RFC 9110 §14.1.2, §14.4).
        ("", suffix) if length == 0 && number(suffix)? > 0 => return None,
        ("", suffix) => length.saturating_sub(number(suffix)?)..length,
        (first, "") => number(first)?..length,
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            first..length.min(last.saturating_add(1))
        }
    };
    Some(if bytes.is_empty() {
        Part::Unsatisfiable
    } else {
        Part::Bytes(bytes)
    })
}

/// Digits; a number beyond u64 is as good as the greatest one, which no file reaches.
fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(line: &str, length: u64) -> Part {
        Part::parse([line.as_bytes()], length)
    }

    #[test]
    fn one_range_of_each_form_is_cut_to_the_length() {
        for (line, bytes) in [
            ("bytes=0-0", 0..1),
            ("bytes=0-9", 0..10),
            ("bytes=3-", 3..10),
            ("bytes=-3", 7..10),
            ("bytes=-99", 0..10),
            ("Bytes=2-99", 2..10),
            ("bytes=9-18446744073709551615", 9..10),
            ("bytes=9-99999999999999999999999", 9..10),
            ("bytes= 1-2 ", 1..3),
            ("bytes=,1-2,", 1..3),
        ] {
            assert_eq!(part(line, 10), Part::Bytes(bytes), "{line}");
        }
    }

    #[test]
    fn a_range_without_a_byte_is_unsatisfiable() {
        for line in [
            "bytes=10-",
            "bytes=10-11",
            "bytes=-0",
            "bytes=99999999999999999999999-",
        ] {
            assert_eq!(part(line, 10), Part::Unsatisfiable, "{line}");
        }
        for line in ["bytes=0-", "bytes=-0", "bytes=0-0"] {
            assert_eq!(part(line, 0), Part::Unsatisfiable, "{line}");
        }
        assert_eq!(part("bytes=-1", 0), Part::Whole);
    }

    #[test]
    fn what_is_no_single_range_of_bytes_is_ignored() {
        for line in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=1",
            "bytes=2-1",
            "bytes=a-b",
            "bytes=1-2,4-5",
            "bytes=0-,-1",
            "items=0-1",
            "bytes=+1-2",
            "bytes=1 - 2",
            "bytes=1--2",
            "bytes==1-2",
            " bytes=1-2",
            "bytes=1-2;q=1",
        ] {
            assert_eq!(part(line, 10), Part::Whole, "{line}");
        }
        assert_eq!(Part::parse([], 10), Part::Whole);
        assert_eq!(
            Part::parse([&b"bytes=0-1"[..], b"bytes=0-1"], 10),
            Part::Whole
        );
        assert_eq!(Part::parse([&b"bytes=\xff-1"[..]], 10), Part::Whole);
    }
}
