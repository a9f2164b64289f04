//! The command line: a command word, then words and flags. Flags and words are the variables of the
//! table that the command uses.

use std::ffi::{OsStr, OsString};

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, ValueHint};
use clap_complete::Shell;

use super::environment::meant;
use super::variables::{Form, VARIABLES, Variable};
use super::{CommandName, help};
use crate::config::values::any_of;
use crate::diagnostics::nearest::nearest;
use crate::diagnostics::sanitize::quoted;
use crate::diagnostics::{Diagnostic, ExitCode};

/// The parsed command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invocation {
    /// Run a command.
    Run(CommandLine),
    /// Print this text on standard output and exit.
    Print(String),
}

/// The command and the values of variables that the command line gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// The command. `None` if the variable `command` or its default decides.
    pub command: Option<CommandName>,
    /// The variable, the name of the argument as in the usage, and the value.
    values: Vec<(&'static str, String, OsString)>,
}

impl CommandLine {
    /// A command line with nothing but the command.
    pub fn of(command: CommandName) -> Self {
        Self {
            command: Some(command),
            values: Vec::new(),
        }
    }

    /// True if there is neither a command nor a value.
    pub fn is_empty(&self) -> bool {
        self.command.is_none() && self.values.is_empty()
    }

    /// True if there is a value.
    pub(super) fn has_values(&self) -> bool {
        !self.values.is_empty()
    }

    /// The value of a variable, with the name of the argument.
    pub(super) fn value(&self, variable: &str) -> Option<(&str, &OsStr)> {
        let mut values = self.values.iter();
        let found = values.find(|(name, ..)| *name == variable);
        found.map(|(_, typed, value)| (typed.as_str(), value.as_os_str()))
    }
}

/// An invalid command line. No error has a value in it, because it may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CliError {
    /// A word that is not a command.
    #[error("{} is not a command, expected {}", quoted(.0), any_of(&CommandName::ALL.map(CommandName::word)))]
    Command(String),
    /// A flag that does not exist, or not for this command.
    #[error("{} has no flag {}", of_command(*.0), quoted(.1))]
    Flag(Option<CommandName>, String),
    /// A flag before the command.
    #[error("put the flag {} after the command", quoted(.0))]
    BeforeCommand(String),
    /// A flag for a secret.
    #[error("`{}` is a secret and has no flag, because other users can read the arguments of a \
             process", .0.name)]
    Secret(&'static Variable),
    /// A flag without its value.
    #[error("the flag `{0}` needs a value")]
    NoValue(String),
    /// A flag that is given twice, or is given as an argument too.
    #[error("`{0}` is given twice")]
    Twice(String),
    /// More arguments than the command takes.
    #[error("{} does not accept so many arguments", of_command(*.0))]
    Surplus(Option<CommandName>),
    /// A shell without completions.
    #[error("`gcr-push completions` needs a shell: {}", any_of(SHELLS))]
    Shell,
    /// A command word that is not UTF-8.
    #[error("the command word is not UTF-8")]
    NotText,
}

impl Diagnostic for CliError {
    fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }

    fn hints(&self) -> Vec<String> {
        let help = |command| format!("`{} -h` lists its flags", name_of(command));
        let hint = match self {
            Self::Command(word) => {
                let words = CommandName::ALL.map(CommandName::word).into_iter();
                let near = nearest(word, words.chain([HELP, COMPLETIONS]));
                near.map(|near| format!("did you mean `gcr-push {near}`?"))
            }
            Self::Flag(Some(command), flag) => Some(hint_for(*command, flag)),
            Self::BeforeCommand(_) => Some("as in `gcr-push push --dry-run`".to_owned()),
            Self::Secret(variable) => Some(format!("set {}", variable.environment_name())),
            Self::NoValue(flag) => Some(format!(
                "write a value that begins with `-` as `{flag}=VALUE`"
            )),
            Self::Surplus(Some(command)) => Some(help(*command)),
            Self::Twice(_)
            | Self::Flag(None, _)
            | Self::Surplus(None)
            | Self::NotText
            | Self::Shell => None,
        };
        vec![hint.unwrap_or_else(|| "`gcr-push -h` lists the commands".to_owned())]
    }
}

fn of_command(command: Option<CommandName>) -> String {
    match command {
        Some(command) => format!("`{}`", name_of(command)),
        None => "`gcr-push`".to_owned(),
    }
}

fn name_of(command: CommandName) -> String {
    format!("gcr-push {}", command.word())
}

