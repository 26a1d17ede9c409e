//! A small publisher of another make. It keeps the contract, unless a fault makes it break one rule. It can be as the
//! service was before: then it knows nothing of what was added to the contract later.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::{Duration, SystemTime},
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use cathedral_publisher::{
    cache::snapshot::Snapshot,
    domain::{challenge::Challenge, entity_tag::EntityTag, ran_at::RanAt, signature::signed_text},
};
use ed25519_dalek::{Signer, SigningKey};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json, value::RawValue};

use crate::app::{BOARD, FEED};

/// What a fault changes.
#[derive(Clone, Copy)]
pub enum Fault {
    None,
    /// What the server takes the request for.
    Asked(fn(&mut Asked)),
    /// The body, before tag and coding are made of it.
    Content(fn(&Asked, &mut String)),
    /// The finished answer.
    Answer(fn(&Asked, &mut Answer)),
    /// Whether a row with this time and id comes after this cursor.
    After(fn((&str, &str), (&str, &str)) -> bool),
    /// These bytes instead of an answer: a beginning, and a piece that is sent again and again, with pauses. Without a
    /// piece the connection is closed.
    Bytes(&'static str, &'static [u8], Duration),
}

/// A request.
#[derive(Debug)]
pub struct Asked {
    pub method: String,
    /// Without the prefix of the contract.
    pub path: String,
    pub has_prefix: bool,
    pub query: BTreeMap<String, String>,
    pub fields: Vec<(String, String)>,
}

impl Asked {
    pub fn is_board(&self) -> bool {
        self.path == BOARD
    }

    pub fn is_feed(&self) -> bool {
        self.path == FEED
    }

    pub fn has(&self, parameter: &str) -> bool {
        self.query.contains_key(parameter)
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(given, _)| given == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn remove(&mut self, name: &str) {
        self.fields.retain(|(given, _)| given != name);
    }

    fn get(&self, parameter: &str) -> Option<&str> {
        self.query.get(parameter).map(String::as_str)
    }
}

/// A response.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub fields: BTreeMap<&'static str, String>,
    pub body: Vec<u8>,
}

impl Answer {
    fn error(status: u16, detail: &str) -> Self {
        let fields = BTreeMap::from([("content-type", "application/json".to_owned())]);
        let body = json!({ "detail": detail }).to_string().into_bytes();
        Self {
            status,
            fields,
            body,
        }
    }

    pub fn set(&mut self, name: &'static str, value: &str) {
        self.fields.insert(name, value.to_owned());
    }

    pub fn remove(&mut self, name: &str) {
        self.fields.remove(name);
    }
}

/// What it serves, and how.
pub struct World {
    pub board: String,
    /// By (ran_at, id).
    pub rows: BTreeMap<(String, String), String>,
    pub epoch: Option<i64>,
    jwks: String,
    pub fault: Fault,
    /// Whether it is as the service was before. Then nothing may be reused without asking: a follower would wait for so
    /// long.
    is_old: bool,
    /// The paths that were asked for, and whether the answer was 304.
    pub asked: Vec<(String, bool)>,
}

/// The server. It runs until the test process ends.
pub struct Foreign {
    pub url: String,
    world: Arc<Mutex<World>>,
}

/// The rows of [`Foreign::with_samples`].
pub const ROWS: usize = 150;

impl Foreign {
    /// Starts a server as the service was before, without challenges and rows.
    pub fn start() -> Self {
        Self::serve(World {
            board: board(&[]),
            rows: BTreeMap::new(),
            epoch: None,
            jwks: String::new(),
            fault: Fault::None,
            is_old: true,
            asked: Vec::new(),
        })
    }

    /// Starts a server with challenges and signed rows.
    pub fn with_samples(fault: Fault) -> Self {
        let key = SigningKey::from_bytes(&[7; 32]);
        let x = URL_SAFE_NO_PAD.encode(key.verifying_key().to_bytes());
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": "cathedral-eval-signing", "x": x});
        let server = Self::start();
        for number in 0..ROWS {
            let unsigned = format!(
                r#"{{"id":"row-{number:03}","ran_at":"2026-06-07T00:00:{:02}.500Z","weighted_score":1.0,"eval_output_schema_version":5}}"#,
                number / 7
            );
            let signature = key.sign(signed_text(&unsigned).unwrap().as_bytes());
            let signature = STANDARD.encode(signature.to_bytes());
            server.put_row(
                &unsigned.replace('}', &format!(r#","cathedral_signature":"{signature}"}}"#)),
            );
        }
        let challenges = (0..5).map(|number| {
            let item = json!({
                "challenge_id": format!("challenge-{number}"), "status": "active", "tier": 1 + number / 3,
                "difficulty_label": null, "score_multiplier": 1.0, "kind": "random_3sat", "storage": "file",
                "cnf_sha256": "ab".repeat(32), "cnf_bytes": 10, "num_vars": 3, "num_clauses": 4,
                "solve_on_submit_enabled": false,
            });
            Challenge::from_admin(&item.to_string(), None).unwrap()
        });
        let challenges: Vec<_> = challenges.collect();
        let mut world = server.world();
        world.board = board(&challenges);
        world.jwks = json!({ "keys": [jwk] }).to_string();
        (world.fault, world.is_old) = (fault, false);
        drop(world);
        server
    }

    fn serve(world: World) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let world = Arc::new(Mutex::new(world));
        let served = Arc::clone(&world);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let served = Arc::clone(&served);
                // The client has gone when it fails.
                thread::spawn(move || serve(&stream.unwrap(), &served).unwrap_or(()));
            }
        });
        Self { url, world }
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub fn put_row(&self, row: &str) {
        let keys: Value = serde_json::from_str(row).unwrap();
        let key = |name: &str| keys[name].as_str().unwrap().to_owned();
        let key = (key("ran_at"), key("id"));
        self.world().rows.insert(key, row.to_owned());
    }
}

