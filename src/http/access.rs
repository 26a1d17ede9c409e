//! What every request passes on its way in and out: limits, counts, the access log.

use std::{
    future::{Ready, ready},
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::{
    Error, ResponseError,
    body::{BodySize, EitherBody, MessageBody},
    dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready},
    http::{
        Method,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
};
use futures_util::future::LocalBoxFuture;
use ipnet::IpNet;

use super::{client_address::client_address, error::ApiError, rate_limit::RateLimit};
use crate::metrics::requests::{Route, Tally};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
/// Longer ids are not a client's business.
const MAX_ID_BYTES: usize = 128;

/// Which requests are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLog {
    /// Those that the server failed: 5xx.
    Failures,
    /// All.
    All,
}

/// What is asked of every request.
#[derive(Debug, Clone)]
pub struct AccessRules {
    /// Which are logged.
    pub log: AccessLog,
    /// The longest path with its query, in bytes.
    pub max_target_bytes: usize,
    /// The longest header section, in bytes.
    pub max_header_bytes: usize,
    /// Who is believed when it says whom it asks for.
    pub trusted_proxies: Arc<[IpNet]>,
    /// How often one client may ask, where that is limited.
    pub rate_limit: Option<Arc<RateLimit>>,
    /// Whether answers tell how long they took.
    pub server_timing: bool,
}

/// The middleware of one resource, in one worker.
#[derive(Debug, Clone)]
pub(super) struct Access {
    pub(super) route: Route,
    pub(super) rules: AccessRules,
    pub(super) tally: Arc<Tally>,
}

impl<S, B> Transform<S, ServiceRequest> for Access
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Transform = AccessService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        let access = Rc::new(self.clone());
        ready(Ok(AccessService { inner, access }))
    }
}

pub(super) struct AccessService<S> {
    inner: S,
    access: Rc<Access>,
}

impl<S, B> Service<ServiceRequest> for AccessService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Error>>;

    forward_ready!(inner);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let begun = Instant::now();
        let access = Rc::clone(&self.access);
        if let Err(refused) = access.admit(&request) {
            let refused = request.into_response(refused.error_response());
            let response = access.answered(begun, refused.map_into_right_body());
            return Box::pin(ready(Ok(response)));
        }
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = answer.await?;
            Ok(access.answered(begun, response.map_into_left_body()))
        })
    }
}

impl Access {
    fn admit(&self, request: &ServiceRequest) -> Result<(), ApiError> {
        let target = request.uri().path_and_query();
        if target.is_some_and(|target| target.as_str().len() > self.rules.max_target_bytes) {
            return Err(ApiError::UriTooLong);
        }
        let fields = request.headers().iter();
        // A colon, a space and an end of line each.
        let header_bytes: usize = fields
            .map(|(name, value)| name.as_str().len() + value.len() + 4)
            .sum();
        if header_bytes > self.rules.max_header_bytes {
            return Err(ApiError::HeaderTooLong);
        }
        if let Some(rate_limit) = self.limited()
            && let Some(client) = self.client(request.peer_addr(), request.headers())
        {
            rate_limit
                .admit(client)
                .map_err(|retry_after| ApiError::TooManyRequests { retry_after })?;
        }
        Ok(())
    }

    /// Who asks how the server is must not be turned away.
    fn limited(&self) -> Option<&RateLimit> {
        let asks_how_it_is = matches!(self.route, Route::Health | Route::Metrics);
        let rate_limit = self.rules.rate_limit.as_deref();
        rate_limit.filter(|_| !asks_how_it_is)
    }

    fn client(&self, peer: Option<std::net::SocketAddr>, headers: &HeaderMap) -> Option<IpAddr> {
        Some(client_address(
            peer?.ip(),
            headers,
            &self.rules.trusted_proxies,
        ))
    }

    /// Counts the answer, logs it, and adds what the rules say.
    fn answered<B: MessageBody>(
        &self,
        begun: Instant,
        mut response: ServiceResponse<B>,
    ) -> ServiceResponse<B> {
        let took = begun.elapsed();
        let status = response.status();
        let is_head = response.request().method() == Method::HEAD;
        let body_bytes = match response.response().body().size() {
            BodySize::Sized(_) | BodySize::Stream if is_head => 0,
            BodySize::Sized(bytes) => bytes,
            BodySize::Stream => announced_bytes(response.headers()),
            BodySize::None => 0,
        };
        self.tally
            .answered(self.route, status.as_u16(), took, body_bytes);
        let logged = self.rules.log == AccessLog::All || status.is_server_error();
        let given = given_id(response.request().headers());
        if let Some(id) = given.or_else(|| logged.then(made_id)) {
            if logged {
                self.log(&response, took, body_bytes, &id);
            }
            response.headers_mut().insert(X_REQUEST_ID, id);
        }
        if self.rules.server_timing {
            let timing = format!("app;dur={:.3}", took.as_secs_f64() * 1e3);
            if let Ok(timing) = HeaderValue::from_str(&timing) {
                response.headers_mut().insert(SERVER_TIMING, timing);
            }
        }
        response
    }

    /// One line. Without the query: what a client puts there may be meant for nobody else.
    fn log<B>(
        &self,
        response: &ServiceResponse<B>,
        took: Duration,
        body_bytes: u64,
        id: &HeaderValue,
    ) {
        let request = response.request();
        let client = self.client(request.peer_addr(), request.headers());
        log::info!(
            target: "access",
            client = client.map(|client| client.to_string()).unwrap_or_default().as_str(),
            method = request.method().as_str(),
            path = request.path(),
            route = self.route.label(),
            status = response.status().as_u16(),
            body_bytes = body_bytes,
            micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            request_id = id.to_str().unwrap_or_default();
            "answered"
        );
    }
}

/// How long a body is that is lent to the connection.
fn announced_bytes(headers: &HeaderMap) -> u64 {
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    length.unwrap_or(0)
}

/// What the client calls this request, where that is fit for a log.
fn given_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let id = headers.get(X_REQUEST_ID)?;
    let fit = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=~".contains(byte);
    let bytes = id.as_bytes();
    let is_fit = (1..=MAX_ID_BYTES).contains(&bytes.len()) && bytes.iter().all(fit);
    is_fit.then(|| id.clone())
}

fn made_id() -> HeaderValue {
    let id = format!("{:016x}", fastrand::u64(..));
    HeaderValue::from_str(&id).unwrap_or_else(|_| HeaderValue::from_static("none"))
}
