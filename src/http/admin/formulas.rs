//! Takes the formula of a challenge in: `PUT /v1/admin/challenges/{id}/cnf`.

use std::{mem, time::Instant};

use actix_web::{
    HttpRequest, HttpResponse,
    web::{self, Payload},
};
use serde::Serialize;

use super::{AdminHandles, announced_length, at, next_piece};
use crate::{
    cnf::{Upload, UploadError},
    domain::challenge::{Challenge, Status},
    http::{App, cnf::NO_FOLDER, error::ApiError, query::id_of_path},
};

/// The name of a formula below its challenge.
pub(super) const FORMULA: &str = "/cnf";
/// How much of a body is gathered before it is written and hashed, in bytes.
const WRITTEN_TOGETHER_BYTES: usize = 256 * 1024;

/// The JSON of an acknowledgement.
#[derive(Serialize)]
struct Stored {
    /// False if the same formula was stored before.
    stored: bool,
}

/// Authentication, the challenge, admission, body, and the file under its name. Whatever fails, nothing is kept.
pub(super) async fn put(
    request: HttpRequest,
    mut body: Payload,
    handles: web::Data<AdminHandles>,
    app: web::Data<App>,
) -> Result<HttpResponse, ApiError> {
    let bearer = handles.tokens.admit(request.headers());
    bearer.ok_or(ApiError::Unauthorized)?;
    let cnf = app.handles.cnf.as_ref();
    let cnf = cnf.ok_or(ApiError::NotServedHere(NO_FOLDER))?;
    let challenge = challenge(&request, &app).await?;
    if challenge.status == Status::Retired {
        return Err(ApiError::Differs("the challenge is retired".to_owned()));
    }
    let formula = challenge.formula().ok_or(ApiError::Internal)?;
    let max_bytes = cnf.max_upload_bytes(&formula);
    if announced_length(&request).is_some_and(|bytes| bytes > max_bytes) {
        return Err(ApiError::PayloadTooLarge { max_bytes });
    }
    let permit = cnf.admit_upload()?;
    let mut upload = {
        let cnf = cnf.clone();
        blocking(move || cnf.begin_upload(permit, formula)).await?
    };
    let (mut gathered, mut bytes) = (Vec::new(), 0);
    while let Some(piece) = next_piece(&mut body).await? {
        bytes += piece.len() as u64;
        if bytes > max_bytes {
            return Err(ApiError::PayloadTooLarge { max_bytes });
        }
        gathered.extend_from_slice(&piece);
        if gathered.len() >= WRITTEN_TOGETHER_BYTES {
            upload = written(upload, mem::take(&mut gathered)).await?;
        }
    }
    let upload = written(upload, gathered).await?;
    let stored = blocking(|| upload.finish()).await?;
    Ok(HttpResponse::Ok().json(Stored { stored }))
}

async fn challenge(request: &HttpRequest, app: &App) -> Result<Challenge, ApiError> {
    let path = request.path();
    let id = id_of_path(path.strip_suffix(FORMULA).unwrap_or(path), "challenge_id");
    let id = id.map_err(at(0))?;
    let store = app.handles.health.store.clone();
    let deadline = Instant::now() + app.handles.feed.read_timeout();
    let read = web::block(move || store.challenge(&id, deadline)).await;
    let found = read.map_err(|_| ApiError::Internal)?.map_err(|error| {
        log::warn!("a challenge cannot be read: {error}");
        ApiError::busy()
    })?;
    found.ok_or(ApiError::NoSuchChallenge)
}

async fn written(mut upload: Upload, gathered: Vec<u8>) -> Result<Upload, ApiError> {
    blocking(move || {
        upload.write(&gathered)?;
        Ok(upload)
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, UploadError> + Send + 'static,
) -> Result<T, ApiError> {
    let done = web::block(work).await.map_err(|_| ApiError::Internal)?;
    Ok(done?)
}
