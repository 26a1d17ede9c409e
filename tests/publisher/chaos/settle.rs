//! Waits until a server shows what others have written to its database, and what they have taken away.

use std::{collections::HashSet, io};

use super::{LONG, model::Model, readers, until};
use crate::client::Connection;

/// Waits until the server shows none of `gone`, and all eval runs that others were acknowledged until now. From then on
/// that stays so. A server that is killed meanwhile proves nothing.
pub fn settle(model: &Model, address: &str, gone: &HashSet<String>) {
    let due = std::mem::take(&mut *model.acknowledged_elsewhere.lock().unwrap());
    let mut differs = None;
    let settled = until(LONG, || match difference(model, address, gone, &due) {
        Ok(Some(Difference::None)) => Some(true),
        Ok(found) => {
            differs = found;
            None
        }
        Err(_) => Some(false),
    });
    match (settled, differs) {
        (Some(true), _) => {
            let now = model.now();
            let due = due.into_iter().map(|id| (now, id));
            model.acknowledged.lock().unwrap().extend(due);
            if !gone.is_empty() {
                *model.settled.lock().unwrap() = Some(now);
            }
        }
        (Some(false), _) => {}
        (None, Some(Difference::Shown(id))) => model.unstored(format!("{id} is gone, and served")),
        (None, Some(Difference::Missing(id))) => {
            model.lost(format!(
                "{id} was acknowledged elsewhere, and is not served"
            ));
        }
        (None, Some(Difference::None) | None) => model.other("503 all the time".to_owned()),
    }
}

enum Difference {
    None,
    Shown(String),
    Missing(String),
}

/// Looks at all pages, and at those that the readers pull, which are others; `None` if the server answers 503.
fn difference(
    model: &Model,
    address: &str,
    gone: &HashSet<String>,
    due: &[String],
) -> io::Result<Option<Difference>> {
    let mut connection = Connection::open(address)?;
    for from_round in [0, model.round] {
        let Some(pulled) = readers::pull(&mut connection, from_round)? else {
            return Ok(None);
        };
        let rows = pulled.rows;
        if let Some(id) = rows.keys().find(|id| gone.contains(*id)) {
            return Ok(Some(Difference::Shown(id.clone())));
        }
        if let Some(id) = due.iter().find(|id| !rows.contains_key(*id)) {
            return Ok(Some(Difference::Missing(id.clone())));
        }
    }
    Ok(Some(Difference::None))
}
