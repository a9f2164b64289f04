//! Parsers for simple values: lists, booleans, durations, numbers and keywords.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use crate::diagnostics::sanitize::quoted;

/// Splits a list at newlines and commas. Items are trimmed; empty and repeated ones are dropped.
pub(super) fn list(text: &str) -> Vec<&str> {
    let mut items = Vec::new();
    for item in text.split(['\n', ',']).map(str::trim) {
        if !item.is_empty() && !items.contains(&item) {
            items.push(item);
        }
    }
    items
}

/// Parses `true` or `false`, in any case.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!(
            "it is {}, expected `true` or `false`",
            quoted(text)
        )),
    }
}

/// Parses a whole number of seconds, minutes or hours with its unit: `90s`, `10m`, `1h`.
pub(super) fn duration(text: &str, bounds: RangeInclusive<Duration>) -> Result<Duration, String> {
    let fault = || {
        format!(
            "it is {}, expected a duration such as `90s` or `10m`, from {} s to {} s",
            quoted(text),
            bounds.start().as_secs(),
            bounds.end().as_secs()
        )
    };
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text[digits.len()..].trim() {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        _ => return Err(fault()),
    };
    digits
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| digits.parse::<u64>().ok())
        .flatten()
        .and_then(|number| number.checked_mul(unit))
        .map(Duration::from_secs)
        .filter(|duration| bounds.contains(duration))
        .ok_or_else(fault)
}

/// Parses a number within bounds.
pub(super) fn number<N>(text: &str, bounds: RangeInclusive<N>) -> Result<N, String>
where
    N: FromStr + PartialOrd + Display,
{
    text.parse()
        .ok()
        .filter(|number| bounds.contains(number))
        .ok_or_else(|| {
            format!(
                "it is {}, expected a number from {} to {}",
                quoted(text),
                bounds.start(),
                bounds.end()
            )
        })
}

/// Parses one of several keywords.
pub(super) fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    words
        .iter()
        .find(|(word, _)| *word == text)
        .map(|(_, value)| *value)
        .ok_or_else(|| {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            format!("it is {}, expected {}", quoted(text), any_of(&words))
        })
}

/// Lists words for a message: `` `a`, `b` or `c` ``.
pub(crate) fn any_of(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [word] => format!("`{word}`"),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(|word| format!("`{word}`")).collect();
            format!("{} or `{last}`", first.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::diagnostics::sanitize::base64;
    use ::base64::Engine as _;

    #[test]
    fn list_takes_newlines_commas_and_blanks() {
        assert_eq!(list(" a,\n b ,, c\r\na\n"), ["a", "b", "c"]);
        assert!(list(" ,\n").is_empty());
    }

    #[test]
    fn boolean_is_true_or_false_in_any_case() {
        assert_eq!(boolean("TRUE"), Ok(true));
        assert_eq!(boolean("False"), Ok(false));
        assert_eq!(
            boolean("yes"),
            Err("it is `yes`, expected `true` or `false`".to_owned())
        );
    }

    #[test]
    fn duration_needs_its_unit() {
        let bounds = Duration::from_secs(1)..=Duration::from_secs(86_400);
        for (text, seconds) in [("90s", 90), ("10m", 600), ("1h", 3600), ("5 m", 300)] {
            assert_eq!(
                duration(text, bounds.clone()),
                Ok(Duration::from_secs(seconds)),
                "{text}"
            );
        }
        for text in [
            "90",
            "s",
            "",
            "-1s",
            "+1s",
            "1.5m",
            "0s",
            "2d",
            "25h",
            "1m30s",
            "9e9s",
            "99999999999999999999s",
            "18446744073709551615h",
            "٣s",
            "1sé",
        ] {
            assert!(duration(text, bounds.clone()).is_err(), "{text}");
        }
    }

    #[test]
    fn pasted_base64_is_accepted() {
        for text in [
            "eyI/PiI6MX0=",
            "eyI/PiI6MX0",
            "eyI_PiI6MX0",
            "eyI/\r\n  PiI6\nMX0=\n",
        ] {
            assert_eq!(
                base64(text).as_deref(),
                Some(&br#"{"?>":1}"#[..]),
                "{text:?}"
            );
        }
        assert_eq!(base64("not base64!"), None);
    }

    proptest! {
        #[test]
        fn list_items_are_trimmed_and_unique(text in "[a-c, \n\r\t]{0,40}") {
            let items = list(&text);
            for (index, item) in items.iter().enumerate() {
                prop_assert_eq!(item.trim(), *item);
                prop_assert!(!item.is_empty() && !item.contains([',', '\n']));
                prop_assert!(!items[..index].contains(item));
            }
        }

        #[test]
        fn joined_list_reads_back(items in proptest::collection::hash_set("[a-z/:.]{1,8}", 0..6)) {
            let items: Vec<&str> = items.iter().map(String::as_str).collect();
            let text = items.join(" ,\n ");
            prop_assert_eq!(list(&text), items);
        }

        #[test]
        fn random_duration_causes_no_panic(text in "\\PC{0,12}") {
            let _ = duration(&text, Duration::ZERO..=Duration::MAX);
        }

        #[test]
        fn duration_reads_back(seconds in 0u64..1_000_000) {
            let bounds = Duration::ZERO..=Duration::MAX;
            prop_assert_eq!(
                duration(&format!("{seconds}s"), bounds),
                Ok(Duration::from_secs(seconds))
            );
        }

        #[test]
        fn base64_reads_back_in_either_alphabet(bytes: Vec<u8>) {
            use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
            prop_assert_eq!(base64(&STANDARD.encode(&bytes)), Some(bytes.clone()));
            prop_assert_eq!(base64(&URL_SAFE_NO_PAD.encode(&bytes)), Some(bytes));
        }
    }
}
