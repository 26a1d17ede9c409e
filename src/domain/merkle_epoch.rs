//! A Merkle epoch: a number, and JSON of its producer that is stored to the byte (WIRE.md, Writes).

use super::{Invalid, MAX_ITEM_BYTES, check_length, readable};

/// Returns the body of an epoch without the whitespace around it.
///
/// # Errors
/// [`Invalid`] if it is longer than [`MAX_ITEM_BYTES`], or some parser could not read it ([`readable::check`]).
pub fn body(json: &str) -> Result<&str, Invalid> {
    let json = json.trim_ascii();
    check_length("an epoch", json.len(), MAX_ITEM_BYTES)?;
    readable::check(json)?;
    Ok(json)
}

/// Parses the number of an epoch: 0 to 2^63-1 in decimal digits, without a leading zero, so that each epoch has one
/// spelling.
///
/// # Errors
/// [`Invalid`] naming `epoch`.
pub fn number(text: &str) -> Result<i64, Invalid> {
    let number = text.parse::<i64>().ok();
    number
        .filter(|number| *number >= 0 && number.to_string() == text)
        .ok_or_else(|| {
            let reason = "must be an integer from 0 to 2^63-1, without leading zeros";
            Invalid::new("epoch", reason)
        })
}