/// The hint for a flag that a command does not have.
fn hint_for(command: CommandName, flag: &str) -> String {
    // `list --recursive` means `--list-recursive`.
    let longer = format!("{} {}", command.word(), flag.trim_start_matches('-'));
    let longer = longer.replace(['-', ' '], "_");
    let longer = command.variables().find(|variable| variable.name == longer);
    let meant = longer.or_else(|| meant_by(flag));
    let meant = meant.and_then(|variable| Some((variable, variable.flag()?)));
    match meant {
        Some((variable, near)) if variable.commands.contains(&command) => {
            format!("did you mean `{near}`?")
        }
        Some((variable, near)) if near == flag && !variable.commands.is_empty() => {
            let others: Vec<_> = variable.commands.iter().map(|other| other.word()).collect();
            format!("only {} has it", any_of(&others))
        }
        _ => format!("`{} -h` lists its flags", name_of(command)),
    }
}

/// The variable that a flag most likely means. `None` if no name is close.
fn meant_by(flag: &str) -> Option<&'static Variable> {
    let name = meant(flag.trim_start_matches('-'))?;
    VARIABLES.iter().find(|variable| variable.name == name)
}

/// Reads the command line, whose first item is the program's own name.
///
/// # Errors
///
/// If a word or a flag is not known, or is given twice.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Invocation, CliError> {
    let mut args: Vec<_> = args.into_iter().collect();
    // An empty expression in a workflow is passed as an empty argument.
    if args.get(1).is_some_and(|first| first.is_empty()) {
        args.remove(1);
    }
    let word = args.get(1).and_then(|word| word.to_str());
    let command = word.and_then(|word| word.parse().ok());
    match command_line().try_get_matches_from(args) {
        Ok(matches) => match matches.subcommand() {
            None => Ok(Invocation::Run(CommandLine::default())),
            Some((HELP, matches)) => help_of(matches).map(Invocation::Print),
            Some((COMPLETIONS, matches)) => completions(matches).map(Invocation::Print),
            Some((word, matches)) => {
                let command = word.parse();
                let command = command.map_err(|_| CliError::Command(word.to_owned()))?;
                values(matches).map(|values| {
                    Invocation::Run(CommandLine {
                        command: Some(command),
                        values,
                    })
                })
            }
        },
        Err(error) => refused(&error, command).map(Invocation::Print),
    }
}

/// Maps clap's error to ours. `Ok` with the text if it is `--help` or `--version`.
fn refused(error: &clap::Error, command: Option<CommandName>) -> Result<String, CliError> {
    // The argument without its value.
    let argument = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(argument)) => argument.split([' ', '=']).next(),
        _ => None,
    };
    let argument = argument.unwrap_or_default();
    Err(match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            return Ok(format!("{}\n", error.to_string().trim_end()));
        }
        ErrorKind::InvalidUtf8 => CliError::NotText,
        ErrorKind::InvalidSubcommand => match error.get(ContextKind::InvalidSubcommand) {
            Some(ContextValue::String(word)) => CliError::Command(word.clone()),
            _ => CliError::Surplus(None),
        },
        ErrorKind::ArgumentConflict => CliError::Twice(argument.to_owned()),
        _ if !argument.starts_with('-') => CliError::Surplus(command),
        ErrorKind::UnknownArgument => unknown(argument, command),
        _ => CliError::NoValue(argument.to_owned()),
    })
}

fn unknown(flag: &str, command: Option<CommandName>) -> CliError {
    match flag.strip_prefix("--").and_then(meant_by) {
        Some(variable) if variable.is_secret() => CliError::Secret(variable),
        Some(variable) if command.is_none() && variable.flag().as_deref() == Some(flag) => {
            CliError::BeforeCommand(flag.to_owned())
        }
        _ => CliError::Flag(command, flag.to_owned()),
    }
}

const HELP: &str = "help";
const COMPLETIONS: &str = "completions";
const SHELLS: &[&str] = &["bash", "elvish", "fish", "powershell", "zsh"];

fn help_of(matches: &ArgMatches) -> Result<String, CliError> {
    let Some(word) = matches.get_one::<OsString>(HELP) else {
        return Ok(help::long());
    };
    let word = word.to_string_lossy();
    let command = word.parse();
    let command = command.map_err(|_| CliError::Command(word.into_owned()))?;
    Ok(help::long_of(command))
}

fn completions(matches: &ArgMatches) -> Result<String, CliError> {
    let shell = matches.get_one::<OsString>(COMPLETIONS);
    let shell = shell.and_then(|word| word.to_str()?.parse::<Shell>().ok());
    let mut text = Vec::new();
    clap_complete::generate(
        shell.ok_or(CliError::Shell)?,
        &mut command_line(),
        "gcr-push",
        &mut text,
    );
    let text = String::from_utf8_lossy(&text);
    // For Bash, clap_complete writes the hyphen of a program's name in two ways
    // (https://github.com/clap-rs/clap/issues/6529).
    Ok(text.replace("gcr__subcmd__push", "gcr__push"))
}

