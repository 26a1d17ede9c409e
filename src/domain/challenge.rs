//! A challenge, and the item of the board that shows it (WIRE.md, active-challenges).

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::Error as _};
use serde_json::value::RawValue;

use super::{
    Invalid, MAX_ITEM_BYTES, check_id, check_length,
    formula::{FileHash, Formula},
    number,
    object::word,
    parse_object,
};

/// The one family of challenges there is.
pub const FAMILY_ID: &str = "synthetic_boolean_v1";
/// Seconds announced for a challenge without a limit of its own.
pub const DEFAULT_TIME_LIMIT_SECS: u64 = 432_000;
const WIN_RULE: &str = "First submitted valid SAT receipt wins.";
const ACTIVE_CNF_PREFIX: &str = "/api/cathedral/v1/synthetic-boolean/active-cnf?challenge_id=";
const SUBMIT_PATH: &str = "/api/cathedral/v1/agents/submit";

/// All but the unreserved characters of RFC 3986 §2.3.
const NOT_UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The status of a challenge. It may only go forward in the derived order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Made, not yet published.
    Pending,
    /// Published on the board.
    Active,
    /// No longer published; receipts are being settled.
    Locked,
    /// Over.
    Retired,
}

impl Status {
    /// All words, as they stand in errors.
    pub const WORDS: &str = "pending, active, locked or retired";

    /// Returns the word used on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Locked => "locked",
            Self::Retired => "retired",
        }
    }

    /// Parses the word of [`Status::as_str`].
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Pending, Self::Active, Self::Locked, Self::Retired]
            .into_iter()
            .find(|status| status.as_str() == word)
    }

    /// Reads a change of the status: `{"status":"retired"}`, without any other key.
    ///
    /// # Errors
    /// [`Invalid`] naming the first field found wrong.
    pub fn from_patch(json: &str) -> Result<Self, Invalid> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Patch {
            status: Status,
        }
        parse_object(json).map(|Patch { status }| status)
    }

    /// Returns whether a challenge of this status may become one of `next`: forward, or unchanged.
    pub fn may_become(self, next: Self) -> bool {
        self <= next
    }
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        word(deserializer, Self::WORDS, Self::parse)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a challenge's formula is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Storage {
    /// In a file.
    File,
    /// In the database of the service that made it.
    SqliteText,
}

impl Storage {
    /// Returns the word used on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::SqliteText => "sqlite_text",
        }
    }

    /// Parses the word of [`Storage::as_str`].
    pub fn parse(word: &str) -> Option<Self> {
        [Self::File, Self::SqliteText]
            .into_iter()
            .find(|storage| storage.as_str() == word)
    }
}

impl<'de> Deserialize<'de> for Storage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        word(deserializer, "file or sqlite_text", Self::parse)
    }
}

/// One challenge: the item of the board less its constant keys.
#[derive(Debug, Clone, PartialEq)]
pub struct Challenge {
    /// Unique; see [`check_id`].
    pub challenge_id: String,
    /// Its status.
    pub status: Status,
    /// The board's first key of order.
    pub tier: u64,
    /// A name for its difficulty, if it has one.
    pub difficulty_label: Option<String>,
    /// Finite and not negative; not -0.0.
    pub score_multiplier: f64,
    /// `random_3sat`, `sha256_preimage`, …
    pub kind: Option<String>,
    /// How the formula is stored.
    pub storage: Storage,
    /// 64 lower-case hex digits.
    pub cnf_sha256: String,
    /// The formula's size in bytes.
    pub cnf_bytes: Option<u64>,
    /// Variables of the formula.
    pub num_vars: u64,
    /// Clauses of the formula.
    pub num_clauses: u64,
    /// Seconds; `None` is announced as [`DEFAULT_TIME_LIMIT_SECS`].
    pub announced_time_limit_secs: Option<u64>,
    /// Whether a submission is solved at once.
    pub solve_on_submit_enabled: bool,
}

/// An item as it comes in. A key without a default is required, even if it may be null.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ItemIn<'a> {
    family_id: Option<String>,
    challenge_id: Option<String>,
    status: Status,
    tier: u64,
    #[serde(deserialize_with = "Option::deserialize")]
    difficulty_label: Option<String>,
    #[serde(borrow)]
    score_multiplier: &'a RawValue,
    #[serde(deserialize_with = "Option::deserialize")]
    kind: Option<String>,
    storage: Storage,
    cnf_sha256: String,
    #[serde(deserialize_with = "Option::deserialize")]
    cnf_bytes: Option<u64>,
    num_vars: u64,
    num_clauses: u64,
    announced_time_limit_secs: Option<u64>,
    solve_on_submit_enabled: bool,
    win_rule: Option<String>,
    active_cnf_path: Option<String>,
    submit_path: Option<String>,
}

