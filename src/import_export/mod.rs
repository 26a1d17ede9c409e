//! Import of what another publisher serves; export of what this one stores.
//!
//! | file | knows |
//! |---|---|
//! | `import` | one transaction for a file, and errors that name the item |
//! | `all` | everything that is stored, exactly |
//! | `export` | writes what `import` reads |

pub mod all;
pub mod export;
pub mod import;
