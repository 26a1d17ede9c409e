//! Tells the service manager how the server is (sd_notify(3)).

use std::{env, ffi::OsStr, fmt::Write as _, io, os::unix::net::UnixDatagram};

use sd_notify::NotifyState;

/// Where the service manager listens: a path, or `@` and a name without a file (an abstract socket of Linux).
const SOCKET: &str = "NOTIFY_SOCKET";

/// Tells the service manager, if there is one. A failure is logged.
pub(super) fn tell(state: &[NotifyState<'_>]) {
    let Some(socket) = env::var_os(SOCKET).filter(|socket| !socket.is_empty()) else {
        return;
    };
    if let Err(error) = send(&socket, state) {
        let socket = socket.display();
        log::warn!("cannot notify the service manager at {socket}: {error}");
    }
}

fn send(socket: &OsStr, state: &[NotifyState<'_>]) -> io::Result<()> {
    let mut message = String::new();
    for state in state {
        writeln!(message, "{state}").map_err(io::Error::other)?;
    }
    let sender = UnixDatagram::unbound()?;
    // A manager that does not read must not hold the server.
    sender.set_nonblocking(true)?;
    match socket.as_encoded_bytes() {
        [b'@', name @ ..] => connect_abstract(&sender, name)?,
        _ => sender.connect(socket)?,
    }
    sender.send(message.as_bytes())?;
    Ok(())
}

#[cfg(target_os = "linux")]
fn connect_abstract(sender: &UnixDatagram, name: &[u8]) -> io::Result<()> {
    use std::os::{linux::net::SocketAddrExt as _, unix::net::SocketAddr};

    sender.connect_addr(&SocketAddr::from_abstract_name(name)?)
}

#[cfg(not(target_os = "linux"))]
fn connect_abstract(_: &UnixDatagram, _: &[u8]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
