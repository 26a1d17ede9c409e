//! Outgoing HTTP: one request at a time, bounded in time and in bytes. For commands that ask a server, and for
//! following another publisher. Blocks: call it on a thread that may.
//!
//! It follows no redirect, keeps the body as it was sent (in its content coding), and uses no proxy from the
//! environment: a check of this machine must not leave it.

use std::{io, path::Path, sync::Arc, time::Duration};

use rustls::crypto::ring;
use ureq::{
    Agent, RequestExt as _,
    http::{HeaderMap, Method, Request, Uri, header::HeaderName},
    tls::{Certificate, RootCerts, TlsConfig},
};

use crate::certificates;

/// How long it may take to look a name up, and as long again to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest head of a response.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// A connection that was idle for longer than this is not used again.
const MAX_IDLE: Duration = Duration::from_secs(30);

/// Sends requests, and keeps connections open between them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Fetcher {
    agent: Agent,
}

/// A request without a body.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The method.
    pub method: &'a str,
    /// An absolute URL, http or https.
    pub url: &'a str,
    /// Header fields, beside `Host` and `User-Agent`.
    pub fields: &'a [(&'a str, &'a str)],
    /// From the look-up of the name to the last byte of the body.
    pub timeout: Duration,
    /// The longest body.
    pub max_body_bytes: u64,
}

/// A complete response.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Its status.
    pub status: u16,
    /// Its header fields.
    pub fields: HeaderMap,
    /// Its body, in its content coding.
    pub body: Vec<u8>,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The certificates that are to be trusted cannot be read.
    #[error("{0}")]
    Certificates(String),
    /// The name has no address.
    #[error("the host was not found")]
    HostNotFound,
    /// No connection, or it broke.
    #[error("{0}")]
    Connection(io::Error),
    /// The response took too long.
    #[error("no complete answer in {} s", .0.as_secs_f32())]
    TimedOut(Duration),
    /// The body is too long.
    #[error("the answer has more than {0} bytes")]
    TooLong(u64),
    /// The response is not HTTP, or its certificate is not trusted.
    #[error("{0}")]
    Protocol(Box<ureq::Error>),
}

impl Fetcher {
    /// Trusts the certificates of `ca_file`, or of the system without one. `option` names the option of the file.
    /// `with_tls` is false if no URL is https: then none is read.
    ///
    /// # Errors
    /// [`FetchError::Certificates`].
    pub fn new(option: &str, ca_file: Option<&Path>, with_tls: bool) -> Result<Self, FetchError> {
        let certificates = if with_tls {
            certificates::load(option, ca_file).map_err(FetchError::Certificates)?
        } else {
            Vec::new()
        };
        let roots = certificates
            .iter()
            .map(|certificate| Certificate::from_der(certificate).to_owned());
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
            .root_certs(RootCerts::from(roots.collect::<Vec<_>>()))
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .allow_non_standard_methods(true)
            .user_agent(concat!("cathedral-publisher/", env!("CARGO_PKG_VERSION")))
            .accept("")
            .accept_encoding("")
            .max_response_header_size(MAX_HEAD_BYTES)
            .max_idle_age(MAX_IDLE)
            .timeout_resolve(Some(CONNECT_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .build();
        Ok(Self {
            agent: config.new_agent(),
        })
    }

    /// Sends the request, and reads its whole response.
    ///
    /// # Errors
    /// [`FetchError`]; also if the body ended early.
    pub fn ask(&self, ask: Ask<'_>) -> Result<Fetched, FetchError> {
        let method = Method::from_bytes(ask.method.as_bytes());
        let method = method.map_err(|error| FetchError::Invalid(error.to_string()))?;
        let mut request = Request::builder().method(method).uri(uri(ask.url)?);
        for (name, value) in ask.fields {
            request = request.header(*name, *value);
        }
        let request = request.body(());
        let request = request.map_err(|error| FetchError::Invalid(error.to_string()))?;
        let failed = |error| failed(error, ask);
        let response = request
            .with_agent(&self.agent)
            .configure()
            .timeout_global(Some(ask.timeout))
            .run()
            .map_err(failed)?;
        let (head, mut body) = response.into_parts();
        // One byte more, so that a body of just the limit is whole.
        let body = body.with_config().limit(ask.max_body_bytes + 1);
        let body = body.read_to_vec().map_err(failed)?;
        if body.len() as u64 > ask.max_body_bytes {
            return Err(FetchError::TooLong(ask.max_body_bytes));
        }
        Ok(Fetched {
            status: head.status.as_u16(),
            fields: head.headers,
            body,
        })
    }
}

impl Fetched {
    /// Returns the value of a field that the response has once; the first one, if it has more.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.to_str().ok()
    }

    /// Returns all values of a field.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
            return Vec::new();
        };
        let values = self.fields.get_all(name);
        values
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect()
    }
}

/// Reads an absolute URL.
///
/// # Errors
/// [`FetchError::Invalid`]: another scheme, no host, a user, or a port that is not a number up to 65535.
pub fn uri(url: &str) -> Result<Uri, FetchError> {
    let invalid = |reason: &str| FetchError::Invalid(format!("{url:?}: {reason}"));
    let uri: Uri = url.parse().map_err(|_| invalid("is not a URL"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(invalid("must begin with http:// or https://"));
    }
    let authority = uri.authority().map(|authority| authority.as_str());
    match authority {
        None | Some("") => Err(invalid("names no host")),
        Some(authority) if authority.contains('@') => Err(invalid("must not contain a user")),
        // `Uri` takes any digits for a port.
        Some(authority) if uri.port_u16().is_none() && has_port(authority) => {
            Err(invalid("has an invalid port"))
        }
        Some(_) => Ok(uri),
    }
}

/// Returns whether something follows the host and a colon.
fn has_port(authority: &str) -> bool {
    let after_host = authority.rfind(']').map_or(0, |end| end + 1);
    let colon = authority[after_host..].find(':');
    colon.is_some_and(|at| after_host + at + 1 < authority.len())
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "all other errors are told in ureq's words"
)]
fn failed(error: ureq::Error, ask: Ask<'_>) -> FetchError {
    match error {
        ureq::Error::Timeout(_) => FetchError::TimedOut(ask.timeout),
        ureq::Error::HostNotFound => FetchError::HostNotFound,
        ureq::Error::BodyExceedsLimit(_) => FetchError::TooLong(ask.max_body_bytes),
        ureq::Error::Io(error) => FetchError::Connection(error),
        error => FetchError::Protocol(Box::new(error)),
    }
}
