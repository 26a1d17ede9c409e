//! Waiting for a change instead of polling (WIRE.md, "Waiting").
//!
//! A client names what it has by a URL that the last answer gave it: a position, and a time slot. The answer comes
//! when there is something newer, or when the slot has ended. All clients that have the same wait at the same URL,
//! so that a cache in front sends one request for them; and as the next slot is another URL, no cached answer is
//! taken for news.
//!
//! | file | knows |
//! |---|---|
//! | `slots` | time slots: which one is current, how long it still lasts |
//! | `next` | the fields of an answer that say how to go on: `Link`, `Cache-Control`, `Retry-After` |
//! | `limits` | how many requests may wait, in all and from one client address |
//! | `waiters` | the requests of one worker that wait, and waking them in batches |
//! | `settings` | the options of waiting |

mod limits;
mod next;
mod settings;
mod slots;
mod waiters;

pub(super) use limits::WaitPermit;
pub use limits::Waits;
pub(super) use next::{Next, Reason};
pub(super) use settings::Settings;
pub(super) use slots::{Slot, Slots};
pub(super) use waiters::{Registered, Topic, Waiters};
