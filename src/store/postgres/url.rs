//! The URL of a PostgreSQL database: its hosts, its parameters, and which of its connections are encrypted.

use std::{borrow::Cow, fmt, net::IpAddr, str::FromStr, time::Duration};

use percent_encoding::percent_decode_str;
use tokio_postgres::{
    Config,
    config::{Host, SslMode, TargetSessionAttrs},
};

/// The names of the parameters that a URL may have.
const KNOWN: &str = "application_name, connect_timeout, dbname, host, options, password, port, sslmode, \
                     target_session_attrs, user";
/// How long one host may take to accept a connection.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const APPLICATION_NAME: &str = "cathedral-publisher";
const DEFAULT_PORT: u16 = 5432;

/// Why a text does not name a database. No message repeats a part of the URL that may be a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// The text is empty.
    #[error("it is empty")]
    Empty,
    /// It begins with the scheme of another URL.
    #[error("it must be a path, or a URL that begins with postgres://")]
    Scheme,
    /// It is a path, where a URL is needed.
    #[error("it must be a URL that begins with postgres://")]
    NoUrl,
    /// It is not UTF-8, also after percent-decoding, or contains NUL.
    #[error("the URL is not UTF-8, or contains a NUL")]
    Encoding,
    /// More than one `@`, or one that does not end the user information.
    #[error(
        "write an @ : / ? or # in the user, password or parameters of the URL as %40 %3A %2F %3F %23"
    )]
    Reserved,
    /// No host is named.
    #[error(
        "the URL names no host; for a Unix socket: postgres:///DATABASE?host=/var/run/postgresql"
    )]
    NoHost,
    /// A host or port is invalid.
    #[error("the URL has an invalid host or port")]
    Host,
    /// The numbers of hosts and ports differ.
    #[error("the URL must have one port, or one for each host")]
    Ports,
    /// A parameter that is not known.
    #[error("the URL has a parameter that is not known; known are {KNOWN}")]
    Parameter,
    /// `sslrootcert` and its relatives.
    #[error("certificates are not given in the URL: use --database-ca-file")]
    Certificate,
    /// A parameter has an invalid value.
    #[error("the URL has an invalid {0}")]
    Value(&'static str),
    /// `sslmode` has another value than those that are known.
    #[error("sslmode must be disable, require or verify-full; name and chain are always verified")]
    SslMode,
    /// `sslmode` would allow a connection without encryption over a network.
    #[error(
        "sslmode=prefer and sslmode=allow give up encryption if anybody on the way asks for it; \
         use require, or disable in a network that you trust"
    )]
    WeakSslMode,
    /// The list of processes would show it.
    #[error(
        "the list of processes shows a password in the URL; give it by --database-password-file, PGPASSWORD, or a \
         URL in the environment variable"
    )]
    PasswordOnCommandLine,
}

/// A database of PostgreSQL. It has at least one host; a connection is made to the first one that accepts it.
///
/// `Debug` and `Display` show user, hosts and database, and never a password or a parameter.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    /// One host each, in the order in which they are tried.
    targets: Vec<Target>,
    connect_timeout: Duration,
}

/// A host, and all that a connection to it needs.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) config: Config,
    /// `host:port`, or the path of a socket.
    pub(super) name: String,
}

impl PostgresUrl {
    /// Reads what follows `postgres://`.
    ///
    /// # Errors
    /// [`UrlError`].
    pub(in crate::store) fn parse(rest: &str) -> Result<Self, UrlError> {
        if rest.matches('@').count() > 1 {
            return Err(UrlError::Reserved);
        }
        let (user_info, rest) = match rest.split_once('@') {
            Some((user_info, rest)) => (Some(user_info), rest),
            None => (None, rest),
        };
        if user_info.is_some_and(|info| info.contains(['/', '?', '#'])) || rest.contains('#') {
            return Err(UrlError::Reserved);
        }
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (hosts, database) = place.split_once('/').unwrap_or((place, ""));
        let mut parameters = Parameters::default();
        if let Some(user_info) = user_info {
            let (user, password) = match user_info.split_once(':') {
                Some((user, password)) => (user, Some(password)),
                None => (user_info, None),
            };
            parameters.user = non_empty(user)?;
            parameters.password = password.map(decode).transpose()?;
        }
        parameters.database = non_empty(database)?;
        for host in hosts.split(',').filter(|_| !hosts.is_empty()) {
            parameters.hosts.push(host_and_port(host)?);
        }
        for parameter in query.split('&').filter(|_| !query.is_empty()) {
            let (name, value) = parameter.split_once('=').ok_or(UrlError::Parameter)?;
            parameters.set(&decode(name)?, decode(value)?)?;
        }
        parameters.into_url()
    }

