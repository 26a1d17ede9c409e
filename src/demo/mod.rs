//! `demo`: a server with something to see.
//!
//! | file | knows |
//! |---|---|
//! | `key` | the key that signs sample data |
//! | `sample` | challenges and eval runs of the live ones' shape and size, from a seed |
//! | `planted` | formulas of sample challenges, each with a solution |
//! | `simulation` | the background task that keeps writing |

pub mod key;
pub mod planted;
pub mod sample;
pub mod simulation;
