//! The settings of the log and of error output. They are read before the request, because errors in
//! the request have to be printed too.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::CommandLine;
use super::environment::{self, Environment};
use super::input::Input;
use super::paths::FileSystem;
use crate::ci::console::Console;
use crate::ci::{Ci, LogFormat};

/// The default path of a container's termination message in Kubernetes.
/// <https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/>
const TERMINATION_LOG: &str = "/dev/termination-log";

/// Reads the settings. A value that cannot be parsed counts as absent, and [`super::request()`]
/// reports it.
pub fn console(
    line: &CommandLine,
    environment: impl Iterator<Item = (OsString, OsString)>,
    files: &dyn FileSystem,
) -> Console {
    let mut level = None;
    let mut no_color = false;
    let environment = environment.inspect(|(name, value)| {
        if name == "RUST_LOG" {
            level = value.to_str().map(str::to_owned);
        } else if name == "NO_COLOR" {
            no_color = !value.is_empty();
        }
    });
    let environment = environment::read(line, environment, files);
    let mut console = of(&environment);
    console.level = level;
    console.no_color = no_color;
    console
}

/// True if the user needs the usage more than an error: nothing is given, and no CI runs this.
pub fn wants_usage(
    line: &CommandLine,
    environment: impl Iterator<Item = (OsString, OsString)>,
    files: &dyn FileSystem,
) -> bool {
    let environment = environment::read(line, environment, files);
    line.is_empty() && ci(&environment).is_none() && environment.is_unset
}

/// Builds the settings from variables that are read already, without `RUST_LOG` and `NO_COLOR`.
pub(super) fn of(environment: &Environment<'_>) -> Console {
    let ci = ci(environment);
    let termination_log = Path::new(TERMINATION_LOG);
    let file = |input: &Input| environment.paths.output(input.text()?).ok();
    let inputs = &environment.inputs;
    let report_file = file(&inputs.report_file);
    let others = [file(&inputs.digest_file), file(&inputs.dotenv_file)];
    let result_files = [report_file.clone()].into_iter().chain(others);
    Console {
        log_format: log_format(environment),
        level: None,
        no_color: false,
        is_verbose: environment.ambient("RUNNER_DEBUG") == Some("1")
            || environment.ambient("CI_DEBUG_TRACE") == Some("true"),
        is_action: environment.paths.are_of_action(),
        step_summary: (ci == Some(Ci::GitHub))
            .then(|| {
                environment
                    .ambient("GITHUB_STEP_SUMMARY")
                    .map(PathBuf::from)
            })
            .flatten(),
        termination_log: environment
            .paths
            .files()
            .exists(termination_log)
            .then(|| termination_log.to_owned()),
        result_files: result_files.flatten().collect(),
        report_file,
    }
}

/// The format of `log_format`, else the one of the detected CI.
fn log_format(environment: &Environment<'_>) -> LogFormat {
    let auto = match ci(environment) {
        Some(Ci::GitHub) => LogFormat::GitHub,
        Some(Ci::GitLab) => LogFormat::GitLab,
        Some(Ci::Other) | None => LogFormat::Plain,
    };
    environment.inputs.log_format.word_or_first([
        auto,
        LogFormat::Plain,
        LogFormat::GitHub,
        LogFormat::GitLab,
        LogFormat::Json,
    ])
}

/// Detects the CI by the variable that each one sets to `true`. `None` outside a CI. Tools that run
/// pipelines locally set the same variable to `false` (gitlab-ci-local).
pub(super) fn ci(environment: &Environment<'_>) -> Option<Ci> {
    let is_on = |name| {
        environment
            .ambient(name)
            .is_some_and(|value| !value.eq_ignore_ascii_case("false") && value != "0")
    };
    if is_on("GITHUB_ACTIONS") {
        Some(Ci::GitHub)
    } else if is_on("GITLAB_CI") {
        Some(Ci::GitLab)
    } else if is_on("CI") {
        Some(Ci::Other)
    } else {
        None
    }
}
