//! `--resolve`: the addresses of a host, given on the command line.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Serialize, Serializer};

/// The addresses of one host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolve {
    /// The host, in lower case, as it stands in a URL.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The addresses that are used instead of those that the name has.
    pub addresses: Vec<IpAddr>,
}

/// A text is not `HOST:PORT:ADDRESS`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected HOST:PORT:ADDRESS[,ADDRESS]…, such as example.com:443:127.0.0.1")]
pub struct InvalidResolve;

impl FromStr for Resolve {
    type Err = InvalidResolve;

    fn from_str(text: &str) -> Result<Self, InvalidResolve> {
        let after_brackets = match text.strip_prefix('[') {
            Some(rest) => rest.find(']').ok_or(InvalidResolve)? + 2,
            None => 0,
        };
        let end = text[after_brackets..].find(':').ok_or(InvalidResolve)? + after_brackets;
        let (host, rest) = text.split_at(end);
        let (port, addresses) = rest[1..].split_once(':').ok_or(InvalidResolve)?;
        let port = port.parse().map_err(|_| InvalidResolve)?;
        let addresses = addresses.split(',').map(|address| {
            let inner = address
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'));
            inner.unwrap_or(address).parse()
        });
        if host.is_empty() || port == 0 {
            return Err(InvalidResolve);
        }
        Ok(Self {
            host: host.to_ascii_lowercase(),
            port,
            addresses: addresses
                .collect::<Result<_, _>>()
                .map_err(|_| InvalidResolve)?,
        })
    }
}

impl fmt::Display for Resolve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        write!(f, "{}:{}:{}", self.host, self.port, addresses.join(","))
    }
}

impl Serialize for Resolve {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

    use super::*;

    #[test]
    fn a_host_a_port_and_addresses_are_parsed_and_nothing_else() {
        let name: Resolve = "Example.com:443:127.0.0.1,[::1]".parse().unwrap();
        assert_eq!((name.host.as_str(), name.port), ("example.com", 443));
        assert_eq!(
            name.addresses,
            ["127.0.0.1", "::1"].map(|one| one.parse::<IpAddr>().unwrap())
        );
        assert_eq!(name.to_string().parse(), Ok(name));
        let six: Resolve = "[::2]:80:::1".parse().unwrap();
        assert_eq!(six.to_string(), "[::2]:80:::1");
        assert_eq!((six.host.as_str(), six.port), ("[::2]", 80));
        for text in [
            "",
            "a",
            "a:80",
            "a:80:",
            "a:b:127.0.0.1",
            "a:0:127.0.0.1",
            ":80:127.0.0.1",
            "a:80:localhost",
            "a:80:127.0.0.1,",
            "a:99999:127.0.0.1",
            "[::1]",
            "é]:1:é",
        ] {
            assert_eq!(text.parse::<Resolve>(), Err(InvalidResolve), "{text}");
        }
    }
}
