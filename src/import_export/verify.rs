//! `verify rows`: which eval runs of an input the keys have signed.

use std::{convert::Infallible, fmt, io::BufRead};

use crate::{
    domain::{
        Invalid,
        eval_run::EvalRun,
        signature::{PublicKeys, Verifier},
    },
    json_stream::{Place, SourceError, read_items},
};

/// The name of an eval run in messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    place: Place,
    /// `None` if it cannot be read.
    id: Option<String>,
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.id {
            Some(id) => write!(f, "{}, id {id}", self.place),
            None => write!(f, "{}", self.place),
        }
    }
}

/// How many eval runs an input has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verified {
    /// Those that could be published, with a signature that verifies.
    pub valid: u64,
    /// All others.
    pub invalid: u64,
}

/// Verifies each eval run of `source`, in the forms that `import rows` reads, and calls `each_invalid` for those
/// that are invalid. Memory holds 256 rows at most.
///
/// # Errors
/// The input cannot be read to its end, or is empty: that is what a pipe gets from a command that has failed.
pub fn verify(
    keys: &PublicKeys,
    mut source: impl BufRead,
    mut each_invalid: impl FnMut(Named, Invalid),
) -> Result<Verified, SourceError<Infallible>> {
    if source.fill_buf()?.is_empty() {
        return Err(SourceError::Form("the input is empty".to_owned()));
    }
    let mut counts = Verified::default();
    let mut rows = 0;
    let mut refuse = |refused: Vec<(Named, Invalid)>| {
        for (row, error) in refused {
            counts.invalid += 1;
            each_invalid(row, error);
        }
    };
    let mut verifier = Verifier::new(keys);
    read_items(source, |place, json| {
        rows += 1;
        refuse(match EvalRun::from_json(json) {
            Ok(EvalRun { id, .. }) => {
                let id = Some(id);
                verifier.push(Named { place, id }, json)
            }
            Err(error) => vec![(Named { place, id: None }, error)],
        });
        Ok(())
    })?;
    refuse(verifier.finish());
    counts.valid = rows - counts.invalid;
    Ok(counts)
}
