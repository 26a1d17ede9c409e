//! Where the server listens, by option or by the variable `PORT`.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use clap::Args;

use super::environment;
use crate::server::Listen;

/// Where to listen if nothing says so.
const DEFAULT: &str = "127.0.0.1:8080";

/// The address to listen on.
#[derive(Debug, Args)]
pub struct Address {
    /// Host and port to listen on; port 0 takes a free port. Without it, the environment variable PORT, which many
    /// platforms set, names a port on all addresses of the machine [default: 127.0.0.1:8080].
    #[arg(long, env = "PUBLISHER_ADDRESS", value_name = "HOST:PORT")]
    pub address: Option<String>,
}

/// The address cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// The variable `PORT` is not a port.
    #[error("the environment variable PORT must be a number from 1 to 65535, not {0:?}")]
    Port(String),
    /// The address has another form.
    #[error(
        "--address (PUBLISHER_ADDRESS) must be HOST:PORT, such as 127.0.0.1:8080 or [::]:8080, not {0:?}"
    )]
    Form(String),
    /// Nothing says at which port the server listens.
    #[error("{0} names no port that could be asked: give the URL")]
    NoPort(String),
}

impl Address {
    /// Returns where to listen: `--address`, else the port of `PORT`, else the default.
    ///
    /// # Errors
    /// [`InvalidAddress::Port`] and [`InvalidAddress::Form`].
    pub fn listen(&self) -> Result<Listen, InvalidAddress> {
        choose(self.address.as_deref(), environment::variable("PORT"))
    }

    /// Returns the URL, without a path, at which a server that listens there is reached from this machine.
    ///
    /// # Errors
    /// [`InvalidAddress`].
    pub fn local_url(&self) -> Result<String, InvalidAddress> {
        url_of(&self.listen()?)
    }
}

fn choose(address: Option<&str>, port: Option<String>) -> Result<Listen, InvalidAddress> {
    match (address, port) {
        (Some(address), _) if !is_host_and_port(address) => {
            Err(InvalidAddress::Form(address.to_owned()))
        }
        (Some(address), _) => Ok(Listen::At(address.to_owned())),
        (None, None) => Ok(Listen::At(DEFAULT.to_owned())),
        (None, Some(port)) => match port.parse() {
            Ok(0) | Err(_) => Err(InvalidAddress::Port(port)),
            Ok(port) => Ok(Listen::Everywhere(port)),
        },
    }
}

fn is_host_and_port(address: &str) -> bool {
    let parts = address.rsplit_once(':');
    parts.is_some_and(|(host, port)| {
        let is_host = !host.is_empty() && (!host.contains(':') || host.starts_with('['));
        is_host && port.parse::<u16>().is_ok()
    })
}

fn url_of(listen: &Listen) -> Result<String, InvalidAddress> {
    let address = match listen {
        Listen::At(address) => address,
        Listen::Everywhere(port) => return Ok(format!("http://127.0.0.1:{port}")),
        Listen::On(_) => return Err(InvalidAddress::NoPort("a socket".to_owned())),
    };
    let port = address.rsplit_once(':').map(|(_, port)| port);
    if port.is_none_or(|port| port.parse::<u16>().unwrap_or(0) == 0) {
        return Err(InvalidAddress::NoPort(address.clone()));
    }
    let address = match address.parse() {
        Ok(SocketAddr::V4(at)) if at.ip().is_unspecified() => {
            SocketAddr::from((Ipv4Addr::LOCALHOST, at.port())).to_string()
        }
        Ok(SocketAddr::V6(at)) if at.ip().is_unspecified() => {
            SocketAddr::from((Ipv6Addr::LOCALHOST, at.port())).to_string()
        }
        _ => address.clone(),
    };
    Ok(format!("http://{address}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(address: Option<&str>, port: Option<&str>) -> Result<String, InvalidAddress> {
        url_of(&choose(address, port.map(str::to_owned))?)
    }

    #[test]
    fn the_option_wins_over_port_and_port_over_the_default() {
        for (address, port, expected) in [
            (None, None, "http://127.0.0.1:8080"),
            (None, Some("3000"), "http://127.0.0.1:3000"),
            (Some("10.0.0.1:80"), Some("3000"), "http://10.0.0.1:80"),
            (Some("0.0.0.0:81"), Some("x"), "http://127.0.0.1:81"),
            (Some("[::]:82"), None, "http://[::1]:82"),
            (Some("localhost:83"), None, "http://localhost:83"),
        ] {
            assert_eq!(url(address, port).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn what_is_not_a_port_is_refused() {
        for port in ["0", "65536", "x", "80 ", "-1", "0.0.0.0:80"] {
            let refused = Err(InvalidAddress::Port(port.to_owned()));
            assert_eq!(url(None, Some(port)), refused);
        }
        let refused = Err(InvalidAddress::NoPort("127.0.0.1:0".to_owned()));
        assert_eq!(url(Some("127.0.0.1:0"), None), refused);
        for address in [
            "localhost",
            "[::1]",
            "22103",
            ":22103",
            "::1:80",
            "a:",
            "a:65536",
        ] {
            let refused = Err(InvalidAddress::Form(address.to_owned()));
            assert_eq!(url(Some(address), None), refused);
        }
    }
}
