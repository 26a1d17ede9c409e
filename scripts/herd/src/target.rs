//! Where requests go and where they come from: URLs, checked, and addresses of this machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

use awc::http::Uri;

use crate::{invalid::PlanError, web_url::check_url};

/// Parses an absolute http URL. Its host must be this machine unless `own` is set.
///
/// # Errors
/// If the text is not a URL, or its host is unknown or another machine.
pub(super) fn target(url: &str, own: bool) -> Result<Uri, PlanError> {
    check_url(url)?;
    let not_a_url = || PlanError::Url {
        url: url.to_owned(),
    };
    let uri: Uri = url.parse().map_err(|_| not_a_url())?;
    uri.host().ok_or_else(not_a_url)?;
    if uri.scheme_str().ok_or_else(not_a_url)? != "http" {
        return Err(PlanError::Scheme {
            url: url.to_owned(),
        });
    }
    let addresses = addresses(&uri)?;
    if own || addresses.iter().all(|address| is_loopback(address.ip())) {
        Ok(uri)
    } else {
        Err(PlanError::NotLoopback { host: host(&uri) })
    }
}

/// Returns whether the host has the addresses 127.0.0.0/8 only, so that clients can have them as well.
pub(super) fn is_loopback_v4(uri: &Uri) -> bool {
    let mut addresses = addresses(uri).into_iter().flatten().peekable();
    addresses.peek().is_some()
        && addresses.all(|address| is_loopback(address.ip()) && address.is_ipv4())
}

/// Returns the address that client `number` connects from: one of `count`, 127.0.0.1 and those after it.
pub(super) fn source(number: u32, count: u32) -> IpAddr {
    let first = u32::from(Ipv4Addr::LOCALHOST);
    Ipv4Addr::from(first + number % count.max(1)).into()
}

fn addresses(uri: &Uri) -> Result<Vec<SocketAddr>, PlanError> {
    let host = host(uri);
    match host.to_socket_addrs() {
        Ok(addresses) => Ok(addresses.collect()),
        Err(source) => Err(PlanError::Host { host, source }),
    }
}

fn host(uri: &Uri) -> String {
    let name = uri.host().unwrap_or_default();
    format!("{name}:{}", uri.port_u16().unwrap_or(80))
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
