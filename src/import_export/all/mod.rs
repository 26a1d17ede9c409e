//! `export all` and `import all`: every row of every table, with every column.
//!
//! NDJSON. The first line names the format, the last one says how many items there are: an input that was cut off is
//! rejected. A stored text (`body`) is a JSON string, so that its bytes and line breaks survive.

mod export;
mod import;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::store::dump::{StoredEpoch, StoredEvalRun};

pub use export::export;
pub use import::{ImportAllError, import};

const FORMAT: &str = "cathedral-publisher/all";
const VERSION: u32 = 1;

/// The first line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    version: u32,
}

/// Any other line: its kind, and the columns.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// An item of the board, and nothing that all of them have in common.
    Challenge(Box<RawValue>),
    EvalRun(StoredEvalRun),
    MerkleEpoch(StoredEpoch),
    End(End),
}

/// The last line.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    challenges: u64,
    eval_runs: u64,
    merkle_epochs: u64,
    /// The greatest `seq` that was ever given; 0 if none was.
    last_seq: i64,
}
