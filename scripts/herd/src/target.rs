//! Where requests go and where they come from: URLs, checked, their servers, and addresses of this machine.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs},
    sync::Arc,
};

use bytes::Bytes;
use http::{
    HeaderMap, Method, Request, Uri,
    header::{HOST, HeaderValue, USER_AGENT},
};
use rustls::pki_types::ServerName;
use url::Url;

use crate::{
    config::ConnectionOptions,
    course::Payload,
    invalid::PlanError,
    resolve::Resolve,
    secrets::{Environment, expanded_url, url_without_secrets},
    tls::{self, Tls, TlsError, Trust},
    web_url::check_url,
};

/// A request with its whole body.
pub(super) type Outgoing = Request<Payload>;

/// The value of User-Agent.
const PRODUCT: HeaderValue = HeaderValue::from_static(concat!("herd/", env!("CARGO_PKG_VERSION")));
/// The name of HTTP/2 in ALPN (RFC 9113 §3.2).
pub(super) const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";
/// Fields of a request without allocation for more.
const FIELDS: usize = 6;

/// A server (RFC 9110 §4.3). URLs with the same scheme, host and port share it, and with it their connections.
#[derive(Debug)]
pub struct Origin {
    /// Host and port.
    pub authority: String,
    /// The value of Host: host and port, without the port if it is that of the scheme.
    pub host: HeaderValue,
    /// The addresses, resolved once before the run; at least one.
    pub addresses: Vec<SocketAddr>,
    /// TLS, if the scheme is https.
    pub(super) tls: Option<Tls>,
    /// The version of HTTP.
    pub version: Version,
}

/// The version of HTTP that a server is spoken to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, without TLS by prior knowledge (RFC 9113 §3.3).
    Http2,
    /// The one that the server chooses in the handshake of TLS; without TLS HTTP/1.1.
    Any,
}

/// A URL and its server.
#[derive(Debug, Clone)]
pub struct Target {
    /// The absolute URL.
    pub url: Uri,
    /// The URL without secrets, to be shown.
    pub shown: String,
    /// Its server.
    pub origin: Arc<Origin>,
}

impl Origin {
    /// Begins a request for a URL of this server. Host comes first (RFC 9110 §7.2).
    pub(super) fn request(&self, method: Method, url: Uri, body: Bytes) -> Outgoing {
        let mut request = Request::new(Payload::new(body));
        let mut fields = HeaderMap::with_capacity(FIELDS);
        fields.insert(HOST, self.host.clone());
        fields.insert(USER_AGENT, PRODUCT);
        *request.headers_mut() = fields;
        *request.method_mut() = method;
        *request.uri_mut() = url;
        request
    }
}

impl Target {
    /// Begins a request for this URL.
    pub(super) fn request(&self, method: Method, body: Bytes) -> Outgoing {
        self.origin.request(method, self.url.clone(), body)
    }

    /// Returns whether the server has addresses in 127.0.0.0/8 only, so that clients can have them as well.
    pub(super) fn is_loopback_v4(&self) -> bool {
        let mut addresses = self.origin.addresses.iter();
        addresses.all(|address| is_loopback(address.ip()) && address.is_ipv4())
    }
}

/// Checks URLs, and finds out the addresses of each server once.
pub(super) struct Targets<'a> {
    /// Variables in URLs.
    environment: Environment<'a>,
    /// Whether servers may be other machines.
    own: bool,
    version: Version,
    trust: Trust,
    resolve: Vec<Resolve>,
    known: Vec<(bool, Arc<Origin>)>,
}

impl<'a> Targets<'a> {
    /// No servers yet. They must be this machine unless `own` is set. `environment` has the variables in URLs.
    pub(super) fn new(
        own: bool,
        options: &ConnectionOptions,
        environment: Environment<'a>,
    ) -> Self {
        Self {
            environment,
            own,
            version: match (options.http1, options.http2) {
                (true, _) => Version::Http1,
                (false, true) => Version::Http2,
                (false, false) => Version::Any,
            },
            trust: match &options.ca_file {
                _ if options.insecure => Trust::Everybody,
                Some(path) => Trust::File(path.clone()),
                None => Trust::System,
            },
            resolve: options.resolve.clone(),
            known: Vec::new(),
        }
    }

    /// Returns whether any URL is https.
    pub(super) fn has_tls(&self) -> bool {
        self.known.iter().any(|(is_https, _)| *is_https)
    }

