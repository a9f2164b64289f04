//! The texts of `-h`, which is a screen, and `--help`, which is complete.

use std::fmt::Write as _;

use super::CommandName;
use super::variables::{VARIABLES, Variable, VariableGroup};
use crate::diagnostics::ExitCode;

/// The width of the text in characters.
const WIDTH: usize = 80;

/// The descriptions of the two commands that are not ours alone.
pub(super) const HELP: &str = "Print the help of a command";
pub(super) const COMPLETIONS: &str = "Print the completions of a shell";

/// What `gcr-push` alone prints at a terminal.
pub fn usage() -> String {
    let mut text = heading();
    text.push_str("Examples:\n");
    for command in [CommandName::Push, CommandName::List, CommandName::Doctor] {
        example(&mut text, command);
    }
    text.push_str("\n`gcr-push -h` lists the commands, `gcr-push push -h` the flags of `push`.\n");
    text
}

/// `gcr-push -h`.
pub(super) fn short() -> String {
    let mut text = heading();
    text.push_str("Commands:\n");
    for command in CommandName::ALL {
        entry(&mut text, command.word(), 13, command.summary());
    }
    entry(&mut text, "help", 13, HELP);
    entry(&mut text, "completions", 13, COMPLETIONS);
    text.push_str("\n`gcr-push COMMAND -h` lists the flags of a command.\n");
    text
}

/// `gcr-push --help`.
pub(super) fn long() -> String {
    let mut text = short();
    text.push('\n');
    for sentences in [
        "Every flag is also an environment variable, and an input of the GitHub action: \
         `--best-effort` is GCR_PUSH_BEST_EFFORT and `best_effort`. A flag takes precedence. An \
         empty value counts as absent. Secrets have no flag, because other users can read the \
         arguments of a process.",
        "HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY apply to every connection. DOCKER_HOST is \
         the address of the engine of `docker-daemon:`; its default is \
         `unix:///var/run/docker.sock`.",
    ] {
        wrap(&mut text, sentences, 0);
        text.push('\n');
    }
    text.push_str("Exit codes:\n");
    for (code, meaning) in [
        (ExitCode::Done, "done"),
        (ExitCode::Failed, "failed"),
        (ExitCode::Usage, "the request is wrong"),
        (ExitCode::Denied, "credentials or a permission were refused"),
        (
            ExitCode::Temporary,
            "failed, but can succeed later: try again",
        ),
    ] {
        entry(&mut text, &(code as u8).to_string(), 3, meaning);
    }
    text.push_str("\nExamples:\n");
    for command in CommandName::ALL {
        example(&mut text, command);
    }
    text
}

/// `gcr-push COMMAND -h`: the flags that do something by themselves.
pub(super) fn short_of(command: CommandName) -> String {
    /// The longest flag that is listed.
    const COLUMN: usize = 30;
    let mut text = heading_of(command);
    let mut left_out = 0;
    for (group, variables) in groups(command) {
        let flags = variables
            .into_iter()
            .filter(|variable| !variable.is_secret());
        let (listed, others): (Vec<&Variable>, Vec<&Variable>) = flags
            .partition(|variable| group != VariableGroup::Network && variable.needs.is_empty());
        left_out += others.len();
        if !listed.is_empty() {
            let _ = writeln!(text, "{}:", group.title());
        }
        for variable in listed {
            entry(
                &mut text,
                &variable.flag().unwrap_or_default(),
                COLUMN,
                variable.summary(),
            );
        }
    }
    let secrets = command.variables().filter(|variable| variable.is_secret());
    let secrets: Vec<_> = secrets.map(Variable::environment_name).collect();
    let _ = writeln!(
        text,
        "\nSecrets are variables only, such as {}.\n`gcr-push {} --help` describes all, and {left_out} more flags.",
        secrets.first().map_or("", String::as_str),
        command.word(),
    );
    text
}

