//! A link between a publisher and PostgreSQL: passes bytes on, counts them, and can be cut as a network is, without a
//! word to either side.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use crate::ports::free_listener;

/// A port that passes connections on to another one.
pub struct Link {
    pub port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    is_cut: AtomicBool,
    ended: AtomicBool,
    /// Bytes from the server.
    received: AtomicU64,
}

impl Link {
    pub fn to(target: u16) -> Self {
        let listener = free_listener();
        let port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let state = Arc::<State>::default();
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            while !shared.ended.load(Relaxed) {
                match listener.accept() {
                    Ok((client, _)) => connect(client, target, &shared),
                    Err(_) => thread::sleep(Duration::from_millis(1)),
                }
            }
        });
        Self { port, state }
    }

    /// From now on nothing arrives, in either direction, until the link is mended.
    pub fn cut(&self) {
        self.state.is_cut.store(true, Relaxed);
    }

    pub fn mend(&self) {
        self.state.is_cut.store(false, Relaxed);
    }

    /// Returns how many bytes came from the server.
    pub fn received(&self) -> u64 {
        self.state.received.load(Relaxed)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.state.ended.store(true, Relaxed);
    }
}

fn connect(client: TcpStream, target: u16, state: &Arc<State>) {
    let state = Arc::clone(state);
    thread::spawn(move || {
        client.set_nonblocking(false).unwrap();
        wait_while_cut(&state);
        let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else {
            return;
        };
        let back = (server.try_clone().unwrap(), client.try_clone().unwrap());
        let shared = Arc::clone(&state);
        let answers = thread::spawn(move || pass(back.0, back.1, &shared, true));
        pass(client, server, &state, false);
        answers.join().unwrap();
    });
}

fn wait_while_cut(state: &State) {
    while state.is_cut.load(Relaxed) && !state.ended.load(Relaxed) {
        thread::sleep(Duration::from_millis(1));
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, state: &State, is_answer: bool) {
    let (from_socket, to_socket) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    let _ = to.set_nodelay(true);
    let _ = from.set_read_timeout(Some(Duration::from_millis(200)));
    let mut buffer = [0; 16 << 10];
    while !state.ended.load(Relaxed) {
        let count = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(_) => break,
        };
        wait_while_cut(state);
        if is_answer {
            state.received.fetch_add(count as u64, Relaxed);
        }
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    // The end of a connection does not arrive either.
    wait_while_cut(state);
    let _ = from_socket.shutdown(Shutdown::Both);
    let _ = to_socket.shutdown(Shutdown::Both);
}
