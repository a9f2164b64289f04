//! GitHub's runner as the container of an action meets it: what it sets, and how it reads what a
//! step prints and writes. Written from actions/runner, and no line of our own code helps it.

mod commands;
mod files;
mod masks;

use std::collections::BTreeMap;
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

/// What the runner made of a step.
pub struct Seen {
    pub code: i32,
    /// What people see, with what was masked hidden.
    pub log: Vec<String>,
    pub annotations: Vec<Annotation>,
    /// The headings of groups.
    pub groups: Vec<String>,
    /// What is shown with step debugging alone.
    pub debug: Vec<String>,
    /// Every mask, one line each.
    pub masks: Vec<String>,
    pub outputs: BTreeMap<String, String>,
    pub summary: String,
    pub outcome: Outcome,
}

/// Every input of action.yml, as the runner gives those that the workflow does not: empty.
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
    /// A step with no `with:`. `run` brings the network that the test needs.
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
        // Fresh files a step, made by the runner's user.
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
    pub fn variable(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.run = self.run.variable(name, value);
        self
    }

    /// The run itself, for what a test needs besides.
    pub fn run_as(mut self, change: impl FnOnce(Run) -> Run) -> Self {
        self.run = change(self.run);
        self
    }

    /// Runs it, and reads all that it left.
    pub fn run(self) -> Seen {
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
        // Two pipes, which the runner reads side by side; each in its own order.
        for text in [&outcome.stderr, &outcome.stdout] {
            for line in text.split('\n') {
                commands.read(line, &mut masker);
            }
        }
        assert_eq!(commands.unknown, [""; 0], "the runner would warn of these");
        Seen {
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

impl Seen {
    /// The same, which must have ended in this exit code.
    pub fn exits_with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}", self.log.join("\n"));
        self
    }

    /// Annotations of one kind.
    pub fn annotated(&self, kind: &str) -> Vec<&str> {
        let of_kind = self.annotations.iter().filter(|one| one.kind == kind);
        of_kind.map(|one| one.message.as_str()).collect()
    }
}
