//! Times and cursors (WIRE.md, leaderboard/recent):
//!
//! - no text causes a panic of the parser, and every accepted time has the stored form
//! - an instant with any offset and any fraction is parsed as the reference says, also if an unencoded plus was decoded
//!   to a space

use cathedral_publisher::domain::ran_at::RanAt;
use proptest::prelude::*;

/// Formats a time in the stored form. `minutes` counts from 2000-01-01; the date is found by counting years and
/// months.
fn reference(mut minutes: i64, second: u32, ms: u32) -> String {
    let leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let mut days = minutes.div_euclid(1440);
    minutes = minutes.rem_euclid(1440);
    let mut year = 2000;
    while days >= 365 + i64::from(leap(year)) {
        days -= 365 + i64::from(leap(year));
        year += 1;
    }
    let mut month = 0;
    let lengths = [
        31,
        28 + i64::from(leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    format!(
        "{year}-{:02}-{:02}T{:02}:{:02}:{second:02}.{ms:03}Z",
        month + 1,
        days + 1,
        minutes / 60,
        minutes % 60
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn no_text_causes_a_panic_of_the_parser(text in "[0-9TtZz:+. \\-]{0,32}|\\PC{0,32}") {
        for parsed in [RanAt::parse(&text), RanAt::parse_query(&text)].into_iter().flatten() {
            let stored = parsed.as_str();
            prop_assert_eq!(stored.len(), "2026-06-07T00:00:01.766Z".len());
            prop_assert_eq!(&RanAt::parse(stored).unwrap(), &parsed);
        }
    }

    #[test]
    fn an_instant_with_any_offset_is_parsed_as_the_reference_says(
        minutes in 2000_i64..(400 * 365 * 1440),
        second in 0_u32..60,
        nanos in 0_u32..1_000_000_000,
        digits in 3_usize..10,
        offset in -14_i64 * 60..=14 * 60,
    ) {
        let expected = reference(minutes, second, nanos / 1_000_000);
        // The local time at that offset.
        let local = reference(minutes + offset, second, 0);
        let fraction = &format!("{nanos:09}")[..digits];
        let sign = if offset < 0 { '-' } else { '+' };
        let (hours, rest) = (offset.abs() / 60, offset.abs() % 60);
        let text = format!("{}.{fraction}{sign}{hours:02}:{rest:02}", &local[..19]);
        let parsed = RanAt::parse(&text).unwrap();
        prop_assert_eq!(parsed.as_str(), &expected, "{}", &text);
        let decoded = RanAt::parse_query(&text.replace('+', " ")).unwrap();
        prop_assert_eq!(decoded.as_str(), &expected, "{}", &text);
    }
}
