//! Free ports, for servers that are told their port before they start.
//!
//! The ports lie below 32768. Outgoing connections use higher ones, so that no client takes such a port before the
//! server listens on it.

use std::net::TcpListener;

/// Returns a port of 127.0.0.1 on which nothing listens.
pub fn free_port() -> u16 {
    free_listener().local_addr().unwrap().port()
}

/// Listens on such a port.
pub fn free_listener() -> TcpListener {
    loop {
        let port = fastrand::u16(15_000..32_000);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener;
        }
    }
}
