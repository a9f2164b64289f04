//! The text of `--help`: commands, variables, exit codes and examples.

use std::fmt::Write as _;

use crate::config::{CommandName, VARIABLES, VariableGroup};
use crate::diagnostics::ExitCode;

/// The width of the text in characters.
const WIDTH: usize = 100;

/// The section with the commands.
pub(crate) fn commands() -> String {
    let mut text = "Commands:\n".to_owned();
    for command in CommandName::ALL {
        entry(&mut text, command.word(), 13, command.meaning());
    }
    text
}

/// The section with the variables, group by group.
pub(crate) fn variables() -> String {
    let mut text = String::new();
    paragraph(
        &mut text,
        "Everything else is set by environment variables. `x` below is read from GCR_PUSH_X, and in \
         a GitHub action from its input `x` (INPUT_X). A list takes newlines or commas; an empty \
         variable is an absent one. The values of those marked * are secret and never shown.",
    );
    for group in VariableGroup::ALL {
        let _ = write!(text, "\n{}:\n", group.title());
        for variable in VARIABLES.iter().filter(|variable| variable.group == group) {
            let mark = if variable.secret { " *" } else { "" };
            let _ = writeln!(text, "  {}{mark}", variable.name);
            wrap(&mut text, variable.meaning, 6, 6);
        }
    }
    text.push('\n');
    paragraph(
        &mut text,
        "HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY hold for every connection. DOCKER_HOST says \
         where the engine of `docker-daemon:` answers; default `unix:///var/run/docker.sock`.",
    );
    text
}

/// The section with the exit codes.
pub(crate) fn exit_codes() -> String {
    let mut text = "\nExit codes:\n".to_owned();
    for (code, meaning) in [
        (ExitCode::Done, "done"),
        (ExitCode::Failed, "failed for good"),
        (ExitCode::Usage, "the request is wrong"),
        (ExitCode::Denied, "credentials or a permission were refused"),
        (ExitCode::Temporary, "failed for now, worth another try"),
    ] {
        entry(&mut text, &(code as u8).to_string(), 3, meaning);
    }
    text
}

/// The section with examples.
pub(crate) fn examples() -> String {
    let mut text = "\nExamples:\n".to_owned();
    for (what, command) in [
        (
            "What `docker save` wrote, to gcr.io under the key's project:",
            "GCR_PUSH_IMAGE=image.tar GCR_PUSH_NAME=api GCR_PUSH_CREDENTIALS_JSON=key.json gcr-push",
        ),
        (
            "To two registries, with the pull secret for a cluster:",
            "GCR_PUSH_IMAGE=oci-archive:image.tar GCR_PUSH_CREDENTIALS_JSON=key.json \\\n    \
             GCR_PUSH_TAGS=gcr.io/acme/api:1.2,us-docker.pkg.dev/acme/containers/api:1.2 \\\n    \
             GCR_PUSH_PULL_SECRET=gcr-pull GCR_PUSH_PULL_SECRET_CREDENTIALS_JSON=reader.json \\\n    \
             GCR_PUSH_PULL_SECRET_FILE=pull-secret.yaml gcr-push",
        ),
        (
            "The tags of an image:",
            "GCR_PUSH_IMAGE=gcr.io/acme/api GCR_PUSH_ACCESS_TOKEN=\"$TOKEN\" gcr-push list",
        ),
    ] {
        let _ = writeln!(text, "  {what}\n    {command}");
    }
    text
}

/// Appends a name and its description in two columns.
fn entry(text: &mut String, name: &str, column: usize, meaning: &str) {
    let _ = write!(text, "  {name:column$}");
    wrap(text, meaning, 0, column + 2);
}

fn paragraph(text: &mut String, sentences: &str) {
    wrap(text, sentences, 0, 0);
}

/// Writes words in lines of at most [`WIDTH`] characters: the first line indented by `first`, the
/// others by `others`.
fn wrap(text: &mut String, words: &str, first: usize, others: usize) {
    let mut column = text.chars().rev().take_while(|c| *c != '\n').count();
    let _ = write!(text, "{:first$}", "");
    column += first;
    let mut fresh = true;
    for word in words.split_whitespace() {
        let length = word.chars().count();
        if !fresh && column + 1 + length > WIDTH {
            let _ = write!(text, "\n{:others$}", "");
            column = others;
            fresh = true;
        }
        if !fresh {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
        fresh = false;
    }
    text.push('\n');
}

#[cfg(test)]
mod tests;