/// An item of the board, in the order of its keys.
#[derive(Serialize)]
struct ItemOut<'a> {
    family_id: &'static str,
    challenge_id: &'a str,
    status: Status,
    tier: u64,
    difficulty_label: Option<&'a str>,
    #[serde(serialize_with = "canonical")]
    score_multiplier: f64,
    kind: Option<&'a str>,
    storage: Storage,
    cnf_sha256: &'a str,
    cnf_bytes: Option<u64>,
    num_vars: u64,
    num_clauses: u64,
    announced_time_limit_secs: Option<u64>,
    solve_on_submit_enabled: bool,
    win_rule: &'static str,
    active_cnf_path: String,
    submit_path: &'static str,
}

fn canonical<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    RawValue::from_string(number::canonical(*value))
        .map_err(S::Error::custom)?
        .serialize(serializer)
}

fn active_cnf_path(challenge_id: &str) -> String {
    format!(
        "{ACTIVE_CNF_PREFIX}{}",
        utf8_percent_encode(challenge_id, NOT_UNRESERVED)
    )
}

impl Challenge {
    /// Reads an item of the board as it is published: every key there, none besides, and the
    /// constant ones with the values that this program would write.
    ///
    /// # Errors
    /// [`Invalid`] naming the first field found wrong, or if the item is longer than [`MAX_ITEM_BYTES`].
    pub fn from_item(json: &str) -> Result<Self, Invalid> {
        let item = ItemIn::parse(json)?;
        let missing = [
            ("family_id", item.family_id.is_none()),
            ("challenge_id", item.challenge_id.is_none()),
            (
                "announced_time_limit_secs",
                item.announced_time_limit_secs.is_none(),
            ),
            ("win_rule", item.win_rule.is_none()),
            ("active_cnf_path", item.active_cnf_path.is_none()),
            ("submit_path", item.submit_path.is_none()),
        ];
        if let Some((field, _)) = missing.into_iter().find(|(_, missing)| *missing) {
            return Err(Invalid::new(field, "is missing, or null"));
        }
        item.into_challenge(None)
    }

    /// Reads a challenge as an operator writes it: an item in which the constant keys and
    /// `announced_time_limit_secs` may be left out, and `challenge_id` too if `id` gives it.
    ///
    /// # Errors
    /// [`Invalid`] naming the first field found wrong, or if the item is longer than [`MAX_ITEM_BYTES`].
    pub fn from_admin(json: &str, id: Option<&str>) -> Result<Self, Invalid> {
        ItemIn::parse(json)?.into_challenge(id)
    }

    /// Checks that this may replace `old`: a status may only go forward, and once a challenge has been published its
    /// formula stays the same. Caches keep a formula for a year by the id of its challenge.
    ///
    /// # Errors
    /// [`Invalid`] naming `status` or `cnf_sha256`.
    pub fn check_replaces(&self, old: &Self) -> Result<(), Invalid> {
        if old.status.may_become(self.status) {
            if old.status == Status::Pending || old.cnf_sha256 == self.cnf_sha256 {
                return Ok(());
            }
            let reason = format!(
                "challenge {:?} is {}, and its formula cannot change",
                self.challenge_id, old.status
            );
            return Err(Invalid::new("cnf_sha256", reason));
        }
        let reason = format!(
            "challenge {:?} is {} and cannot become {}",
            self.challenge_id, old.status, self.status
        );
        Err(Invalid::new("status", reason))
    }

    /// Returns the file of its formula; `None` if `cnf_sha256` is no digest, which no parser lets pass.
    pub fn formula(&self) -> Option<Formula> {
        Some(Formula {
            hash: FileHash::parse(&self.cnf_sha256)?,
            bytes: self.cnf_bytes,
        })
    }

    /// Appends the item of the board to `out`, as compact JSON.
    ///
    /// # Errors
    /// Never in practice: serde_json serialises a valid challenge without errors.
    pub fn write_item(&self, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        let limit_secs = self.announced_time_limit_secs;
        self.write(out, Some(limit_secs.unwrap_or(DEFAULT_TIME_LIMIT_SECS)))
    }

    /// Appends the challenge as it is stored: the item of the board, except that a challenge without a time limit has
    /// null there. [`Challenge::from_admin`] reads the same challenge from it.
    ///
    /// # Errors
    /// Those of [`Challenge::write_item`].
    pub fn write_stored(&self, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        self.write(out, self.announced_time_limit_secs)
    }

