//! GitHub's language: workflow commands, which its runner reads in what a step prints, and the
//! files that it leaves to a step.
//!
//! <https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions>

pub mod masks;
pub mod outputs;
pub mod summary;

/// How much of a message the runner keeps (actions/runner, `ActionCommandManager.cs`).
pub const LONGEST_ANNOTATION: usize = 4096;

/// How many annotations of one kind the runner keeps for a step.
pub const MOST_ANNOTATIONS: usize = 10;

/// One workflow command as a line, without its line break: `::NAME KEY=VALUE::DATA`.
///
/// Everything that could end the line or the property early is escaped, as the runner's own toolkit
/// does it (actions/toolkit, `command.ts`).
pub fn command(name: &str, properties: &[(&str, &str)], data: &str) -> String {
    let mut line = format!("::{name}");
    for (number, (key, value)) in properties.iter().enumerate() {
        line.push(if number == 0 { ' ' } else { ',' });
        let value = data_escaped(value).replace(':', "%3A").replace(',', "%2C");
        line.push_str(&format!("{key}={value}"));
    }
    line.push_str("::");
    line.push_str(&data_escaped(data));
    line
}

/// An annotation: `kind` is `notice`, `warning` or `error`.
pub fn annotation(kind: &str, text: &str) -> String {
    command(kind, &[("title", "gcr-push")], text)
}

fn data_escaped(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn line_and_property_separators_are_escaped() {
        assert_eq!(
            command(
                "warning",
                &[("title", "a: b, c"), ("file", "x")],
                "50%\nof\r1"
            ),
            "::warning title=a%3A b%2C c,file=x::50%25%0Aof%0D1"
        );
        assert_eq!(command("endgroup", &[], ""), "::endgroup::");
    }

    proptest! {
        #[test]
        fn command_is_one_line_whatever_it_holds(value in ".*", data in "(?s).*") {
            let line = command("error", &[("title", &value)], &data);
            prop_assert!(!line.contains(['\n', '\r']));
            let (head, _) = line[2..].split_once("::").unwrap();
            prop_assert_eq!(head.matches([':', ',']).count(), 0);
        }
    }
}