    /// Returns whether it contains a password.
    pub fn has_password(&self) -> bool {
        let mut targets = self.targets.iter();
        targets.any(|target| target.config.get_password().is_some())
    }

    /// Sets the password of all hosts.
    #[must_use]
    pub fn with_password(mut self, password: &str) -> Self {
        for target in &mut self.targets {
            target.config.password(password);
        }
        self
    }

    /// Demands of every host that it accepts writes: a standby is passed over.
    #[must_use]
    pub(super) fn writable(mut self) -> Self {
        for target in &mut self.targets {
            let attributes = TargetSessionAttrs::ReadWrite;
            target.config.target_session_attrs(attributes);
        }
        self
    }

    /// Returns the hosts, in the order in which they are tried.
    pub(super) fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Returns how long one host may take to accept a connection.
    pub(super) fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// Returns whether a connection to any host is encrypted.
    pub(super) fn needs_tls(&self) -> bool {
        let modes = self
            .targets
            .iter()
            .map(|target| target.config.get_ssl_mode());
        modes.into_iter().any(|mode| mode != SslMode::Disable)
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgres://")?;
        let first = self.targets.first().map(|target| &target.config);
        if let Some(user) = first.and_then(Config::get_user) {
            write!(f, "{user}@")?;
        }
        for (index, target) in self.targets.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}", target.name)?;
        }
        match first.and_then(Config::get_dbname) {
            Some(database) => write!(f, "/{database}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[derive(Default)]
struct Parameters {
    user: Option<String>,
    password: Option<String>,
    database: Option<String>,
    hosts: Vec<(Host, Option<u16>)>,
    ports: Vec<u16>,
    encryption: Option<Encryption>,
    connect_timeout: Option<Duration>,
    application_name: Option<String>,
    options: Option<String>,
    attributes: Option<TargetSessionAttrs>,
}

#[derive(Clone, Copy)]
enum Encryption {
    Disabled,
    Weak,
    Required,
}

impl Parameters {
    fn set(&mut self, name: &str, value: String) -> Result<(), UrlError> {
        match name {
            "user" => self.user = Some(value),
            "password" => self.password = Some(value),
            "dbname" => self.database = Some(value),
            "application_name" => self.application_name = Some(value),
            "options" => self.options = Some(value),
            "host" => {
                self.hosts = value
                    .split(',')
                    .map(|host| Ok((named(host)?, None)))
                    .collect::<Result<_, UrlError>>()?
            }
            "port" => self.ports = value.split(',').map(port).collect::<Result<_, _>>()?,
            "connect_timeout" => {
                let seconds = value
                    .parse()
                    .ok()
                    .filter(|seconds| (1..=600).contains(seconds));
                let seconds =
                    seconds.ok_or(UrlError::Value("connect_timeout (1 to 600 seconds)"))?;
                self.connect_timeout = Some(Duration::from_secs(seconds));
            }
            "sslmode" => {
                self.encryption = Some(match value.as_str() {
                    "disable" => Encryption::Disabled,
                    "allow" | "prefer" => Encryption::Weak,
                    "require" | "verify-full" => Encryption::Required,
                    _ => return Err(UrlError::SslMode),
                });
            }
            "target_session_attrs" => {
                self.attributes = Some(match value.as_str() {
                    "any" => TargetSessionAttrs::Any,
                    "read-write" => TargetSessionAttrs::ReadWrite,
                    "read-only" => TargetSessionAttrs::ReadOnly,
                    _ => {
                        return Err(UrlError::Value(
                            "target_session_attrs (any, read-write or read-only)",
                        ));
                    }
                });
            }
            "sslrootcert" | "sslcert" | "sslkey" | "sslcrl" | "sslcrldir" => {
                return Err(UrlError::Certificate);
            }
            _ => return Err(UrlError::Parameter),
        }
        Ok(())
    }

    fn into_url(self) -> Result<PostgresUrl, UrlError> {
        if self.hosts.is_empty() {
            return Err(UrlError::NoHost);
        }
        if self.ports.len() > 1 && self.ports.len() != self.hosts.len() {
            return Err(UrlError::Ports);
        }
        let timeout = self.connect_timeout.unwrap_or(DEFAULT_CONNECT_TIMEOUT);
        let mut targets = Vec::with_capacity(self.hosts.len());
        for (index, (host, own_port)) in self.hosts.iter().enumerate() {
            let given = self.ports.get(index).or(self.ports.first()).copied();
            let port = own_port.or(given).unwrap_or(DEFAULT_PORT);
            targets.push(self.target(host, port, timeout)?);
        }
        Ok(PostgresUrl {
            targets,
            connect_timeout: timeout,
        })
    }

    fn target(&self, host: &Host, port: u16, timeout: Duration) -> Result<Target, UrlError> {
        let mut config = Config::new();
        config
            .port(port)
            .ssl_mode(self.ssl_mode(host)?)
            .application_name(self.application_name.as_deref().unwrap_or(APPLICATION_NAME))
            .target_session_attrs(self.attributes.unwrap_or(TargetSessionAttrs::Any))
            .connect_timeout(timeout)
            // A server that has vanished without a word is noticed after 25 s; one that does not
            // acknowledge what was sent, after 15 s.
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3)
            .tcp_user_timeout(Duration::from_secs(15));
        let name = match host {
            Host::Tcp(host) => {
                config.host(host);
                if host.contains(':') {
                    format!("[{host}]:{port}")
                } else {
                    format!("{host}:{port}")
                }
            }
            Host::Unix(path) => {
                config.host_path(path);
                format!("{}:{port}", path.display())
            }
        };
        if let Some(user) = &self.user {
            config.user(user);
        }
        if let Some(password) = &self.password {
            config.password(password);
        }
        if let Some(database) = &self.database {
            config.dbname(database);
        }
        if let Some(options) = &self.options {
            config.options(options);
        }
        Ok(Target { config, name })
    }

    /// Over a network, connections are encrypted unless the URL says `disable`. On this machine they are not,
    /// unless it says `require`.
    fn ssl_mode(&self, host: &Host) -> Result<SslMode, UrlError> {
        let is_local = match host {
            // The protocol has no encryption over a Unix socket.
            Host::Unix(_) => return Ok(SslMode::Disable),
            Host::Tcp(host) => is_loopback(host),
        };
        match self.encryption {
            Some(Encryption::Disabled) => Ok(SslMode::Disable),
            Some(Encryption::Required) => Ok(SslMode::Require),
            Some(Encryption::Weak) | None if is_local => Ok(SslMode::Disable),
            Some(Encryption::Weak) => Err(UrlError::WeakSslMode),
            None => Ok(SslMode::Require),
        }
    }
}

fn is_loopback(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    name.eq_ignore_ascii_case("localhost")
        || IpAddr::from_str(host).is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Reads `host`, `host:port` or `[address]:port`.
fn host_and_port(text: &str) -> Result<(Host, Option<u16>), UrlError> {
    let (host, own_port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']').ok_or(UrlError::Host)?;
            let own_port = match rest.strip_prefix(':') {
                Some(own_port) => Some(own_port),
                None if rest.is_empty() => None,
                None => return Err(UrlError::Host),
            };
            (address, own_port)
        }
        None => match text.split_once(':') {
            Some((host, own_port)) => (host, Some(own_port)),
            None => (text, None),
        },
    };
    let own_port = own_port.map(port).transpose()?;
    Ok((named(&decode(host)?)?, own_port))
}

