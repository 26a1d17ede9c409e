//! Decodes the body of a request as it arrives: by its length, or chunk by chunk (RFC 9112 §6, §7.1).

use httparse::{EMPTY_HEADER, Status};

use super::head::Framing;

/// The longest line of a chunk's size with its extensions, and the longest trailer section, in bytes.
const MAX_LINE_BYTES: usize = 4096;
/// The most trailer fields, which are parsed and dropped (RFC 9110 §6.5.1).
const MAX_TRAILERS: usize = 32;

/// Where the decoder stands in the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many bytes of data follow; `chunked` says that a chunk ends behind them.
    Data { left: u64, chunked: bool },
    /// The line end behind a chunk's data follows.
    ChunkEnd,
    /// The line with a chunk's size follows.
    ChunkSize,
    /// The trailer section follows.
    Trailers,
    /// The body is complete.
    End,
    /// It is malformed, and so never complete.
    Malformed,
}

/// The chunked coding is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the chunked body is malformed")]
pub(super) struct Malformed;

/// What one step of decoding found at the beginning of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    /// `skip` bytes of framing, then `data` bytes of the body.
    Data { skip: usize, data: usize },
    /// The input ends within the framing: more bytes are needed.
    NeedMore,
    /// After `skip` bytes of framing the body is complete.
    End { skip: usize },
}

/// A decoder of one request body.
#[derive(Debug)]
pub(super) struct BodyDecoder(State);

impl BodyDecoder {
    pub(super) fn new(framing: Framing) -> Self {
        Self(match framing {
            Framing::Length(0) => State::End,
            Framing::Length(left) => State::Data {
                left,
                chunked: false,
            },
            Framing::Chunked => State::ChunkSize,
        })
    }

    /// Whether the body is complete.
    pub(super) fn is_complete(&self) -> bool {
        self.0 == State::End
    }

    /// How many bytes are certain to follow at most; `None` if that is unknown.
    pub(super) fn remaining(&self) -> Option<u64> {
        match self.0 {
            State::End => Some(0),
            State::Data {
                left,
                chunked: false,
            } => Some(left),
            State::Data { .. }
            | State::ChunkEnd
            | State::ChunkSize
            | State::Trailers
            | State::Malformed => None,
        }
    }

    /// Decodes the beginning of `input`. The caller then removes what the piece says.
    ///
    /// # Errors
    /// [`Malformed`], now and from then on.
    pub(super) fn decode(&mut self, input: &[u8]) -> Result<Piece, Malformed> {
        let piece = self.step(input);
        if piece.is_err() {
            self.0 = State::Malformed;
        }
        piece
    }

    fn step(&mut self, input: &[u8]) -> Result<Piece, Malformed> {
        let mut skip = 0;
        loop {
            let rest = &input[skip..];
            match self.0 {
                State::End => return Ok(Piece::End { skip }),
                State::Malformed => return Err(Malformed),
                State::Data { left, chunked } => {
                    let data = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    if data == 0 {
                        return self.need_more(skip);
                    }
                    let left = left - data as u64;
                    self.0 = match (left, chunked) {
                        (0, true) => State::ChunkEnd,
                        (0, false) => State::End,
                        (left, chunked) => State::Data { left, chunked },
                    };
                    return Ok(Piece::Data { skip, data });
                }
                State::ChunkEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        skip += 2;
                        self.0 = State::ChunkSize;
                    }
                    [] | [b'\r'] => return self.need_more(skip),
                    _ => return Err(Malformed),
                },
                State::ChunkSize => match parse_chunk_size(rest)? {
                    Some((bytes, size)) => {
                        skip += bytes;
                        self.0 = match size {
                            0 => State::Trailers,
                            left => State::Data {
                                left,
                                chunked: true,
                            },
                        };
                    }
                    None if rest.len() <= MAX_LINE_BYTES => return self.need_more(skip),
                    None => return Err(Malformed),
                },
                State::Trailers => {
                    let mut fields = [EMPTY_HEADER; MAX_TRAILERS];
                    match httparse::parse_headers(rest, &mut fields) {
                        Ok(Status::Complete((bytes, _))) if !has_bare_lf(&rest[..bytes]) => {
                            skip += bytes;
                            self.0 = State::End;
                        }
                        Ok(Status::Partial) if rest.len() <= MAX_LINE_BYTES => {
                            return self.need_more(skip);
                        }
                        Ok(_) | Err(_) => return Err(Malformed),
                    }
                }
            }
        }
    }

    /// Framing that was skipped already must be removed by the caller, or it would be parsed again.
    fn need_more(&self, skip: usize) -> Result<Piece, Malformed> {
        Ok(match skip {
            0 => Piece::NeedMore,
            skip => Piece::Data { skip, data: 0 },
        })
    }
}

