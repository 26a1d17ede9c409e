//! Files that options name: none is read beyond a bound, also if it never ends (a device, a pipe).

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

/// The longest file with options, results or certificates.
pub const LONGEST: u64 = 64 * 1024 * 1024;

/// Reads a file of at most `most` bytes.
///
/// # Errors
/// If it is longer, or cannot be read.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let text = format!("longer than {most} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}
