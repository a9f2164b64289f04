//! What the table of variables makes: `docs/variables.md` and the inputs of `action.yml`.
//!
//! `UPDATE_GENERATED=1 cargo test --test it generated` writes both anew.

use std::fs;
use std::path::Path;

use gcr_push::config::{Form, VARIABLES, Variable, VariableGroup};

/// Replaces what is between two texts of a file, or checks that it is current.
fn check(file: &str, from: &str, to: &str, generated: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(from).unwrap();
    let (_, after) = rest.split_once(to).unwrap();
    let current = format!("{before}{from}{generated}{to}{after}");
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        fs::write(path, current).unwrap();
    } else {
        let advice = "run `UPDATE_GENERATED=1 cargo test --test it generated`";
        assert!(text == current, "{file} is not current: {advice}");
    }
}

/// The page with more about a group.
fn page(group: VariableGroup) -> Option<&'static str> {
    Some(match group {
        VariableGroup::Image => "[sources](sources-and-destinations.md#sources)",
        VariableGroup::Target => "[destinations](sources-and-destinations.md#destinations)",
        VariableGroup::Credentials => "[authentication](authentication.md)",
        VariableGroup::PullSecret => "[the pull secret](pull-secret.md)",
        VariableGroup::Mirror => "[mirror many images](mirror.md)",
        VariableGroup::List => "[list images](list.md)",
        VariableGroup::Setup => "[set up Google's side](setup.md)",
        VariableGroup::Network => "[networking](networking.md)",
        VariableGroup::Results => "[outputs and exit codes](outputs-and-exit-codes.md)",
        VariableGroup::Verify | VariableGroup::Behaviour => return None,
    })
}

fn of_group(group: VariableGroup) -> impl Iterator<Item = &'static Variable> {
    let all = VARIABLES.iter();
    all.filter(move |variable| variable.group == group)
}

#[test]
fn generated_page_is_current() {
    let mut text = String::from("\n");
    for group in VariableGroup::ALL {
        text += &format!("\n## {}\n\n", group.title());
        if let Some(page) = page(group) {
            text += &format!("See {page}.\n\n");
        }
        text += "| Name | Commands | Default | Meaning |\n| --- | --- | --- | --- |\n";
        for variable in of_group(group) {
            let commands: Vec<_> = variable.commands.iter().map(|c| c.word()).collect();
            let secret = if variable.is_secret() {
                " (secret)"
            } else {
                ""
            };
            let row = format!(
                "| `{}`{secret} | {} | {} | {} |\n",
                variable.name,
                if commands.len() == 6 {
                    "all".to_owned()
                } else {
                    commands.join(", ")
                },
                variable.default_text(),
                variable.meaning(),
            );
            text += &row.replace("|  |", "| |");
        }
    }
    text += "\n";
    let [from, to] = ["<!-- generated -->", "<!-- end -->"];
    check("docs/variables.md", from, to, &text);
}

#[test]
fn generated_inputs_are_current() {
    let mut text = String::new();
    for group in VariableGroup::ALL {
        text += &format!("\n  # {}", group.title());
        for variable in of_group(group) {
            let mut description = variable.meaning();
            if variable.is_secret() {
                description += " Use a secret.";
            }
            match variable.default_text() {
                default if default.is_empty() => {}
                default => description += &format!(" Default: {default}."),
            }
            text += &format!("\n  {}:\n    description: >-\n", variable.name);
            text += &wrapped(&description);
            if variable.name == "github_token" {
                // Only the workflow knows the job's own token.
                text += "    default: ${{ github.token }}\n";
            }
            text.pop();
        }
        text += "\n";
    }
    check("action.yml", "\ninputs:", "\noutputs:", &text);
}

/// Lines of at most 100 characters, as the block of a description.
fn wrapped(description: &str) -> String {
    let mut lines = vec![String::from("     ")];
    for word in description.split(' ') {
        let line = lines.last_mut().unwrap();
        if line.chars().count() + 1 + word.chars().count() > 100 {
            lines.push(format!("      {word}"));
        } else {
            *line = format!("{line} {word}");
        }
    }
    lines.join("\n") + "\n"
}

#[test]
fn every_row_of_the_table_is_sound() {
    for variable in VARIABLES {
        let name = variable.name;
        // A line of `-h` has 80 columns.
        let summary = variable.summary();
        assert!(summary.chars().count() <= 48, "{name}: {summary}");
        assert!(variable.description.ends_with('.'), "{name}");
        assert!(!variable.description.contains('|'), "{name}");
        assert!(!variable.commands.is_empty() || name == "command", "{name}");
        for other in variable.needs.iter().chain(variable.excludes) {
            let known = VARIABLES.iter().find(|variable| variable.name == *other);
            assert!(known.is_some(), "{name}: {other}");
        }
        for other in variable.excludes {
            let other = VARIABLES.iter().find(|variable| variable.name == *other);
            assert!(other.unwrap().excludes.contains(&name), "{name}");
        }
        if let Form::Words(words) = variable.form {
            let default = variable.default_text();
            assert!(default.starts_with(&format!("`{}`", words[0])), "{name}");
        }
    }
}
