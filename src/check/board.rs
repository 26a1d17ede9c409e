//! The board: its form, and what leads on from it (WIRE.md, the board, one challenge, waiting).

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::{
    Checks,
    report::{Finding, differs, fails, not_offered},
    representation::{Representation, check_error, check_json, json, strong_tag},
    session::{MAX_BODY_BYTES, Session, excerpt},
};
use crate::{
    domain::{
        challenge::{Challenge, FAMILY_ID, Status},
        entity_tag::EntityTag,
    },
    fetch::Fetched,
};

/// The path of the board.
pub(super) const PATH: &str = "/v1/synthetic-boolean/active-challenges";
const CURRENT: &str = "/v1/synthetic-boolean/current-challenge";
const PREFIX: &str = "/api/cathedral";
const NO_CHALLENGE: &str = "no_active_challenge";

/// Runs the checks of the board.
pub(super) fn check(checks: &mut Checks<'_>) {
    let board = checks.check("board", |session| {
        let whole = json(session, PATH)?;
        let challenges = read(&whole.body)?;
        let seen = format!(
            "200, {} challenges, {} bytes",
            challenges.len(),
            whole.body.len()
        );
        Ok(((whole, challenges), seen))
    });
    let Some((whole, challenges)) = board else {
        return;
    };
    checks.check("board order", |_| order(&challenges).map(|seen| ((), seen)));
    let board = Representation {
        name: "board",
        path: PATH.to_owned(),
        whole,
    };
    board.check(checks);
    checks.check("board prefix", |session| prefix(session, &board.whole));
    checks.check("current-challenge", |session| {
        current(session, &board.whole)
    });
    checks.check("changes", changes);
    checks.check("active-cnf", |session| cnf(session, &board.whole));
}

/// Reads a board, which must be as this program would write it.
fn read(body: &[u8]) -> Result<Vec<Challenge>, Finding> {
    #[derive(Deserialize)]
    struct Board<'a> {
        #[serde(borrow)]
        items: Vec<&'a RawValue>,
    }
    let board: Board<'_> = match serde_json::from_slice(body) {
        Ok(board) => board,
        Err(error) => return fails(format!("{error}: {}", excerpt(body))),
    };
    let count = board.items.len();
    let mut ours = format!(r#"{{"family_id":"{FAMILY_ID}","count":{count},"items":["#).into_bytes();
    let mut challenges = Vec::with_capacity(count);
    for (index, item) in board.items.iter().enumerate() {
        let challenge = Challenge::from_item(item.get())
            .map_err(|invalid| Finding::Fails(format!("item {index}: {invalid}")))?;
        if challenge.status != Status::Active {
            return fails(format!("item {index} is {}", challenge.status));
        }
        if index > 0 {
            ours.push(b',');
        }
        let begin = ours.len();
        challenge
            .write_item(&mut ours)
            .map_err(|error| Finding::Fails(error.to_string()))?;
        if &ours[begin..] != item.get().as_bytes() {
            let expected = String::from_utf8_lossy(&ours[begin..]);
            let differ = first_difference(&expected, item.get());
            return fails(format!(
                "item {index} is not written as the contract says: {differ}"
            ));
        }
        challenges.push(challenge);
    }
    ours.extend_from_slice(b"]}");
    if ours != body {
        let differ = first_difference(
            &String::from_utf8_lossy(&ours),
            &String::from_utf8_lossy(body),
        );
        return fails(format!(
            "what stands around the items is not as the contract says: {differ}"
        ));
    }
    Ok(challenges)
}

/// Tells where two texts begin to differ.
fn first_difference(expected: &str, seen: &str) -> String {
    let same = expected
        .chars()
        .zip(seen.chars())
        .take_while(|(a, b)| a == b)
        .count();
    let part = |text: &str| -> String {
        text.chars()
            .skip(same.saturating_sub(20))
            .take(50)
            .collect()
    };
    format!("{} instead of {}", part(seen), part(expected))
}

fn order(challenges: &[Challenge]) -> Result<String, Finding> {
    let key = |it: &Challenge| (it.tier, it.challenge_id.clone());
    if let Some(pair) = challenges
        .windows(2)
        .find(|pair| key(&pair[0]) >= key(&pair[1]))
    {
        let [one, two] =
            [&pair[0], &pair[1]].map(|it| format!("{} of tier {}", it.challenge_id, it.tier));
        return fails(format!("{one} stands before {two}"));
    }
    let mut ids: Vec<&str> = challenges
        .iter()
        .map(|it| it.challenge_id.as_str())
        .collect();
    ids.sort_unstable();
    match ids.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => fails(format!("{} is there twice", pair[0])),
        None => Ok("by tier, then by challenge_id".to_owned()),
    }
}

