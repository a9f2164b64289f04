//! The YAML of a Secret as kubectl prints it, down to which names it puts in quotes.
//!
//! serde_yaml quotes with `'` and knows other rules for what needs it, so the few lines are written
//! here.

use std::collections::BTreeMap;

use super::document::Document;
use super::json;

/// One document, its keys sorted as kubectl sorts them.
pub(super) fn document(document: &Document<'_>) -> String {
    let metadata = &document.metadata;
    let data: Vec<_> = document
        .data
        .iter()
        .map(|(key, value)| format!("  {key}: {value}\n"))
        .collect();
    let namespace = metadata.namespace.map_or_else(String::new, |name| {
        format!("  namespace: {}\n", scalar(name))
    });
    format!(
        "apiVersion: {}\ndata:\n{}kind: {}\nmetadata:\n{}  creationTimestamp: null\n{}  name: {}\n\
         {namespace}type: {}\n",
        document.api_version,
        data.concat(),
        document.kind,
        map("annotations", &metadata.annotations),
        map("labels", metadata.labels),
        scalar(metadata.name),
        document.r#type,
    )
}

/// A map of texts below `metadata`; nothing when it is empty.
fn map(name: &str, entries: &BTreeMap<String, String>) -> String {
    if entries.is_empty() {
        return String::new();
    }
    let entries: Vec<_> = entries
        .iter()
        .map(|(key, value)| format!("    {}: {}\n", scalar(key), scalar(value)))
        .collect();
    format!("  {name}:\n{}", entries.concat())
}

/// A name, a label or a time of Kubernetes as a YAML string: plain, unless YAML would take it for
/// something else.
pub(super) fn scalar(text: &str) -> String {
    let is_name = text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'/'));
    if is_name && !is_word(text) && !is_number(text) && !is_date(text) {
        text.to_owned()
    } else {
        // A JSON string is a YAML string.
        json::string(text)
    }
}

/// Booleans of YAML 1.1 and 1.2, and null, each in lower case, with a capital, and in capitals.
fn is_word(text: &str) -> bool {
    const WORDS: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"];
    let rest = text.get(1..).unwrap_or_default();
    let is_lower = |text: &str| !text.bytes().any(|b| b.is_ascii_uppercase());
    let is_upper = |text: &str| !text.bytes().any(|b| b.is_ascii_lowercase());
    WORDS.contains(&text.to_ascii_lowercase().as_str()) && (is_lower(rest) || is_upper(text))
}

/// What go-yaml reads as a number (`resolve.go`): Go's integer literals as far as they fit into 64
/// bits, a sign after `0b` included, with `_` anywhere in them, and decimal floats that are finite.
fn is_number(text: &str) -> bool {
    let plain = text.replace('_', "");
    let digits = |prefixes: [&str; 2], radix| {
        prefixes
            .iter()
            .find_map(|prefix| plain.strip_prefix(prefix))
            .filter(|digits| !digits.starts_with(['-', '+']))
            .is_some_and(|digits| u64::from_str_radix(digits, radix).is_ok())
    };
    let signed_binary = plain
        .strip_prefix("0b")
        .is_some_and(|digits| i64::from_str_radix(digits, 2).is_ok());
    // `f64` reads `inf`, `nan` and the like as well, but none of them starts with a digit.
    let float = plain.starts_with(|c: char| c.is_ascii_digit())
        && plain.parse::<f64>().is_ok_and(f64::is_finite);
    digits(["0x", "0X"], 16)
        || digits(["0o", "0O"], 8)
        || digits(["0b", "0B"], 2)
        || signed_binary
        || float
}

/// A day, as in `2006-1-2` or `2006-01-02`.
fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts.as_slice() else {
        return false;
    };
    if year.len() != 4 || month.len() > 2 || day.len() > 2 {
        return false;
    }
    let (Ok(year), Ok(month), Ok(day)) = (year.parse(), month.parse::<u8>(), day.parse()) else {
        return false;
    };
    time::Month::try_from(month)
        .is_ok_and(|month| time::Date::from_calendar_date(year, month, day).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ambiguous_yaml_name_is_quoted() {
        for name in [
            "123",
            "true",
            "null",
            "y",
            "1e3",
            "0x1",
            "0o7",
            "0b-1",
            "08",
            "2000-2-29",
        ] {
            assert_eq!(scalar(name), format!("\"{name}\""));
        }
        for name in [
            "gcr-pull",
            "1e999",
            "0x",
            "0o8",
            "1.2.3",
            "1900-2-29",
            "inf",
            "nan",
            "null.x",
        ] {
            assert_eq!(scalar(name), name);
        }
    }

    #[test]
    fn invalid_name_cannot_add_a_line() {
        assert_eq!(scalar("x\ntype: Opaque"), r#""x\ntype: Opaque""#);
        assert_eq!(scalar("{}"), r#""{}""#);
        assert_eq!(scalar(""), r#""""#);
    }
}
