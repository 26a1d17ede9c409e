//! Who a request comes from, behind proxies or not (RFC 7239, and the older `X-Forwarded-For`).

use std::net::{IpAddr, SocketAddr};

use actix_web::http::header::{FORWARDED, HeaderMap, X_FORWARDED_FOR};
use ipnet::IpNet;

/// The address nearest to the client that somebody trusted vouches for: of the peer and those that it
/// says it forwards for, the last one that is no trusted proxy. A client can put what it likes at the
/// front of these fields, so they are read from the end, and not at all from a peer that is not trusted.
pub(super) fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let mut client = peer.to_canonical();
    if !is_trusted(&client) {
        return client;
    }
    for address in forwarded_for(headers).into_iter().rev() {
        // Hidden or nonsense: nobody vouches for what comes before it.
        let Some(address) = address else { break };
        client = address.to_canonical();
        if !is_trusted(&client) {
            break;
        }
    }
    client
}

/// All that were forwarded for, the first one first: of `Forwarded`, or else of `X-Forwarded-For`.
fn forwarded_for(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let lines = |name| {
        let values = headers.get_all(name);
        values.map(|value| value.to_str().unwrap_or_default())
    };
    if headers.contains_key(FORWARDED) {
        let elements = lines(FORWARDED).flat_map(|line| line.split(','));
        return elements.map(forwarded_element).collect();
    }
    lines(X_FORWARDED_FOR)
        .flat_map(|line| line.split(','))
        .map(node)
        .collect()
}

/// One element of `Forwarded`: `for=192.0.2.60;proto=http` (RFC 7239 §4). A quoted comma cuts it in
/// two, neither of which has an address.
fn forwarded_element(element: &str) -> Option<IpAddr> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    node(value)
}

/// An address, perhaps quoted, perhaps with a port (RFC 7239 §6).
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let without_brackets = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let address = without_brackets.unwrap_or(text).parse().ok();
    address.or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))
}
