//! Pages, cursors and signatures of the feed (WIRE.md, the feed, the order of commits).

use std::collections::HashMap;

use serde_json::value::RawValue;

use super::{
    Checks,
    page::{self, Row},
    report::{Finding, differs, fails, not_offered},
    representation::{Representation, check_error, json},
    session::Session,
    settings::Settings,
    walk::{self, PATH, START, Walk, page_path, seq_path, told},
};
use crate::domain::{Invalid, signature::PublicKeys};

/// The rows of a page. Two numbers without a common divisor, so that pages end at other rows.
const LIMITS: [usize; 2] = [200, 61];
/// How many rows are pulled one by one.
const SINGLE_ROWS: usize = 25;
/// How often pulls that differ are repeated at once, because rows may have come in between.
const MAX_PULLS: u32 = 3;
const JWKS: &str = "/.well-known/cathedral-jwks.json";
const MISSING_CURSOR: &str = "missing cursor: pass since_ran_at (v1.1.0) or since (v1.0.x)";
const BAD_TIME: &str = "since / since_ran_at must be ISO-8601";

/// Runs the checks of the feed.
pub(super) fn check(checks: &mut Checks<'_>, keys: Option<PublicKeys>, settings: &Settings) {
    let max_rows = settings.max_rows as usize;
    let path = page_path(START, "", LIMITS[1]);
    let first = checks.check("feed", |session| {
        let whole = json(session, &path)?;
        let rows = page::by_place(&whole.body, LIMITS[1])?.rows.len();
        let seen = format!("200, a page of {rows} rows, {} bytes", whole.body.len());
        Ok((whole, seen))
    });
    let Some(whole) = first else {
        return;
    };
    let feed = Representation {
        name: "feed",
        path,
        whole,
    };
    feed.check(checks);
    checks.check("feed parameters", parameters);
    let keys = checks.check("keys", |session| find_keys(session, keys));
    let mut signatures = Signatures::new(keys.as_ref());
    let pulled = checks.check("feed cursor", |session| {
        let pulled = pull(session, max_rows, &mut |items| signatures.verify(items))?;
        let seen = format!(
            "{}; the same with limit={}, {} and 1",
            pulled.told(),
            LIMITS[0],
            LIMITS[1]
        );
        Ok((pulled, seen))
    });
    if keys.is_some() {
        checks.check("signatures", |_| signatures.result().map(|seen| ((), seen)));
    }
    if let Some(pulled) = &pulled {
        checks.check("feed legacy cursor", |session| legacy(session, pulled));
        checks.check("since_seq", |session| seq(session, pulled, max_rows));
    }
}

/// Invalid parameters get their errors, and a time may be written in several ways.
fn parameters(session: &mut Session) -> Result<((), String), Finding> {
    let since = format!("since_ran_at={START}");
    for (query, status, detail) in [
        (String::new(), 400, Some(MISSING_CURSOR)),
        ("since_ran_at=yesterday".to_owned(), 400, Some(BAD_TIME)),
        ("since=2026-13-01T00:00:00Z".to_owned(), 400, Some(BAD_TIME)),
        (format!("{since}&limit=0"), 422, None),
        (format!("{since}&limit=1001"), 422, None),
        (format!("{since}&limit=ten"), 422, None),
    ] {
        let answer = session.get(&format!("{PATH}?{query}"), &[])?;
        check_error(&answer, status, detail).map_err(|finding| finding.at(&format!("?{query}")))?;
    }
    let path = page_path(START, "", 1);
    let whole = json(session, &path)?;
    session.steadily(&path, &whole, |session, whole| {
        for time in [
            "1970-01-01T00:00:00%2B00:00",
            "1970-01-01T02:00:00+02:00",
            "1970-01-01T00:00:00.000",
        ] {
            let query = format!("since_ran_at={time}&limit=1");
            let answer = json(session, &format!("{PATH}?{query}"));
            let answer = answer.map_err(|finding| finding.at(&format!("?{query}")))?;
            if answer.body != whole.body {
                return differs(format!("?{query}: another page than with {START}"));
            }
        }
        Ok((
            (),
            "400 and 422 with their reasons; Z, an offset or none".to_owned(),
        ))
    })
}

/// Pulls the feed with pages of several sizes. Rows that are stored below the cursor meanwhile are no fault.
fn pull(
    session: &mut Session,
    max_rows: usize,
    each: &mut dyn FnMut(&[&RawValue]),
) -> Result<Walk, Finding> {
    let mut before = walk::by_place(session, LIMITS[0], max_rows, each)?;
    again(session, |session| {
        let small = walk::by_place(session, LIMITS[1], max_rows, &mut |_| ())?;
        let single = walk::by_place(session, 1, max_rows.min(SINGLE_ROWS), &mut |_| ())?;
        match before
            .check_same(&small)
            .and_then(|()| small.check_same(&single))
        {
            Ok(()) => Ok(small),
            Err(finding) => {
                before = walk::by_place(session, LIMITS[0], max_rows, &mut |_| ())?;
                Err(finding)
            }
        }
    })
}

/// Repeats pulls that differ.
fn again<T>(
    session: &mut Session,
    mut pull: impl FnMut(&mut Session) -> Result<T, Finding>,
) -> Result<T, Finding> {
    let mut pulls = 0;
    loop {
        pulls += 1;
        match pull(session) {
            Err(Finding::Differs(_)) if pulls < MAX_PULLS || session.pause() => {}
            settled => return settled,
        }
    }
}

