//! Pages of an upstream's feed: what is accepted of them. Pure.
//!
//! A page is rejected as a whole if it is not one that a publisher may send. Eval runs of it that this program would
//! not store, or whose signature does not verify, are left out one by one.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::lie::Lie;
use crate::{
    domain::{
        cursor::{Cursor, PageLimit},
        eval_run::EvalRun,
        feed_detail::FeedDetail,
        feed_envelope,
    },
    keys::JwkSet,
    metrics::FollowRejected,
};

/// More lineages than a database of this program knows: the last 1,000 that it continues, and 256 that it has left.
const MAX_LINEAGES: usize = 1300;

/// The accepted eval runs of a page, and why others were left out.
#[derive(Debug, Default)]
pub(super) struct Accepted<T> {
    /// In the order of the page.
    pub(super) rows: Vec<T>,
    /// Each with its id and what is wrong with it.
    pub(super) left_out: Vec<LeftOut>,
}

/// An eval run that is left out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) reason: FollowRejected,
    pub(super) id: String,
    pub(super) text: String,
}

/// A page in the order of (ran_at, id).
#[derive(Debug)]
pub(super) struct PlacePage {
    pub(super) accepted: Accepted<EvalRun>,
    /// After a full page.
    pub(super) next: Option<Cursor>,
    pub(super) merkle_epoch_latest: Option<i64>,
}

/// A page in the order of commits, with what followers need.
#[derive(Debug)]
pub(super) struct NumberedPage {
    pub(super) accepted: Accepted<(i64, EvalRun)>,
    /// How many eval runs it has, those that were left out included.
    pub(super) count: usize,
    pub(super) detail: FeedDetail,
}

/// What says where an eval run stands, even if it is invalid otherwise.
#[derive(Deserialize)]
struct Place {
    id: String,
    ran_at: String,
}

#[derive(Deserialize)]
struct Items<'a> {
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
    #[serde(default)]
    merkle_epoch_latest: Option<i64>,
}

/// Reads a page in the order of (ran_at, id) that was asked for `after` a place.
///
/// # Errors
/// [`Lie`].
pub(super) fn place_page(
    body: &str,
    after: &Cursor,
    limit: PageLimit,
    jwk_set: Option<&JwkSet>,
) -> Result<PlacePage, Lie> {
    let (page, places) = items(body)?;
    let order = [after].into_iter().chain(&places);
    if !order.is_sorted_by(|a, b| a < b) || places.len() > limit.rows() {
        let text = "eval runs are not in order, or more than were asked for";
        return Err(Lie::new(FollowRejected::Order, text));
    }
    let next = places.last().filter(|_| places.len() == limit.rows());
    let mut ours = joined(&page.items);
    let end = feed_envelope::end(next, page.merkle_epoch_latest);
    ours.extend(end.map_err(|error| form(error.to_string()))?);
    if ours != body.as_bytes() || page.merkle_epoch_latest.is_some_and(|epoch| epoch < 0) {
        return Err(form(
            "this program would write other bytes for the same page",
        ));
    }
    let next = next.cloned();
    let numbered = page
        .items
        .iter()
        .zip(places)
        .map(|(row, place)| ((), *row, place));
    let accepted = accept(numbered.collect(), jwk_set);
    Ok(PlacePage {
        accepted: Accepted {
            rows: accepted.rows.into_iter().map(|((), run)| run).collect(),
            left_out: accepted.left_out,
        },
        next,
        merkle_epoch_latest: page.merkle_epoch_latest,
    })
}

/// Returns whether a body is that of an upstream that tells its numbers.
pub(super) fn is_numbered(body: &str) -> bool {
    FeedDetail::of_page(body).is_some()
}

/// Reads a page in the order of commits.
///
/// # Errors
/// [`Lie`].
pub(super) fn numbered_page(
    body: &str,
    limit: PageLimit,
    jwk_set: Option<&JwkSet>,
) -> Result<NumberedPage, Lie> {
    let detail = FeedDetail::of_page(body).ok_or_else(|| form("it tells no numbers"))?;
    let (page, places) = items(body)?;
    let count = page.items.len();
    if count != detail.seqs.len() || count > limit.rows() {
        return Err(form(
            "it has not one number for each eval run, or more than were asked for",
        ));
    }
    if !detail.seqs.is_sorted_by(|a, b| a < b) {
        return Err(Lie::new(FollowRejected::Order, "numbers do not ascend"));
    }
    if detail.lineages.known().len() > MAX_LINEAGES {
        let count = detail.lineages.known().len();
        return Err(form(format!(
            "it has {count} lineages, and may have {MAX_LINEAGES}"
        )));
    }
    let rows = page.items.iter().zip(places).zip(&detail.seqs);
    let numbered = rows.map(|((row, place), seq)| (*seq, *row, place));
    Ok(NumberedPage {
        accepted: accept(numbered.collect(), jwk_set),
        count,
        detail,
    })
}

fn items(body: &str) -> Result<(Items<'_>, Vec<Cursor>), Lie> {
    let page: Items<'_> = serde_json::from_str(body).map_err(|error| form(error.to_string()))?;
    let place = |(index, row): (usize, &&RawValue)| {
        let invalid = |error: String| form(format!("eval run {} of the page: {error}", index + 1));
        let place = serde_json::from_str(row.get());
        let Place { ran_at, id } = place.map_err(|error| invalid(error.to_string()))?;
        Cursor::of_row(&ran_at, id).map_err(|error| invalid(error.to_string()))
    };
    let places = page
        .items
        .iter()
        .enumerate()
        .map(place)
        .collect::<Result<_, _>>()?;
    Ok((page, places))
}

/// Returns the beginning of a page with these rows.
fn joined(rows: &[&RawValue]) -> Vec<u8> {
    let mut page = feed_envelope::BEGIN.to_vec();
    for (index, row) in rows.iter().enumerate() {
        if index > 0 {
            page.push(feed_envelope::SEPARATOR);
        }
        page.extend_from_slice(row.get().as_bytes());
    }
    page
}

fn accept<N>(
    rows: Vec<(N, &RawValue, Cursor)>,
    jwk_set: Option<&JwkSet>,
) -> Accepted<(N, EvalRun)> {
    let mut accepted = Accepted {
        rows: Vec::with_capacity(rows.len()),
        left_out: Vec::new(),
    };
    let texts: Vec<&str> = rows.iter().map(|(_, row, _)| row.get()).collect();
    let unsigned = jwk_set.map_or_else(Vec::new, |set| set.keys.verify_all(&texts));
    for (index, (number, row, place)) in rows.into_iter().enumerate() {
        let id = || place.id().unwrap_or_default().to_owned();
        let read = EvalRun::from_json(row.get()).map_err(|error| error.to_string());
        let read = read.and_then(|run| {
            let is_stored_so = run.is_published() && run.body == row.get();
            is_stored_so
                .then_some(run)
                .ok_or_else(|| "its version is not published".to_owned())
        });
        let signature = unsigned.iter().find(|(at, _)| *at == index);
        match (read, signature) {
            (Ok(run), None) => accepted.rows.push((number, run)),
            (Err(text), _) => accepted.left_out.push(LeftOut {
                reason: FollowRejected::Row,
                id: id(),
                text,
            }),
            (Ok(_), Some((_, invalid))) => accepted.left_out.push(LeftOut {
                reason: FollowRejected::Signature,
                id: id(),
                text: invalid.to_string(),
            }),
        }
    }
    accepted
}

fn form(text: impl Into<String>) -> Lie {
    Lie::new(FollowRejected::Form, text)
}

#[cfg(test)]
mod tests;
