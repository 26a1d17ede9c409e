//! Import of what another publisher serves; export of what this one stores.
//!
//! | file | knows |
//! |---|---|
//! | `import` | reads all, then writes all; errors that name the item |
//! | `spool` | items between the two, in memory and in a file without a name |
//! | `all` | everything that is stored, exactly |
//! | `export` | writes what `import` reads |
//! | `verify` | which eval runs of an input are signed |

pub mod all;
pub mod export;
pub mod import;
mod spool;
pub mod verify;
