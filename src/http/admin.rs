//! The admin routes: writes of challenges, eval runs and Merkle epochs; `challenges` reads and changes what is stored.
//!
//! Each write passes, in this order: authentication, admission (503 at once), body, parsing, commit. A
//! request that is rejected on the way has stored nothing, unless the answer says that its outcome is unknown.

mod challenges;
mod formulas;

use std::io::ErrorKind;

use actix_web::{
    HttpRequest, HttpResponse,
    error::PayloadError,
    http::header,
    web::{self, Payload},
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::Serialize;

use super::{Settings, error::ApiError, query::id_of_path, token::AdminTokens};
use crate::{
    domain::{Invalid, challenge::Challenge, eval_run::EvalRun, merkle_epoch},
    json_stream::{SourceError, read_items},
    keys::JwkSetHandle,
    store::operation::Operation,
    writer::{
        handle::{Admission, Admissions, WriterHandle},
        outcome::{Acknowledgement, Rejected},
    },
};

/// The most items of one request.
const MAX_ITEMS: usize = 10_000;

/// What the admin routes use.
#[derive(Debug, Clone)]
pub struct AdminHandles {
    tokens: AdminTokens,
    writer: WriterHandle,
    max_body_bytes: u32,
    /// Formulas that are being taken in.
    uploads: Admissions,
    /// The keys that must have signed eval runs.
    signers: Option<JwkSetHandle>,
}

impl AdminHandles {
    /// Returns what the admin routes use; `None` without a writer or a token: then there are no such routes. With
    /// `signers`, eval runs are refused that none of these keys has signed.
    pub fn new(
        tokens: AdminTokens,
        writer: Option<WriterHandle>,
        settings: &Settings,
        signers: Option<JwkSetHandle>,
    ) -> Option<Self> {
        let writer = writer.filter(|_| tokens.count() > 0)?;
        // A longer body than the writer admits at once would never be admitted.
        let max_body_bytes = settings.max_body_bytes.min(writer.max_bytes());
        Some(Self {
            tokens,
            uploads: writer.separate_admissions(formulas::MAX_UPLOADS),
            writer,
            max_body_bytes,
            signers,
        })
    }

    /// Checks that the eval runs are signed, if they must be. CPU-bound: about 30 µs a row.
    fn check_signatures(&self, runs: &[EvalRun]) -> Result<(), ApiError> {
        let Some(signers) = &self.signers else {
            return Ok(());
        };
        // Without a set no row could be verified.
        let set = signers.get().ok_or(ApiError::Internal)?;
        let invalid = set.keys.verify_all(runs.iter().map(|run| &run.body));
        match invalid.into_iter().next() {
            None => Ok(()),
            Some((index, invalid)) => Err(ApiError::BadSignature {
                index,
                id: runs[index].id.clone(),
                invalid,
            }),
        }
    }
}

/// The JSON of an acknowledgement.
#[derive(Serialize)]
struct Acknowledged {
    inserted: u64,
    unchanged: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    published: Option<bool>,
}

/// The media types of items.
const JSON_OR_NDJSON: &[&str] = &["application/json", "application/x-ndjson"];

const CHALLENGES: &str = "/v1/admin/challenges";
const EVAL_RUNS: &str = "/v1/admin/eval-runs";
const MERKLE_EPOCHS: &str = "/v1/admin/merkle-epochs";

/// Whether the path is an admin route: a collection, or one member of it.
pub(super) fn serves(path: &str) -> bool {
    let is_segment = |rest: &str| {
        let member = rest.strip_prefix('/');
        member.is_some_and(|member| !member.is_empty() && !member.contains('/'))
    };
    let is_member = |collection: &str| path.strip_prefix(collection).is_some_and(is_segment);
    let is_formula = |path: &str| {
        let member = path.strip_suffix(formulas::FORMULA);
        member
            .and_then(|member| member.strip_prefix(CHALLENGES))
            .is_some_and(is_segment)
    };
    [CHALLENGES, EVAL_RUNS].contains(&path)
        || is_member(CHALLENGES)
        || is_formula(path)
        || is_member(MERKLE_EPOCHS)
}

/// Adds the admin routes.
pub(super) fn configure(config: &mut web::ServiceConfig, handles: &AdminHandles) {
    config
        .app_data(web::Data::new(handles.clone()))
        .service(
            web::resource(format!("{CHALLENGES}/{{challenge_id}}"))
                .route(web::get().to(challenges::one))
                .route(web::head().to(challenges::one))
                .route(web::put().to(put_challenge))
                .route(web::patch().to(challenges::patch))
                .default_service(web::to(|| other_method("GET, HEAD, PUT, PATCH"))),
        )
        .service(
            web::resource(format!(
                "{CHALLENGES}/{{challenge_id}}{}",
                formulas::FORMULA
            ))
            .route(web::put().to(formulas::put))
            .default_service(web::to(|| other_method("PUT"))),
        )
        .service(
            web::resource(CHALLENGES)
                .route(web::get().to(challenges::page))
                .route(web::head().to(challenges::page))
                .route(web::post().to(post_challenges))
                .default_service(web::to(|| other_method("GET, HEAD, POST"))),
        )
        .service(
            web::resource(EVAL_RUNS)
                .route(web::post().to(post_eval_runs))
                .default_service(web::to(|| other_method("POST"))),
        )
        .service(
            web::resource(format!("{MERKLE_EPOCHS}/{{epoch}}"))
                .route(web::put().to(put_merkle_epoch))
                .default_service(web::to(|| other_method("PUT"))),
        );
}

async fn other_method(allow: &'static str) -> Result<HttpResponse, ApiError> {
    Err(ApiError::MethodNotAllowed { allow })
}

async fn put_challenge(
    request: HttpRequest,
    body: Payload,
    handles: web::Data<AdminHandles>,
) -> Result<HttpResponse, ApiError> {
    let id = id_of_path(request.path(), "challenge_id");
    accept(&request, body, &handles, move |body| {
        let id = id.map_err(at(0))?;
        let challenge = Challenge::from_admin(utf8(body)?, Some(&id)).map_err(at(0))?;
        Ok(Operation::PutChallenges(vec![challenge]))
    })
    .await
    .map_err(ApiError::of_one)
}

async fn post_challenges(
    request: HttpRequest,
    body: Payload,
    handles: web::Data<AdminHandles>,
) -> Result<HttpResponse, ApiError> {
    accept(&request, body, &handles, |body| {
        let challenges = items(body, |json| Challenge::from_admin(json, None))?;
        Ok(Operation::PutChallenges(challenges))
    })
    .await
}

async fn post_eval_runs(
    request: HttpRequest,
    body: Payload,
    handles: web::Data<AdminHandles>,
) -> Result<HttpResponse, ApiError> {
    let checked = handles.clone();
    accept(&request, body, &handles, move |body| {
        let runs = items(body, EvalRun::from_json)?;
        checked.check_signatures(&runs)?;
        Ok(Operation::InsertEvalRuns(runs))
    })
    .await
}

async fn put_merkle_epoch(
    request: HttpRequest,
    body: Payload,
    handles: web::Data<AdminHandles>,
) -> Result<HttpResponse, ApiError> {
    let epoch = id_of_path(request.path(), "epoch");
    accept(&request, body, &handles, move |body| {
        let epoch = epoch.and_then(|text| merkle_epoch::number(&text));
        let epoch = epoch.map_err(at(0))?;
        let body = merkle_epoch::body(utf8(body)?).map_err(at(0))?.to_owned();
        Ok(Operation::PutMerkleEpoch { epoch, body })
    })
    .await
    .map_err(ApiError::of_one)
}

/// Authentication, admission, body, parsing, commit.
async fn accept(
    request: &HttpRequest,
    body: Payload,
    handles: &AdminHandles,
    parse: impl FnOnce(&[u8]) -> Result<Operation, ApiError> + Send + 'static,
) -> Result<HttpResponse, ApiError> {
    let (admission, operation) = receive(request, body, handles, JSON_OR_NDJSON, parse).await?;
    let receipt = handles.writer.write(admission, operation).await?;
    Ok(acknowledge(receipt))
}

/// Authentication, admission, body, parsing.
async fn receive<T: Send + 'static>(
    request: &HttpRequest,
    body: Payload,
    handles: &AdminHandles,
    content_types: &'static [&'static str],
    parse: impl FnOnce(&[u8]) -> Result<T, ApiError> + Send + 'static,
) -> Result<(Admission, T), ApiError> {
    let bearer = handles.tokens.admit(request.headers());
    let bearer = bearer.ok_or(ApiError::Unauthorized)?;
    check_content_type(request, content_types)?;
    check_length(request, handles)?;
    let admission = handles.writer.begin(bearer)?;
    let body = read_body(body, handles, &admission).await?;
    // A body may be 16 MiB of JSON: too long for an async thread.
    let parsed = web::block(move || parse(&body))
        .await
        .map_err(|_| ApiError::Internal)??;
    Ok((admission, parsed))
}

