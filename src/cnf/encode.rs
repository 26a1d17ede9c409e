//! Makes a coding of a formula, from file to file, and checks a coding that is there.

use std::{
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{
    checked::{Source, WORTH_ENCODING_BYTES},
    measured::{CHUNK_BYTES, Measured},
    names,
};
use crate::{
    domain::{coding::Coding, formula::FileHash},
    small_file::open_regular,
};

/// Up to this size formulas are encoded strongly.
const STRONG_UP_TO_BYTES: u64 = 16 * 1024 * 1024;
/// 458,735 bytes of random 3-SAT become 191,492. With zlib, level 9 saves 0.4 % more in twice the time.
const GZIP_LEVEL: u32 = 6;
/// The brotli window, of 4 MiB (RFC 7932 §9.1). It bounds the memory of encoder and decoder.
const BROTLI_WINDOW_BITS: u32 = 22;

/// Makes the coding of `identity` in `folder`. Returns it with the file that is not yet under its name; `None` if it
/// saves nothing. Memory is bounded, whatever the size.
///
/// # Errors
/// Those of the files; `TimedOut` if `goes_on` returns false.
pub(super) fn encode(
    folder: &Path,
    identity: &Source,
    coding: Coding,
    goes_on: &dyn Fn() -> bool,
) -> io::Result<Option<(tempfile::NamedTempFile, Measured)>> {
    let bytes = identity.measured.bytes;
    if bytes < WORTH_ENCODING_BYTES {
        return Ok(None);
    }
    let scratch = names::scratch(folder)?;
    let file = BufWriter::with_capacity(CHUNK_BYTES, scratch.as_file());
    let limited = Limited {
        inner: file,
        left: bytes - 1,
    };
    let source = Watched {
        inner: open_regular(&identity.path)?,
        goes_on,
    };
    match write(source, bytes, coding, limited) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => return Ok(None),
        Err(error) => return Err(error),
    }
    let measured = check(scratch.path(), identity.hash, bytes, coding, goes_on)?;
    Ok(measured.map(|measured| (scratch, measured)))
}

fn write(mut source: impl Read, bytes: u64, coding: Coding, mut out: impl Write) -> io::Result<()> {
    let is_strong = bytes <= STRONG_UP_TO_BYTES;
    match coding {
        Coding::Identity => {
            io::copy(&mut source, &mut out)?;
        }
        Coding::Gzip => {
            let level = flate2::Compression::new(GZIP_LEVEL);
            let mut encoder = flate2::write::GzEncoder::new(&mut out, level);
            io::copy(&mut source, &mut encoder)?;
            encoder.finish()?;
        }
        Coding::Zstd => {
            let level = if is_strong { 9 } else { 3 };
            let mut encoder = zstd::stream::write::Encoder::new(&mut out, level)?;
            io::copy(&mut source, &mut encoder)?;
            encoder.finish()?;
        }
        Coding::Brotli => {
            let quality = if is_strong { 9 } else { 5 };
            let mut encoder =
                brotli::CompressorWriter::new(&mut out, CHUNK_BYTES, quality, BROTLI_WINDOW_BITS);
            io::copy(&mut source, &mut encoder)?;
            encoder.flush()?;
            // Its end is written when it is dropped, and an error then is lost: the check finds it.
            drop(encoder);
        }
    }
    out.flush()
}

/// Decodes the file of a coding and compares what comes out with the formula. Returns what is known of the file; `None`
/// if it is no coding of the formula.
///
/// # Errors
/// Those of the file; `TimedOut` if `goes_on` returns false.
pub(super) fn check(
    path: &Path,
    hash: FileHash,
    bytes: u64,
    coding: Coding,
    goes_on: &dyn Fn() -> bool,
) -> io::Result<Option<Measured>> {
    // Reading first: what the disk refuses is no fault of the coding.
    let before = Measured::read(open_regular(path)?, u64::MAX, goes_on)?;
    let file = BufReader::with_capacity(CHUNK_BYTES, open_regular(path)?);
    let decoded = match coding {
        Coding::Identity => digest(file, bytes, goes_on),
        Coding::Gzip => digest(flate2::bufread::MultiGzDecoder::new(file), bytes, goes_on),
        Coding::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(file);
            decoder.and_then(|decoder| digest(decoder, bytes, goes_on))
        }
        Coding::Brotli => digest(brotli::Decompressor::new(file, CHUNK_BYTES), bytes, goes_on),
    };
    match decoded {
        Ok(found) if found == (hash, bytes) => Ok(Some(before)),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(error),
        // The decoder says that it is malformed, in a way of its own.
        Err(_) => Ok(None),
    }
}

/// Returns the SHA-256 and the length of what is read, of one byte more than `most_bytes` at most.
fn digest(
    source: impl Read,
    most_bytes: u64,
    goes_on: &dyn Fn() -> bool,
) -> io::Result<(FileHash, u64)> {
    let source = source.take(most_bytes.saturating_add(1));
    let mut source = Watched {
        inner: source,
        goes_on,
    };
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut bytes = 0;
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok((FileHash(hasher.finalize().into()), bytes)),
            read => {
                bytes += read as u64;
                hasher.update(&buffer[..read]);
            }
        }
    }
}

/// Reads until `goes_on` returns false; then fails with `TimedOut`.
struct Watched<'g, R> {
    inner: R,
    goes_on: &'g dyn Fn() -> bool,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !(self.goes_on)() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.inner.read(buffer)
    }
}

/// Writes up to a number of bytes; fails with `FileTooLarge` instead of writing more.
struct Limited<W> {
    inner: W,
    left: u64,
}

impl<W: Write> Write for Limited<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self
            .left
            .checked_sub(bytes.len() as u64)
            .ok_or(io::ErrorKind::FileTooLarge)?;
        self.inner.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Returns the path of a coding's file.
pub(super) fn path(folder: &Path, identity: &Source, coding: Coding) -> PathBuf {
    names::path(folder, &identity.hash, coding)
}
