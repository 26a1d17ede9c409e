//! What may stand between a follower and its upstream: a cache that answers for an upstream which is away, a balancer
//! without stickiness, a proxy that ends waits.

use std::{
    collections::HashMap,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::Instant,
};

#[derive(Default)]
pub struct Place {
    /// Where the requests go, in turns. If there are none, what was kept is the answer.
    pub upstreams: Vec<String>,
    /// Whether requests that name a time slot are answered with 504.
    pub ends_waits: bool,
    /// The next request for this target is answered with 504.
    pub fails_next: Option<String>,
    /// What was asked for, and when.
    pub asked: Vec<(Instant, String)>,
    /// The last answer for each target.
    kept: HashMap<String, Vec<u8>>,
    turns: usize,
}

pub struct Between {
    pub url: String,
    place: Arc<Mutex<Place>>,
}

impl Between {
    pub fn start(upstreams: &[String]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let place = Arc::new(Mutex::new(Place {
            upstreams: upstreams.to_vec(),
            ..Place::default()
        }));
        let shared = Arc::clone(&place);
        // Ends with the test process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || answer(stream.unwrap(), &shared));
            }
        });
        Self { url, place }
    }

    pub fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap()
    }

    /// Returns when such targets were asked for.
    pub fn times(&self, is_meant: impl Fn(&str) -> bool) -> Vec<Instant> {
        let place = self.place();
        let asked = place.asked.iter();
        let meant = asked.filter(|(_, target)| is_meant(target));
        meant.map(|(at, _)| *at).collect()
    }
}

/// Answers one request of a connection, and closes it.
fn answer(mut stream: TcpStream, place: &Mutex<Place>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.split(' ').nth(1).unwrap().to_owned();
    let (upstream, fails) = {
        let mut place = place.lock().unwrap();
        place.asked.push((Instant::now(), target.clone()));
        place.turns += 1;
        let is_ended = place.ends_waits && target.contains("slot=");
        let at = place.turns % place.upstreams.len().max(1);
        let upstream = place.upstreams.get(at).cloned();
        let fails = place.fails_next.take_if(|fails| *fails == target);
        (upstream.filter(|_| !is_ended), fails.is_some())
    };
    let upstream = upstream.filter(|_| !fails);
    let answered = upstream.and_then(|upstream| ask(&upstream, &target));
    let answered = match answered {
        Some(answered) => {
            if answered.starts_with(b"HTTP/1.1 200") {
                let mut place = place.lock().unwrap();
                place.kept.insert(target, answered.clone());
            }
            answered
        }
        None => {
            let kept = place.lock().unwrap().kept.get(&target).cloned();
            let kept = kept.filter(|_| !fails);
            let none =
                b"HTTP/1.1 504 Gateway Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            kept.unwrap_or_else(|| none.to_vec())
        }
    };
    let _ = stream.write_all(&answered);
}

/// Asks without a condition: what is kept is the whole answer.
fn ask(upstream: &str, target: &str) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(upstream).ok()?;
    let request = format!("GET {target} HTTP/1.1\r\nhost: {upstream}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answered = Vec::new();
    stream.read_to_end(&mut answered).ok()?;
    (!answered.is_empty()).then_some(answered)
}
