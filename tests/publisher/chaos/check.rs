//! Compares what is stored and served after a round with what must be.

use std::{collections::HashMap, path::Path, time::Duration};

use rusqlite::Connection;

use super::{
    LONG, items,
    model::{Answer, Expected, Loss, Model, Sent, Stored, is_deleted},
    readers,
    server::Server,
    until,
};

/// The lineage that began with the last restore: processes begin others with their first writes.
const LINEAGE: &str = "SELECT id FROM lineages WHERE shared_through IS NULL
     ORDER BY is_restore DESC, ordinal DESC LIMIT 1";
const BUSY: Duration = Duration::from_secs(10);

/// Returns the outcome of `integrity_check`: `ok`, or what is damaged.
pub fn integrity(database: &Path) -> rusqlite::Result<String> {
    let connection = Connection::open(database)?;
    connection.busy_timeout(BUSY)?;
    connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))
}

/// Reads everything that is stored.
pub fn stored(database: &Path) -> rusqlite::Result<Stored> {
    let connection = Connection::open(database)?;
    connection.busy_timeout(BUSY)?;
    let connection = connection.unchecked_transaction()?;
    let mut rows = connection.prepare("SELECT id, body FROM eval_runs")?;
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut challenges = connection.prepare("SELECT challenge_id, status FROM challenges")?;
    let challenges = challenges.query_map([], |row| {
        let status: String = row.get(1)?;
        let rank = items::STATUSES.iter().position(|word| *word == status);
        Ok((row.get(0)?, rank.unwrap()))
    })?;
    let mut epochs = connection.prepare("SELECT epoch, body FROM merkle_epochs")?;
    let epochs = epochs.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Stored {
        rows: rows.collect::<Result<_, _>>()?,
        challenges: challenges.collect::<Result<_, _>>()?,
        epochs: epochs.collect::<Result<_, _>>()?,
        lineage: connection.query_row(LINEAGE, [], |row| row.get(0))?,
    })
}

/// Compares what is stored with what was written, after `loss`.
pub fn compare(model: &Model, stored: &Stored, loss: Option<Loss>) {
    rows(model, stored, loss);
    challenges(model, stored, loss);
    epochs(model, stored, loss);
}

fn rows(model: &Model, stored: &Stored, loss: Option<Loss>) {
    let sent = model.rows.lock().unwrap();
    let served = model.served.lock().unwrap();
    let settled = *model.settled.lock().unwrap();
    for (id, sent) in sent.iter() {
        let expected = if is_deleted(id, loss) {
            Expected::Gone
        } else {
            sent.expected(loss)
        };
        let is_stored = stored.rows.contains_key(id);
        match (expected, is_stored) {
            (Expected::Must, false) => model.lost(format!("{id}: {sent:?} after {loss:?}")),
            (Expected::Gone, true) => {
                model.other(format!("{id} is stored: {sent:?} after {loss:?}"))
            }
            _ => {}
        }
        let Some(at) = served.get(id) else { continue };
        if !is_stored && (loss.is_none() || settled.is_some_and(|settled| *at > settled)) {
            model.unstored(format!(
                "{id} was served at {at:?}: {sent:?} after {loss:?}"
            ));
        }
    }
    for (id, row) in &stored.rows {
        if !sent.contains_key(id) || *row != items::row(id) {
            model.other(format!("{id} is stored, and was never sent: {row}"));
        }
    }
}

fn challenges(model: &Model, stored: &Stored, loss: Option<Loss>) {
    let sent = model.challenges.lock().unwrap();
    for (id, sent) in sent.iter() {
        if is_deleted(id, loss) {
            continue;
        }
        let must = sent
            .iter()
            .filter(|sent| sent.expected(loss) == Expected::Must);
        let least = must.map(|sent| sent.rank).max();
        let may = sent.iter().filter(|sent| sent.answer != Answer::Rejected);
        let most = may.map(|sent| sent.rank).max();
        let found = stored.challenges.get(id).copied();
        if found < least {
            model.lost(format!("challenge {id} is {found:?} instead of {least:?}"));
        }
        if found > most && !matches!(loss, Some(Loss::Log { .. })) {
            model.other(format!("challenge {id} is {found:?}, beyond {most:?}"));
        }
    }
    for id in stored
        .challenges
        .keys()
        .filter(|id| !sent.contains_key(*id))
    {
        model.other(format!("challenge {id} is stored, and was never sent"));
    }
}

fn epochs(model: &Model, stored: &Stored, loss: Option<Loss>) {
    let sent = model.epochs.lock().unwrap();
    for (epoch, sent) in sent.iter() {
        let found = stored.epochs.get(epoch);
        if found.is_none() && sent.expected(loss) == Expected::Must {
            model.lost(format!("epoch {epoch}: {sent:?} after {loss:?}"));
        }
        if found.is_some_and(|body| *body != Some(items::epoch(*epoch))) {
            model.other(format!("epoch {epoch} is {found:?}"));
        }
    }
}

/// Asks a server to which nobody writes: its answers show what is stored, no more and no less, before long.
pub fn serves(model: &Model, server: &Server, stored: &Stored) {
    let differs = || -> Option<String> {
        let mut connection = crate::client::Connection::open(&server.address).ok()?;
        let rows = match readers::pull(&mut connection, 0) {
            Ok(pulled) => pulled.map(|pulled| pulled.rows),
            Err(error) => return Some(error.to_string()),
        };
        if rows.as_ref() != Some(&stored.rows) {
            let rows: HashMap<String, String> = rows.unwrap_or_default();
            let extra = rows.keys().find(|id| !stored.rows.contains_key(*id));
            let lacks = stored.rows.keys().find(|id| !rows.contains_key(*id));
            return Some(format!("the feed has {extra:?} and lacks {lacks:?}"));
        }
        let active = stored
            .challenges
            .iter()
            .filter(|(_, rank)| **rank == items::ACTIVE);
        let active = active.map(|(id, _)| id.clone()).collect();
        match readers::board(&mut connection) {
            Ok(Some(board)) if board == active => None,
            Ok(board) => Some(format!(
                "the board is {:?} items",
                board.map(|board| board.len())
            )),
            Err(error) => Some(error.to_string()),
        }
    };
    if let Some(Some(difference)) = differs_until(differs) {
        model.unstored(difference);
    }
    if until(LONG, || {
        (server.get("/health/ready").0 == 200).then_some(())
    })
    .is_none()
    {
        model.other(format!("not ready: {:?}", server.get("/health/ready")));
    }
}

/// The difference that is left at the end.
fn differs_until(differs: impl Fn() -> Option<String>) -> Option<Option<String>> {
    let mut last = None;
    let same = until(LONG, || {
        last = differs();
        last.is_none().then_some(())
    });
    same.is_none().then_some(last)
}

/// Compares what a database holds with eval runs that were sent. For small scenarios.
pub fn holds(database: &Path, sent: &[(String, Sent)]) -> (Vec<String>, Vec<String>, String) {
    let verdict = integrity(database).unwrap_or_else(|error| error.to_string());
    let rows = stored(database)
        .map(|stored| stored.rows)
        .unwrap_or_default();
    let of = |wanted, is_stored| -> Vec<String> {
        let sent = sent
            .iter()
            .filter(|(_, sent)| sent.expected(None) == wanted);
        let ids = sent.map(|(id, _)| id.clone());
        ids.filter(|id| rows.contains_key(id) == is_stored)
            .collect()
    };
    (of(Expected::Must, false), of(Expected::Gone, true), verdict)
}
