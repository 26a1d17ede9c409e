//! Errors of every path, the clock, and health (WIRE.md).

use std::time::{Duration, SystemTime};

use super::{
    Checks, board,
    report::{Finding, fails, not_offered},
    representation::check_error,
    session::{Session, excerpt},
    settings::Settings,
};

/// A path that no publisher has.
const UNKNOWN: &str = "/v1/there-is-no-such-path";

/// Runs the checks.
pub(super) fn check(checks: &mut Checks<'_>, settings: &Settings) {
    checks.check("unknown path", |session| {
        let answer = session.get(UNKNOWN, &[])?;
        check_error(&answer, 404, None)?;
        Ok(((), format!("404 {}", excerpt(&answer.body))))
    });
    checks.check("clock", |session| clock(session, settings.max_clock_skew));
    checks.check("health", health);
}

/// `Date` is the time here, less the time for which a cache has kept the answer (RFC 9111 §5.1).
fn clock(session: &mut Session, max_skew: Duration) -> Result<((), String), Finding> {
    let before = SystemTime::now();
    let answer = session.get(board::PATH, &[])?;
    let after = SystemTime::now();
    let Some(date) = answer.field("date") else {
        return fails("no Date");
    };
    let Ok(time) = httpdate::parse_http_date(date) else {
        return fails(format!("Date {date:?} is no date"));
    };
    let age = answer
        .field("age")
        .and_then(|age| age.trim().parse().ok())
        .unwrap_or(0);
    let Some(time) = time.checked_add(Duration::from_secs(age)) else {
        return fails(format!("Age {age}"));
    };
    let behind = before.duration_since(time).unwrap_or_default();
    let ahead = time.duration_since(after).unwrap_or_default();
    let told = |skew: Duration, where_to: &str| {
        format!(
            "Date {date}, Age {age}: {} s {where_to} the time here",
            skew.as_secs()
        )
    };
    if behind > max_skew {
        fails(told(behind, "behind"))
    } else if ahead > max_skew {
        fails(told(ahead, "before"))
    } else {
        Ok(((), told(behind.max(ahead), "from")))
    }
}

fn health(session: &mut Session) -> Result<((), String), Finding> {
    let answer = session.get("/health", &[])?;
    if matches!(answer.status, 403 | 404) {
        return not_offered(format!("{} here", answer.status));
    }
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if answer.status == 200 && body["status"] == "ok" {
        return Ok(((), excerpt(&answer.body)));
    }
    fails(format!("{} {}", answer.status, excerpt(&answer.body)))
}