    /// Checks that each `--resolve` is for a URL.
    ///
    /// # Errors
    /// [`PlanError::NoEffect`] for the first one that is not.
    pub(super) fn check_resolve(&self) -> Result<(), PlanError> {
        let is_used = |given: &Resolve| {
            let authority = format!("{}:{}", given.host, given.port);
            self.known.iter().any(|(_, one)| one.authority == authority)
        };
        match self.resolve.iter().find(|given| !is_used(given)) {
            Some(given) => Err(PlanError::NoEffect {
                option: format!("--resolve {given}"),
                reason: "no URL has this host and port",
            }),
            None => Ok(()),
        }
    }

    /// Parses the URL of an option, to which a path or a query is added later.
    ///
    /// # Errors
    /// Those of [`Self::target`], and if the URL has a query.
    pub(super) fn without_query(
        &mut self,
        option: &'static str,
        text: &str,
    ) -> Result<Target, PlanError> {
        match text.contains('?') {
            true => Err(PlanError::Query { option }),
            false => self.target(text),
        }
    }

    /// Parses an absolute http or https URL, after the variables in its query are replaced.
    ///
    /// # Errors
    /// If the text is not such a URL, or its host is unknown or another machine.
    pub(super) fn target(&mut self, text: &str) -> Result<Target, PlanError> {
        let shown = url_without_secrets(text);
        let text = &expanded_url(text, self.environment)?;
        check_url(text, &shown)?;
        let not_a_url = || PlanError::Url { url: shown.clone() };
        let url = Url::parse(text).map_err(|_| not_a_url())?;
        let named = !url.username().is_empty() || url.password().is_some();
        if url.cannot_be_a_base() || named || url.port() == Some(0) {
            return Err(not_a_url());
        }
        if !matches!(url.scheme(), "http" | "https") {
            return Err(PlanError::Scheme { url: shown });
        }
        let uri: Uri = url.as_str().parse().map_err(|_| not_a_url())?;
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err(not_a_url());
        };
        let authority = format!("{host}:{port}");
        let field = uri.authority().map(|authority| authority.as_str());
        let field = HeaderValue::from_str(field.unwrap_or_default()).map_err(|_| not_a_url())?;
        let is_https = url.scheme() == "https";
        let mut known = self.known.iter();
        let known = known.find(|(https, one)| (*https, &one.authority) == (is_https, &authority));
        let origin = match known {
            Some((_, known)) => Arc::clone(known),
            None => {
                let addresses = self.addresses(&authority, host, port)?;
                let origin = Arc::new(Origin {
                    authority,
                    host: field,
                    addresses,
                    tls: is_https.then(|| self.tls(&url)).transpose()?,
                    version: self.version,
                });
                self.known.push((is_https, Arc::clone(&origin)));
                origin
            }
        };
        Ok(Target {
            url: uri,
            shown,
            origin,
        })
    }

    /// Returns how to speak TLS with the host of the URL.
    fn tls(&self, url: &Url) -> Result<Tls, TlsError> {
        let known = self
            .known
            .iter()
            .find_map(|(_, origin)| origin.tls.as_ref());
        let config = match known {
            Some(tls) => Arc::clone(&tls.config),
            None => tls::config(
                &self.trust,
                match self.version {
                    Version::Http1 => &[HTTP1],
                    Version::Http2 => &[HTTP2],
                    Version::Any => &[HTTP2, HTTP1],
                },
            )?,
        };
        let host = url.host_str().unwrap_or_default();
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(name)?.to_owned();
        Ok(Tls { config, name })
    }

    /// Returns the addresses of the host, which are those of `--resolve` if it is named there.
    fn addresses(
        &self,
        authority: &str,
        host: &str,
        port: u16,
    ) -> Result<Vec<SocketAddr>, PlanError> {
        let mut given = self.resolve.iter();
        let given = given.find(|given| given.host == host && given.port == port);
        let addresses: Vec<SocketAddr> = match given {
            Some(given) => {
                let addresses = given.addresses.iter();
                addresses.map(|ip| SocketAddr::new(*ip, port)).collect()
            }
            None => match authority.to_socket_addrs() {
                Ok(addresses) => addresses.collect(),
                Err(source) => {
                    let host = authority.to_owned();
                    return Err(PlanError::Host { host, source });
                }
            },
        };
        let here = addresses.iter().all(|address| is_loopback(address.ip()));
        if here || self.own {
            Ok(addresses)
        } else {
            let host = authority.to_owned();
            Err(PlanError::NotLoopback { host })
        }
    }
}

/// Returns the address that client `number` connects from: one of `count`, 127.0.0.1 and those after it.
pub(super) fn source(number: u32, count: u32) -> IpAddr {
    let first = u32::from(Ipv4Addr::LOCALHOST);
    Ipv4Addr::from(first + number % count.max(1)).into()
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
