//! What the board and a page of the feed have in common (WIRE.md, conditional requests and content codings).

use std::collections::HashMap;

use super::{
    Checks, conditional,
    report::{Finding, differs, fails, not_offered},
    session::{MAX_BODY_BYTES, Session},
};
use crate::{
    decode::decode,
    domain::{coding::Coding, entity_tag::EntityTag},
    fetch::Fetched,
};

/// The longest time that clients poll without asking again, in seconds.
const MAX_AGE_SECS: u64 = 15;

/// A 200 without a content coding.
#[derive(Debug)]
pub(super) struct Representation {
    /// The first word of its checks.
    pub(super) name: &'static str,
    pub(super) path: String,
    pub(super) whole: Fetched,
}

/// Asks for a path without a content coding.
///
/// # Errors
/// [`Finding`] if the answer is no 200 with JSON, or has a content coding that was not asked for.
pub(super) fn json(session: &mut Session, path: &str) -> Result<Fetched, Finding> {
    let answer = session.get(path, &[])?;
    check_json(&answer)?;
    Ok(answer)
}

/// Checks that an answer is a 200 with JSON without a content coding.
pub(super) fn check_json(answer: &Fetched) -> Result<(), Finding> {
    if answer.status != 200 {
        let body = match super::session::excerpt(&answer.body) {
            body if body.is_empty() => "no body".to_owned(),
            body => body,
        };
        return fails(format!("{}, expected 200: {body}", answer.status));
    }
    if let Some(coding) = answer.field("content-encoding") {
        return fails(format!("Content-Encoding {coding} without Accept-Encoding"));
    }
    check_content_type(answer)
}

/// Checks that an answer is JSON by its field.
pub(super) fn check_content_type(answer: &Fetched) -> Result<(), Finding> {
    let kind = answer.field("content-type").unwrap_or_default();
    let media = kind.split(';').next().unwrap_or_default().trim();
    if media.eq_ignore_ascii_case("application/json") {
        Ok(())
    } else {
        fails(format!("Content-Type {kind:?}, expected application/json"))
    }
}

impl Representation {
    /// Runs all checks.
    pub(super) fn check(&self, checks: &mut Checks<'_>) {
        let name = self.name;
        let tag = checks.check(&format!("{name} tag"), |session| self.tag(session));
        checks.check(&format!("{name} caching"), |_| {
            caching(&self.whole).map(|seen| ((), seen))
        });
        if tag.is_some() {
            conditional::check(checks, self);
        }
        checks.check(&format!("{name} codings"), |session| self.codings(session));
        checks.check(&format!("{name} HEAD"), |session| self.head(session));
        checks.check(&format!("{name} 405"), |session| self.other_method(session));
        checks.check(&format!("{name} cache buster"), |session| {
            self.cache_buster(session)
        });
    }

    /// The tag is strong, and the beginning of the body's SHA-256.
    fn tag(&self, session: &mut Session) -> Result<((), String), Finding> {
        session.steadily(&self.path, &self.whole, |_, whole| {
            let tag = strong_tag(whole)?;
            let expected = EntityTag::of(&whole.body).to_string();
            if tag != expected {
                return fails(format!(
                    "{tag}, expected {expected}, from the SHA-256 of the body"
                ));
            }
            Ok(((), format!("{tag}, from the SHA-256 of the body")))
        })
    }

    /// Each coding decodes to the identity's bytes, under a tag of its own, and `Vary` says so.
    fn codings(&self, session: &mut Session) -> Result<((), String), Finding> {
        let mut of_other_moments = HashMap::new();
        session.steadily(&self.path, &self.whole, |session, whole| {
            let mut seen = Vec::new();
            let mut tags = vec![whole.field("etag").unwrap_or_default().to_owned()];
            for coding in [Coding::Gzip, Coding::Zstd, Coding::Brotli] {
                let name = coding.as_str();
                let answer = session.get(&self.path, &[("accept-encoding", name)])?;
                let fail = |why: String| fails(format!("Accept-Encoding: {name}: {why}"));
                if answer.status != 200 {
                    return fail(format!("{}, expected 200", answer.status));
                }
                let Some(given) = answer.field("content-encoding") else {
                    continue;
                };
                if !given.eq_ignore_ascii_case(name) {
                    return fail(format!("Content-Encoding {given}"));
                }
                let decoded = match decode(&answer.body, given, MAX_BODY_BYTES) {
                    Ok(decoded) => decoded,
                    Err(error) => return fail(error.to_string()),
                };
                let Some(tag) = answer.field("etag").map(str::to_owned) else {
                    return fail("no ETag".to_owned());
                };
                if decoded != whole.body && !is_moving(&mut of_other_moments, name, &tag, &decoded)
                {
                    let seen = "decodes to other bytes than those without a coding";
                    return differs(format!("Accept-Encoding: {name}: {seen}"));
                }
                if tags.contains(&tag) {
                    return fail(format!("has the tag {tag} of another coding"));
                }
                for (what, answer) in [(name, &answer), ("identity", whole)] {
                    if !varies(answer) {
                        return fail(format!("{what} without Vary: Accept-Encoding"));
                    }
                }
                let fields = [("accept-encoding", name), ("if-none-match", tag.as_str())];
                let again = session.get(&self.path, &fields)?;
                if decoded == whole.body && again.status != 304 {
                    return fail(format!(
                        "with its tag {tag}: {}, expected 304",
                        again.status
                    ));
                }
                let excluded = session.get(
                    &self.path,
                    &[("accept-encoding", format!("{name};q=0").as_str())],
                )?;
                let excluded = excluded
                    .field("content-encoding")
                    .unwrap_or_default()
                    .to_owned();
                if excluded.eq_ignore_ascii_case(name) {
                    return fail("is sent with q=0, too".to_owned());
                }
                seen.push(format!("{name} {}", answer.body.len()));
                tags.push(tag);
            }
            if seen.is_empty() {
                return not_offered(format!("identity only, {} bytes", whole.body.len()));
            }
            Ok((
                (),
                format!("{}, of {} bytes", seen.join(", "), whole.body.len()),
            ))
        })
    }