/// `since` alone: rows with a later time; with `since_id`: the rule for pairs.
fn legacy(session: &mut Session, pulled: &Walk) -> Result<((), String), Finding> {
    let Some(middle) = pulled.rows.get(pulled.rows.len() / 2) else {
        return not_offered("the feed is empty");
    };
    let time = middle.place.ran_at.as_str();
    let (limit, mut known) = (LIMITS[1], pulled.rows.clone());
    again(session, |session| {
        for (query, includes_time) in [
            (format!("since={time}&limit={limit}"), false),
            (format!("since={time}&since_id=&limit={limit}"), true),
        ] {
            let answer = json(session, &format!("{PATH}?{query}"));
            let answer = answer.map_err(|finding| finding.at(&format!("?{query}")))?;
            let rows = page::by_place(&answer.body, limit)?.rows;
            let is_wanted = |row: &&Row| match row.place.ran_at.as_str() {
                ran_at if includes_time => ran_at >= time,
                ran_at => ran_at > time,
            };
            let expected: Vec<&Row> = known.iter().filter(is_wanted).take(limit).collect();
            let is_same = rows.iter().zip(&expected).all(|(row, known)| row == *known);
            if !is_same || rows.len() < expected.len() {
                known = walk::by_place(session, LIMITS[0], pulled.rows.len(), &mut |_| ())?.rows;
                return differs(format!("?{query}: other rows than by since_ran_at"));
            }
        }
        Ok(())
    })?;
    Ok(((), format!("since={time}, with and without since_id")))
}

/// The same rows in the order of commits.
fn seq(session: &mut Session, pulled: &Walk, max_rows: usize) -> Result<((), String), Finding> {
    let probe = session.get(&seq_path("0", 1), &[])?;
    let has_cursor = String::from_utf8_lossy(&probe.body).contains("\"next_since_seq\"");
    if matches!(probe.status, 400 | 404 | 422) || (probe.status == 200 && !has_cursor) {
        return not_offered(format!("{}: clients use the other cursor", probe.status));
    }
    let small = again(session, |session| {
        let large = walk::by_commit(session, LIMITS[0], max_rows)?;
        let small = walk::by_commit(session, LIMITS[1], max_rows)?;
        large.check_same(&small)?;
        let by_id: HashMap<&str, &Row> = small.rows.iter().map(|row| (row.id(), row)).collect();
        for row in &pulled.rows {
            match by_id.get(row.id()) {
                Some(same) if *same == row => {}
                Some(_) => return differs(format!("{} has other bytes", told(&row.place))),
                None if small.is_complete => {
                    return differs(format!("{} is missing", told(&row.place)));
                }
                None => {}
            }
        }
        Ok(small)
    })?;
    let unknown = session.get(&seq_path("x", 1), &[])?;
    check_error(&unknown, 400, None).map_err(|finding| finding.at("?since_seq=x"))?;
    Ok((
        (),
        format!(
            "{}; the same with limit={} and {}",
            small.told(),
            LIMITS[0],
            LIMITS[1]
        ),
    ))
}

/// Returns the keys that were given, or those of the server.
fn find_keys(
    session: &mut Session,
    given: Option<PublicKeys>,
) -> Result<(PublicKeys, String), Finding> {
    if let Some(keys) = given {
        return Ok((keys, "those of --jwks".to_owned()));
    }
    let answer = session.get(JWKS, &[])?;
    if answer.status == 404 {
        return not_offered(format!(
            "{JWKS}: 404: signatures are not verified without --jwks"
        ));
    }
    if answer.status != 200 {
        return fails(format!("{JWKS}: {}, expected 200", answer.status));
    }
    let keys = PublicKeys::from_jwk_set(&answer.body);
    let keys = keys.map_err(|invalid| Finding::Fails(format!("{JWKS}: {invalid}")))?;
    Ok((keys, JWKS.to_owned()))
}

/// Verifies the rows of a pull as they come.
struct Signatures<'k> {
    keys: Option<&'k PublicKeys>,
    valid: usize,
    invalid: usize,
    first: Option<(String, Invalid)>,
}

impl<'k> Signatures<'k> {
    fn new(keys: Option<&'k PublicKeys>) -> Self {
        Self {
            keys,
            valid: 0,
            invalid: 0,
            first: None,
        }
    }

    fn verify(&mut self, items: &[&RawValue]) {
        let Some(keys) = self.keys else {
            return;
        };
        let invalid = keys.verify_all(items.iter().map(|item| item.get()));
        self.valid += items.len() - invalid.len();
        self.invalid += invalid.len();
        if let (None, Some((index, reason))) = (&self.first, invalid.into_iter().next()) {
            let row: serde_json::Value =
                serde_json::from_str(items[index].get()).unwrap_or_default();
            self.first = Some((row["id"].to_string(), reason));
        }
    }

    fn result(&self) -> Result<String, Finding> {
        match &self.first {
            None => Ok(format!("{} valid", self.valid)),
            Some((id, reason)) => {
                let (valid, invalid) = (self.valid, self.invalid);
                fails(format!(
                    "{valid} valid, {invalid} invalid, {id} among them: {reason}"
                ))
            }
        }
    }
}
