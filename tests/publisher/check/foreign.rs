//! A small publisher of another make. It keeps the contract, unless a fault makes it break one rule.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use cathedral_publisher::domain::{
    challenge::Challenge, entity_tag::EntityTag, ran_at::RanAt, signature::signed_text,
};
use ed25519_dalek::{Signer, SigningKey};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

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
        self.path == "/v1/synthetic-boolean/active-challenges"
    }

    pub fn is_feed(&self) -> bool {
        self.path == "/v1/leaderboard/recent"
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

/// A row, and where it stands.
struct Row {
    ran_at: String,
    id: String,
    json: String,
}

/// The server. It runs until the test process ends.
pub struct Foreign {
    fault: Fault,
    challenges: Vec<String>,
    rows: Vec<Row>,
    jwks: String,
}

pub const ROWS: usize = 150;

/// Starts it, and returns its URL.
pub fn start(fault: Fault) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = Arc::new(Foreign::new(fault));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let server = Arc::clone(&server);
            // The client has gone when it fails.
            thread::spawn(move || server.serve(stream.unwrap()).unwrap_or(()));
        }
    });
    url
}

impl Foreign {
    fn new(fault: Fault) -> Self {
        let key = SigningKey::from_bytes(&[7; 32]);
        let rows = (0..ROWS).map(|number| {
            let (id, ran_at) = (format!("row-{number:03}"), format!("2026-06-07T00:00:{:02}.500Z", number / 7));
            let unsigned = format!(
                r#"{{"id":"{id}","ran_at":"{ran_at}","weighted_score":1.0,"eval_output_schema_version":5}}"#
            );
            let signature = key.sign(signed_text(&unsigned).unwrap().as_bytes());
            let signature = STANDARD.encode(signature.to_bytes());
            let json = unsigned.replace('}', &format!(r#","cathedral_signature":"{signature}"}}"#));
            Row { ran_at, id, json }
        });
        let challenges = (0..5).map(|number| {
            let item = json!({
                "challenge_id": format!("challenge-{number}"), "status": "active", "tier": 1 + number / 3,
                "difficulty_label": null, "score_multiplier": 1.0, "kind": "random_3sat", "storage": "file",
                "cnf_sha256": "ab".repeat(32), "cnf_bytes": 10, "num_vars": 3, "num_clauses": 4,
                "solve_on_submit_enabled": false,
            });
            let mut json = Vec::new();
            let challenge = Challenge::from_admin(&item.to_string(), None).unwrap();
            challenge.write_item(&mut json).unwrap();
            String::from_utf8(json).unwrap()
        });
        let x = URL_SAFE_NO_PAD.encode(key.verifying_key().to_bytes());
        let key = json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": "cathedral-eval-signing", "x": x});
        Self {
            fault,
            challenges: challenges.collect(),
            rows: rows.collect(),
            jwks: json!({ "keys": [key] }).to_string(),
        }
    }

    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
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
                asked
                    .fields
                    .push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
            let answer = self.answer(&mut asked);
            write_answer(&stream, &asked, &answer)?;
        }
    }

    fn answer(&self, asked: &mut Asked) -> Answer {
        if let Fault::Asked(change) = self.fault {
            change(asked);
        }
        let mut answer = match self.content(asked) {
            Ok(mut content) => {
                if let Fault::Content(change) = self.fault {
                    change(asked, &mut content);
                }
                represent(asked, content)
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
        answer
    }

    fn content(&self, asked: &Asked) -> Result<String, Answer> {
        let is_get = matches!(asked.method.as_str(), "GET" | "HEAD");
        let known = match asked.path.as_str() {
            _ if !is_get => Err(Answer::error(405, "method not allowed")),
            "/v1/synthetic-boolean/active-challenges"
            | "/v1/synthetic-boolean/active-challenges/changes" => Ok(self.board()),
            "/v1/synthetic-boolean/current-challenge" => self.current(asked),
            "/v1/leaderboard/recent" => self.page(asked),
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

    fn board(&self) -> String {
        let items = self.challenges.join(",");
        let count = self.challenges.len();
        format!(r#"{{"family_id":"synthetic_boolean_v1","count":{count},"items":[{items}]}}"#)
    }

    fn current(&self, asked: &Asked) -> Result<String, Answer> {
        let tier = asked.get("tier").map(|tier| format!(r#""tier":{tier},"#));
        if tier.is_none() && asked.has("difficulty") {
            return Err(Answer::error(400, "difficulty requires tier"));
        }
        let fits = |item: &&String| tier.as_ref().is_none_or(|tier| item.contains(tier));
        let found = self.challenges.iter().find(fits).cloned();
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
            let rows = self.rows.iter().skip(number).take(limit);
            let rows: Vec<&str> = rows.map(|row| row.json.as_str()).collect();
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
            Fault::None | Fault::Asked(_) | Fault::Content(_) | Fault::Answer(_) => {
                |row: (&str, &str), after: (&str, &str)| row > after
            }
        };
        let rows = self
            .rows
            .iter()
            .filter(|row| is_after((&row.ran_at, &row.id), after));
        let rows: Vec<&Row> = rows.take(limit).collect();
        let last = rows.last().filter(|_| rows.len() == limit);
        let next = last.map(|row| row.ran_at.as_str());
        let (next, id) = (json!(next), json!(last.map(|row| row.id.as_str())));
        let rows: Vec<&str> = rows.iter().map(|row| row.json.as_str()).collect();
        let rows = rows.join(",");
        Ok(format!(
            r#"{{"items":[{rows}],"next_since":{next},"next_since_ran_at":{next},"next_since_id":{id},"merkle_epoch_latest":null}}"#
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
    if answer.status != 304 && !answer.fields.contains_key("content-length") {
        head += &format!("content-length: {}\r\n", answer.body.len());
    }
    let mut bytes = (head + "\r\n").into_bytes();
    if asked.method != "HEAD" && answer.status != 304 {
        bytes.extend_from_slice(&answer.body);
    }
    stream.write_all(&bytes)
}

/// A server that accepts, and sends the same bytes again and again, with pauses. Returns its URL.
pub fn endless(head: &'static str, piece: &'static [u8], pause: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut sent = stream.write_all(head.as_bytes());
                while sent.is_ok() {
                    thread::sleep(pause);
                    sent = stream.write_all(piece);
                }
            });
        }
    });
    url
}

/// Reads a page, to change it.
pub fn edited(content: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut value = serde_json::from_str(content).unwrap();
    change(&mut value);
    value.to_string()
}