/// Parses the line of a chunk's size. Returns its length and the size, or `None` if it is incomplete.
///
/// Stricter than `httparse::parse_chunk_size`, which takes an empty size for 0 and any byte in an
/// extension. A proxy that ends the line at a bare line feed would frame the body differently, and take
/// data for a request.
fn parse_chunk_size(input: &[u8]) -> Result<Option<(usize, u64)>, Malformed> {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
        return Ok(None);
    };
    let line = input[..end].strip_suffix(b"\r").ok_or(Malformed)?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit());
    let (digits, extensions) = line.split_at(digits.count());
    let is_text = |byte: &u8| *byte == b'\t' || !byte.is_ascii_control();
    let are_valid = extensions.is_empty()
        || extensions.trim_ascii_start().starts_with(b";") && extensions.iter().all(is_text);
    let size = std::str::from_utf8(digits).map_err(|_| Malformed)?;
    let size = u64::from_str_radix(size, 16).map_err(|_| Malformed)?;
    are_valid.then_some(Some((end + 1, size))).ok_or(Malformed)
}

/// Whether a line ends with a line feed alone.
fn has_bare_lf(lines: &[u8]) -> bool {
    let mut lines = lines.split_inclusive(|byte| *byte == b'\n');
    lines.any(|line| line.ends_with(b"\n") && !line.ends_with(b"\r\n"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

    use proptest::prelude::*;

    use super::*;

    /// A body's data, and what was left behind it.
    type Decoded = (Vec<u8>, Vec<u8>);

    /// Decodes what arrives in these pieces. Returns `None` if the body is incomplete.
    fn decode(framing: Framing, pieces: &[&[u8]]) -> Result<Option<Decoded>, Malformed> {
        let mut decoder = BodyDecoder::new(framing);
        let (mut buffer, mut body) = (Vec::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            loop {
                match decoder.decode(&buffer)? {
                    Piece::NeedMore => break,
                    Piece::Data { skip, data } => {
                        body.extend_from_slice(&buffer[skip..skip + data]);
                        buffer.drain(..skip + data);
                    }
                    Piece::End { skip } => {
                        buffer.drain(..skip);
                        break;
                    }
                }
            }
        }
        Ok(decoder.is_complete().then_some((body, buffer)))
    }

    #[test]
    fn extensions_and_trailers_are_dropped() {
        let text = b"4;a=b\r\nWiki\r\n5\r\npedia\r\n0\r\nX: y\r\n\r\nGET";
        let decoded = decode(Framing::Chunked, &[text]).unwrap().unwrap();
        assert_eq!(decoded, (b"Wikipedia".to_vec(), b"GET".to_vec()));
    }

    #[test]
    fn malformed_chunks_are_errors() {
        for text in [
            "x\r\n",
            "4\r\nWikipedia",
            "-1\r\n",
            "fffffffffffffffff\r\n",
            "0\r\n\r\r",
            "\r\n\r\n",
            ";a\r\n",
            "+4\r\n",
            "0x4\r\n",
            " 4\r\n",
            "4 \r\n",
            "4 4\r\n",
            "4\n",
            "4;a\nb\r\n",
            "4;a\rb\r\n",
            "4;\0\r\n",
            "0\r\n\n",
            "0\r\nX: y\n\r\n",
            "0\r\nX: y\r\n z\r\n\r\n",
        ] {
            assert_eq!(decode(Framing::Chunked, &[text.as_bytes()]), Err(Malformed));
        }
        let endless = "1".to_owned() + &";a".repeat(3000);
        assert_eq!(
            decode(Framing::Chunked, &[endless.as_bytes()]),
            Err(Malformed)
        );
    }

    #[test]
    fn what_is_malformed_is_never_complete() {
        let input = b"\r\n0\r\nno field\r\n\r\n";
        let mut decoder = BodyDecoder(State::ChunkEnd);
        for _ in 0..3 {
            assert_eq!(decoder.decode(input), Err(Malformed));
            assert!(!decoder.is_complete());
        }
    }

    proptest! {
        #[test]
        fn a_body_is_the_same_however_it_is_cut(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            cuts in prop::collection::vec(0..400_usize, 0..8),
        ) {
            let body = chunks.concat();
            let mut coded = Vec::new();
            for chunk in &chunks {
                coded.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                coded.extend_from_slice(chunk);
                coded.extend_from_slice(b"\r\n");
            }
            coded.extend_from_slice(b"0\r\n\r\nnext");
            let with_length = [body.as_slice(), b"next"].concat();
            let length = Framing::Length(body.len() as u64);
            for (framing, bytes) in [(Framing::Chunked, coded), (length, with_length)] {
                let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % bytes.len()).collect();
                cuts.push(bytes.len());
                cuts.sort_unstable();
                let mut pieces: Vec<&[u8]> = Vec::new();
                let mut from = 0;
                for cut in cuts {
                    pieces.push(&bytes[from..cut]);
                    from = cut;
                }
                let decoded = decode(framing, &pieces).unwrap().unwrap();
                prop_assert_eq!(&decoded.0, &body);
                prop_assert_eq!(&decoded.1, b"next");
            }
        }
    }
}
