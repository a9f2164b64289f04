//! The JSON report of setup for `report_file`. It is written at the end of a run, even if the run
//! fails or is interrupted.

use std::path::{Path, PathBuf};

use parking_lot::{Mutex, MutexGuard};

use serde::Serialize;

use super::check::AccountChecks;
use super::plan::{ResourceState, SetupPlan};
use super::{SetupError, SetupRequest};
use crate::ci::output::{self, OutputError, write_file};
use crate::commands::interrupt::RunState;
use crate::commands::setup::request::SetupAction;
use crate::diagnostics::Diagnostic as _;
use crate::diagnostics::render::causes;

/// The report, as far as the run has got.
pub(super) struct Record<'a> {
    file: Option<PathBuf>,
    /// The progress for the message of an interrupted run.
    state: &'a RunState,
    document: Mutex<Document>,
}

#[derive(Debug, Default, Serialize)]
struct Document {
    project: String,
    action: &'static str,
    dry_run: bool,
    /// True if the run succeeded.
    finished: bool,
    steps: Vec<Row>,
    notes: Vec<String>,
    warnings: Vec<String>,
    checks: Vec<CheckRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
}

#[derive(Clone, Debug, Serialize)]
struct Row {
    state: String,
    what: String,
    why: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    changes: Vec<String>,
    /// The result of the action. `None` if there is nothing to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Outcome>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    NotDone,
    /// The action was running when the run ended.
    Unknown,
    Done,
    Failed,
}

#[derive(Debug, Serialize)]
struct CheckRow {
    account: String,
    registry: String,
    result: String,
    how: String,
}

#[derive(Debug, Serialize)]
struct Failure {
    message: String,
    causes: Vec<String>,
    hints: Vec<String>,
}

impl<'a> Record<'a> {
    pub(super) fn new(request: &SetupRequest, file: Option<&Path>, state: &'a RunState) -> Self {
        let document = Document {
            project: request.project.clone(),
            action: match request.action {
                SetupAction::Plan => "plan",
                SetupAction::Apply => "apply",
                SetupAction::Remove => "remove",
            },
            dry_run: request.dry_run,
            ..Document::default()
        };
        state.set("while checking the project, before anything was changed");
        Self {
            file: file.map(Path::to_owned),
            state,
            document: Mutex::new(document),
        }
    }

    fn document(&self) -> MutexGuard<'_, Document> {
        self.document.lock()
    }

    /// Records a plan. Steps that an earlier plan has done stay done.
    pub(super) fn plan(&self, plan: &SetupPlan) {
        let mut document = self.document();
        let row = |step: &super::PlanStep| {
            let done = document.steps.iter().find(|row| {
                row.what == step.what
                    && row.result == Some(Outcome::Done)
                    && step.state == ResourceState::Present
            });
            done.cloned().unwrap_or_else(|| Row {
                state: step.state.to_string(),
                what: step.what.clone(),
                why: step.why.clone(),
                changes: step.changes(),
                result: step.action.as_ref().map(|_| Outcome::NotDone),
            })
        };
        let steps = plan.steps.iter().map(row).collect();
        document.steps = steps;
        document.notes.clone_from(&plan.notes);
        document.warnings.clone_from(&plan.warnings);
    }

    /// Records that a step is started.
    pub(super) fn begin(&self, number: usize) {
        self.mark(number, Outcome::Unknown);
    }

    /// Records that a step is done or has failed.
    pub(super) fn end(&self, number: usize, is_done: bool) {
        self.mark(
            number,
            if is_done {
                Outcome::Done
            } else {
                Outcome::Failed
            },
        );
    }

    fn mark(&self, number: usize, outcome: Outcome) {
        let mut document = self.document();
        if let Some(row) = document.steps.get_mut(number) {
            row.result = Some(outcome);
        }
        self.state.set(progress(&document.steps));
    }

    /// Records the results of the final checks.
    pub(super) fn checked(&self, checked: &AccountChecks) {
        let mut document = self.document();
        let rows = checked.rows.iter().cloned();
        document.checks = rows
            .map(|[account, registry, result, how]| CheckRow {
                account,
                registry,
                result,
                how,
            })
            .collect();
        for warning in &checked.warnings {
            if !document.warnings.contains(warning) {
                document.warnings.push(warning.clone());
            }
        }
    }

    /// Records the end of the run and writes the report.
    ///
    /// # Errors
    ///
    /// If the report cannot be written.
    pub(super) fn finish(mut self, done: &Result<(), SetupError>) -> Result<(), OutputError> {
        {
            let mut document = self.document();
            document.finished = done.is_ok();
            document.error = done.as_ref().err().map(|error| Failure {
                message: error.to_string(),
                causes: causes(error),
                hints: error.hints(),
            });
        }
        match self.file.take() {
            Some(file) => write_file(&file, &self.json()),
            None => Ok(()),
        }
    }

    fn json(&self) -> String {
        output::json(&*self.document())
    }
}

impl Drop for Record<'_> {
    /// Writes the report of an interrupted run. Only to a regular file, because a pipe could block.
    fn drop(&mut self) {
        let Some(file) = self.file.take() else { return };
        let is_other = std::fs::metadata(&file).is_ok_and(|metadata| !metadata.is_file());
        if !is_other && let Err(error) = write_file(&file, &self.json()) {
            tracing::warn!("{error}");
        }
    }
}

/// The progress, as the end of a sentence that begins with the cause of the interruption.
fn progress(steps: &[Row]) -> String {
    let count = steps.iter().filter(|row| row.result.is_some()).count();
    let of = |outcome| {
        let rows = steps.iter();
        rows.filter(move |row| row.result == Some(outcome))
    };
    let done = of(Outcome::Done).count();
    let mut text = match done {
        0 => format!("before any of {count} steps was done"),
        done if done == count => format!("after all {count} steps were done"),
        done => format!("after {done} of {count} steps were done, which stay done"),
    };
    for row in of(Outcome::Unknown) {
        text += &format!("\nperhaps done, because no response arrived: {}", row.what);
    }
    text
}