/// Returns the board with these challenges.
pub fn board(challenges: &[Challenge]) -> String {
    let mut challenges = challenges.to_vec();
    challenges.sort_by_key(|it| (it.tier, it.challenge_id.clone()));
    let board = Snapshot::new(&challenges).unwrap();
    String::from_utf8(board.board().identity().body_ref().to_vec()).unwrap()
}

/// What the service did not have before: neither waiting, nor the order of commits, nor keys, nor a coding.
pub fn as_before(asked: &mut Asked) {
    asked.remove("accept-encoding");
    asked.query.remove("since_seq");
    if asked.path.ends_with("/changes") || asked.path.ends_with("jwks.json") {
        asked.path = "/x".to_owned();
    }
}

fn serve(mut stream: &TcpStream, world: &Mutex<World>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split(' ');
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        let mut asked = asked(method, target);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            let value = value.trim().to_owned();
            asked.fields.push((name.to_ascii_lowercase(), value));
        }
        let fault = world.lock().unwrap().fault;
        if let Fault::Bytes(beginning, piece, pause) = fault {
            stream.write_all(beginning.as_bytes())?;
            while !piece.is_empty() {
                thread::sleep(pause);
                stream.write_all(piece)?;
            }
            return Ok(());
        }
        let closes = asked.field("connection") == Some("close");
        let answer = world.lock().unwrap().answer(&mut asked);
        write_answer(stream, &asked, &answer)?;
        if closes || answer.fields.contains_key("connection") {
            return Ok(());
        }
    }
}

impl World {
    fn answer(&mut self, asked: &mut Asked) -> Answer {
        let path = asked.path.clone();
        if self.is_old {
            as_before(asked);
        }
        if let Fault::Asked(change) = self.fault {
            change(asked);
        }
        let mut answer = match self.content(asked) {
            Ok(mut content) => {
                if let Fault::Content(change) = self.fault {
                    change(asked, &mut content);
                }
                let mut answer = represent(asked, content);
                if self.is_old {
                    answer.set("cache-control", "no-cache");
                }
                answer
            }
            Err(error) => error,
        };
        let date = SystemTime::now();
        answer
            .fields
            .entry("date")
            .or_insert_with(|| httpdate::fmt_http_date(date));
        if let Fault::Answer(change) = self.fault {
            change(asked, &mut answer);
        }
        self.asked.push((path, answer.status == 304));
        answer
    }

