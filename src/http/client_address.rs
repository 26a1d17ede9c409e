//! Which client a request comes from, behind proxies or not: the peer, or one header field that trusted
//! proxies set, `X-Forwarded-For` or `Forwarded` (RFC 7239).
//!
//! A client can put anything at the front of these fields, so they are read from the right, and only if the
//! peer is trusted. A proxy that sets one field often passes the other one on as the client sent it, so only
//! the configured field is read.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv6Addr},
};

use clap::ValueEnum;
use ipnet::IpNet;

use super::{Settings, door::Head};

/// The most elements of the field that one request can make the server parse: more proxies are never in a row.
const MAX_ELEMENTS: usize = 32;

/// What names the client of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ClientAddressFrom {
    /// The other end of the connection.
    Peer,
    /// The field that most proxies set.
    XForwardedFor,
    /// The field of RFC 7239.
    Forwarded,
}

/// Returns the address nearest to the client that a trusted proxy vouches for: of the peer and the
/// addresses that the field names, from the right, the first one that is no trusted proxy. Nobody vouches
/// for what is left of an element without a valid address, so the last proxy counts as the client then.
/// `peer` is in its canonical form.
pub(super) fn client_address(peer: IpAddr, head: &Head<'_, '_>, settings: &Settings) -> IpAddr {
    let trusted = &settings.trusted_proxies;
    match settings.client_address_from() {
        ClientAddressFrom::Peer => peer,
        ClientAddressFrom::XForwardedFor => {
            let lines = head.lines("x-forwarded-for").rev();
            let elements = lines.flat_map(|line| line.rsplit(|byte| *byte == b','));
            nearest(peer, trusted, elements, |element| {
                node(std::str::from_utf8(element).ok()?)
            })
        }
        ClientAddressFrom::Forwarded => {
            let lines = head.lines("forwarded").rev();
            nearest(peer, trusted, lines.flat_map(FromRight::of), forwarded_for)
        }
    }
}

/// Walks from the peer through the elements, of which the last one comes first.
fn nearest<'b>(
    peer: IpAddr,
    trusted: &[IpNet],
    elements: impl Iterator<Item = &'b [u8]>,
    parse: impl Fn(&'b [u8]) -> Option<IpAddr>,
) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let mut client = peer;
    for element in elements.take(MAX_ELEMENTS) {
        if !is_trusted(&client) {
            break;
        }
        let element = element.trim_ascii();
        // Empty elements are no elements (RFC 9110 §5.6.1).
        if element.is_empty() {
            continue;
        }
        let Some(address) = parse(element) else { break };
        client = address;
    }
    client
}

/// The elements of a list with quoted strings, from the right: nothing that a client puts in front, such as
/// an opening quote, changes how the elements behind it are read.
struct FromRight<'b>(Option<&'b [u8]>);

impl<'b> FromRight<'b> {
    fn of(list: &'b [u8]) -> Self {
        Self(Some(list))
    }
}

impl<'b> Iterator for FromRight<'b> {
    type Item = &'b [u8];

    fn next(&mut self) -> Option<&'b [u8]> {
        let list = self.0.take()?;
        let mut is_quoted = false;
        for (at, byte) in list.iter().enumerate().rev() {
            match byte {
                b'"' if is_quoted && is_escaped(&list[..at]) => {}
                b'"' => is_quoted = !is_quoted,
                b',' if !is_quoted => {
                    self.0 = Some(&list[..at]);
                    return Some(&list[at + 1..]);
                }
                _ => {}
            }
        }
        Some(list)
    }
}

/// Whether an odd number of backslashes ends the text.
fn is_escaped(before: &[u8]) -> bool {
    let backslashes = before.iter().rev().take_while(|byte| **byte == b'\\');
    backslashes.count() % 2 == 1
}

/// Parses one element of `Forwarded`, such as `for=192.0.2.60;proto=http` (RFC 7239 §4). Returns the address
/// of its only `for`. Spaces around `;` and values that should be quoted are accepted: proxies send them.
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let mut rest = std::str::from_utf8(element).ok()?;
    let mut client: Option<Cow<'_, str>> = None;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ';']);
        if rest.is_empty() {
            let client = client?;
            // Without brackets `::` hides whether a port follows, so that a client could choose its network by
            // the rest of its address.
            let is_ambiguous = !client.starts_with('[') && client.contains("::");
            return node(&client).filter(|_| !is_ambiguous);
        }
        let (name, after) = rest.split_once('=')?;
        let is_token = !name.is_empty() && name.bytes().all(is_token_byte);
        let (value, after) = value(after)?;
        let after = after.trim_start_matches([' ', '\t']);
        if !is_token || !(after.is_empty() || after.starts_with(';')) {
            return None;
        }
        if name.eq_ignore_ascii_case("for") && client.replace(value).is_some() {
            return None;
        }
        rest = after;
    }
}

