//! active-cnf: the formula of an active challenge, whole or in part.

use std::{borrow::Cow, net::Ipv4Addr};

use actix_web::{
    HttpRequest, HttpResponse,
    body::SizedStream,
    http::{
        Method, StatusCode,
        header::{ACCEPT_RANGES, CONTENT_RANGE, HeaderValue, IF_RANGE, RANGE},
    },
    web,
};

use super::{App, error::ApiError, query::challenge_id, rate_limit::site_of, respond::conditions};
use crate::{
    answer::{CachePolicy, Chosen, Conditions, EdgeCache, Media, response_fields},
    cnf::{Checked, CnfHandle, OpenError},
    domain::{byte_range::Part, coding::Coding, entity_tag::TagList},
};

/// Why there is no active-cnf without a folder.
pub(super) const NO_FOLDER: &str = "this server has no formulas";

/// How formulas are described.
pub(super) fn media() -> Media {
    Media {
        content_type: "text/plain; charset=utf-8",
        fields: vec![(ACCEPT_RANGES.as_str(), Cow::Borrowed("bytes"))],
        vary: "accept-encoding",
    }
}

pub(super) async fn active_cnf(
    request: HttpRequest,
    app: web::Data<App>,
) -> Result<HttpResponse, ApiError> {
    let cnf = app.handles.cnf.as_ref();
    let cnf = cnf.ok_or(ApiError::NotServedHere(NO_FOLDER))?;
    let id = challenge_id(request.query_string())?;
    let read = app.handles.board.read(|published, freshness| {
        let formula = published.snapshot.formula(&id).copied();
        (formula, freshness)
    });
    let (formula, freshness) = read.await?;
    app.counters.from_snapshot(freshness.is_stale());
    let formula = formula.ok_or(ApiError::NotActive)?;
    let checked = cnf.open(&formula).await.map_err(|error| match error {
        OpenError::Fault(fault) => {
            cnf.count_fault(&id, &formula, &fault);
            ApiError::BadFormula(fault)
        }
        OpenError::Busy => ApiError::busy(),
    })?;
    let conditions = conditions(&request);
    match conditions.choose(&*checked)? {
        Chosen::NotModified(tag) => {
            let edge = &app.handles.edge_cache;
            let saved = checked.bytes(tag.coding()).unwrap_or(0);
            app.counters
                .saved(usize::try_from(saved).unwrap_or(usize::MAX), 0);
            let mut response = HttpResponse::build(StatusCode::NOT_MODIFIED);
            for (name, value) in response_fields(&media(), CachePolicy::Immutable, edge, &tag, None)
            {
                response.insert_header((name, value.as_ref()));
            }
            Ok(response.body(actix_web::body::None::new()))
        }
        Chosen::Whole(coding) => send(
            &request,
            &app.handles.edge_cache,
            cnf,
            &checked,
            &conditions,
            coding,
        ),
    }
}

/// Answers with 200, 206 or 416.
fn send(
    request: &HttpRequest,
    edge: &EdgeCache,
    cnf: &CnfHandle,
    checked: &Checked,
    conditions: &Conditions<'_>,
    coding: Coding,
) -> Result<HttpResponse, ApiError> {
    // Whatever was chosen, it may be removed at any moment: its file has gone.
    let gone = ApiError::busy;
    let ranged = ranged_coding(request, checked, conditions, coding);
    let coding = ranged.unwrap_or(coding);
    let length = checked.bytes(coding).ok_or_else(gone)?;
    let part = match ranged {
        Some(_) => Part::parse(lines(request, &RANGE), length),
        None => Part::Whole,
    };
    let (status, range) = match part {
        Part::Whole => (StatusCode::OK, 0..length),
        Part::Bytes(range) => (StatusCode::PARTIAL_CONTENT, range),
        Part::Unsatisfiable => return Err(ApiError::RangeNotSatisfiable { bytes: length }),
    };
    let tag = checked.tag_of(coding).ok_or_else(gone)?;
    let mut response = HttpResponse::build(status);
    for (name, value) in response_fields(&media(), CachePolicy::Immutable, edge, &tag, Some(coding))
    {
        response.insert_header((name, value.as_ref()));
    }
    if status == StatusCode::PARTIAL_CONTENT {
        let last = range.end.saturating_sub(1);
        let value = format!("bytes {}-{last}/{length}", range.start);
        response.insert_header((CONTENT_RANGE, value));
    }
    // The door has put the client there.
    let client = request.peer_addr().map(|client| client.ip());
    let client = site_of(client.unwrap_or(Ipv4Addr::UNSPECIFIED.into()));
    let stream = cnf
        .stream(checked, coding, range, client)
        .ok_or_else(gone)?;
    Ok(response.body(SizedStream::new(stream.bytes(), stream)))
}

/// Returns the coding that the range of a request is one of; `None` if the request is for the whole formula.
///
/// With `If-Range` it is the coding that the client has a part of. Without it, the formula itself if the client accepts
/// that: codings are made as time passes, and parts of two of them do not fit together.
fn ranged_coding(
    request: &HttpRequest,
    checked: &Checked,
    conditions: &Conditions<'_>,
    chosen: Coding,
) -> Option<Coding> {
    // RFC 9110 §14.2: the field has a meaning for GET only.
    if request.method() != Method::GET || !request.headers().contains_key(RANGE) {
        return None;
    }
    let wanted = if request.headers().contains_key(IF_RANGE) {
        // A date matches nothing: there is no Last-Modified (RFC 9110 §13.1.5).
        let condition = TagList::parse(lines(request, &IF_RANGE));
        Coding::ALL.into_iter().find(|coding| {
            let tag = checked.tag_of(*coding);
            tag.is_some_and(|tag| condition.is_strongly(&tag))
        })?
    } else {
        Coding::Identity
    };
    let is_acceptable = || {
        let alone = conditions.with_coding_alone(wanted);
        conditions.accepts(wanted) && matches!(alone.choose(checked), Ok(Chosen::Whole(_)))
    };
    if wanted == chosen || is_acceptable() {
        Some(wanted)
    } else if request.headers().contains_key(IF_RANGE) {
        None
    } else {
        Some(chosen)
    }
}

fn lines<'r>(
    request: &'r HttpRequest,
    name: &actix_web::http::header::HeaderName,
) -> impl Iterator<Item = &'r [u8]> {
    request.headers().get_all(name).map(HeaderValue::as_bytes)
}

/// What other services of the subnet serve, and the board links to.
pub(super) async fn submit() -> Result<HttpResponse, ApiError> {
    let reason = "answers are submitted to the subnet's agents service";
    Err(ApiError::NotServedHere(reason))
}