    fn content(&self, asked: &Asked) -> Result<String, Answer> {
        let is_get = matches!(asked.method.as_str(), "GET" | "HEAD");
        let known = match asked.path.as_str() {
            _ if !is_get => Err(Answer::error(405, "method not allowed")),
            BOARD | "/v1/synthetic-boolean/active-challenges/changes" => Ok(self.board.clone()),
            "/v1/synthetic-boolean/current-challenge" => self.current(asked),
            FEED => self.page(asked),
            "/.well-known/cathedral-jwks.json" => Ok(self.jwks.clone()),
            "/health" => Ok(r#"{"status":"ok","checks":{"db":"ok"}}"#.to_owned()),
            _ => Err(Answer::error(404, "not found")),
        };
        known.map_err(|mut error| {
            if error.status == 405 {
                error.set("allow", "GET, HEAD");
            }
            error
        })
    }

    fn current(&self, asked: &Asked) -> Result<String, Answer> {
        let tier = asked.get("tier").map(|tier| format!(r#""tier":{tier},"#));
        if tier.is_none() && asked.has("difficulty") {
            return Err(Answer::error(400, "difficulty requires tier"));
        }
        let board: BTreeMap<&str, &RawValue> = serde_json::from_str(&self.board).unwrap();
        let items: Vec<&RawValue> = serde_json::from_str(board["items"].get()).unwrap();
        let mut items = items.into_iter().map(RawValue::get);
        let fits = |item: &&str| tier.as_ref().is_none_or(|tier| item.contains(tier));
        let found = items.find(fits).map(str::to_owned);
        found.ok_or_else(|| Answer::error(404, "no_active_challenge"))
    }

    fn page(&self, asked: &Asked) -> Result<String, Answer> {
        let limit = asked.get("limit").unwrap_or("200").parse().unwrap_or(0);
        if !(1..=1000).contains(&limit) {
            return Err(Answer::error(
                422,
                "limit must be an integer from 1 to 1000",
            ));
        }
        if let Some(cursor) = asked.get("since_seq") {
            let number: usize = cursor.trim_start_matches("e.").parse().map_err(|_| {
                Answer::error(400, "since_seq must be 0 or a cursor from next_since_seq")
            })?;
            let rows = self.rows.values().skip(number).take(limit);
            let rows: Vec<&str> = rows.map(String::as_str).collect();
            let next = number + rows.len();
            return Ok(format!(
                r#"{{"items":[{}],"next_since_seq":"e.{next}"}}"#,
                rows.join(",")
            ));
        }
        let is_tuple = asked.has("since_ran_at");
        let time = asked.get(if is_tuple { "since_ran_at" } else { "since" });
        let missing = "missing cursor: pass since_ran_at (v1.1.0) or since (v1.0.x)";
        let time = time.ok_or_else(|| Answer::error(400, missing))?;
        let time = RanAt::parse_query(time)
            .map_err(|_| Answer::error(400, "since / since_ran_at must be ISO-8601"))?;
        // Behind every id: the legacy rule.
        let all = if is_tuple { "" } else { "\u{10ffff}" };
        let after = (time.as_str(), asked.get("since_id").unwrap_or(all));
        let is_after = match self.fault {
            Fault::After(is_after) => is_after,
            _ => |row: (&str, &str), after: (&str, &str)| row > after,
        };
        let rows = self.rows.iter();
        let rows = rows.filter(|((ran_at, id), _)| is_after((ran_at, id), after));
        let rows: Vec<_> = rows.take(limit).collect();
        let last = rows.last().filter(|_| rows.len() == limit);
        let next = json!(last.map(|((ran_at, _), _)| ran_at));
        let id = json!(last.map(|((_, id), _)| id));
        let rows: Vec<&str> = rows.iter().map(|(_, row)| row.as_str()).collect();
        let (rows, epoch) = (rows.join(","), json!(self.epoch));
        Ok(format!(
            r#"{{"items":[{rows}],"next_since":{next},"next_since_ran_at":{next},"next_since_id":{id},"merkle_epoch_latest":{epoch}}}"#
        ))
    }
}

fn asked(method: &str, target: &str) -> Asked {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let decoded = |text: &str| {
        percent_decode_str(&text.replace('+', " "))
            .decode_utf8_lossy()
            .into_owned()
    };
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let without = path.strip_prefix("/api/cathedral");
    Asked {
        method: method.to_owned(),
        path: without.unwrap_or(path).to_owned(),
        has_prefix: without.is_some(),
        query: pairs
            .map(|(name, value)| (name.to_owned(), decoded(value)))
            .collect(),
        fields: Vec::new(),
    }
}

/// Tag, 304 and gzip.
fn represent(asked: &Asked, content: String) -> Answer {
    let tag = EntityTag::of(content.as_bytes()).to_string();
    let accepted = asked.field("accept-encoding").unwrap_or_default();
    let is_gzip = accepted == "gzip" && content.len() >= 1400;
    let tag = if is_gzip {
        tag.trim_end_matches('"').to_owned() + "-gzip\""
    } else {
        tag
    };
    let mut answer = Answer {
        status: 200,
        fields: BTreeMap::new(),
        body: Vec::new(),
    };
    answer.set("etag", &tag);
    answer.set("cache-control", "public, max-age=15");
    answer.set("vary", "accept-encoding");
    if asked.path.ends_with("/changes") {
        answer.set("link", "<?after=1>; rel=\"next\"");
    }
    let lists = asked
        .fields
        .iter()
        .filter(|(name, _)| name == "if-none-match");
    if lists
        .clone()
        .any(|(_, list)| list.contains(&tag) || list == "*")
    {
        answer.status = 304;
        return answer;
    }
    answer.set("content-type", "application/json");
    answer.body = content.into_bytes();
    if is_gzip {
        answer.set("content-encoding", "gzip");
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&answer.body).unwrap();
        answer.body = gzip.finish().unwrap();
    }
    answer
}

fn write_answer(mut stream: &TcpStream, asked: &Asked, answer: &Answer) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} x\r\n", answer.status);
    for (name, value) in &answer.fields {
        head += &format!("{name}: {value}\r\n");
    }
    let has = |name: &str| answer.fields.contains_key(name);
    if answer.status != 304 && !has("content-length") && !has("transfer-encoding") {
        head += &format!("content-length: {}\r\n", answer.body.len());
    }
    let mut bytes = (head + "\r\n").into_bytes();
    if asked.method != "HEAD" && answer.status != 304 {
        bytes.extend_from_slice(&answer.body);
    }
    stream.write_all(&bytes)
}

/// Reads a page, to change it.
pub fn edited(content: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut value = serde_json::from_str(content).unwrap();
    change(&mut value);
    value.to_string()
}
