//! The heads of the board's answers, written once for each variant of it, but for the date.

use std::{
    io::Write as _,
    time::{Duration, Instant, SystemTime},
};

use actix_web::web::Bytes;

use crate::{
    domain::coding::Coding,
    http::conditional::{CACHE_CONTROL, Decision, VARY},
    representation::Variant,
};

/// The heads of the last variant of each coding, and the date.
#[derive(Debug, Default)]
pub(super) struct Heads {
    variants: [Option<Written>; Coding::ALL.len()],
    date: Date,
}

/// Up to the date.
#[derive(Debug)]
struct Written {
    /// Whose heads these are. While it is held no other body can lie there.
    body: Bytes,
    whole: Vec<u8>,
    not_modified: Vec<u8>,
}

impl Heads {
    /// Writes the head of this answer, at this instant, to `output`.
    pub(super) fn write(&mut self, decision: &Decision<'_>, now: Instant, output: &mut Vec<u8>) {
        let variant = decision.variant();
        let slot = &mut self.variants[variant.coding() as usize];
        if !slot.as_ref().is_some_and(|written| written.is_of(variant)) {
            *slot = None;
        }
        let written = slot.get_or_insert_with(|| Written::of(variant));
        output.extend_from_slice(match decision {
            Decision::Whole(_) => &written.whole,
            Decision::NotModified(_) => &written.not_modified,
        });
        output.extend_from_slice(self.date.line(now));
    }
}

impl Written {
    fn is_of(&self, variant: &Variant) -> bool {
        std::ptr::eq(self.body.as_ref(), variant.body_ref().as_ref())
    }

    fn of(variant: &Variant) -> Self {
        let etag = variant.etag().as_str();
        let common = format!("etag: {etag}\r\ncache-control: {CACHE_CONTROL}\r\nvary: {VARY}\r\n");
        let length = variant.body_ref().len();
        let coding = match variant.coding() {
            Coding::Identity => String::new(),
            Coding::Gzip | Coding::Zstd | Coding::Brotli => {
                format!("content-encoding: {}\r\n", variant.coding().as_str())
            }
        };
        let whole = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\ncontent-type: application/json\r\n\
             x-content-type-options: nosniff\r\n{coding}{common}"
        );
        Self {
            body: variant.body(),
            whole: whole.into(),
            not_modified: format!("HTTP/1.1 304 Not Modified\r\n{common}").into(),
        }
    }
}

/// The line of the date and the empty one after it (RFC 9110 §6.6.1), written once a second.
#[derive(Debug, Default)]
struct Date {
    line: Vec<u8>,
    until: Option<Instant>,
}

impl Date {
    fn line(&mut self, now: Instant) -> &[u8] {
        if self.until.is_none_or(|until| now >= until) {
            let time = SystemTime::now();
            let since = time.duration_since(SystemTime::UNIX_EPOCH);
            let passed = since.unwrap_or_default().subsec_nanos();
            self.until = Some(now + Duration::from_secs(1) - Duration::from_nanos(passed.into()));
            self.line.clear();
            // Writing to memory does not fail.
            let date = httpdate::HttpDate::from(time);
            let _ = write!(self.line, "date: {date}\r\n\r\n");
        }
        &self.line
    }
}