/// The same bytes and tag with and without the prefix.
fn prefix(session: &mut Session, whole: &Fetched) -> Result<((), String), Finding> {
    if !session.is_at_root() {
        return not_offered("the URL has a path");
    }
    session.steadily(PATH, whole, |session, whole| {
        let answer = json(session, &format!("{PREFIX}{PATH}"))?;
        if answer.body != whole.body || answer.field("etag") != whole.field("etag") {
            return differs(format!("{PREFIX}{PATH} has other bytes"));
        }
        Ok(((), format!("the same bytes and tag at {PREFIX}")))
    })
}

fn current(session: &mut Session, whole: &Fetched) -> Result<((), String), Finding> {
    session.steadily(PATH, whole, |session, whole| {
        let challenges = read(&whole.body)?;
        let first_of = |tier: u64| challenges.iter().find(|it| it.tier == tier);
        let mut asked = vec![(String::new(), challenges.first())];
        if let Some(last) = challenges.last() {
            asked.push((format!("?tier={}", last.tier), first_of(last.tier)));
        }
        // A set: a server may have sent very many tiers.
        let tiers: HashSet<u64> = challenges.iter().map(|it| it.tier).collect();
        let unused = (0..).find(|tier| !tiers.contains(tier)).unwrap_or_default();
        asked.push((format!("?tier={unused}"), None));
        for (query, expected) in asked {
            let path = format!("{CURRENT}{query}");
            let answer = session.get(&path, &[])?;
            let in_path = |finding: Finding| finding.at(&path);
            let Some(expected) = expected else {
                check_error(&answer, 404, Some(NO_CHALLENGE)).map_err(in_path)?;
                continue;
            };
            check_json(&answer).map_err(in_path)?;
            let mut item = Vec::new();
            let written = expected.write_item(&mut item);
            written.map_err(|error| Finding::Fails(error.to_string()))?;
            if answer.body != item {
                return differs(format!("{path}: is not {}", expected.challenge_id));
            }
        }
        let without_tier = session.get(&format!("{CURRENT}?difficulty=x"), &[])?;
        check_error(&without_tier, 400, Some("difficulty requires tier"))?;
        Ok((
            (),
            "the first item, the first of a tier; 404 and 400".to_owned(),
        ))
    })
}

/// The board with a link to the request that waits.
fn changes(session: &mut Session) -> Result<((), String), Finding> {
    let answer = session.get(&format!("{PATH}/changes"), &[])?;
    if answer.status == 404 {
        return not_offered("404: clients poll");
    }
    check_json(&answer)?;
    // It may be of another moment than the board.
    let challenges = read(&answer.body)?.len();
    let (tag, expected) = (
        strong_tag(&answer)?,
        EntityTag::of(&answer.body).to_string(),
    );
    if tag != expected {
        return fails(format!(
            "{tag}, expected {expected}, from the SHA-256 of the body"
        ));
    }
    let links = answer.values("link");
    let is_next = |link: &&&str| link.contains("rel=\"next\"") && link.starts_with('<');
    match links.iter().find(is_next) {
        Some(link) => Ok((
            (),
            format!("a board of {challenges} challenges, Link: {link}"),
        )),
        None => fails(format!("Link {links:?}, expected one with rel=\"next\"")),
    }
}

/// The formula of the first challenge has the bytes that the board announces.
fn cnf(session: &mut Session, whole: &Fetched) -> Result<((), String), Finding> {
    session.steadily(PATH, whole, |session, whole| {
        let challenges = read(&whole.body)?;
        let can_be_read =
            |it: &&Challenge| it.cnf_bytes.is_some_and(|bytes| bytes <= MAX_BODY_BYTES);
        let Some(challenge) = challenges.iter().find(can_be_read) else {
            return not_offered("no challenge announces a formula of a size that can be read");
        };
        let mut item = Vec::new();
        let written = challenge.write_item(&mut item);
        written.map_err(|error| Finding::Fails(error.to_string()))?;
        let item: serde_json::Value = serde_json::from_slice(&item).unwrap_or_default();
        let path = item["active_cnf_path"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let answer = session.get_link(&path)?;
        if answer.status == 404 {
            return not_offered(format!("404: {}", excerpt(&answer.body)));
        }
        if answer.status != 200 {
            return fails(format!("{path}: {}, expected 200", answer.status));
        }
        let digest = Sha256::digest(&answer.body);
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        if digest != challenge.cnf_sha256 || Some(answer.body.len() as u64) != challenge.cnf_bytes {
            let bytes = answer.body.len();
            return fails(format!(
                "{path}: {bytes} bytes with SHA-256 {digest}, not those announced"
            ));
        }
        let tag = format!("\"{}\"", &digest[..16]);
        if answer.field("etag") != Some(tag.as_str()) {
            let given = answer.field("etag").unwrap_or("missing");
            return fails(format!("{path}: the tag is {given}, expected {tag}"));
        }
        Ok((
            (),
            format!("{} bytes with the announced SHA-256", answer.body.len()),
        ))
    })
}
