//! The options that made a run, as a plan file that repeats it.

use serde_json::{Map, Value};

use super::canvas::escaped;

/// Returns the options as an element that can be opened; empty if they are unknown.
pub(super) fn options(plan: &Map<String, Value>) -> String {
    if plan.is_empty() {
        return String::new();
    }
    let lines: String = plan
        .iter()
        .map(|(key, value)| format!("{key} = {}\n", toml(value)))
        .collect();
    format!(
        "<details><summary>The options that made it, as a plan file</summary><pre>{}</pre></details>\n",
        escaped(&lines)
    )
}

/// Returns an option in TOML, whose basic strings are JSON's.
fn toml(value: &Value) -> String {
    match value {
        Value::Array(values) => {
            let values: Vec<String> = values.iter().map(toml).collect();
            format!("[{}]", values.join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            value.to_string()
        }
    }
}
