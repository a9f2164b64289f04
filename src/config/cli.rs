//! The command line: one optional command word, `--help` and `--version`. All other settings are
//! environment variables.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction};

use crate::config::values::any_of;
use crate::config::{CommandName, VARIABLES};
use crate::diagnostics::nearest::nearest;
use crate::diagnostics::sanitize::quoted;
use crate::diagnostics::{Diagnostic, ExitCode};

/// The parsed command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invocation {
    /// Run, with the command word if there is one.
    Run(Option<CommandName>),
    /// Print this text on standard output and exit.
    Print(String),
}

/// An invalid command line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CliError {
    /// A word that is not a command.
    #[error("{} is no command, expected {}", quoted(.0), any_of(&CommandName::ALL.map(CommandName::word)))]
    Command(String),
    /// An option other than `--help` and `--version`.
    #[error("there is no option {}", quoted(.0))]
    Option(String),
    /// More than one word. They are not shown, because they may be secrets.
    #[error("there is more than one word on the command line")]
    Surplus,
    /// A word that is not UTF-8.
    #[error("the command word is not UTF-8")]
    NotText,
}

impl Diagnostic for CliError {
    fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }

    fn hints(&self) -> Vec<String> {
        let near = match self {
            Self::Command(word) => nearest(word, CommandName::ALL.map(CommandName::word))
                .map(|near| format!("did you mean `gcr-push {near}`?")),
            Self::Option(option) => {
                let typed = option.trim_start_matches('-').replace('-', "_");
                nearest(&typed, VARIABLES.iter().map(|variable| variable.name)).map(|near| {
                    let name = near.to_ascii_uppercase();
                    format!("everything but the command is set by environment variables: set GCR_PUSH_{name}")
                })
            }
            Self::Surplus | Self::NotText => None,
        };
        vec![near.unwrap_or_else(|| {
            "`gcr-push --help` lists the commands and the environment variables".to_owned()
        })]
    }
}

/// Reads the command line, whose first item is the program's own name.
///
/// # Errors
///
/// If there is anything but one known word or option.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Invocation, CliError> {
    let error = match command_line().try_get_matches_from(args) {
        Ok(matches) => {
            let word = matches.get_one::<String>("command").map(String::as_str);
            return match word {
                // An empty expression in a workflow is passed as an empty argument.
                None | Some("") => Ok(Invocation::Run(None)),
                Some(word) => word
                    .parse()
                    .map(|command| Invocation::Run(Some(command)))
                    .map_err(|_| CliError::Command(word.to_owned())),
            };
        }
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            Ok(Invocation::Print(error.to_string()))
        }
        ErrorKind::InvalidUtf8 => Err(CliError::NotText),
        _ => Err(match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::String(argument)) if argument.starts_with('-') => {
                CliError::Option(argument.clone())
            }
            _ => CliError::Surplus,
        }),
    }
}

fn command_line() -> clap::Command {
    clap::Command::new("gcr-push")
        .version(env!("CARGO_PKG_VERSION"))
        .about(env!("CARGO_PKG_DESCRIPTION"))
        .override_usage("gcr-push [COMMAND]")
        .help_template(
            "{name} {version}\n{about}.\n\n{usage-heading} {usage}\n\n\
             {before-help}Options:\n{options}{after-help}",
        )
        .before_help(crate::config::help::commands().trim_end().to_owned())
        .after_help(
            [
                crate::config::help::variables(),
                crate::config::help::exit_codes(),
                crate::config::help::examples(),
            ]
            .concat()
            .trim_end()
            .to_owned(),
        )
        .disable_help_flag(true)
        .disable_version_flag(true)
        .arg(Arg::new("command").value_name("COMMAND"))
        .arg(
            Arg::new("help")
                .short('h')
                .long("help")
                .action(ArgAction::Help)
                .help("print this text"),
        )
        .arg(
            Arg::new("version")
                .short('V')
                .long("version")
                .action(ArgAction::Version)
                .help("print the version"),
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostics::render::write_chain;

    fn parsed(words: &[&str]) -> Result<Invocation, CliError> {
        parse(["gcr-push"].iter().chain(words).map(OsString::from))
    }

    fn rendered(words: &[&str]) -> String {
        let error = parsed(words).unwrap_err();
        let mut text = Vec::new();
        write_chain(&mut text, &error, &error.hints()).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn only_argument_is_a_command_or_nothing() {
        assert_eq!(parsed(&[]), Ok(Invocation::Run(None)));
        assert_eq!(parsed(&[""]), Ok(Invocation::Run(None)));
        for command in CommandName::ALL {
            assert_eq!(
                parsed(&[command.word()]),
                Ok(Invocation::Run(Some(command)))
            );
        }
    }

    #[test]
    fn invalid_arguments_are_reported_in_our_format() {
        let rendered = [
            &["lsit"][..],
            &["frobnicate"],
            &["--credentials-json=hunter2"],
            &["--quiet"],
            &["-x"],
            &["push", "hunter2"],
            &["--", "push", "hunter2"],
        ]
        .map(rendered)
        .join("\n");
        assert!(!rendered.contains("hunter2"));
        insta::assert_snapshot!(rendered, @r"
        error: `lsit` is no command, expected `push`, `mirror`, `list`, `pull-secret`, `setup` or `doctor`

        hint: did you mean `gcr-push list`?

        error: `frobnicate` is no command, expected `push`, `mirror`, `list`, `pull-secret`, `setup` or `doctor`

        hint: `gcr-push --help` lists the commands and the environment variables

        error: there is no option `--credentials-json`

        hint: everything but the command is set by environment variables: set GCR_PUSH_CREDENTIALS_JSON

        error: there is no option `--quiet`

        hint: `gcr-push --help` lists the commands and the environment variables

        error: there is no option `-x`

        hint: `gcr-push --help` lists the commands and the environment variables

        error: there is more than one word on the command line

        hint: `gcr-push --help` lists the commands and the environment variables

        error: there is more than one word on the command line

        hint: `gcr-push --help` lists the commands and the environment variables
        ");
    }

    #[test]
    fn non_unicode_argument_is_refused() {
        use std::os::unix::ffi::OsStringExt as _;
        let words = [b"gcr-push".to_vec(), vec![0xff]].map(OsString::from_vec);
        assert_eq!(parse(words), Err(CliError::NotText));
    }

    #[test]
    fn version_is_the_package_version() {
        let version = format!("gcr-push {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(
            parsed(&["--version"]),
            Ok(Invocation::Print(version.clone()))
        );
        assert_eq!(parsed(&["-V"]), Ok(Invocation::Print(version)));
    }
}
