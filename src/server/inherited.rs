//! Sockets that a service manager passes to the program (sd_listen_fds(3)) and keeps open for the next process.

use std::{env, io, net::TcpListener};

use listenfd::ListenFd;

/// The name of sockets for the admin routes (`FileDescriptorName=` of a systemd socket unit). Sockets with any other
/// name, or without one, are public.
const ADMIN: &str = "admin";

/// The sockets that were passed.
#[derive(Debug, Default)]
pub struct Inherited {
    /// Sockets of the public address.
    pub public: Vec<TcpListener>,
    /// Sockets of the admin address.
    pub admin: Vec<TcpListener>,
}

impl Inherited {
    /// Takes the sockets of `LISTEN_FDS`, once.
    ///
    /// # Errors
    /// If one of them is not a TCP socket, or the names do not fit.
    pub fn take() -> io::Result<Self> {
        let mut passed = ListenFd::from_env();
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names: Vec<&str> = names.split(':').filter(|name| !name.is_empty()).collect();
        if !names.is_empty() && passed.len() > 0 && names.len() != passed.len() {
            let text = "LISTEN_FDNAMES does not have a name for each socket of LISTEN_FDS";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let mut inherited = Self::default();
        for index in 0..passed.len() {
            let failed = |error| {
                let text = format!("socket {index} of LISTEN_FDS cannot be used: {error}");
                io::Error::new(io::ErrorKind::InvalidInput, text)
            };
            let socket = passed.take_tcp_listener(index).map_err(failed)?;
            if names.get(index) == Some(&ADMIN) {
                inherited.admin.extend(socket);
            } else {
                inherited.public.extend(socket);
            }
        }
        if inherited.public.is_empty() && !inherited.admin.is_empty() {
            log::warn!(
                "every socket of LISTEN_FDS is named admin: the public address is that of --address or its default"
            );
        }
        Ok(inherited)
    }
}
