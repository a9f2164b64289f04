//! Output for GitHub Actions: workflow commands, which the runner reads in the output of a step,
//! and the files that it provides to a step.
//!
//! <https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions>

pub mod masks;
pub mod outputs;
pub mod summary;

/// The largest message of an annotation that the runner keeps (actions/runner,
/// `ActionCommandManager.cs`).
pub const LONGEST_ANNOTATION: usize = 4096;

/// The number of annotations of one kind that the runner keeps for a step.
pub const MOST_ANNOTATIONS: usize = 10;

/// Renders a workflow command without a line break: `::NAME KEY=VALUE::DATA`.
///
/// Characters that could end the line or the property early are escaped as in the runner's own
/// toolkit (actions/toolkit, `command.ts`).
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

/// Renders an annotation. `kind` is `notice`, `warning` or `error`.
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
