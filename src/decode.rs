//! Decodes bodies that another server sent, within bounds.

use std::io::{self, Read};

/// The greatest window of zstd, as a power of 2: 8 MiB, which every decoder must have (RFC 8878 §3.1.1.1.2). A body that
/// needs more is refused, so that a few bytes cannot ask for much memory.
const ZSTD_WINDOW_LOG: u32 = 23;
/// The buffer of the Brotli decoder.
const BROTLI_BUFFER_BYTES: usize = 4096;

/// Why there is no decoded body.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    /// This program does not know the coding.
    #[error("the coding {0:?} is unknown")]
    Unknown(String),
    /// The body is not valid in its coding, or ends early.
    #[error("{0}")]
    Malformed(#[from] io::Error),
    /// The decoded body would be longer.
    #[error("it has more than {0} bytes when decoded")]
    TooLong(u64),
}

/// Decodes a body of up to `max_bytes` by its `Content-Encoding`: gzip, br, zstd, or none.
///
/// # Errors
/// [`DecodeError`].
pub(crate) fn decode(body: &[u8], coding: &str, max_bytes: u64) -> Result<Vec<u8>, DecodeError> {
    let coding = coding.trim().to_ascii_lowercase();
    let decoded = match coding.as_str() {
        "" | "identity" => read(body, max_bytes),
        "gzip" | "x-gzip" => read(flate2::read::MultiGzDecoder::new(body), max_bytes),
        "br" => read(
            brotli::Decompressor::new(body, BROTLI_BUFFER_BYTES),
            max_bytes,
        ),
        "zstd" => zstd(body, max_bytes),
        _ => return Err(DecodeError::Unknown(coding.chars().take(40).collect())),
    }?;
    if decoded.len() as u64 > max_bytes {
        return Err(DecodeError::TooLong(max_bytes));
    }
    Ok(decoded)
}

fn zstd(body: &[u8], max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut decoder = zstd::Decoder::with_buffer(body)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG)?;
    read(decoder, max_bytes)
}

/// Reads one byte more than is allowed, so that a body of just the limit is whole.
fn read(body: impl Read, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut decoded = Vec::new();
    body.take(max_bytes.saturating_add(1))
        .read_to_end(&mut decoded)?;
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn encoded(body: &[u8]) -> io::Result<[(&'static str, Vec<u8>); 3]> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(body)?;
        let mut br = Vec::new();
        brotli::BrotliCompress(&mut &body[..], &mut br, &Default::default())?;
        Ok([
            ("gzip", gzip.finish()?),
            ("zstd", zstd::bulk::compress(body, 3)?),
            ("br", br),
        ])
    }

    #[test]
    fn each_coding_is_decoded_and_a_bomb_or_a_part_is_an_error() -> io::Result<()> {
        let body = vec![0; 10_000_000];
        for (coding, coded) in encoded(&body)? {
            assert!(coded.len() < 100_000, "{coding}");
            assert_eq!(
                decode(&coded, coding, 10_000_000).ok().as_ref(),
                Some(&body)
            );
            let bomb = decode(&coded, coding, 9_999_999);
            assert!(
                matches!(bomb, Err(DecodeError::TooLong(9_999_999))),
                "{coding}"
            );
            let part = decode(&coded[..coded.len() / 2], coding, 10_000_000);
            assert!(matches!(part, Err(DecodeError::Malformed(_))), "{coding}");
        }
        assert_eq!(decode(b"a", "", 1).ok(), Some(b"a".to_vec()));
        for coding in ["deflate", "gzip, br"] {
            assert!(
                matches!(decode(b"a", coding, 9), Err(DecodeError::Unknown(_))),
                "{coding}"
            );
        }
        Ok(())
    }
}
