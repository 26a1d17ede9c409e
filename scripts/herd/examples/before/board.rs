//! The board: the answer that is expensive. Every switch changes something here.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
};

use actix_web::{HttpRequest, HttpResponse, http::header::EntityTag, web::Bytes};
use cathedral_publisher::store::sqlite::read::active_challenges;
use rusqlite::Connection;

use crate::{Fallible, Result, Service, Shared, answer};

/// A board, as it was when it was built.
pub struct Board {
    /// [`Service::version`] of what it was built from.
    version: u64,
    tag: EntityTag,
    body: Bytes,
}

pub async fn get(request: HttpRequest, service: Shared) -> Result<HttpResponse> {
    let last = service.last.lock().unwrap().clone();
    if let Some(last) = last {
        let unchanged = last.version == service.version.load(Ordering::SeqCst);
        if service.cures.not_modified && unchanged && answer::knows(&request, &last.tag) {
            return Ok(answer::not_modified(last.tag.clone()));
        }
        if service.cures.stale {
            actix_web::rt::spawn(rebuild(service));
            return Ok(answer::whole(&request, &last.tag, last.body.clone()));
        }
    }
    let board = rebuild(service).await?;
    Ok(answer::whole(&request, &board.tag, board.body.clone()))
}

/// Rebuilds the board: for this request alone, unless a switch says otherwise.
async fn rebuild(service: Shared) -> Result<Arc<Board>> {
    // Released when the board is there.
    let _place = service.places.try_acquire().map_err(|_| answer::busy())?;
    let board = if service.cures.single_flight {
        service.flight.join(|| build(&service)).await?
    } else {
        build(&service).await?
    };
    *service.last.lock().unwrap() = Some(Arc::clone(&board));
    Ok(board)
}

async fn build(service: &Shared) -> Result<Arc<Board>> {
    let shared = service.clone();
    let board = service
        .database
        .run(service.cures.deadline(), move |connection| {
            read(connection, &shared)
        });
    Ok(Arc::new(board.await?))
}

/// Reads all challenges and writes them as JSON.
fn read(connection: &Connection, service: &Service) -> Fallible<Board> {
    service.rebuilds.fetch_add(1, Ordering::Relaxed);
    thread::sleep(service.slowness);
    let version = service.version.load(Ordering::SeqCst);
    let mut items = Vec::new();
    for challenge in active_challenges(connection)? {
        let mut item = Vec::new();
        challenge.write_item(&mut item)?;
        items.push(String::from_utf8(item)?);
    }
    let body = format!(
        r#"{{"family_id":"synthetic_boolean_v1","count":{},"items":[{}]}}"#,
        items.len(),
        items.join(",")
    );
    let tag = answer::tag(&body);
    let body = Bytes::from(body);
    Ok(Board { version, tag, body })
}
