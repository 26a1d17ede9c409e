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
use http_body_util::Full;
use url::Url;

use crate::invalid::PlanError;

/// A request with its whole body.
pub(super) type Outgoing = Request<Full<Bytes>>;

/// The value of User-Agent.
const PRODUCT: HeaderValue = HeaderValue::from_static(concat!("herd/", env!("CARGO_PKG_VERSION")));
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
}

/// A URL and its server.
#[derive(Debug, Clone)]
pub struct Target {
    /// The absolute URL.
    pub url: Uri,
    /// Its server.
    pub origin: Arc<Origin>,
}

impl Origin {
    /// Begins a request for a URL of this server. Host comes first (RFC 9110 §7.2).
    pub(super) fn request(&self, method: Method, url: Uri, body: Bytes) -> Outgoing {
        let mut request = Request::new(Full::new(body));
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
#[derive(Debug)]
pub(super) struct Targets {
    /// Whether servers may be other machines.
    own: bool,
    known: Vec<Arc<Origin>>,
}

impl Targets {
    /// No servers yet. They must be this machine unless `own` is set.
    pub(super) fn new(own: bool) -> Self {
        Self {
            own,
            known: Vec::new(),
        }
    }

    /// Parses an absolute http URL.
    ///
    /// # Errors
    /// If the text is not such a URL, or its host is unknown or another machine.
    pub(super) fn target(&mut self, text: &str) -> Result<Target, PlanError> {
        let not_a_url = || PlanError::Url {
            url: text.to_owned(),
        };
        let url = Url::parse(text).map_err(|_| not_a_url())?;
        let named = !url.username().is_empty() || url.password().is_some();
        if url.cannot_be_a_base() || named || url.port() == Some(0) {
            return Err(not_a_url());
        }
        if url.scheme() != "http" {
            return Err(PlanError::Scheme {
                url: text.to_owned(),
            });
        }
        let uri: Uri = url.as_str().parse().map_err(|_| not_a_url())?;
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err(not_a_url());
        };
        let authority = format!("{host}:{port}");
        let field = uri.authority().map(|authority| authority.as_str());
        let field = HeaderValue::from_str(field.unwrap_or_default()).map_err(|_| not_a_url())?;
        let origin = self.origin(authority, field)?;
        Ok(Target { url: uri, origin })
    }

    fn origin(&mut self, authority: String, host: HeaderValue) -> Result<Arc<Origin>, PlanError> {
        let known = self.known.iter().find(|one| one.authority == authority);
        if let Some(known) = known {
            return Ok(Arc::clone(known));
        }
        let addresses = match authority.to_socket_addrs() {
            Ok(addresses) => addresses.collect::<Vec<_>>(),
            Err(source) => {
                let host = authority;
                return Err(PlanError::Host { host, source });
            }
        };
        let here = addresses.iter().all(|address| is_loopback(address.ip()));
        if !here && !self.own {
            return Err(PlanError::NotLoopback { host: authority });
        }
        let origin = Arc::new(Origin {
            authority,
            host,
            addresses,
        });
        self.known.push(Arc::clone(&origin));
        Ok(origin)
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
