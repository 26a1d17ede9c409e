//! The one text of a floating-point number.

/// Returns the shortest decimal text that reads back as `value`, as Python's `repr` writes it: the service that
/// this one replaces is written in Python, and its saved answers come back to the byte.
///
/// From 1e-4 to below 1e16 the text has a point and no exponent (`1.0`, `0.0001`); otherwise an exponent with a
/// sign and at least two digits (`1e-05`, `1.5e+16`). `value` must be finite: JSON has no other numbers.
pub fn canonical(value: f64) -> String {
    let text = shortest(value.abs());
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let minus = if value.is_sign_negative() { "-" } else { "" };
    if !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{minus}{digits}e{sign}{:02}", exponent.unsigned_abs());
    }
    let mut digits = digits.replace('.', "");
    let zeros = "0".repeat(exponent.unsigned_abs() as usize);
    if exponent < 0 {
        digits.insert_str(0, &zeros);
    } else if digits.len() < zeros.len() + 2 {
        digits.push_str(&zeros[digits.len() - 1..]);
        digits.push('0');
    }
    digits.insert(usize::try_from(exponent).unwrap_or(0) + 1, '.');
    format!("{minus}{digits}")
}

/// Returns the fewest digits that read back as `value`, with an exponent: `2.5e-5`. If two are as near, the even
/// one.
fn shortest(value: f64) -> String {
    let shortest = format!("{value:e}");
    let (digits, _) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let decimals = digits
        .split_once('.')
        .map_or(0, |(_, decimals)| decimals.len());
    // `{:e}` takes the greater one of two that are as near; with a precision, the even one.
    let even = format!("{value:.decimals$e}");
    if even.parse() == Ok(value) {
        even
    } else {
        shortest
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_is_written_as_python_writes_it() {
        for (value, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-2.5, "-2.5"),
            (100.0, "100.0"),
            (0.1, "0.1"),
            (1.0 / 3.0, "0.3333333333333333"),
            (0.001, "0.001"),
            (0.0001, "0.0001"),
            (0.00012345, "0.00012345"),
            (0.00001, "1e-05"),
            (0.000099999, "9.9999e-05"),
            (1.25e-10, "1.25e-10"),
            (123_456_789.125, "123456789.125"),
            (1e15, "1000000000000000.0"),
            (677_393_270_509_460.3, "677393270509460.2"),
            (-2_010_308_510_428_306.3, "-2010308510428306.2"),
            (9_007_199_254_740_993.0, "9007199254740992.0"),
            (1e16, "1e+16"),
            (1.5e16, "1.5e+16"),
            (1e22, "1e+22"),
            (1e23, "1e+23"),
            (1e100, "1e+100"),
            (-1e-100, "-1e-100"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
            (f64::from_bits(1), "5e-324"),
        ] {
            assert_eq!(canonical(value), text);
        }
    }

    proptest! {
        #[test]
        fn a_number_reads_back_as_itself_and_is_json(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let text = canonical(value);
            prop_assert_eq!(text.parse::<f64>().map(f64::to_bits), Ok(bits), "{}", text);
            let read: Result<f64, _> = serde_json::from_str(&text);
            prop_assert_eq!(read.ok().map(f64::to_bits), Some(bits), "{}", text);
        }
    }
}
