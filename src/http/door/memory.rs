//! Which requests memory can answer: the board, current-challenge and cached pages of the feed.

use crate::{
    domain::{coding::Acceptable, cursor::PageLimit},
    feed::After,
    http::{
        query::{self, Choice},
        routes::{BOARD, CURRENT, FEED, PREFIX},
    },
};

/// A representation that a request asks for.
#[derive(Debug)]
pub(super) enum Target<'t> {
    Board,
    Current(Choice<'t>),
    Page(After, PageLimit),
}

impl<'t> Target<'t> {
    /// Parses a request's target. Returns `None` for every other path and for invalid parameters, which
    /// actix-web answers.
    pub(super) fn parse(target: &'t str) -> Option<Self> {
        let target = target.strip_prefix(PREFIX).unwrap_or(target);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if !query.bytes().all(is_plain) {
            return None;
        }
        match path {
            BOARD => Some(Self::Board),
            CURRENT => Choice::parse(query).ok().map(Self::Current),
            FEED => {
                let (after, limit) = query::feed_page(query).ok()?;
                Some(Self::Page(after, limit))
            }
            _ => None,
        }
    }
}

/// The characters that actix-web takes in a query; others are a malformed target (RFC 3986 §3.4).
fn is_plain(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x24..=0x3b | 0x3d | 0x3f..=0x7e)
}

/// The codings that the last client accepted: most clients of a worker send the same field.
#[derive(Debug, Default)]
pub(super) struct LastAcceptable {
    field: Vec<u8>,
    acceptable: Acceptable,
}

impl LastAcceptable {
    /// Parses the lines of `Accept-Encoding`.
    pub(super) fn parse(&mut self, lines: &[&[u8]]) -> Acceptable {
        match lines {
            [] => Acceptable::default(),
            [line] => {
                if self.field != *line {
                    self.field = line.to_vec();
                    self.acceptable = Acceptable::parse([*line]);
                }
                self.acceptable
            }
            lines => Acceptable::parse(lines.iter().copied()),
        }
    }
}
