//! `setup`: the Google side, once: what there is, what is missing, and making it so.
//!
//! ```text
//! services ─► project ─► plan (each subject reads what is there) ─► permissions ─► carry out ─► check
//! ```
//!
//! Every step can be the last one: nothing is remembered but what Google shows, so a run goes on from
//! wherever another was stopped.

mod accounts;
mod apply;
mod check;
mod error;
mod federation;
mod first_push;
mod forge;
mod keys;
mod names;
mod plan;
mod pools;
mod project;
mod provider_change;
mod record;
mod remove;
mod repositories;
pub mod request;
mod services;
pub mod snippets;
mod storage;

use std::io::Write;
use std::path::Path;

use crate::commands::interrupt::RunState;
use crate::commands::setup::request::{Backend, SetupAction, SetupRequest};
use crate::error::Error;
use crate::google::Google;
use crate::http::Network;
use forge::Trust;
use project::ProjectPermissions;
use record::Record;
use services::Services;

pub use error::SetupError;
pub use plan::{PlanStep, ResourceState, SetupPlan};

/// One run of setup.
struct Setup<'a> {
    request: &'a SetupRequest,
    google: &'a Google,
    network: &'a Network,
    record: &'a Record<'a>,
}

/// Shows the plan, does what was asked for with it, and writes the report, whatever came of it.
/// `state` is kept up to date with how far it is.
///
/// # Errors
///
/// When Google refuses something; what was done until then stays. When the report cannot be written.
pub async fn setup(
    request: &SetupRequest,
    google: &Google,
    network: &Network,
    report_file: Option<&Path>,
    state: &RunState,
    stdout: &mut dyn Write,
) -> Vec<Error> {
    let record = Record::new(request, report_file, state);
    let setup = Setup {
        request,
        google,
        network,
        record: &record,
    };
    let done = match request.action {
        SetupAction::Plan => setup.show(stdout).await,
        SetupAction::Apply if request.dry_run => setup.show(stdout).await,
        SetupAction::Apply => setup.apply(stdout).await,
        SetupAction::Remove => setup.remove(stdout).await,
    };
    let written = record.wait_operation(&done);
    let failed = done.map_err(Error::Setup);
    [failed, written]
        .into_iter()
        .filter_map(Result::err)
        .collect()
}

impl Setup<'_> {
    async fn show(&self, stdout: &mut dyn Write) -> Result<(), SetupError> {
        let trusts = self.trusts().await?;
        let (plan, services, held) = self.plan(&trusts).await?;
        self.record.plan(&plan);
        print(stdout, &plan.to_string())?;
        if plan.is_done() {
            print(stdout, "\nThere is nothing to do.\n")?;
            return print(stdout, &self.lines_to_paste(&services, &trusts));
        }
        print(
            stdout,
            "\nNothing was changed: `setup_apply: true` carries this out.\n",
        )?;
        // What would stop it is told now, while there is time to mend it.
        self.check_permissions(&plan, &held)
    }

    async fn apply(&self, stdout: &mut dyn Write) -> Result<(), SetupError> {
        let trusts = self.trusts().await?;
        let (mut plan, mut services, held) = self.plan(&trusts).await?;
        self.record.plan(&plan);
        print(stdout, &plan.to_string())?;
        self.check_permissions(&plan, &held)?;
        let is_done = plan.is_done();
        if self.enable_missing(&plan).await? {
            // What could not be seen before can be now.
            let held;
            (plan, services, held) = self.plan(&trusts).await?;
            self.record.plan(&plan);
            self.check_permissions(&plan, &held)?;
        }
        self.carry_out(&plan).await?;
        let said = match is_done {
            false => "\nAll of it is done.\n\n",
            true => "\nThere was nothing to do.\n\n",
        };
        print(stdout, said)?;
        let checked = self.check(&services).await?;
        self.record.checked(&checked);
        print(stdout, &checked.to_string())?;
        for warning in &checked.warnings {
            tracing::warn!("{warning}");
        }
        print(stdout, &self.lines_to_paste(&services, &trusts))
    }

    async fn remove(&self, stdout: &mut dyn Write) -> Result<(), SetupError> {
        let services = self.services().await?;
        let held = self.project(&services).await?;
        self.need(
            [
                "iam.serviceAccounts.list",
                "iam.serviceAccountKeys.list",
                "iam.workloadIdentityPools.list",
            ],
            &held,
        )?;
        let plan = self.plan_removal(&services).await?;
        self.record.plan(&plan);
        print(stdout, &plan.to_string())?;
        self.check_permissions(&plan, &held)?;
        if self.request.dry_run {
            return print(stdout, "\nNothing was changed: this was a dry run.\n");
        }
        self.carry_out(&plan).await?;
        let said = if plan.is_done() {
            "\nThere was nothing of setup's to take away.\n"
        } else {
            "\nAll of it is gone.\n"
        };
        print(stdout, said)
    }

    /// Looks at everything, in the order in which it would be made.
    async fn plan(
        &self,
        trusts: &[Trust],
    ) -> Result<(SetupPlan, Services, ProjectPermissions), SetupError> {
        let services = self.services().await?;
        let held = self.project(&services).await?;
        self.need(self.reads(), &held)?;
        let redirection = self.redirection(&services).await?;
        let redirected = redirection
            .as_deref()
            .is_some_and(repositories::is_redirected);
        let mut plan = SetupPlan {
            steps: self.plan_services(&services, redirected),
            ..SetupPlan::default()
        };
        if held.is_none() {
            plan.notes.push(
                "what may be done in the project, and which roles the accounts have on all of it, \
                 cannot be asked before the API cloudresourcemanager.googleapis.com is on"
                    .to_owned(),
            );
        }
        match self.request.backend {
            Backend::ArtifactRegistry => {
                plan.steps
                    .extend(self.explain_redirection(redirection.as_deref()));
                plan.steps.extend(self.plan_repositories(&services).await?);
                plan.steps.extend(self.plan_accounts(&services).await?);
                self.plan_roles(&services, &mut plan).await?;
            }
            Backend::Storage => {
                plan.steps.extend(self.plan_accounts(&services).await?);
                // The first push may be made with a key.
                plan.steps.extend(self.plan_keys(&services).await?);
                self.plan_buckets(&services, redirection.as_deref(), &mut plan)
                    .await?;
            }
        }
        plan.steps
            .extend(self.plan_federation(&services, trusts).await?);
        if self.request.backend == Backend::ArtifactRegistry {
            plan.steps.extend(self.plan_keys(&services).await?);
        }
        self.plan_warnings(&services, &mut plan).await;
        Ok((plan, services, held))
    }

    /// What it takes to look at all that is asked for.
    fn reads(&self) -> Vec<&'static str> {
        let mut reads = vec!["iam.serviceAccounts.get"];
        if self.request.backend == Backend::ArtifactRegistry {
            reads.push("artifactregistry.repositories.get");
            reads.push("artifactregistry.repositories.getIamPolicy");
        }
        if !self.request.forges.is_empty() {
            reads.push("iam.serviceAccounts.getIamPolicy");
            reads.push("iam.workloadIdentityPools.get");
            reads.push("iam.workloadIdentityPoolProviders.get");
        }
        if !self.request.keys.is_empty() {
            reads.push("iam.serviceAccountKeys.list");
        }
        reads
    }
}

fn print(stdout: &mut dyn Write, text: &str) -> Result<(), SetupError> {
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed.map_err(SetupError::Output),
    }
}