fn named(host: &str) -> Result<Host, UrlError> {
    if host.is_empty() || host.contains(char::is_whitespace) {
        return Err(UrlError::Host);
    }
    Ok(if host.starts_with('/') {
        Host::Unix(host.into())
    } else {
        Host::Tcp(host.to_owned())
    })
}

fn port(text: &str) -> Result<u16, UrlError> {
    text.parse()
        .ok()
        .filter(|port| *port != 0)
        .ok_or(UrlError::Host)
}

fn non_empty(text: &str) -> Result<Option<String>, UrlError> {
    decode(text).map(|text| Some(text).filter(|text| !text.is_empty()))
}

fn decode(text: &str) -> Result<String, UrlError> {
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded = decoded
        .map(Cow::into_owned)
        .map_err(|_| UrlError::Encoding)?;
    if decoded.contains('\0') {
        Err(UrlError::Encoding)
    } else {
        Ok(decoded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rest: &str) -> PostgresUrl {
        PostgresUrl::parse(rest).unwrap_or_else(|error| panic!("{rest}: {error}"))
    }

    fn modes(rest: &str) -> Vec<SslMode> {
        let url = parse(rest);
        let modes = url
            .targets
            .iter()
            .map(|target| target.config.get_ssl_mode());
        modes.collect()
    }

    #[test]
    fn user_hosts_ports_and_database_are_read() {
        for (rest, shown) in [
            ("u@h/d", "u@h:5432/d"),
            ("h", "h:5432"),
            ("u:p@h1:1,h2,[::1]:3/d", "u@h1:1,h2:5432,[::1]:3/d"),
            ("h1,h2/d?port=6000", "h1:6000,h2:6000/d"),
            ("h1,h2/d?port=6000,6001", "h1:6000,h2:6001/d"),
            ("/d?host=/tmp/s&user=a%20b", "a b@/tmp/s:5432/d"),
            ("%2Ftmp%2Fs:6000/d", "/tmp/s:6000/d"),
            ("u@h/?dbname=x", "u@h:5432/x"),
        ] {
            assert_eq!(parse(rest).to_string(), format!("postgres://{shown}"));
        }
    }

    #[test]
    fn a_password_is_decoded_and_never_shown() {
        for rest in ["u:hunt%40r2@h/d", "u@h/d?password=hunt%40r2"] {
            let url = parse(rest);
            let password = url.targets[0].config.get_password();
            assert_eq!(password, Some(&b"hunt@r2"[..]));
            let shown = format!("{url} {url:?} {:?}", url.targets[0].config);
            assert!(!shown.contains("hunt"), "{shown}");
        }
        assert!(!format!("{:?}", parse("u@h/d").with_password("hunter2")).contains("hunter2"));
    }

    #[test]
    fn a_connection_over_a_network_is_encrypted_unless_it_is_disabled() {
        use SslMode::{Disable, Require};
        for (rest, expected) in [
            ("db.example/d", vec![Require]),
            ("10.0.0.7/d?sslmode=require", vec![Require]),
            ("db.example/d?sslmode=verify-full", vec![Require]),
            ("db.example/d?sslmode=disable", vec![Disable]),
            ("localhost,127.0.0.1,[::1],LOCALHOST./d", vec![Disable; 4]),
            ("localhost/d?sslmode=prefer", vec![Disable]),
            ("localhost/d?sslmode=verify-full", vec![Require]),
            ("/d?host=/tmp&sslmode=require", vec![Disable]),
            ("localhost,localhost.example/d", vec![Disable, Require]),
            ("127.0.0.1.example/d", vec![Require]),
        ] {
            assert_eq!(modes(rest), expected, "{rest}");
        }
    }

    #[test]
    fn other_urls_are_refused_with_the_reason() {
        for (rest, expected) in [
            ("", UrlError::NoHost),
            ("/d", UrlError::NoHost),
            ("u@/d", UrlError::NoHost),
            ("u:p@x@h/d", UrlError::Reserved),
            ("u:p/x@h/d", UrlError::Reserved),
            ("u:p?x@h/d", UrlError::Reserved),
            ("u@h/d#x", UrlError::Reserved),
            ("u@h:0/d", UrlError::Host),
            ("u@h:65536/d", UrlError::Host),
            ("u@h,/d", UrlError::Host),
            ("u@[::1/d", UrlError::Host),
            ("u@[::1]x/d", UrlError::Host),
            ("u@h/%00", UrlError::Encoding),
            ("u@h/%ff", UrlError::Encoding),
            ("u@a,b,c/d?port=1,2", UrlError::Ports),
            ("h/d?x=1", UrlError::Parameter),
            ("h/d?sslmode", UrlError::Parameter),
            ("h/d?sslrootcert=/x", UrlError::Certificate),
            ("h/d?sslmode=prefer", UrlError::WeakSslMode),
            ("localhost,h/d?sslmode=allow", UrlError::WeakSslMode),
            ("h/d?sslmode=verify-ca", UrlError::SslMode),
            ("h/d?sslmode=Require", UrlError::SslMode),
        ] {
            assert_eq!(PostgresUrl::parse(rest), Err(expected), "{rest}");
        }
        for rest in ["h/d?connect_timeout=0", "h/d?target_session_attrs=primary"] {
            assert!(
                matches!(PostgresUrl::parse(rest), Err(UrlError::Value(_))),
                "{rest}"
            );
        }
    }
}
