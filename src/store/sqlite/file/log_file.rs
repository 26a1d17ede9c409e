//! What a write-ahead log says of the database that it was written for.
//!
//! Every change rewrites a row of `board_version` or `feed_version`, and SQLite logs whole pages: so the log of any
//! change contains the mark of the file ([`super::mark`]) that the change was made to. The log is read as a
//! file; SQLite has no locks on it that closing it could drop.
//!
//! Formats: <https://sqlite.org/fileformat2.html>, sections 1.6, 2.1 and 4.1.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

/// The size of a log's header.
pub(super) const HEADER_BYTES: usize = 32;
/// The size of the header in front of each page in the log.
pub(super) const FRAME_HEADER_BYTES: usize = 24;
/// The first four bytes of a log.
const MAGIC: [u32; 2] = [0x377f_0682, 0x377f_0683];
/// The first byte of a page that is a leaf of a table.
const TABLE_LEAF: u8 = 0x0d;
const MAX_PAGE_BYTES: u32 = 65_536;

/// Returns the mark of the file in the last transaction of the log that has one.
///
/// # Errors
/// The log cannot be read.
pub(super) fn last_mark(log: &Path) -> io::Result<Option<String>> {
    let mut log = BufReader::with_capacity(256 * 1024, File::open(log)?);
    let mut header = [0; HEADER_BYTES];
    if !fill(&mut log, &mut header)? {
        return Ok(None);
    }
    let page_bytes = big_endian(&header, 8);
    let salts = &header[16..24];
    if !page_bytes.is_power_of_two() || !(512..=MAX_PAGE_BYTES).contains(&page_bytes) {
        return Ok(None);
    }
    let mut frame = [0; FRAME_HEADER_BYTES];
    let mut page = vec![0; page_bytes as usize];
    let (mut committed, mut pending) = (None, None);
    // A frame with other salts is left of what the log contained before.
    while fill(&mut log, &mut frame)? && frame[8..16] == *salts && fill(&mut log, &mut page)? {
        pending = mark_in(&page).or(pending);
        let is_commit = big_endian(&frame, 4) != 0;
        if is_commit {
            committed = pending.take().or(committed);
        }
    }
    Ok(committed)
}

/// Returns the salts in the header of the log: they change when SQLite begins to write it from its start again.
///
/// # Errors
/// The log cannot be read, or has no header of a log.
pub(super) fn salts(log: &Path) -> io::Result<[u8; 8]> {
    let mut header = [0; HEADER_BYTES];
    File::open(log)?.read_exact(&mut header)?;
    if !MAGIC.contains(&big_endian(&header, 0)) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut salts = [0; 8];
    salts.copy_from_slice(&header[16..24]);
    Ok(salts)
}

/// Returns whether the frame at this offset belongs to what the log contains now.
pub(super) fn has_frame(log: &Path, offset: u64, salts: [u8; 8]) -> io::Result<bool> {
    use std::io::Seek;
    let mut log = File::open(log)?;
    log.seek(io::SeekFrom::Start(offset))?;
    let mut frame = [0; FRAME_HEADER_BYTES];
    Ok(fill(&mut log, &mut frame)? && frame[8..16] == salts)
}

/// Reads until the buffer is full. Returns false at the end of the file.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match source.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn big_endian(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(number)
}

/// Returns the mark in a page that is the whole of a table with one row whose last column is a mark.
fn mark_in(page: &[u8]) -> Option<String> {
    if page[0] != TABLE_LEAF || page[3..5] != [0, 1] {
        return None;
    }
    let cell = usize::from(u16::from_be_bytes([page[8], page[9]]));
    let mut rest = page.get(cell..)?;
    let payload_bytes = varint(&mut rest)?;
    let _rowid = varint(&mut rest)?;
    let payload = rest.get(..payload_bytes)?;
    let mut columns = payload;
    let header_bytes = varint(&mut columns)?;
    let mut types = payload.get(payload.len() - columns.len()..header_bytes)?;
    let mut last = 0;
    while !types.is_empty() {
        last = varint(&mut types)?;
    }
    // An odd type from 13 on is a text of (type - 13) / 2 bytes.
    let text_bytes = last.checked_sub(13).filter(|bytes| bytes % 2 == 0)? / 2;
    let text = payload.get(payload.len().checked_sub(text_bytes)?..)?;
    let mark = std::str::from_utf8(text).ok()?;
    let (inode, created) = mark.split_once('.')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(inode) && is_number(created)).then(|| mark.to_owned())
}

/// Takes a variable-length integer from the front.
fn varint(bytes: &mut &[u8]) -> Option<usize> {
    let mut number = 0_u64;
    for _ in 0..9 {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number = (number << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return usize::try_from(number).ok();
        }
    }
    None
}
