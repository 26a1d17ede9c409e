//! Takes the formula of a challenge in: `PUT /v1/admin/challenges/{id}/cnf`.

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::CONTENT_RANGE,
    web::{self, Payload},
};
use serde::Serialize;

use super::{AdminHandles, announced_length, at, next_admitted};
use crate::{
    cnf::{Upload, UploadError},
    domain::{
        challenge::{Challenge, Status},
        formula::Formula,
    },
    http::{App, cnf::NO_FOLDER, error::ApiError, query::id_of_path},
    writer::handle::Admission,
};

/// The name of a formula below its challenge.
pub(super) const FORMULA: &str = "/cnf";
/// Uploads at once; further ones are refused, unless one of these is slow.
pub(super) const MAX_UPLOADS: u64 = 4;
/// When a client that was refused should try again: most formulas have arrived by then.
const RETRY_AFTER: Duration = Duration::from_secs(5);
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
    let bearer = bearer.ok_or(ApiError::Unauthorized)?;
    // RFC 9110 §14.5: a part is not taken for the whole.
    if request.headers().contains_key(CONTENT_RANGE) {
        let reason = "a formula is stored as a whole, not as a Content-Range";
        return Err(ApiError::Malformed(reason));
    }
    let cnf = app.handles.cnf.as_ref();
    let cnf = cnf.ok_or(ApiError::NotServedHere(NO_FOLDER))?;
    let formula = wanted(&request, &app).await?;
    let max_bytes = cnf.max_upload_bytes(&formula);
    if announced_length(&request).is_some_and(|bytes| bytes > max_bytes) {
        return Err(ApiError::PayloadTooLarge { max_bytes });
    }
    let admission = handles.uploads.begin(bearer);
    let admission = Arc::new(admission.map_err(|_| ApiError::Unavailable {
        retry_after: RETRY_AFTER,
    })?);
    let mut upload = {
        let cnf = cnf.clone();
        blocking(&admission, move || cnf.begin_upload(formula)).await?
    };
    let (mut gathered, mut bytes) = (Vec::new(), 0);
    while let Some(piece) = next_admitted(&mut body, &admission).await? {
        admission.grow(piece.len())?;
        bytes += piece.len() as u64;
        if bytes > max_bytes {
            return Err(ApiError::PayloadTooLarge { max_bytes });
        }
        gathered.extend_from_slice(&piece);
        if gathered.len() >= WRITTEN_TOGETHER_BYTES {
            upload = written(&admission, upload, mem::take(&mut gathered)).await?;
        }
    }
    admission.complete()?;
    let upload = written(&admission, upload, gathered).await?;
    let complete = blocking(&admission, || upload.complete()).await?;
    // Another request may have changed the challenge meanwhile.
    if wanted(&request, &app).await? != formula {
        let changed = "the challenge was changed during the upload";
        return Err(ApiError::Differs(changed.to_owned()));
    }
    let stored = blocking(&admission, || complete.keep()).await?;
    Ok(HttpResponse::Ok().json(Stored { stored }))
}

/// Returns which formula the challenge wants.
async fn wanted(request: &HttpRequest, app: &App) -> Result<Formula, ApiError> {
    let challenge = challenge(request, app).await?;
    if challenge.status == Status::Retired {
        return Err(ApiError::Differs("the challenge is retired".to_owned()));
    }
    challenge.formula().ok_or(ApiError::Internal)
}

async fn challenge(request: &HttpRequest, app: &App) -> Result<Challenge, ApiError> {
    let path = request.path();
    let id = id_of_path(path.strip_suffix(FORMULA).unwrap_or(path), "challenge_id");
    let id = id.map_err(|invalid| at(0)(invalid).of_one())?;
    let store = app.handles.health.store.clone();
    let deadline = Instant::now() + app.handles.feed.read_timeout();
    let read = web::block(move || store.challenge(&id, deadline)).await;
    let found = read.map_err(|_| ApiError::Internal)?.map_err(|error| {
        log::warn!("a challenge cannot be read: {error}");
        ApiError::busy()
    })?;
    found.ok_or(ApiError::NoSuchChallenge)
}

async fn written(
    admission: &Arc<Admission>,
    mut upload: Upload,
    gathered: Vec<u8>,
) -> Result<Upload, ApiError> {
    blocking(admission, move || {
        upload.write(&gathered)?;
        Ok(upload)
    })
    .await
}

/// Runs `work`, which counts as admitted until it ends, even if the client goes.
async fn blocking<T: Send + 'static>(
    admission: &Arc<Admission>,
    work: impl FnOnce() -> Result<T, UploadError> + Send + 'static,
) -> Result<T, ApiError> {
    let admission = Arc::clone(admission);
    let done = web::block(move || {
        let _admission = admission;
        work()
    });
    Ok(done.await.map_err(|_| ApiError::Internal)??)
}
