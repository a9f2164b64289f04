//! `setup`: plans, creates or removes the resources of a Google Cloud project that pushes and pulls
//! need.
//!
//! ```text
//! services ─► project ─► plan (reads each existing resource) ─► permissions ─► apply ─► check
//! ```
//!
//! A run can be interrupted after every step. No local state is kept: the next run reads the
//! resources again and continues from there.

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

use crate::auth::AuthError;
use crate::ci::output::print;
use crate::commands::interrupt::RunState;
use crate::commands::outputs;
use crate::diagnostics::Failure;
use crate::google::Google;
use crate::http::Network;
use forge::Trust;
use project::ProjectPermissions;
use record::Record;
pub use request::{Backend, SetupAction, SetupRequest};
use services::Services;

pub use error::SetupError;
pub use plan::{PlanStep, ResourceState, SetupPlan};

/// The context of one run of setup.
struct Setup<'a> {
    request: &'a SetupRequest,
    google: &'a Google,
    network: &'a Network,
    record: &'a Record<'a>,
}

/// Prints the plan, does the requested action, and writes the report whether that succeeds or fails.
///
/// # Errors
///
/// If a request to Google fails; the steps that are done stay. If the report cannot be written.
pub async fn run(
    request: &SetupRequest,
    state: &RunState,
    stdout: &mut dyn Write,
) -> Result<(), Failure<SetupError>> {
    state.set("before anything was changed");
    let session = &request.session;
    outputs::check(&request.files, None)?;
    let credentials = session.credentials().await.map_err(SetupError::Auth)?;
    let credential = credentials.for_google().await.map_err(SetupError::Auth)?;
    let google = Google::new(credential, &session.network)
        .map_err(|cause| SetupError::Auth(AuthError::Network(cause)))?;
    let record = Record::new(request, request.files.report.as_deref(), state);
    let setup = Setup {
        request,
        google: &google,
        network: &session.network,
        record: &record,
    };
    let done = match request.action {
        SetupAction::Plan => setup.show(stdout).await,
        SetupAction::Apply if request.dry_run => setup.show(stdout).await,
        SetupAction::Apply => setup.apply(stdout).await,
        SetupAction::Remove => setup.remove(stdout).await,
    };
    let written = record.finish(&done).map_err(SetupError::Output);
    let errors = [done, written].into_iter().filter_map(Result::err);
    Failure::check(errors.collect())
}

impl Setup<'_> {
    async fn show(&self, stdout: &mut dyn Write) -> Result<(), SetupError> {
        let trusts = self.trusts().await?;
        let (plan, services, held) = self.plan(&trusts).await?;
        self.record.plan(&plan);
        print(stdout, &plan)?;
        if plan.is_done() {
            print(stdout, "\nThere is nothing to do.\n")?;
            return Ok(print(stdout, self.snippets(&services, &trusts))?);
        }
        print(
            stdout,
            "\nNothing was changed: set `setup_apply: true` to apply this.\n",
        )?;
        // Missing permissions are reported now, before a run that applies the plan.
        self.check_permissions(&plan, &held)
    }

    async fn apply(&self, stdout: &mut dyn Write) -> Result<(), SetupError> {
        let trusts = self.trusts().await?;
        let (mut plan, mut services, held) = self.plan(&trusts).await?;
        self.record.plan(&plan);
        print(stdout, &plan)?;
        self.check_permissions(&plan, &held)?;
        let is_done = plan.is_done();
        if self.enable_missing(&plan).await? {
            // Enabled APIs show resources that the first plan could not read.
            let held;
            (plan, services, held) = self.plan(&trusts).await?;
            self.record.plan(&plan);
            self.check_permissions(&plan, &held)?;
        }
        self.apply_plan(&plan).await?;
        let text = if is_done {
            "\nThere was nothing to do.\n\n"
        } else {
            "\nAll changes are done.\n"
        };
        print(stdout, text)?;
        let checked = self.check(&services).await?;
        self.record.checked(&checked);
        print(stdout, &checked)?;
        for warning in &checked.warnings {
            tracing::warn!("{warning}");
        }
        Ok(print(stdout, self.snippets(&services, &trusts))?)
    }

    async fn remove(&self, stdout: &mut dyn Write) -> Result<(), SetupError> {
        let services = self.services().await?;
        let held = self.project(&services).await?;
        self.require_permissions(
            [
                "iam.serviceAccounts.list",
                "iam.serviceAccountKeys.list",
                "iam.workloadIdentityPools.list",
            ],
            &held,
        )?;
        let plan = self.plan_removal(&services).await?;
        self.record.plan(&plan);
        print(stdout, &plan)?;
        self.check_permissions(&plan, &held)?;
        if self.request.dry_run {
            return Ok(print(
                stdout,
                "\nNothing was changed: this was a dry run.\n",
            )?);
        }
        self.apply_plan(&plan).await?;
        let text = if plan.is_done() {
            "\nThere was nothing to remove.\n"
        } else {
            "\nEverything is removed.\n"
        };
        Ok(print(stdout, text)?)
    }

    /// Reads every resource and makes the plan, in the order of creation.
    async fn plan(
        &self,
        trusts: &[Trust],
    ) -> Result<(SetupPlan, Services, ProjectPermissions), SetupError> {
        let services = self.services().await?;
        let held = self.project(&services).await?;
        self.require_permissions(self.read_permissions(), &held)?;
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
                "the permissions in the project, and the roles of the accounts on the whole \
                 project, cannot be checked before the API cloudresourcemanager.googleapis.com is \
                 enabled"
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
                // The first push may use a key.
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

    /// The permissions that the plan needs to read the requested resources.
    fn read_permissions(&self) -> Vec<&'static str> {
        let mut permissions = vec!["iam.serviceAccounts.get"];
        if self.request.backend == Backend::ArtifactRegistry {
            permissions.push("artifactregistry.repositories.get");
            permissions.push("artifactregistry.repositories.getIamPolicy");
        }
        if !self.request.forges.is_empty() {
            permissions.push("iam.serviceAccounts.getIamPolicy");
            permissions.push("iam.workloadIdentityPools.get");
            permissions.push("iam.workloadIdentityPoolProviders.get");
        }
        if !self.request.keys.is_empty() {
            permissions.push("iam.serviceAccountKeys.list");
        }
        permissions
    }
}
