//! The board of an upstream: accepted if this program would serve the same bytes. Pure.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::lie::Lie;
use crate::{
    cache::snapshot::Snapshot,
    domain::challenge::{Challenge, Status},
    metrics::FollowRejected,
};

/// Reads the challenges of a board.
///
/// # Errors
/// [`Lie`], also if they are not in order, or an id is there twice.
pub(super) fn read(body: &str) -> Result<Vec<Challenge>, Lie> {
    #[derive(Deserialize)]
    struct Board<'a> {
        #[serde(borrow)]
        items: Vec<&'a RawValue>,
    }
    let form = |text: String| Lie::new(FollowRejected::Form, text);
    let board: Board<'_> = serde_json::from_str(body).map_err(|error| form(error.to_string()))?;
    let mut challenges = Vec::with_capacity(board.items.len());
    for (index, item) in board.items.iter().enumerate() {
        let challenge = Challenge::from_item(item.get());
        let name = || format!("challenge {} of {}", index + 1, board.items.len());
        let challenge = challenge.map_err(|error| form(format!("{}: {error}", name())))?;
        if challenge.status != Status::Active {
            let (name, id) = (name(), &challenge.challenge_id);
            return Err(form(format!("{name}, {id:?}, is {}", challenge.status)));
        }
        challenges.push(challenge);
    }
    let key = |challenge: &Challenge| (challenge.tier, challenge.challenge_id.clone());
    let are_ordered = challenges.is_sorted_by(|a, b| key(a) < key(b));
    let mut ids: Vec<&str> = challenges
        .iter()
        .map(|it| it.challenge_id.as_str())
        .collect();
    ids.sort_unstable();
    if !are_ordered || !ids.is_sorted_by(|a, b| a < b) {
        return Err(Lie::new(
            FollowRejected::Order,
            "items of the board are not in order",
        ));
    }
    let ours = Snapshot::new(&challenges).map_err(|error| form(error.to_string()))?;
    if ours.board().identity().body_ref() != body.as_bytes() {
        return Err(form(
            "this program would write other bytes for the same board".to_owned(),
        ));
    }
    Ok(challenges)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

    use super::*;
    use crate::demo::sample::Sample;

    #[test]
    fn a_board_is_accepted_whole_or_not_at_all() {
        let mut challenges = Sample::new(1).board();
        challenges.sort_by_key(|it| (it.tier, it.challenge_id.clone()));
        let board = Snapshot::new(&challenges).unwrap();
        let body = String::from_utf8(board.board().identity().body_ref().to_vec()).unwrap();
        assert_eq!(read(&body).unwrap(), challenges);
        assert_eq!(
            read(r#"{"family_id":"synthetic_boolean_v1","count":0,"items":[]}"#),
            Ok(vec![])
        );
        let first = body
            .find(r#"{"family_id":"synthetic_boolean_v1","challenge_id""#)
            .unwrap();
        let second = first + body[first + 1..].find(r#"{"family_id""#).unwrap() + 1;
        let third = second + body[second + 1..].find(r#"{"family_id""#).unwrap() + 1;
        let (begin, one, two, rest) = (
            &body[..first],
            &body[first..second],
            &body[second..third],
            &body[third..],
        );
        for (lie, expected) in [
            (format!("{begin}{two}{one}{rest}"), FollowRejected::Order),
            (format!("{begin}{one}{one}{rest}"), FollowRejected::Order),
            (format!("{begin}{two}{rest}"), FollowRejected::Form),
            (
                body.replacen("\"count\":", "\"count\": ", 1),
                FollowRejected::Form,
            ),
            (
                body.replacen("\"active\"", "\"pending\"", 1),
                FollowRejected::Form,
            ),
            (
                body.replacen("\"storage\":\"file\"", "\"storage\":\"tape\"", 1),
                FollowRejected::Form,
            ),
            (format!("{body}\n"), FollowRejected::Form),
            (body[..body.len() - 1].to_owned(), FollowRejected::Form),
            (
                "<html>Please log in</html>".to_owned(),
                FollowRejected::Form,
            ),
            ("{}".to_owned(), FollowRejected::Form),
            (String::new(), FollowRejected::Form),
        ] {
            assert_eq!(read(&lie).unwrap_err().reason, expected, "{lie}");
        }
    }
}
