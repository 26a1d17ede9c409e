//! `If-None-Match` (WIRE.md, conditional requests; RFC 9110 §13.1.2).

use super::{
    Checks,
    report::{Finding, fails, not_offered},
    representation::{Representation, strong_tag},
    session::Session,
};
use crate::fetch::Fetched;

/// Runs the checks.
pub(super) fn check(checks: &mut Checks<'_>, of: &Representation) {
    let name = of.name;
    checks.check(&format!("{name} 304"), |session| tag(session, of));
    checks.check(&format!("{name} 304 of a list"), |session| {
        list(session, of)
    });
    checks.check(&format!("{name} 304 of two lines"), |session| {
        two_lines(session, of)
    });
}

/// The tag, weak or not, gets 304; another one gets 200.
fn tag(session: &mut Session, of: &Representation) -> Result<((), String), Finding> {
    session.steadily(&of.path, &of.whole, |session, whole| {
        let tag = strong_tag(whole)?;
        for value in [tag.to_owned(), format!("W/{tag}")] {
            let answer = session.get(&of.path, &[("if-none-match", &value)])?;
            check_not_modified(&answer, whole).map_err(|finding| finding.at(&value))?;
        }
        let part = format!("{}\"", &tag[..tag.len() / 2]);
        for value in ["\"other\"", part.as_str()] {
            let answer = session.get(&of.path, &[("if-none-match", value)])?;
            if answer.status != 200 {
                return fails(format!("{value}: {}, expected 200", answer.status));
            }
        }
        Ok((
            (),
            "the tag and W/ with it: 304 without a body; another tag: 200".to_owned(),
        ))
    })
}

/// `*` and lists get 304: with a comma within a tag, and with a malformed member, too.
fn list(session: &mut Session, of: &Representation) -> Result<((), String), Finding> {
    session.steadily(&of.path, &of.whole, |session, whole| {
        let tag = strong_tag(whole)?;
        let mut from_cache = 0;
        for value in [
            "*".to_owned(),
            format!("\"other\", W/{tag}"),
            format!("\"a, b\",, {tag}"),
            format!("malformed, {tag}"),
        ] {
            let answer = session.get(&of.path, &[("if-none-match", &value)])?;
            // A cache that does not read them may answer with the whole (RFC 9111 §4.3.2), which costs bytes only.
            if answer.status == 200 && is_of_cache(&answer) && answer.body == whole.body {
                from_cache += 1;
                continue;
            }
            check_not_modified(&answer, whole).map_err(|finding| finding.at(&value))?;
        }
        let seen = match from_cache {
            0 => "* and lists: 304".to_owned(),
            _ => format!("{from_cache} of 4 get 200 with the same bytes from a cache, others 304"),
        };
        Ok(((), seen))
    })
}

/// A list over two field lines is one list.
fn two_lines(session: &mut Session, of: &Representation) -> Result<((), String), Finding> {
    session.steadily(&of.path, &of.whole, |session, whole| {
        let tag = strong_tag(whole)?;
        let fields = [("if-none-match", "\"other\""), ("if-none-match", tag)];
        let answer = session.get(&of.path, &fields)?;
        let server = answer.field("server").unwrap_or_default();
        if answer.status == 400 && server.starts_with("nginx") {
            return not_offered("400: nginx refuses a request that has this field twice");
        }
        if answer.status == 200 && is_of_cache(&answer) && answer.body == whole.body {
            return Ok(((), "200 with the same bytes from a cache".to_owned()));
        }
        check_not_modified(&answer, whole)?;
        Ok(((), "304".to_owned()))
    })
}

fn check_not_modified(answer: &Fetched, whole: &Fetched) -> Result<(), Finding> {
    if answer.status != 304 {
        return fails(format!("{}, expected 304", answer.status));
    }
    if !answer.body.is_empty() {
        return fails("304 with a body");
    }
    for name in ["etag", "cache-control", "vary"] {
        let (here, there) = (answer.values(name), whole.values(name));
        if here != there {
            return fails(format!("304 with {name} {here:?}, 200 with {there:?}"));
        }
    }
    Ok(())
}

/// Returns whether a shared cache says that it has answered.
fn is_of_cache(answer: &Fetched) -> bool {
    ["age", "via", "x-cache", "x-varnish", "cf-cache-status"]
        .iter()
        .any(|name| answer.field(name).is_some())
}
