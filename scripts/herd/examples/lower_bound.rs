//! The lower bound: a server that parses nothing and sends the same bytes for every request.
//!
//!     cargo run --release -p herd --example lower_bound -- RESPONSE-FILE
//!
//! No server that reads its requests can be cheaper on the same machine. The additional cost of another
//! server is that of parsing, choosing and writing. The program is for measurements only: every blank line
//! counts as the end of a request. One thread per core, each with its own connections. Prints its address
//! and serves until it is killed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub
)]

use std::{
    collections::HashMap,
    io::{ErrorKind, Read, Write},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use mio::{
    Events, Interest, Poll, Registry, Token, Waker,
    net::{TcpListener, TcpStream},
};

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);
const END_OF_HEAD: &[u8; 4] = b"\r\n\r\n";

/// A connection: how far the end of a head has been seen, and what is still to be sent.
struct Connection {
    socket: TcpStream,
    matched: usize,
    answers: usize,
    sent: usize,
}

/// How threads are handed their connections.
struct Inbox {
    sockets: std::sync::Mutex<Vec<TcpStream>>,
    waker: Waker,
}

fn main() {
    let file = std::env::args().nth(1).expect("lower_bound RESPONSE-FILE");
    let answer: Arc<[u8]> = std::fs::read(file).unwrap().into();
    let inboxes: Vec<Arc<Inbox>> = (0..thread::available_parallelism().unwrap().get())
        .map(|_| begin(&answer))
        .collect();
    let mut listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    println!("{}", listener.local_addr().unwrap());
    let mut poll = Poll::new().unwrap();
    let readable = Interest::READABLE;
    poll.registry()
        .register(&mut listener, LISTENER, readable)
        .unwrap();
    let (mut events, next) = (Events::with_capacity(64), AtomicUsize::new(0));
    loop {
        poll.poll(&mut events, None).unwrap();
        while let Ok((socket, _)) = listener.accept() {
            let inbox = &inboxes[next.fetch_add(1, Ordering::Relaxed) % inboxes.len()];
            inbox.sockets.lock().unwrap().push(socket);
            inbox.waker.wake().unwrap();
        }
    }
}

fn begin(answer: &Arc<[u8]>) -> Arc<Inbox> {
    let poll = Poll::new().unwrap();
    let inbox = Arc::new(Inbox {
        sockets: std::sync::Mutex::default(),
        waker: Waker::new(poll.registry(), WAKER).unwrap(),
    });
    let (answer, its) = (Arc::clone(answer), Arc::clone(&inbox));
    thread::spawn(move || serve(poll, &its, &answer));
    inbox
}

fn serve(mut poll: Poll, inbox: &Inbox, answer: &[u8]) {
    let mut connections: HashMap<usize, Connection> = HashMap::new();
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; 64 * 1024];
    let mut number = 0;
    loop {
        poll.poll(&mut events, None).unwrap();
        for event in &events {
            if event.token() == WAKER {
                for socket in inbox.sockets.lock().unwrap().drain(..) {
                    number += 1;
                    connections.insert(number, begun(poll.registry(), number, socket));
                }
                continue;
            }
            let Token(of) = event.token();
            let Some(connection) = connections.get_mut(&of) else {
                continue;
            };
            if !connection.go_on(&mut buffer, answer) {
                connections.remove(&of);
            }
        }
    }
}

fn begun(registry: &Registry, number: usize, mut socket: TcpStream) -> Connection {
    socket.set_nodelay(true).unwrap();
    let both = Interest::READABLE | Interest::WRITABLE;
    registry.register(&mut socket, Token(number), both).unwrap();
    Connection {
        socket,
        matched: 0,
        answers: 0,
        sent: 0,
    }
}

impl Connection {
    /// Reads all there is and sends all it can; whether there may be more.
    fn go_on(&mut self, buffer: &mut [u8], answer: &[u8]) -> bool {
        loop {
            match self.socket.read(buffer) {
                Ok(0) => return false,
                Ok(read) => {
                    self.count(&buffer[..read]);
                    // Events come when something changes: a full buffer may mean that more is there.
                    if read < buffer.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
        }
        while self.answers > 0 {
            match self.socket.write(&answer[self.sent..]) {
                Ok(sent) => self.sent += sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
            if self.sent == answer.len() {
                self.sent = 0;
                self.answers -= 1;
            }
        }
        true
    }

    fn count(&mut self, read: &[u8]) {
        for byte in read {
            self.matched = match *byte {
                byte if byte == END_OF_HEAD[self.matched] => self.matched + 1,
                b'\r' => 1,
                _ => 0,
            };
            if self.matched == END_OF_HEAD.len() {
                self.matched = 0;
                self.answers += 1;
            }
        }
    }
}
