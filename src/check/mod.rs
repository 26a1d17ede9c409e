//! Conformance of any publisher with the wire contract (src/http/WIRE.md): this program, the same behind a proxy or a
//! CDN, or another program.
//!
//! | file | knows |
//! |---|---|
//! | `settings` | the options |
//! | `report` | what a check found, as a line and as JSON |
//! | `session` | requests within bounds of time and bytes |
//! | `representation` | what the board and feed pages have in common: tags, codings, HEAD, caching |
//! | `conditional` | 304 |
//! | `board` | the form of the board, and what leads on from it |
//! | `page` | the form of feed pages |
//! | `walk` | pulls over many pages |
//! | `feed` | pages, cursors and signatures |
//! | `paths` | errors, the clock, health |
//!
//! A server may change while it is checked, and a cache may have kept an answer of one coding for longer than that of
//! another: what differs is compared again with newer answers before it counts as wrong.

mod board;
mod conditional;
mod feed;
mod page;
mod paths;
mod report;
mod representation;
mod session;
mod settings;
mod walk;

pub use report::{Outcome, Report, Verdict};
pub use settings::Settings;

use report::Finding;
use session::Session;

use crate::{
    domain::signature::PublicKeys,
    fetch::{FetchError, Fetcher},
};

/// What the checks need beside the server.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The URL that the public paths are appended to.
    pub url: &'a str,
    /// Sends the requests.
    pub fetcher: Fetcher,
    /// Verifies rows; `None`: the server's own key set.
    pub keys: Option<PublicKeys>,
}

/// Runs all checks, and hands each outcome to `each` as soon as it is known.
///
/// # Errors
/// [`FetchError::Invalid`] if the URL is invalid. Everything else is an outcome.
pub fn check(
    subject: Subject<'_>,
    settings: &Settings,
    each: &mut dyn FnMut(&Outcome),
) -> Result<Report, FetchError> {
    let session = Session::new(subject.url, subject.fetcher, settings)?;
    let mut checks = Checks {
        session,
        each,
        outcomes: Vec::new(),
    };
    let reached = checks.check("connection", |session| {
        let status = session.reach(board::PATH)?;
        Ok(((), format!("an answer, {status}")))
    });
    if reached.is_some() {
        board::check(&mut checks);
        feed::check(&mut checks, subject.keys, settings);
        paths::check(&mut checks, settings);
    }
    let (requests, body_bytes) = checks.session.spent();
    Ok(Report {
        url: subject.url.to_owned(),
        requests,
        body_bytes,
        checks: checks.outcomes,
    })
}

/// The checks that were run, and what later ones need.
struct Checks<'e> {
    session: Session,
    each: &'e mut dyn FnMut(&Outcome),
    outcomes: Vec<Outcome>,
}

impl Checks<'_> {
    /// Runs a check, which returns something for later checks and what was seen. Returns `None` if it does not hold.
    fn check<T>(
        &mut self,
        name: &str,
        work: impl FnOnce(&mut Session) -> Result<(T, String), Finding>,
    ) -> Option<T> {
        let (value, verdict, seen) = match work(&mut self.session) {
            Ok((value, seen)) => (Some(value), Verdict::Holds, seen),
            Err(Finding::Fails(seen) | Finding::Differs(seen)) => (None, Verdict::Fails, seen),
            Err(Finding::NotOffered(seen)) => (None, Verdict::NotOffered, seen),
        };
        let outcome = Outcome::new(name, verdict, &seen);
        (self.each)(&outcome);
        self.outcomes.push(outcome);
        value
    }
}
