//! A client on a raw socket, which sends any bytes and reads one answer at a time.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    time::Duration,
};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::app::TOKENS;

/// An answer as it came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn closes(&self) -> bool {
        self.head.contains("\r\nconnection: close")
    }

    #[track_caller]
    pub fn assert_error(&self, status: u16) {
        assert_eq!(self.status, status, "{}", self.head);
        assert!(self.head.contains("\r\ncontent-type: application/json"));
        let json: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert!(json["detail"].is_string(), "{json}");
    }
}

/// A connection, and what was read from it but not yet returned.
#[derive(Debug)]
pub struct Client {
    pub socket: TcpStream,
    read: Vec<u8>,
}

impl Client {
    pub fn connect(address: &str) -> Self {
        Self::try_connect(address).unwrap()
    }

    pub fn try_connect(address: &str) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(Duration::from_secs(60)))?;
        socket.set_nodelay(true)?;
        Ok(Self {
            socket,
            read: Vec::new(),
        })
    }

    /// Connects with a receive buffer as small as the kernel allows: what this client does not read stays
    /// with the server.
    pub fn connect_narrow(address: &str) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(2304).unwrap();
        let address: std::net::SocketAddr = address.parse().unwrap();
        socket.connect(&SockAddr::from(address)).unwrap();
        let socket = TcpStream::from(socket);
        socket
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        Self {
            socket,
            read: Vec::new(),
        }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).unwrap();
    }

    /// Reads the next answer, interim ones included; `is_head` says that it answers a HEAD.
    pub fn try_answer(&mut self, is_head: bool) -> io::Result<Answer> {
        let head = loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = self.read.drain(..end + 4).collect();
                break String::from_utf8(head).unwrap();
            }
            self.fill()?;
        };
        let status = head
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3));
        let status = status.unwrap_or_else(|| panic!("no status line: {head:?}"));
        let status: u16 = status.parse().unwrap();
        let length = head.split("\r\ncontent-length: ").nth(1);
        let length = length.map_or(0, |rest| {
            rest.split("\r\n").next().unwrap().parse().unwrap()
        });
        let bytes = if is_head || matches!(status, 100 | 204 | 304) {
            0
        } else {
            length
        };
        while self.read.len() < bytes {
            self.fill()?;
        }
        let body = self.read.drain(..bytes).collect();
        Ok(Answer { status, head, body })
    }

    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        self.try_answer(false).unwrap()
    }

    /// Sends a request and reads its answer.
    #[track_caller]
    pub fn ask(&mut self, request: impl AsRef<[u8]>) -> Answer {
        self.send(request);
        self.answer()
    }

    /// Waits until the server closes, and asserts that nothing comes before that. A reset is an end too:
    /// the server leaves unread what follows a request that it refuses.
    #[track_caller]
    pub fn assert_ends(&mut self) {
        match self.fill() {
            Ok(()) => panic!("more came: {}", String::from_utf8_lossy(&self.read)),
            Err(error) => assert_ne!(error.kind(), ErrorKind::WouldBlock, "it stays open"),
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut piece = [0; 16 * 1024];
        match self.socket.read(&mut piece)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            bytes => {
                self.read.extend_from_slice(&piece[..bytes]);
                Ok(())
            }
        }
    }
}

/// A GET with these further lines of its head.
pub fn get(path: &str, lines: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n{lines}\r\n")
}

/// The head of a POST of eval runs with a valid token and these further lines.
pub fn post(lines: &str) -> String {
    let token = TOKENS[0];
    format!(
        "POST /v1/admin/eval-runs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{lines}\r\n"
    )
}

/// A row of the feed.
pub fn row(id: &str) -> String {
    format!(r#"{{"id":"{id}","ran_at":"2026-06-07T00:00:00Z","eval_output_schema_version":5}}"#)
}