    /// HEAD has the fields of GET, and no body.
    fn head(&self, session: &mut Session) -> Result<((), String), Finding> {
        session.steadily(&self.path, &self.whole, |session, whole| {
            let head = session.send("HEAD", &self.path, &[])?;
            if head.status != 200 {
                return fails(format!("{}, expected 200", head.status));
            }
            if !head.body.is_empty() {
                return fails("the answer has a body");
            }
            for name in [
                "content-type",
                "content-encoding",
                "etag",
                "cache-control",
                "vary",
            ] {
                let (of_head, of_get) = (head.values(name), whole.values(name));
                if of_head != of_get {
                    return differs(format!("{name} {of_head:?}, but GET has {of_get:?}"));
                }
            }
            // A server may leave it out (RFC 9110 §9.3.2).
            if let Some(length) = head.field("content-length")
                && length != whole.body.len().to_string()
            {
                let bytes = whole.body.len();
                return fails(format!(
                    "content-length {length}, but GET has {bytes} bytes"
                ));
            }
            Ok(((), "the fields of GET, no body".to_owned()))
        })
    }

    /// A method that is not allowed gets 405 with `Allow`.
    fn other_method(&self, session: &mut Session) -> Result<((), String), Finding> {
        // Without a body (RFC 9110 §8.6).
        let answer = session.send("POST", &self.path, &[("content-length", "0")])?;
        check_error(&answer, 405, None)?;
        let allow = answer.values("allow").join(", ");
        let mut allowed = allow.split(',').map(str::trim);
        if ["GET", "HEAD"]
            .iter()
            .all(|method| allowed.clone().any(|it| it == *method))
            && allowed.all(|it| it != "POST")
        {
            return Ok(((), format!("POST: 405, Allow: {allow}")));
        }
        fails(format!(
            "POST: 405, Allow: {allow:?}, expected GET and HEAD"
        ))
    }

    /// A parameter that is unknown changes nothing.
    fn cache_buster(&self, session: &mut Session) -> Result<((), String), Finding> {
        let mark = if self.path.contains('?') { '&' } else { '?' };
        let path = format!("{}{mark}_=1718000000", self.path);
        session.steadily(&self.path, &self.whole, |session, whole| {
            let answer = json(session, &path)?;
            if answer.body == whole.body && answer.field("etag") == whole.field("etag") {
                Ok(((), "?_=… changes nothing".to_owned()))
            } else {
                differs("?_=… gives another answer")
            }
        })
    }
}

/// Returns the entity-tag, which must be one and strong.
pub(super) fn strong_tag(answer: &Fetched) -> Result<&str, Finding> {
    match answer.values("etag")[..] {
        [] => fails("no ETag"),
        [tag] if tag.len() > 2 && tag.starts_with('"') && tag.ends_with('"') => Ok(tag),
        ref tags => fails(format!("{}, expected one strong tag", tags.join(" and "))),
    }
}

/// Checks that an answer is an error as the contract has it.
pub(super) fn check_error(
    answer: &Fetched,
    status: u16,
    detail: Option<&str>,
) -> Result<(), Finding> {
    if answer.status != status {
        return fails(format!("{}, expected {status}", answer.status));
    }
    check_content_type(answer).map_err(|finding| finding.at(&status.to_string()))?;
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let given = &body["detail"];
    match detail {
        None if given.is_null() => fails(format!("{status} without a JSON \"detail\"")),
        Some(expected) if given != expected => fails(format!(
            "{status} with detail {given}, expected {expected:?}"
        )),
        _ => Ok(()),
    }
}

fn caching(whole: &Fetched) -> Result<String, Finding> {
    let value = whole.values("cache-control").join(", ");
    let directives: Vec<String> = value
        .split(',')
        .map(|directive| directive.trim().to_ascii_lowercase())
        .collect();
    let age = directives
        .iter()
        .find_map(|it| it.strip_prefix("max-age=")?.parse::<u64>().ok());
    let has = |name: &str| directives.iter().any(|it| it == name);
    let is_short = age.is_some_and(|secs| (1..=MAX_AGE_SECS).contains(&secs));
    if has("public") && is_short && !has("no-store") && !has("private") && !has("no-cache") {
        Ok(format!("Cache-Control: {value}"))
    } else {
        fails(format!(
            "Cache-Control: {value:?}, expected public, max-age={MAX_AGE_SECS}"
        ))
    }
}

fn varies(answer: &Fetched) -> bool {
    let values = answer.values("vary");
    let mut names = values.iter().flat_map(|value| value.split(','));
    names.any(|name| name.trim().eq_ignore_ascii_case("accept-encoding"))
}

/// Returns whether an answer that differs from the one without a coding is only of another moment. In front of a board
/// that changes often, a cache may have kept the two from different moments all the time. So its tag must be that of its
/// bytes, and it must have had another tag before.
fn is_moving(
    seen: &mut HashMap<&'static str, String>,
    coding: &'static str,
    tag: &str,
    decoded: &[u8],
) -> bool {
    let digits = EntityTag::of(decoded).to_string();
    let is_of_tag = tag.starts_with(digits.trim_end_matches('"'));
    let first = seen.entry(coding).or_insert_with(|| tag.to_owned());
    is_of_tag && first != tag
}
