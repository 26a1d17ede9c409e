//! Requests that memory can answer: the board, its changes, current-challenge, the JWK set, cached pages of the feed,
//! and whether a client has a formula.

use std::{borrow::Cow, io, task::Context};

use super::{
    Door, Scratch,
    connection::Connection,
    exchange::{Exchange, Outcome, write_field},
    head::{Framing, Head},
};
use crate::{
    answer::{CachePolicy, Chosen, Conditions, Decision, Media, Representation},
    domain::coding::Acceptable,
    http::{
        board::chosen,
        cache_status::CacheStatus,
        cnf,
        query::{self, Changes, Choice, FeedQuery},
        routes::{BOARD, CHANGES, CURRENT, EVENTS, FEED, FORMULA, JWKS, public_path},
        waiting::{Next, Reason},
    },
    metrics::{Source, requests::Route},
};

/// Shorter bodies are copied behind their heads, which costs less than to pass the kernel two pieces.
const COPIED_BYTES: usize = 4 * 1024;

/// A representation that a request asks for.
#[derive(Debug)]
pub(super) enum Target<'t> {
    Board,
    Changes(Changes),
    Current(Choice<'t>),
    Page(FeedQuery),
    Events,
    /// That of the challenge with this id.
    Formula(Cow<'t, str>),
    JwkSet,
}

impl<'t> Target<'t> {
    /// Parses a request's target. Returns `None` for every other path and for invalid parameters, which
    /// actix-web answers.
    pub(super) fn parse(target: &'t str) -> Option<Self> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if !query.bytes().all(is_plain) {
            return None;
        }
        match public_path(path) {
            BOARD => Some(Self::Board),
            CHANGES => query::changes(query).ok().map(Self::Changes),
            CURRENT => Choice::parse(query).ok().map(Self::Current),
            EVENTS => Some(Self::Events),
            FORMULA => query::challenge_id(query).ok().map(Self::Formula),
            JWKS => Some(Self::JwkSet),
            FEED => query::feed(query).ok().map(Self::Page),
            _ => None,
        }
    }
}

impl Door {
    /// Returns what a request asks for, if it is one that memory may answer: GET or HEAD without a body.
    pub(super) fn target<'b>(&self, head: &Head<'_, 'b>) -> Option<Target<'b>> {
        let is_read = matches!(head.method, "GET" | "HEAD") && head.framing == Framing::Length(0);
        is_read.then(|| Target::parse(head.target))?
    }
}

/// A request that memory may answer.
#[derive(Debug)]
pub(super) struct Asked<'r, 'h, 'b> {
    pub(super) head: &'r Head<'h, 'b>,
    pub(super) head_bytes: usize,
    pub(super) exchange: &'r Exchange<'b>,
    pub(super) target: Target<'b>,
}

/// An answer from memory.
struct Reply<'r> {
    decision: Decision<'r>,
    media: &'r Media,
    cache_policy: CachePolicy,
    cache_status: Option<CacheStatus>,
    next: Option<Next>,
}