/// `gcr-push COMMAND --help`.
pub(super) fn long_of(command: CommandName) -> String {
    let mut text = heading_of(command);
    wrap(
        &mut text,
        "Every flag is also an environment variable: `--log-format` is GCR_PUSH_LOG_FORMAT. \
         Secrets are variables only. A switch without a value means `true`. You can repeat a flag \
         that accepts a list.",
        0,
    );
    for (group, variables) in groups(command) {
        let _ = writeln!(text, "\n{}:", group.title());
        for variable in variables {
            let value = variable.form.placeholder();
            let _ = match variable.flag() {
                Some(flag) if value.is_empty() => writeln!(text, "  {flag}"),
                Some(flag) => writeln!(text, "  {flag} <{value}>"),
                None => writeln!(text, "  {}", variable.environment_name()),
            };
            let default = match variable.default_text() {
                default if default.is_empty() => String::new(),
                default => format!(" Default: {default}."),
            };
            wrap(&mut text, &with_flags(&(variable.meaning() + &default)), 6);
        }
    }
    text.push_str("\nExample:\n");
    example(&mut text, command);
    text
}

/// `gcr-push completions -h`.
pub(super) fn completions() -> String {
    "Print the completions of a shell.\n\n\
     Usage: gcr-push completions bash|elvish|fish|powershell|zsh\n\n\
     Examples:\n  \
       source <(gcr-push completions bash)\n  \
       gcr-push completions fish > ~/.config/fish/completions/gcr-push.fish\n"
        .to_owned()
}

/// The argument that gives a variable, as in the usage.
pub(super) fn word(variable: &Variable) -> String {
    let value = variable.form.placeholder();
    value.trim_end_matches(",...").to_owned()
}

fn heading() -> String {
    let mut text = format!("gcr-push {}\n", env!("CARGO_PKG_VERSION"));
    wrap(&mut text, concat!(env!("CARGO_PKG_DESCRIPTION"), "."), 0);
    text.push_str("\nUsage: gcr-push COMMAND [ARGUMENTS] [FLAGS]\n\n");
    text
}

fn heading_of(command: CommandName) -> String {
    let mut text = format!(
        "{}.\n\nUsage: gcr-push {}",
        command.summary(),
        command.word()
    );
    let mut meanings = Vec::new();
    for variable in command.words() {
        let (word, flag) = (word(variable), variable.flag().unwrap_or_default());
        let _ = write!(text, " [{word}]");
        if variable.form.placeholder() != word {
            text.push_str("...");
        }
        meanings.push(format!("{word} is `{flag}`"));
    }
    let _ = writeln!(text, " [FLAGS]\n{}.\n", meanings.join(", "));
    text
}

/// The variables of a command, group by group.
fn groups(command: CommandName) -> Vec<(VariableGroup, Vec<&'static Variable>)> {
    let groups = VariableGroup::ALL.into_iter().map(|group| {
        let variables = command.variables();
        (
            group,
            variables
                .filter(|variable| variable.group == group)
                .collect::<Vec<_>>(),
        )
    });
    groups
        .filter(|(_, variables)| !variables.is_empty())
        .collect()
}

fn example(text: &mut String, command: CommandName) {
    let (words, meaning) = command.example();
    let _ = writeln!(text, "  {meaning}\n    gcr-push {words}");
}

/// Names variables as the command line does: `` `best_effort` `` becomes `` `--best-effort` ``.
pub(super) fn with_flags(text: &str) -> String {
    rename(text, |_| true)
}

/// Does the same for a message, which may quote a value that is also the name of a variable. Names
/// of one word stay as they are.
pub(super) fn with_long_flags(text: &str) -> String {
    rename(text, |name| name.contains('_'))
}

fn rename(text: &str, applies: impl Fn(&str) -> bool) -> String {
    let renamed = text.split('`').enumerate().map(|(index, part)| {
        let (name, value) = part.split_once(": ").unwrap_or((part, ""));
        let known = VARIABLES.iter().find(|variable| variable.name == name);
        match known.filter(|_| index % 2 == 1 && applies(name)) {
            Some(variable) if value.is_empty() => variable
                .flag()
                .unwrap_or_else(|| variable.environment_name()),
            Some(variable) => format!("{}={value}", variable.flag().unwrap_or_default()),
            None => part.to_owned(),
        }
    });
    renamed.collect::<Vec<_>>().join("`")
}

/// Appends a name and its description in two columns.
fn entry(text: &mut String, name: &str, column: usize, meaning: &str) {
    let _ = writeln!(text, "  {name:column$}{meaning}");
}

/// Appends words in lines of at most [`WIDTH`] characters, each indented.
fn wrap(text: &mut String, words: &str, indent: usize) {
    let mut column = 0;
    for word in words.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > WIDTH {
            text.push('\n');
            column = 0;
        }
        if column == 0 {
            let _ = write!(text, "{:indent$}", "");
            column = indent;
        } else {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
    }
    text.push('\n');
}
