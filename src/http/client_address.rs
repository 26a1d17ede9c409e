//! Which client a request comes from, behind proxies or not (RFC 7239, and the older `X-Forwarded-For`).

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::door::Head;

/// Returns the address nearest to the client that a trusted proxy vouches for: of the peer and the
/// addresses that it forwards for, the last one that is no trusted proxy. A client can put anything at
/// the front of these fields, so they are read from the end, and only if the peer is trusted.
pub(super) fn client_address(peer: IpAddr, head: &Head<'_, '_>, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let mut client = peer.to_canonical();
    if !is_trusted(&client) {
        return client;
    }
    for address in forwarded_for(head).into_iter().rev() {
        // An obfuscated or malformed address: nobody vouches for what comes before it.
        let Some(address) = address else { break };
        client = address.to_canonical();
        if !is_trusted(&client) {
            break;
        }
    }
    client
}

/// Returns all addresses that were forwarded for, the first one first: of `Forwarded`, or without that
/// field of `X-Forwarded-For`.
fn forwarded_for(head: &Head<'_, '_>) -> Vec<Option<IpAddr>> {
    let text = |line| std::str::from_utf8(line).unwrap_or_default();
    let mut forwarded = head.lines("forwarded").map(text).peekable();
    if forwarded.peek().is_some() {
        let elements = forwarded.flat_map(|line| line.split(','));
        return elements.map(forwarded_element).collect();
    }
    let lines = head.lines("x-forwarded-for").map(text);
    lines.flat_map(|line| line.split(',')).map(node).collect()
}

/// Parses one element of `Forwarded`: `for=192.0.2.60;proto=http` (RFC 7239 §4). A quoted comma splits
/// it in two, neither of which has an address.
fn forwarded_element(element: &str) -> Option<IpAddr> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    node(value)
}

/// Parses an address, perhaps quoted, perhaps with a port (RFC 7239 §6).
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let without_brackets = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let address = without_brackets.unwrap_or(text).parse().ok();
    address.or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))
}
