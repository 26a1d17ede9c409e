//! JSON text as Python's `json.dumps(…, sort_keys=True, separators=(",", ":"))` writes it: what the producers of
//! eval runs sign.
//!
//! Python reads a number with a fraction or an exponent as a double and writes it as [`number::canonical`] does; it
//! keeps every digit of an integer. Text becomes ASCII, and keys are sorted by code points, which is the order
//! of UTF-8.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::de::Error as _;
use serde_json::{Error, value::RawValue};

use super::number;

/// Appends Python's text of `value`.
///
/// `value` must have passed [`readable::check`], which bounds the depth of the recursion. Each level of nesting
/// reads its text once more.
///
/// # Errors
/// Those of serde_json, for text that [`readable::check`] refuses.
///
/// [`readable::check`]: super::readable::check
pub(super) fn write(value: &RawValue, out: &mut String) -> Result<(), Error> {
    let json = value.get();
    match json.as_bytes().first() {
        Some(b'{') => write_object(&serde_json::from_str(json)?, out)?,
        Some(b'[') => {
            let elements: Vec<&RawValue> = serde_json::from_str(json)?;
            out.push('[');
            for (at, element) in elements.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(element, out)?;
            }
            out.push(']');
        }
        Some(b'"') => write_text(&serde_json::from_str::<String>(json)?, out),
        Some(b'-' | b'0'..=b'9') => write_number(json, out)?,
        _ => out.push_str(json),
    }
    Ok(())
}

/// Appends Python's text of an object with these members.
///
/// # Errors
/// Those of [`write`].
pub(super) fn write_object(
    members: &BTreeMap<String, &RawValue>,
    out: &mut String,
) -> Result<(), Error> {
    out.push('{');
    for (at, (key, value)) in members.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        write_text(key, out);
        out.push(':');
        write(value, out)?;
    }
    out.push('}');
    Ok(())
}

fn write_number(json: &str, out: &mut String) -> Result<(), Error> {
    if json.contains(['.', 'e', 'E']) {
        let value: f64 = json.parse().map_err(Error::custom)?;
        out.push_str(&number::canonical(value));
    } else {
        // Python's integers have no negative zero.
        out.push_str(if json == "-0" { "0" } else { json });
    }
    Ok(())
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a string cannot fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use std::{
        error, iter,
        process::{Command, Stdio},
    };

    use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};

    use super::{super::readable, *};

    fn written(json: &str) -> Result<String, Error> {
        let mut out = String::new();
        write(serde_json::from_str(json)?, &mut out)?;
        Ok(out)
    }

    #[test]
    fn values_are_written_as_python_writes_them() -> Result<(), Error> {
        for (json, python) in [
            (
                r#"{ "b" : [1 , 2.50, {}], "a":null }"#,
                r#"{"a":null,"b":[1,2.5,{}]}"#,
            ),
            ("[true,false,[ ]]", "[true,false,[]]"),
            ("1.0", "1.0"),
            ("1e0", "1.0"),
            ("1E2", "100.0"),
            ("-0.0", "-0.0"),
            ("-0", "0"),
            ("0.0000001", "1e-07"),
            ("10000000000000000.0", "1e+16"),
            ("1e-400", "0.0"),
            ("-1e-400", "-0.0"),
            (
                "123456789012345678901234567890",
                "123456789012345678901234567890",
            ),
            (
                r#""\u00e9é\ud83d\ude00\/\u007f""#,
                r#""\u00e9\u00e9\ud83d\ude00/\u007f""#,
            ),
            (r#""\b\f\n\r\t\u000B\"\\""#, r#""\b\f\n\r\t\u000b\"\\""#),
            (
                r#"{"\uffff":1,"😀":2,"\u00e9":3}"#,
                r#"{"\u00e9":3,"\uffff":1,"\ud83d\ude00":2}"#,
            ),
        ] {
            assert_eq!(written(json)?, python, "{json}");
        }
        Ok(())
    }

    fn number() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<i64>().prop_map(|value| value.to_string()),
            "-?[1-9][0-9]{0,40}",
            any::<f64>()
                .prop_filter("JSON has no other numbers", |value| value.is_finite())
                .prop_map(number::canonical),
            "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?",
        ]
    }

    fn text() -> impl Strategy<Value = String> {
        let escape =
            "\\\\(u00[1-9a-fA-F][0-9a-f]|u[1-9a-c][0-9a-fA-F]{3}|ud83d\\\\ude00|[bfnrt\"/\\\\])";
        let raw = any::<char>().prop_map(|c| serde_json::Value::from(c.to_string()).to_string());
        let raw = raw.prop_map(|quoted| quoted[1..quoted.len() - 1].replace("\\u0000", ""));
        let pieces = prop::collection::vec(prop_oneof![escape, raw, "[ -!#-\\[\\]-~]{0,5}"], 0..6);
        pieces.prop_map(|pieces| format!("\"{}\"", pieces.concat()))
    }

    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            prop::sample::select(vec!["null", "true", "false"]).prop_map(str::to_owned),
            number(),
            text(),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            let elements = prop::collection::vec(inner.clone(), 0..6);
            let members = prop::collection::vec((text(), inner), 0..6);
            prop_oneof![
                elements.prop_map(|elements| format!("[{}]", elements.join(" ,"))),
                members.prop_map(|members| {
                    let members = members.iter().map(|(key, value)| format!("{key}: {value}"));
                    format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
                }),
            ]
        })
    }

    #[test]
    fn arbitrary_values_are_written_as_python_writes_them() -> Result<(), Box<dyn error::Error>> {
        let mut runner = TestRunner::default();
        let values: Vec<String> = iter::repeat_with(|| json().new_tree(&mut runner))
            .take(2_000)
            .filter_map(|tree| Some(tree.ok()?.current()))
            .filter(|value| readable::check(value).is_ok())
            .collect();
        assert!(values.len() > 1_000, "only {} values", values.len());
        let script = "import json,sys\nfor line in sys.stdin.buffer.read().split(b'\\n'):\n if line: \
                      print(json.dumps(json.loads(line),sort_keys=True,separators=(',',':')))";
        let python = Command::new("python3")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut python) = python else {
            std::io::Write::write_all(&mut std::io::stderr(), b"SKIPPED: python3 is missing\n")?;
            return Ok(());
        };
        // Python prints as it reads only the whole of it: neither end waits for the other.
        let mut input = python.stdin.take().ok_or("no standard input")?;
        std::io::Write::write_all(&mut input, (values.join("\n") + "\n").as_bytes())?;
        drop(input);
        let output = python.wait_with_output()?;
        let output = String::from_utf8(output.stdout)?;
        assert_eq!(output.lines().count(), values.len());
        for (value, python) in values.iter().zip(output.lines()) {
            assert_eq!(written(value)?, python, "{value}");
        }
        Ok(())
    }
}
