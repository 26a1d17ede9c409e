//! The page at `/`: one document for browsers, which shows the board and the feed while they change (WIRE.md).
//!
//! Its style and its scripts are inside of it, and its `Content-Security-Policy` names their hashes. It loads
//! nothing from anywhere, and asks only the address that it came from.

use std::{borrow::Cow, sync::Arc};

use actix_web::{
    HttpRequest, HttpResponse, ResponseError as _,
    http::header::{ACCEPT, HeaderValue, VARY},
    web,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;

use super::{
    App,
    cache_status::CacheStatus,
    error::ApiError,
    respond::{conditions, respond},
};
use crate::{
    answer::{CachePolicy, Media, Representation},
    domain::media_range::names_html,
};

const INDEX: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/style.css");
/// In the order in which they run, as one script.
const SCRIPTS: [&str; 4] = [
    include_str!("page/format.js"),
    include_str!("page/tables.js"),
    include_str!("page/server.js"),
    include_str!("page/live.js"),
];

/// The document, made once.
#[derive(Debug)]
pub struct HtmlPage {
    representation: Arc<Representation>,
    is_encoded: OnceCell<()>,
}

impl Default for HtmlPage {
    fn default() -> Self {
        let script = SCRIPTS.concat();
        let document = INDEX
            .replacen("<style>", &format!("<style>{STYLE}"), 1)
            .replacen(
                "<script type=\"module\">",
                &format!("<script type=\"module\">{script}"),
                1,
            );
        let media = Media {
            content_type: "text/html; charset=utf-8",
            fields: vec![
                ("content-security-policy", policy(&script).into()),
                ("referrer-policy", Cow::Borrowed("no-referrer")),
            ],
            vary: "accept, accept-encoding",
        };
        let document = Representation::of(media, document);
        Self {
            representation: Arc::new(document.with_cache_policy(CachePolicy::Momentary)),
            is_encoded: OnceCell::new(),
        }
    }
}

impl HtmlPage {
    /// Returns the document with all its codings, which are made when it is first asked for.
    async fn encoded(&self) -> &Arc<Representation> {
        let encode = || async {
            let document = Arc::clone(&self.representation);
            let encode = web::block(move || {
                document.encode_fast();
                document.precompress();
            });
            // If it panics, the codings that are missing are not offered.
            let _ = encode.await;
        };
        self.is_encoded.get_or_init(encode).await;
        &self.representation
    }
}

/// Returns the `Content-Security-Policy`: this style, this script, its requests to its own address, its icon, and
/// nothing else (CSP Level 3 §2.3.1).
fn policy(script: &str) -> String {
    let [style, script] =
        [STYLE, script].map(|text| BASE64_STANDARD.encode(Sha256::digest(text.as_bytes())));
    format!(
        "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// Answers clients that name HTML with the page, and all others with 404.
pub(super) async fn page(
    request: HttpRequest,
    app: web::Data<App>,
) -> Result<HttpResponse, ApiError> {
    let accept = request.headers().get_all(ACCEPT);
    if !names_html(accept.map(HeaderValue::as_bytes)) {
        let mut response = ApiError::NotFound.error_response();
        let vary = HeaderValue::from_static("accept");
        response.headers_mut().insert(VARY, vary);
        return Ok(response);
    }
    let document = app.handles.page.encoded().await;
    respond(
        &app,
        &conditions(&request),
        document,
        CacheStatus::Document,
        None,
    )
    .await
}