/// The value at the beginning of the text, unquoted, and what follows it.
fn value(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        let is_valid = !value.is_empty() && !value.contains(['"', '\\', ',']);
        return is_valid.then_some((Cow::Borrowed(value), rest));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((Cow::Owned(value), &quoted[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            char => value.push(char),
        }
    }
    None
}

/// Whether the byte may be in a token (RFC 9110 §5.6.2).
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Parses an address, perhaps with a port (RFC 7239 §6), in its canonical form: `::ffff:192.0.2.1` is
/// `192.0.2.1`. `unknown` and obfuscated identifiers (`_x`) have no address.
fn node(text: &str) -> Option<IpAddr> {
    let address: IpAddr = if let Some(text) = text.strip_prefix('[') {
        let (address, port) = text.split_once(']')?;
        let is_valid = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        ipv6(address).filter(|_| is_valid)?.into()
    } else {
        match text.split_once(':') {
            Some((address, port)) if !port.contains(':') => {
                let address: std::net::Ipv4Addr = address.parse().ok()?;
                is_port(port).then_some(address)?.into()
            }
            Some(_) => ipv6(text)?.into(),
            None => text.parse().ok()?,
        }
    };
    Some(address.to_canonical())
}

/// Parses an IPv6 address. A zone (`fe80::1%eth0`, RFC 4007 §11) means something on the proxy only and is
/// dropped.
fn ipv6(text: &str) -> Option<Ipv6Addr> {
    match text.split_once('%') {
        Some((_, "")) => None,
        Some((address, _)) => address.parse().ok(),
        None => text.parse().ok(),
    }
}

/// Whether the text is a port or an obfuscated one (RFC 7239 §6).
fn is_port(text: &str) -> bool {
    match text.strip_prefix('_') {
        Some(name) => {
            let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            !name.is_empty() && name.bytes().all(is_of_name)
        }
        None => (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// Parses trusted proxies: one address, or a network as `10.0.0.0/8`. IPv4-mapped IPv6 networks become IPv4
/// networks, because addresses are compared in their canonical form.
///
/// # Errors
/// What is wrong with the text.
pub(super) fn trusted_network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address
        .parse()
        .map_err(|_| format!("`{address}` is not an IP address"))?;
    let all_bits = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        None => all_bits,
        Some(bits) => bits
            .parse::<u8>()
            .ok()
            .filter(|number| *number <= all_bits && bits.bytes().all(|byte| byte.is_ascii_digit()))
            .ok_or_else(|| format!("the mask `/{bits}` is not a number from 1 to {all_bits}"))?,
    };
    let canonical = address.to_canonical();
    let (address, bits) = match (address, bits.checked_sub(96)) {
        (IpAddr::V6(_), Some(bits)) if canonical.is_ipv4() => (canonical, bits),
        _ => (address, bits),
    };
    let network = IpNet::new(address, bits).map_err(|error| error.to_string())?;
    if network.prefix_len() == 0 {
        return Err("would trust every client to choose its address".to_owned());
    }
    if network.trunc() != network {
        return Err(format!(
            "has bits beyond its mask: the network is {}, the address alone is {address}",
            network.trunc()
        ));
    }
    Ok(network)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

    use proptest::prelude::*;

    use super::*;

    const PROXIES: [&str; 3] = ["10.0.0.0/8", "fd00::/8", "127.0.0.1"];

    fn trusted() -> Vec<IpNet> {
        PROXIES.map(|text| trusted_network(text).unwrap()).to_vec()
    }

    fn from_forwarded(line: &str) -> String {
        let peer = "127.0.0.1".parse().unwrap();
        let elements = FromRight::of(line.as_bytes());
        nearest(peer, &trusted(), elements, forwarded_for).to_string()
    }

    #[test]
    fn nodes_are_addresses_with_or_without_ports_brackets_and_zones() {
        for (text, address) in [
            ("192.0.2.1", Some("192.0.2.1")),
            ("192.0.2.1:80", Some("192.0.2.1")),
            ("192.0.2.1:_x", Some("192.0.2.1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("[2001:db8::1]:65535", Some("2001:db8::1")),
            ("2001:DB8::1", Some("2001:db8::1")),
            ("::ffff:192.0.2.1", Some("192.0.2.1")),
            ("[::ffff:c000:201]:1", Some("192.0.2.1")),
            ("fe80::1%eth0", Some("fe80::1")),
            ("[fe80::1%25eth0]:1", Some("fe80::1")),
            ("unknown", None),
            ("_hidden", None),
            ("", None),
            ("192.0.2", None),
            ("192.0.2.256", None),
            ("192.0.2.01", None),
            ("0x7f.1", None),
            ("192.0.2.1:", None),
            ("192.0.2.1:123456", None),
            ("192.0.2.1:_", None),
            ("192.0.2.1:+1", None),
            ("[192.0.2.1]", None),
            ("[2001:db8::1", None),
            ("[2001:db8::1]x", None),
            ("[2001:db8::1]:", None),
            ("fe80::1%", None),
            ("example.org", None),
        ] {
            let parsed = node(text).map(|address| address.to_string());
            assert_eq!(parsed.as_deref(), address, "{text}");
        }
    }

    #[test]
    fn forwarded_is_read_from_the_right_up_to_the_first_untrusted_address() {
        for (line, client) in [
            ("for=192.0.2.1", "192.0.2.1"),
            ("For=\"192.0.2.1:80\";proto=http;by=10.0.0.9", "192.0.2.1"),
            ("proto=http;host=a:1;for=\"[2001:db8::1]:1\"", "2001:db8::1"),
            ("for=8.8.8.8, for=192.0.2.1, for=10.0.0.1", "192.0.2.1"),
            (" for=192.0.2.1 ; proto=http ,, ", "192.0.2.1"),
            ("for=\"192.0.2\\.1\"", "192.0.2.1"),
            (
                "for=2001:861:3a42:b7b0:9971:120a:391f:f585",
                "2001:861:3a42:b7b0:9971:120a:391f:f585",
            ),
            ("for=\"2001:db8::a:b:c:d:8080\"", "127.0.0.1"),
            // A client's host, in quotes, is no element; its quotes in front harm nothing behind.
            ("for=192.0.2.1;host=\"a,for=6.6.6.6\"", "192.0.2.1"),
            ("for=192.0.2.1;host=\"a\\\",for=6.6.6.6\"", "192.0.2.1"),
            ("for=\", for=192.0.2.1", "192.0.2.1"),
            ("x=\"\\, for=192.0.2.1;host=\"a\"", "192.0.2.1"),
            // Nobody vouches for what is left of these: the last proxy is the client.
            ("for=192.0.2.1, for=unknown", "127.0.0.1"),
            ("for=192.0.2.1, for=_x, for=10.0.0.1", "10.0.0.1"),
            ("for=192.0.2.1, proto=http", "127.0.0.1"),
            ("for=192.0.2.1;for=6.6.6.6", "127.0.0.1"),
            ("for=192.0.2.1, for=\"6.6.6.6", "127.0.0.1"),
            ("for=192.0.2.1, for=6.6.6.6\"", "127.0.0.1"),
            ("192.0.2.1", "127.0.0.1"),
            ("for =192.0.2.1", "127.0.0.1"),
            ("", "127.0.0.1"),
        ] {
            assert_eq!(from_forwarded(line), client, "{line}");
        }
    }

    proptest! {
        #[test]
        fn nothing_in_front_changes_how_the_proxys_element_is_read(
            front in prop_oneof!["[for=\"\\\\,; a1.:\\[\\]]{0,40}", "\\PC{0,20}"],
        ) {
            for (element, client) in [
                ("for=192.0.2.1", "192.0.2.1"),
                ("proto=http;for=\"[2001:db8::1]:80\"", "2001:db8::1"),
                ("for=192.0.2.1;host=\"a,for=6.6.6.6;\\\"\"", "192.0.2.1"),
            ] {
                prop_assert_eq!(from_forwarded(&format!("{front},{element}")), client);
            }
            // As the last element it is read without a panic.
            from_forwarded(&front);
            node(&front);
            let _ = trusted_network(&front);
        }
    }

    #[test]
    fn the_work_for_one_field_is_bounded() {
        let many = vec!["for=10.0.0.1"; MAX_ELEMENTS + 1].join(",");
        assert_eq!(from_forwarded(&format!("for=192.0.2.1,{many}")), "10.0.0.1");
        let few = vec!["for=10.0.0.1"; MAX_ELEMENTS - 1].join(",");
        assert_eq!(from_forwarded(&format!("for=192.0.2.1,{few}")), "192.0.2.1");
    }

    #[test]
    fn trusted_networks_are_exact_and_errors_say_what_is_wrong() {
        for (text, network) in [
            ("10.0.0.1", "10.0.0.1/32"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("::1", "::1/128"),
            (" fd00::/8 ", "fd00::/8"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.0.0.1", "10.0.0.1/32"),
        ] {
            let parsed = trusted_network(text).map(|network| network.to_string());
            assert_eq!(parsed.as_deref(), Ok(network), "{text}");
        }
        for (text, reason) in [
            ("", "`` is not an IP address"),
            ("proxy", "`proxy` is not an IP address"),
            ("10.0.0/8", "`10.0.0` is not an IP address"),
            ("fe80::1%eth0", "`fe80::1%eth0` is not an IP address"),
            ("10.0.0.0/99", "the mask `/99` is not a number from 1 to 32"),
            ("10.0.0.0/+8", "the mask `/+8` is not"),
            ("10.0.0.0/ 8", "the mask `/ 8` is not"),
            ("10.0.0.0/", "the mask `/` is not"),
            ("10.0.0.0/255.0.0.0", "the mask `/255.0.0.0` is not"),
            ("::1/129", "the mask `/129` is not a number from 1 to 128"),
            (
                "10.0.0.1/8",
                "has bits beyond its mask: the network is 10.0.0.0/8, the address alone is 10.0.0.1",
            ),
            ("::ffff:10.0.0.0/90", "has bits beyond its mask"),
            ("0.0.0.0/0", "would trust every client"),
            ("::/0", "would trust every client"),
            ("::ffff:0.0.0.0/96", "would trust every client"),
        ] {
            let error = trusted_network(text).unwrap_err();
            assert!(error.starts_with(reason), "{text}: {error}");
        }
    }
}
