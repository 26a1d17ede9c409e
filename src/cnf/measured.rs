//! What is known of a file that was read once: its size, its SHA-256, and a checksum of each chunk.

use std::{
    fs,
    hash::{BuildHasher as _, RandomState},
    io::{self, Read},
    path::Path,
};

use sha2::{Digest, Sha256};

use crate::small_file::open_regular;

/// How much is read, cached and sent at once, in bytes.
pub(super) const CHUNK_BYTES: usize = 128 * 1024;

/// The content of a file: enough to know each chunk again.
#[derive(Debug)]
pub(super) struct Measured {
    /// The length in bytes.
    pub(super) bytes: u64,
    /// The SHA-256.
    pub(super) sha256: [u8; 32],
    /// A keyed checksum of each chunk (SipHash): nobody who does not know the key can make another chunk with it.
    checksums: Vec<u64>,
    key: RandomState,
}

impl Measured {
    /// Reads all of `source`, but no more than `most_bytes`. Calls `goes_on` for each chunk.
    ///
    /// # Errors
    /// Those of the source; `FileTooLarge` if it is longer; `TimedOut` if `goes_on` returns false.
    pub(super) fn read(
        mut source: impl Read,
        most_bytes: u64,
        goes_on: impl Fn() -> bool,
    ) -> io::Result<Self> {
        let mut hasher = Sha256::new();
        let mut measured = Self {
            bytes: 0,
            sha256: [0; 32],
            checksums: Vec::new(),
            key: RandomState::new(),
        };
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        loop {
            chunk.clear();
            let read = source
                .by_ref()
                .take(CHUNK_BYTES as u64)
                .read_to_end(&mut chunk)?;
            if read == 0 {
                break;
            }
            measured.bytes += read as u64;
            if measured.bytes > most_bytes {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            if !goes_on() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            hasher.update(&chunk);
            measured.checksums.push(measured.checksum(&chunk));
        }
        measured.sha256 = hasher.finalize().into();
        Ok(measured)
    }

    /// Returns where a chunk begins and how long it is, in bytes.
    pub(super) fn chunk(&self, index: u64) -> (u64, usize) {
        let start = index.saturating_mul(CHUNK_BYTES as u64);
        let length = self.bytes.saturating_sub(start).min(CHUNK_BYTES as u64);
        (start, usize::try_from(length).unwrap_or(CHUNK_BYTES))
    }

    /// Returns whether these are the bytes of the chunk.
    pub(super) fn has_chunk(&self, index: u64, chunk: &[u8]) -> bool {
        let known = usize::try_from(index)
            .ok()
            .and_then(|at| self.checksums.get(at));
        known == Some(&self.checksum(chunk))
    }

    /// Returns the memory that it takes, in bytes.
    pub(super) fn weight(&self) -> usize {
        size_of::<Self>() + self.checksums.capacity() * size_of::<u64>()
    }

    fn checksum(&self, chunk: &[u8]) -> u64 {
        self.key.hash_one(chunk)
    }
}

/// Facts of a file that change when it is written to, or when another file takes its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    place: (u64, u64),
    bytes: u64,
    times: [(i64, i64); 2],
}

impl Stamp {
    /// Looks at a file. Follows symbolic links.
    ///
    /// # Errors
    /// Those of the file system; `InvalidInput` if it is no regular file: reading a pipe would not end.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        Self::from(&fs::metadata(path)?)
    }

    #[cfg(unix)]
    fn from(metadata: &fs::Metadata) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt as _;
        if !metadata.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        Ok(Self {
            place: (metadata.dev(), metadata.ino()),
            bytes: metadata.size(),
            times: [
                (metadata.mtime(), metadata.mtime_nsec()),
                (metadata.ctime(), metadata.ctime_nsec()),
            ],
        })
    }
}

/// How often a file is read at most that changes meanwhile, as one does whose name is given to another one.
const MAX_READS: u32 = 3;

/// Reads a file. Returns what it is known by, too.
///
/// # Errors
/// Those of the file system; `ResourceBusy` if somebody wrote to it each time that it was read.
pub(super) fn measure(path: &Path) -> io::Result<(Stamp, Measured)> {
    for _ in 0..MAX_READS {
        let file = open_regular(path)?;
        let stamp = Stamp::from(&file.metadata()?)?;
        let measured = Measured::read(&file, u64::MAX, || true)?;
        if Stamp::from(&file.metadata()?)? == stamp && measured.bytes == stamp.bytes {
            return Ok((stamp, measured));
        }
    }
    let changed = "it changed while it was read";
    Err(io::Error::new(io::ErrorKind::ResourceBusy, changed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_chunk_is_known_again_and_no_other_bytes_are() -> io::Result<()> {
        let body: Vec<u8> = (0..CHUNK_BYTES * 2 + 10)
            .map(|at| (at % 251) as u8)
            .collect();
        let measured = Measured::read(&body[..], u64::MAX, || true)?;
        assert_eq!(measured.bytes, body.len() as u64);
        assert_eq!(measured.sha256, <[u8; 32]>::from(Sha256::digest(&body)));
        for index in 0..3 {
            let (start, length) = measured.chunk(index);
            let mut chunk = body[start as usize..][..length].to_vec();
            assert!(measured.has_chunk(index, &chunk));
            assert!(!measured.has_chunk(index + 1, &chunk));
            chunk[length - 1] ^= 1;
            assert!(!measured.has_chunk(index, &chunk));
        }
        assert_eq!(measured.chunk(2).1, 10);
        assert!(!measured.has_chunk(3, &[]));
        Ok(())
    }

    #[test]
    fn a_source_that_is_too_long_or_no_longer_wanted_is_not_read_to_its_end() {
        let kind = |read: io::Result<Measured>| read.map_err(|error| error.kind()).err();
        let read = Measured::read(io::repeat(0), 1_000_000, || true);
        assert_eq!(kind(read), Some(io::ErrorKind::FileTooLarge));
        let read = Measured::read(io::repeat(0), u64::MAX, || false);
        assert_eq!(kind(read), Some(io::ErrorKind::TimedOut));
    }
}