impl Connection {
    /// Answers a request if memory can.
    pub(super) fn answer_from_memory(
        &mut self,
        cx: &mut Context<'_>,
        door: &Door,
        scratch: &mut Scratch,
        asked: &Asked<'_, '_, '_>,
        reason: Reason,
    ) -> Option<io::Result<()>> {
        let Asked { head, exchange, .. } = asked;
        if head.has_special_fields {
            return None;
        }
        let acceptable = scratch.acceptable.parse(&head.accept_encoding);
        let if_none_match = head.if_none_match.iter().copied();
        let conditions = Conditions::new(acceptable, [], if_none_match);
        // `saved` are the bytes that a 304 and a coding save.
        let mut send = |reply: Reply<'_>, saved: (usize, usize), count: &dyn Fn()| {
            if let Err(refused) = exchange.admit(door) {
                return Some(self.reject(door, scratch, exchange, &refused));
            }
            count();
            door.counters.saved(saved.0, saved.1);
            door.counters.on_fast_path();
            Some(self.reply(cx, door, scratch, exchange, reply))
        };
        let mut reply = |representation: &Representation, status, next: Option<Next>| {
            let decision = conditions.decide(representation).ok()?;
            let saved = decision.saved_bytes(representation);
            let count = || match status {
                CacheStatus::Board(_) if exchange.route == Route::Current => {}
                CacheStatus::Board(freshness) => {
                    door.counters.from_snapshot(freshness.is_stale());
                }
                CacheStatus::Page(_) => door.handles.feed.count_hit(),
                CacheStatus::Document => {}
            };
            let policy = next.as_ref().map(Next::cache_policy);
            let reply = Reply {
                decision,
                media: representation.media(),
                cache_policy: policy.unwrap_or(representation.cache_policy()),
                cache_status: Some(status),
                next,
            };
            send(reply, saved, &count)
        };
        match &asked.target {
            Target::Board => door.handles.board.try_read(|published, freshness| {
                reply(published.board(), CacheStatus::Board(freshness), None)
            })?,
            Target::Changes(_) => door.handles.board.try_read(|published, freshness| {
                let next = door.handles.next_of_board(published, reason);
                reply(published.board(), CacheStatus::Board(freshness), Some(next))
            })?,
            Target::Current(choice) => door.handles.board.try_read(|published, freshness| {
                let item = chosen(&published.snapshot, choice)?;
                reply(item, CacheStatus::Board(freshness), None)
            })?,
            // A stream: see `events`.
            Target::Events => None,
            // The application looks at files, and sends them.
            Target::Formula(_) if head.if_none_match.is_empty() => None,
            Target::Formula(id) => door.handles.board.try_read(|published, freshness| {
                let formula = published.snapshot.formula(id)?;
                let checked = door.handles.cnf.as_ref()?.opened(formula)?;
                let Ok(Chosen::NotModified(tag)) = conditions.choose(&*checked) else {
                    return None;
                };
                let bytes = checked.bytes(tag.coding()).unwrap_or(0);
                let reply = Reply {
                    decision: Decision::NotModified(tag),
                    media: &cnf::media(),
                    cache_policy: CachePolicy::Immutable,
                    cache_status: None,
                    next: None,
                };
                let saved = usize::try_from(bytes).unwrap_or(usize::MAX);
                send(reply, (saved, 0), &|| {
                    door.counters.from_snapshot(freshness.is_stale());
                })
            })?,
            Target::JwkSet => {
                let set = door.handles.jwk_set.get()?;
                reply(&set.representation, CacheStatus::Document, None)
            }
            Target::Page(FeedQuery { key, .. }) => {
                let page = door.handles.feed.cached(key)?;
                // The application has it made first.
                if conditions.missing_encoding(&page.representation).is_some() {
                    return None;
                }
                let next = door.handles.next_of_page(&page, key, reason);
                let status = CacheStatus::Page(Source::Hit);
                let replied = reply(&page.representation, status, next);
                if self.unsent.is_some() {
                    self.share_memory(door, exchange.route, exchange.client(door, head, self.peer));
                }
                replied
            }
        }
    }

    /// Writes the answer to the output; sends it if its body is long.
    fn reply(
        &mut self,
        cx: &mut Context<'_>,
        door: &Door,
        scratch: &mut Scratch,
        exchange: &Exchange<'_>,
        reply: Reply<'_>,
    ) -> io::Result<()> {
        let decision = reply.decision;
        let body = match decision {
            Decision::Whole(variant) if !exchange.is_head() => Some(variant.body_ref()),
            Decision::Whole(_) | Decision::NotModified(_) => None,
        };
        let outcome = Outcome {
            status: decision.status(),
            body_bytes: body.map_or(0, |body| body.len() as u64),
            persists: exchange.persists && door.lets_persist(),
        };
        self.closes |= !outcome.persists;
        let Scratch { output, date, .. } = scratch;
        let edge = &door.handles.edge_cache;
        decision.write_head(reply.media, reply.cache_policy, edge, output);
        if door.handles.settings.cache_status {
            let status = reply.cache_status.into_iter();
            for (name, value) in status.flat_map(CacheStatus::fields) {
                write_field(output, name, &value);
            }
        }
        for (name, value) in reply.next.iter().flat_map(Next::fields) {
            write_field(output, name, value);
        }
        door.end_head(exchange, outcome, date, output);
        match body {
            Some(body) if body.len() > COPIED_BYTES => self.send(cx, output, body),
            Some(body) => {
                output.extend_from_slice(body);
                Ok(())
            }
            None => Ok(()),
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
