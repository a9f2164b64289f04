//! A fake of GitHub's runner for a container action: what it sets, and how it reads what a step
//! prints and writes. Written from actions/runner, without any of our own code.

mod commands;
mod files;
mod masks;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::run::{Outcome, Run};
pub use commands::Annotation;
use commands::Commands;
use masks::Masker;

/// A step of a job that runs the action.
pub struct Step {
    run: Run,
    inputs: BTreeMap<String, String>,
    files: TempDir,
}

/// What the runner read from a step.
pub struct StepResult {
    pub code: i32,
    /// The log with masked text hidden.
    pub log: Vec<String>,
    pub annotations: Vec<Annotation>,
    /// The headings of groups.
    pub groups: Vec<String>,
    /// Lines that only step debugging shows.
    pub debug: Vec<String>,
    /// Every mask, one line each.
    pub masks: Vec<String>,
    pub outputs: BTreeMap<String, String>,
    pub summary: String,
    pub outcome: Outcome,
}

/// Every input of action.yml; inputs that the workflow does not set are empty, as in the runner.
fn inputs() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/action.yml")).unwrap();
    let action: serde_json::Value = serde_yaml::from_str(&text).unwrap();
    let inputs = action["inputs"].as_object().unwrap();
    inputs
        .keys()
        .map(|name| (name.clone(), String::new()))
        .collect()
}

impl Step {
    /// A step without `with:`. `run` has the network of the test.
    pub fn of(run: Run) -> Self {
        let files = TempDir::new().unwrap();
        let mut run = run
            .variable("GITHUB_ACTIONS", "true")
            .variable("CI", "true")
            .variable("HOME", "/github/home")
            .variable("GITHUB_WORKSPACE", "/github/workspace")
            .variable("GITHUB_REPOSITORY", "acme/shop")
            .variable("GITHUB_EVENT_NAME", "push")
            .variable("GITHUB_REF", "refs/heads/main")
            .variable("RUNNER_OS", "Linux")
            .variable("RUNNER_TEMP", "/github/runner_temp")
            .variable("RUNNER_WORKSPACE", "/home/runner/work/shop")
            .variable("RUNNER_TOOL_CACHE", "/opt/hostedtoolcache");
        // Fresh files for each step, created by the runner's user.
        for (variable, name) in [
            ("GITHUB_OUTPUT", "set_output"),
            ("GITHUB_ENV", "set_env"),
            ("GITHUB_PATH", "add_path"),
            ("GITHUB_STATE", "save_state"),
            ("GITHUB_STEP_SUMMARY", "step_summary"),
        ] {
            let path = files.path().join(name);
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
            run = run.variable(variable, path.display().to_string());
        }
        Self {
            run,
            inputs: inputs(),
            files,
        }
    }

    /// `with: NAME: VALUE`.
    pub fn with(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.inputs
            .insert(name.to_owned(), value.as_ref().to_owned());
        self
    }

    /// A file in the workspace.
    pub fn file(mut self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.run = self.run.file(name, bytes);
        self
    }

    /// `env:`.
    pub fn variable(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.run = self.run.variable(name, value);
        self
    }

    /// Changes the underlying run.
    pub fn run_as(mut self, change: impl FnOnce(Run) -> Run) -> Self {
        self.run = change(self.run);
        self
    }

    /// Runs it, and reads everything that it left.
    pub fn run(self) -> StepResult {
        let mut run = self.run;
        for (name, value) in &self.inputs {
            // Only blanks are replaced (Handler.cs, AddInputsToEnvironment).
            let name = format!("INPUT_{}", name.replace(' ', "_").to_uppercase());
            run = run.variable(&name, value);
        }
        let outcome = run.run();
        let read = |name: &str| std::fs::read_to_string(self.files.path().join(name)).unwrap();
        for untouched in ["set_env", "add_path", "save_state"] {
            assert_eq!(read(untouched), "", "{untouched}");
        }
        let outputs = files::pairs(&read("set_output")).expect("the runner would fail the step");
        let summary = read("step_summary");
        assert!(summary.len() <= 1024 * 1024, "the runner would drop it");
        let mut masker = Masker::default();
        let mut commands = Commands::default();
        // The runner reads both pipes in parallel; each keeps its order.
        for text in [&outcome.stderr, &outcome.stdout] {
            for line in text.split('\n') {
                commands.read(line, &mut masker);
            }
        }
        assert_eq!(commands.unknown, [""; 0], "the runner would warn of these");
        StepResult {
            code: outcome.code,
            log: commands.log,
            annotations: commands.annotations,
            groups: commands.groups,
            debug: commands.debug,
            masks: masker.values,
            outputs,
            summary,
            outcome,
        }
    }
}

impl StepResult {
    /// Runs it and checks the exit code.
    pub fn exits_with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}", self.log.join("\n"));
        self
    }

    /// Annotations of one kind.
    pub fn annotations_of(&self, kind: &str) -> Vec<&str> {
        let of_kind = self.annotations.iter().filter(|one| one.kind == kind);
        of_kind.map(|one| one.message.as_str()).collect()
    }
}