/// The values of a command's words and flags, in the order of the table.
fn values(matches: &ArgMatches) -> Result<Vec<(&'static str, String, OsString)>, CliError> {
    let mut found = Vec::new();
    for variable in VARIABLES {
        let given = |id: &str| -> Vec<&OsString> {
            let given = matches.try_get_many::<OsString>(id);
            given.ok().flatten().into_iter().flatten().collect()
        };
        let words = given(&word_id(variable));
        let flags = given(variable.name);
        let is_list = matches!(variable.form, Form::List(_));
        let flag = variable.flag().unwrap_or_default();
        if !is_list && words.len() + flags.len() > 1 {
            return Err(CliError::Twice(flag));
        }
        let typed = match words.is_empty() {
            true => flag,
            false => help::word(variable),
        };
        let items: Vec<_> = words
            .into_iter()
            .chain(flags)
            .map(OsString::as_os_str)
            .collect();
        if !items.is_empty() {
            found.push((variable.name, typed, items.join(OsStr::new("\n"))));
        }
    }
    Ok(found)
}

/// The id of the argument for a variable's word, which differs from that of its flag.
fn word_id(variable: &Variable) -> String {
    format!("word {}", variable.name)
}

fn command_line() -> clap::Command {
    let shell = Arg::new(COMPLETIONS).value_parser(Words(SHELLS.to_vec()));
    let word = Arg::new(HELP).value_parser(Words(CommandName::ALL.map(CommandName::word).to_vec()));
    with_help(
        clap::Command::new("gcr-push"),
        &help::short(),
        &help::long(),
    )
    .version(env!("CARGO_PKG_VERSION"))
    .disable_help_subcommand(true)
    .disable_version_flag(true)
    .arg(
        Arg::new("version")
            .short('V')
            .long("version")
            .action(ArgAction::Version)
            .help("Print the version"),
    )
    .subcommands(CommandName::ALL.map(|command| {
        // Only the arguments and the help of the command that is typed are built.
        clap::Command::new(command.word())
            .about(command.summary())
            .defer(with_arguments)
    }))
    .subcommand(
        with_help(clap::Command::new(HELP), &help::short(), &help::short())
            .about(help::HELP)
            .arg(word.value_name("COMMAND")),
    )
    .subcommand(
        with_help(
            clap::Command::new(COMPLETIONS),
            &help::completions(),
            &help::completions(),
        )
        .about(help::COMPLETIONS)
        .arg(shell.value_name("SHELL")),
    )
}

/// Adds the arguments and the help of a command, by its name.
fn with_arguments(subcommand: clap::Command) -> clap::Command {
    let Ok(command) = subcommand.get_name().parse::<CommandName>() else {
        return subcommand;
    };
    let flags = command.variables().filter(|variable| !variable.is_secret());
    let words = command.words().into_iter().enumerate();
    let words = words.map(|(index, variable)| {
        let word = argument(variable, word_id(variable)).index(index + 1);
        let word = word.value_name(help::word(variable));
        match variable.form {
            Form::List(_) => word.num_args(1..),
            _ => word,
        }
    });
    let (short, long) = (help::short_of(command), help::long_of(command));
    with_help(subcommand, &short, &long)
        .args(flags.map(flag))
        .args(words)
}

fn flag(variable: &Variable) -> Arg {
    let flag = argument(variable, variable.name.to_owned()).long(variable.name.replace('_', "-"));
    match variable.form {
        Form::List(_) => flag.action(ArgAction::Append),
        Form::Switch => flag
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
        _ => flag,
    }
}

/// An argument whose value is any text. It is checked when all variables are read.
fn argument(variable: &Variable, id: String) -> Arg {
    let argument = Arg::new(id)
        .help(variable.summary())
        .value_name(variable.form.placeholder());
    match variable.form {
        Form::Words(words) => argument.value_parser(Words(words.to_vec())),
        Form::Switch => argument.value_parser(Words(vec!["true", "false"])),
        Form::Path | Form::Reference => argument
            .value_parser(Words(Vec::new()))
            .value_hint(ValueHint::FilePath),
        _ => argument
            .value_parser(Words(Vec::new()))
            .value_hint(ValueHint::Other),
    }
}

fn with_help(command: clap::Command, short: &str, long: &str) -> clap::Command {
    let help = |name: &'static str, action| Arg::new(name).action(action);
    command
        .help_template("{before-help}")
        .before_help(short.to_owned())
        .before_long_help(long.to_owned())
        .disable_help_flag(true)
        .arg(
            help("-h", ArgAction::HelpShort)
                .short('h')
                .help("Print a short help"),
        )
        .arg(
            help("--help", ArgAction::HelpLong)
                .long("help")
                .help("Print the whole help"),
        )
}

/// A value that may be any text. Completions offer the words.
#[derive(Clone)]
struct Words(Vec<&'static str>);

impl TypedValueParser for Words {
    type Value = OsString;

    fn parse_ref(
        &self,
        _: &clap::Command,
        _: Option<&Arg>,
        value: &OsStr,
    ) -> Result<OsString, clap::Error> {
        Ok(value.to_owned())
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let words = self.0.iter().map(|word| PossibleValue::new(*word));
        (!self.0.is_empty()).then(|| Box::new(words) as _)
    }
}
