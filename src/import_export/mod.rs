//! Import of what another publisher serves; export of what this one stores.
//!
//! | file | knows |
//! |---|---|
//! | `import` | one transaction for a file, and errors that name the item |
//! | `export` | writes what `import` reads |

pub mod export;
pub mod import;