    fn write(&self, out: &mut Vec<u8>, limit_secs: Option<u64>) -> Result<(), serde_json::Error> {
        serde_json::to_writer(
            out,
            &ItemOut {
                family_id: FAMILY_ID,
                challenge_id: &self.challenge_id,
                status: self.status,
                tier: self.tier,
                difficulty_label: self.difficulty_label.as_deref(),
                score_multiplier: self.score_multiplier,
                kind: self.kind.as_deref(),
                storage: self.storage,
                cnf_sha256: &self.cnf_sha256,
                cnf_bytes: self.cnf_bytes,
                num_vars: self.num_vars,
                num_clauses: self.num_clauses,
                announced_time_limit_secs: limit_secs,
                solve_on_submit_enabled: self.solve_on_submit_enabled,
                win_rule: WIN_RULE,
                active_cnf_path: active_cnf_path(&self.challenge_id),
                submit_path: SUBMIT_PATH,
            },
        )
    }
}

impl<'a> ItemIn<'a> {
    fn parse(json: &'a str) -> Result<Self, Invalid> {
        check_length("an item", json.trim_ascii().len(), MAX_ITEM_BYTES)?;
        parse_object(json)
    }

    fn into_challenge(self, id: Option<&str>) -> Result<Challenge, Invalid> {
        let challenge_id = match (self.challenge_id, id) {
            (Some(given), Some(id)) if given != id => {
                return Err(Invalid::new("challenge_id", format!("must be {id:?}")));
            }
            (Some(given), _) => given,
            (None, Some(id)) => id.to_owned(),
            (None, None) => return Err(Invalid::new("challenge_id", "is missing")),
        };
        check_id("challenge_id", &challenge_id)?;
        let path = active_cnf_path(&challenge_id);
        for (field, given, constant) in [
            ("family_id", &self.family_id, FAMILY_ID),
            ("win_rule", &self.win_rule, WIN_RULE),
            ("active_cnf_path", &self.active_cnf_path, path.as_str()),
            ("submit_path", &self.submit_path, SUBMIT_PATH),
        ] {
            if given.as_deref().is_some_and(|given| given != constant) {
                return Err(Invalid::new(field, format!("must be {constant:?}")));
            }
        }
        for (field, value) in [
            ("tier", Some(self.tier)),
            ("cnf_bytes", self.cnf_bytes),
            ("num_vars", Some(self.num_vars)),
            ("num_clauses", Some(self.num_clauses)),
            ("announced_time_limit_secs", self.announced_time_limit_secs),
        ] {
            // SQLite's integers are signed.
            if value.is_some_and(|value| i64::try_from(value).is_err()) {
                return Err(Invalid::new(field, "must be less than 2^63"));
            }
        }
        let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if self.cnf_sha256.len() != 64 || !self.cnf_sha256.bytes().all(hex) {
            return Err(Invalid::new(
                "cnf_sha256",
                "must have 64 lower-case hex digits",
            ));
        }
        let challenge = Challenge {
            challenge_id,
            status: self.status,
            tier: self.tier,
            difficulty_label: self.difficulty_label,
            score_multiplier: parse_multiplier(self.score_multiplier.get())?,
            kind: self.kind,
            storage: self.storage,
            cnf_sha256: self.cnf_sha256,
            cnf_bytes: self.cnf_bytes,
            num_vars: self.num_vars,
            num_clauses: self.num_clauses,
            announced_time_limit_secs: self.announced_time_limit_secs,
            solve_on_submit_enabled: self.solve_on_submit_enabled,
        };
        // An export writes the keys that may be left out as well, and must be importable again.
        let mut item = Vec::new();
        challenge
            .write_item(&mut item)
            .map_err(|error| Invalid::new("", error.to_string()))?;
        check_length("an item with all its keys", item.len(), MAX_ITEM_BYTES)?;
        Ok(challenge)
    }
}

/// Parses a multiplier, however its producer writes it: the nearest double. -0.0 is refused, and so is a number
/// that is not 0 and would become 0.
fn parse_multiplier(json: &str) -> Result<f64, Invalid> {
    let significand = json.split(['e', 'E']).next().unwrap_or_default();
    let is_zero = !significand.contains(|c| matches!(c, '1'..='9'));
    json.parse()
        .ok()
        .filter(|value: &f64| value.is_finite() && value.is_sign_positive())
        .filter(|value| (*value == 0.0) == is_zero)
        .ok_or_else(|| {
            Invalid::new(
                "score_multiplier",
                "must be a number of at least 0, not -0, that a double can hold",
            )
        })
}
