#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use super::*;

fn row(id: &str, second: u32) -> String {
    format!(
        r#"{{"id":"{id}","ran_at":"2026-06-07T00:00:{second:02}.000Z","eval_output_schema_version":5}}"#
    )
}

fn page(rows: &[String], next: Option<(&str, u32)>, epoch: &str) -> String {
    let next = next.map_or_else(
        || r#""next_since":null,"next_since_ran_at":null,"next_since_id":null"#.to_owned(),
        |(id, second)| {
            let time = format!("2026-06-07T00:00:{second:02}.000Z");
            format!(r#""next_since":"{time}","next_since_ran_at":"{time}","next_since_id":"{id}""#)
        },
    );
    let rows = rows.join(",");
    format!(r#"{{"items":[{rows}],{next},"merkle_epoch_latest":{epoch}}}"#)
}

fn after(second: u32, id: &str) -> Cursor {
    Cursor::tuple(&format!("2026-06-07T00:00:{second:02}Z"), Some(id)).unwrap()
}

fn read(body: &str, limit: u16) -> Result<PlacePage, Lie> {
    place_page(body, &after(1, "a"), PageLimit::new(limit).unwrap(), None)
}

#[test]
fn a_page_is_accepted_with_its_cursor_and_its_epoch() {
    let rows = [row("b", 1), row("a", 2)];
    let short = read(&page(&rows, None, "7"), 3).unwrap();
    assert_eq!((short.next, short.merkle_epoch_latest), (None, Some(7)));
    let ids: Vec<_> = short
        .accepted
        .rows
        .iter()
        .map(|run| run.id.as_str())
        .collect();
    assert_eq!(ids, ["b", "a"]);
    let full = read(&page(&rows, Some(("a", 2)), "null"), 2).unwrap();
    assert_eq!(full.next, Some(after(2, "a")));
    assert!(
        read(&page(&[], None, "null"), 2)
            .unwrap()
            .accepted
            .rows
            .is_empty()
    );
}

#[test]
fn a_page_that_no_publisher_would_send_is_rejected_whole() {
    let rows = [row("b", 1), row("a", 2)];
    for (lie, expected) in [
        (
            page(&[row("a", 2), row("b", 1)], None, "7"),
            FollowRejected::Order,
        ),
        (
            page(&[row("a", 2), row("a", 2)], None, "7"),
            FollowRejected::Order,
        ),
        (page(&[row("a", 1)], None, "7"), FollowRejected::Order),
        (page(&[row("z", 0)], None, "7"), FollowRejected::Order),
        (
            page(
                &[row("b", 1), row("c", 1), row("d", 1), row("e", 1)],
                None,
                "7",
            ),
            FollowRejected::Order,
        ),
        // A short page with a cursor, and a full one without.
        (page(&rows, Some(("a", 2)), "7"), FollowRejected::Form),
        (
            page(&[row("b", 1), row("c", 1), row("d", 1)], None, "7"),
            FollowRejected::Form,
        ),
        (
            page(
                &[row("b", 1), row("c", 1), row("d", 1)],
                Some(("c", 1)),
                "7",
            ),
            FollowRejected::Form,
        ),
        (page(&rows, None, "-1"), FollowRejected::Form),
        (
            page(&rows, None, "7").replace("},{", "}, {"),
            FollowRejected::Form,
        ),
        (
            page(&rows, None, "7").replace("\"ran_at\"", "\"run_at\""),
            FollowRejected::Form,
        ),
        (r#"{"items":[]}"#.to_owned(), FollowRejected::Form),
        (r#"{"items":{}}"#.to_owned(), FollowRejected::Form),
        ("<html>".to_owned(), FollowRejected::Form),
    ] {
        assert_eq!(read(&lie, 3).unwrap_err().reason, expected, "{lie}");
    }
    let body = page(&rows, None, "7");
    for length in 0..body.len() {
        assert!(read(&body[..length], 3).is_err(), "{length}");
    }
}

#[test]
fn invalid_eval_runs_are_left_out_one_by_one() {
    let long = format!(
        r#"{{"id":"l","ran_at":"2026-06-07T00:00:03.000Z","eval_output_schema_version":5,"x":"{}"}}"#,
        "x".repeat(70_000)
    );
    let twice = row("t", 4).replace("{\"id\"", "{\"x\":1,\"x\":2,\"id\"");
    let old = row("o", 5).replace(":5}", ":4}");
    let rows = [row("b", 1), long, twice, old, row("z", 7)];
    let accepted = read(&page(&rows, None, "7"), 9).unwrap().accepted;
    let ids: Vec<_> = accepted.rows.iter().map(|run| run.id.as_str()).collect();
    assert_eq!(ids, ["b", "z"]);
    let left_out: Vec<_> = accepted
        .left_out
        .iter()
        .map(|it| (it.id.as_str(), it.reason))
        .collect();
    let row = FollowRejected::Row;
    assert_eq!(left_out, [("l", row), ("t", row), ("o", row)]);
}

#[test]
fn a_page_in_the_order_of_commits_has_ascending_numbers() {
    let detail = |seqs: &str| {
        format!(
            r#""next_since_seq":"1-00000000000000aa.9","seqs":[{seqs}],"lineages":[{{"lineage":"1-00000000000000aa","first_seq":1,"shared_through":null,"is_restore":true}}],"merkle_epoch_latest":null"#
        )
    };
    let page = |seqs: &str| {
        format!(
            r#"{{"items":[{},{}],{}}}"#,
            row("b", 2),
            row("a", 1),
            detail(seqs)
        )
    };
    let limit = PageLimit::default();
    let read = |body: &str| numbered_page(body, limit, None);
    let good = read(&page("3,9")).unwrap();
    assert_eq!(good.count, 2);
    assert_eq!(
        good.accepted
            .rows
            .iter()
            .map(|(seq, _)| *seq)
            .collect::<Vec<_>>(),
        [3, 9]
    );
    assert!(is_numbered(&page("3,9")) && !is_numbered(&page("3,9").replace("seqs", "seq")));
    assert_eq!(
        read(&page("9,3")).unwrap_err().reason,
        FollowRejected::Order
    );
    assert_eq!(
        read(&page("3,3")).unwrap_err().reason,
        FollowRejected::Order
    );
    assert_eq!(read(&page("3")).unwrap_err().reason, FollowRejected::Form);
    assert_eq!(
        read(&page("3,4,9")).unwrap_err().reason,
        FollowRejected::Form
    );
    let few = numbered_page(&page("3,9"), PageLimit::new(1).unwrap(), None);
    assert_eq!(few.unwrap_err().reason, FollowRejected::Form);
}

#[test]
fn a_page_with_more_lineages_than_a_database_knows_is_rejected() {
    let page = |lineages: usize| {
        let known = (1..=lineages).map(|ordinal| {
            format!(
                r#"{{"lineage":"{ordinal}-{ordinal:016x}","first_seq":1,"shared_through":null,"is_restore":true}}"#
            )
        });
        let known: Vec<String> = known.collect();
        format!(
            r#"{{"items":[],"next_since_seq":"1-0000000000000001.0","seqs":[],"lineages":[{}],"merkle_epoch_latest":null}}"#,
            known.join(",")
        )
    };
    let read = |body: &str| numbered_page(body, PageLimit::default(), None);
    assert!(read(&page(MAX_LINEAGES)).is_ok());
    let lie = read(&page(100_000)).unwrap_err();
    assert_eq!(lie.reason, FollowRejected::Form);
}
