//! What another publisher serves, brought in; what this one stores, written out.
//!
//! | file | knows |
//! |---|---|
//! | `import` | one transaction around it, and which item is to blame |
//! | `export` | the inverse |

pub mod export;
pub mod import;
