//! How the process talks, and to whom: known before the request is, because what is wrong with the
//! request has to be told too.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::fault::Faults;
use super::paths::{FileSystem, Paths};
use super::values::word;
use super::variables::{self, Environment};
use crate::ci::console::Console;
use crate::ci::{Ci, LogFormat};

/// Where Kubernetes reads a container's last words unless its Pod says otherwise.
/// <https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/>
const TERMINATION_LOG: &str = "/dev/termination-log";

/// Learns how to talk. What cannot be read counts as absent: [`super::request`] tells of it.
pub fn console(
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
    let given = variables::read(environment, &mut Faults::default());
    let mut console = of(&given, &Paths::new(&given, files));
    console.level = level;
    console.no_color = no_color;
    console
}

/// The same out of what was read already, without `RUST_LOG` and `NO_COLOR`.
pub(super) fn of(given: &Environment, paths: &Paths<'_>) -> Console {
    let ci = ci(given);
    let termination_log = Path::new(TERMINATION_LOG);
    let file = |path: &Option<String>| paths.output(path.as_deref()?).ok();
    let inputs = &given.inputs;
    let report_file = file(&inputs.report_file);
    let others = [file(&inputs.digest_file), file(&inputs.dotenv_file)];
    let result_files = [report_file.clone()].into_iter().chain(others);
    Console {
        log_format: log_format(given, &mut Faults::default()),
        level: None,
        no_color: false,
        is_verbose: given.ambient("RUNNER_DEBUG") == Some("1")
            || given.ambient("CI_DEBUG_TRACE") == Some("true"),
        is_action: paths.are_of_action(),
        step_summary: (ci == Some(Ci::GitHub))
            .then(|| given.ambient("GITHUB_STEP_SUMMARY").map(PathBuf::from))
            .flatten(),
        termination_log: paths
            .files()
            .exists(termination_log)
            .then(|| termination_log.to_owned()),
        result_files: result_files.flatten().collect(),
        report_file,
    }
}

/// The form that was asked for, else the one that the CI at hand understands.
pub(super) fn log_format(given: &Environment, faults: &mut Faults) -> LogFormat {
    let auto = match ci(given) {
        Some(Ci::GitHub) => LogFormat::GitHub,
        Some(Ci::GitLab) => LogFormat::GitLab,
        Some(Ci::Other) | None => LogFormat::Plain,
    };
    let words = [
        ("auto", auto),
        ("plain", LogFormat::Plain),
        ("github", LogFormat::GitHub),
        ("gitlab", LogFormat::GitLab),
        ("json", LogFormat::Json),
    ];
    let text = given.inputs.log_format.as_deref();
    text.and_then(|text| faults.take("log_format", word(text, &words)))
        .unwrap_or(auto)
}

/// The CI that runs us. Each says so by a variable that is `true`; tools that play a CI on a desk
/// set the same variable to `false` (gitlab-ci-local).
pub(super) fn ci(given: &Environment) -> Option<Ci> {
    let is_on = |name| {
        given
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
