//! `demo`: a server with something to see.
//!
//! | file | knows |
//! |---|---|
//! | `sample` | challenges and eval runs of the live ones' shape and size, from a seed |
//! | `life` | the background task that keeps writing |

pub mod life;
pub mod sample;