fn acknowledge(receipt: Acknowledgement) -> HttpResponse {
    HttpResponse::Ok().json(Acknowledged {
        inserted: receipt.counts.inserted,
        unchanged: receipt.counts.unchanged,
        published: (!receipt.published).then_some(false),
    })
}

fn check_content_type(
    request: &HttpRequest,
    accepted: &'static [&'static str],
) -> Result<(), ApiError> {
    let Some(value) = request.headers().get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let essence = value.to_str().unwrap_or_default().split(';').next();
    let essence = essence.unwrap_or_default().trim();
    let is_accepted = |accepted: &&str| essence.eq_ignore_ascii_case(accepted);
    if accepted.iter().any(is_accepted) {
        Ok(())
    } else {
        Err(ApiError::UnsupportedMediaType { accepted })
    }
}

/// Refuses a body whose announced length is too long before any of it is read.
fn check_length(request: &HttpRequest, handles: &AdminHandles) -> Result<(), ApiError> {
    let max_bytes = handles.max_body_bytes;
    match announced_length(request) {
        Some(bytes) if bytes > max_bytes.into() => Err(ApiError::PayloadTooLarge {
            max_bytes: max_bytes.into(),
        }),
        Some(_) | None => Ok(()),
    }
}

fn announced_length(request: &HttpRequest) -> Option<u64> {
    let length = request.headers().get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

/// Reads the next piece of a body; `None` at its end. The door sees to it that it ends in time.
async fn next_piece(body: &mut Payload) -> Result<Option<Bytes>, ApiError> {
    match body.next().await {
        None => Ok(None),
        Some(Ok(piece)) => Ok(Some(piece)),
        Some(Err(PayloadError::Io(error))) if error.kind() == ErrorKind::TimedOut => {
            Err(ApiError::BodyTimeout)
        }
        Some(Err(_)) => Err(ApiError::BodyBroken),
    }
}

/// Reads the next piece of a body whose request was admitted; `None` at its end.
///
/// # Errors
/// Those of [`next_piece`]; [`Rejected::Slow`] if the request is cut off for the sake of others.
async fn next_admitted(
    body: &mut Payload,
    admission: &Admission,
) -> Result<Option<Bytes>, ApiError> {
    tokio::select! {
        biased;
        () = admission.cut_off() => Err(Rejected::Slow.into()),
        piece = next_piece(body) => piece,
    }
}

/// Reads the whole body; its bytes are admitted as they arrive.
async fn read_body(
    mut body: Payload,
    handles: &AdminHandles,
    admission: &Admission,
) -> Result<Vec<u8>, ApiError> {
    let max_bytes = handles.max_body_bytes;
    let mut read = Vec::new();
    while let Some(piece) = next_admitted(&mut body, admission).await? {
        if read.len() + piece.len() > max_bytes as usize {
            return Err(ApiError::PayloadTooLarge {
                max_bytes: max_bytes.into(),
            });
        }
        admission.grow(piece.len())?;
        read.extend_from_slice(&piece);
    }
    admission.complete()?;
    Ok(read)
}

fn utf8(body: &[u8]) -> Result<&str, ApiError> {
    std::str::from_utf8(body).map_err(|_| at(0)(Invalid::new("", "the body is not UTF-8")))
}

fn at(index: usize) -> impl Fn(Invalid) -> ApiError {
    move |invalid| ApiError::BadItem {
        index: Some(index),
        invalid,
    }
}

fn items<T>(body: &[u8], parse: impl Fn(&str) -> Result<T, Invalid>) -> Result<Vec<T>, ApiError> {
    if body.trim_ascii().is_empty() {
        // What a producer sends whose input failed. One that has nothing to send says so: `[]`.
        let reason = "the body is empty: expected a JSON array or NDJSON";
        return Err(at(0)(Invalid::new("", reason)).of_one());
    }
    let mut items = Vec::new();
    let read = read_items(body, |_, json| {
        if items.len() == MAX_ITEMS {
            return Err(Invalid::new(
                "",
                format!("a request may have at most {MAX_ITEMS} items"),
            ));
        }
        items.push(parse(json)?);
        Ok(())
    });
    match read {
        Ok(_) => Ok(items),
        Err(SourceError::Item(_, invalid)) => Err(at(items.len())(invalid)),
        Err(error @ (SourceError::Io(_) | SourceError::Form(_))) => {
            Err(at(items.len())(Invalid::new("", error.to_string())))
        }
    }
}
