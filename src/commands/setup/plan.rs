//! The plan: every resource of setup, its state, and the action that it needs.

use std::fmt;

use super::federation::{Pool, Provider};
use super::first_push::FirstPush;
use super::keys::KeyOrder;
use super::provider_change::ProviderChange;
use crate::ci::table::Table;
use crate::commands::setup::request::{Role, SetupRegistry};
use crate::google::{Grant, PolicyChange, Resource};

/// The state of a resource, by the action that it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceState {
    /// The resource is up to date.
    Present,
    /// The resource is missing.
    Create,
    /// The resource exists and differs from the plan.
    Change,
    /// The resource was created by setup and is removed.
    Remove,
    /// The resource stays although others are removed.
    Keep,
}

impl fmt::Display for ResourceState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Present => "present",
            Self::Create => "to create",
            Self::Change => "to change",
            Self::Remove => "to remove",
            Self::Keep => "kept",
        })
    }
}

/// One step of the plan: a resource, its state and the reason.
#[derive(Clone, Debug)]
pub struct PlanStep {
    /// The state of the resource.
    pub state: ResourceState,
    /// The resource, in words.
    pub what: String,
    /// The reason for the state.
    pub why: String,
    /// The action. `None` if there is nothing to do.
    pub(super) action: Option<StepAction>,
}

impl PlanStep {
    /// A step for a resource that is up to date.
    pub(super) fn present(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(ResourceState::Present, what, why, None)
    }

    pub(super) fn new(
        state: ResourceState,
        what: impl Into<String>,
        why: impl Into<String>,
        action: Option<StepAction>,
    ) -> Self {
        Self {
            state,
            what: what.into(),
            why: why.into(),
            action,
        }
    }

    /// The changes to a policy or a provider, one line for each.
    pub(super) fn changes(&self) -> Vec<String> {
        match &self.action {
            Some(StepAction::Policy(_, change, grant)) => {
                vec![format!("{} {} {}", sign(*change), grant.role, grant.member)]
            }
            Some(StepAction::AlterProvider(_, change) | StepAction::RestoreProvider(_, change)) => {
                let lines = change.to_string();
                lines.lines().map(|line| line.trim().to_owned()).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// The actions of a plan. Each takes one request or a few.
#[derive(Clone, Debug)]
pub(super) enum StepAction {
    /// Enables an API.
    Enable(String),
    CreateRepository(SetupRegistry),
    DeleteRepository(String),
    CreateAccount(Role, String),
    EnableAccount(String),
    DeleteAccount(String),
    Policy(Resource, PolicyChange, Grant),
    FirstPush(FirstPush),
    CreatePool(Pool),
    RestorePool(Pool),
    EnablePool(Pool),
    DeletePool(String),
    CreateProvider(Provider),
    RestoreProvider(Provider, ProviderChange),
    AlterProvider(Provider, ProviderChange),
    DeleteProvider(String),
    CreateKey(KeyOrder),
    DeleteKey(String),
}

impl StepAction {
    /// The permission that the action needs on the project. `None` if it needs none.
    pub(super) fn permission(&self) -> Option<&'static str> {
        Some(match self {
            Self::Enable(_) => "serviceusage.services.enable",
            Self::CreateRepository(_) => "artifactregistry.repositories.create",
            Self::DeleteRepository(_) => "artifactregistry.repositories.delete",
            Self::CreateAccount(..) => "iam.serviceAccounts.create",
            Self::EnableAccount(_) => "iam.serviceAccounts.enable",
            Self::DeleteAccount(_) => "iam.serviceAccounts.delete",
            Self::Policy(Resource::Project(_), ..) => "resourcemanager.projects.setIamPolicy",
            Self::Policy(Resource::Account(..), ..) => "iam.serviceAccounts.setIamPolicy",
            Self::Policy(Resource::Repository(_), ..) => {
                "artifactregistry.repositories.setIamPolicy"
            }
            // The owners of a bucket have the permission on the bucket, not on the project.
            Self::Policy(Resource::Bucket(_), ..) => return None,
            // The pusher has the permission, which is granted just before.
            Self::FirstPush(_) => return None,
            Self::CreatePool(_) => "iam.workloadIdentityPools.create",
            Self::RestorePool(_) => "iam.workloadIdentityPools.undelete",
            Self::EnablePool(_) => "iam.workloadIdentityPools.update",
            Self::DeletePool(_) => "iam.workloadIdentityPools.delete",
            Self::CreateProvider(_) => "iam.workloadIdentityPoolProviders.create",
            Self::RestoreProvider(..) => "iam.workloadIdentityPoolProviders.undelete",
            Self::AlterProvider(..) => "iam.workloadIdentityPoolProviders.update",
            Self::DeleteProvider(_) => "iam.workloadIdentityPoolProviders.delete",
            Self::CreateKey(_) => "iam.serviceAccountKeys.create",
            Self::DeleteKey(_) => "iam.serviceAccountKeys.delete",
        })
    }
}

/// All steps, in the order in which they are applied.
#[derive(Clone, Debug, Default)]
pub struct SetupPlan {
    /// The steps.
    pub steps: Vec<PlanStep>,
    /// Notes, one sentence for each.
    pub notes: Vec<String>,
    /// Warnings about overprivileged accounts, one sentence for each.
    pub warnings: Vec<String>,
    /// Permissions that are missing on resources other than the project.
    pub(super) missing: Vec<&'static str>,
}

impl SetupPlan {
    /// True if there is nothing to do.
    pub fn is_done(&self) -> bool {
        self.steps.iter().all(|step| step.action.is_none())
    }

    /// The actions of all steps, in order.
    pub(super) fn actions(&self) -> impl Iterator<Item = &StepAction> {
        self.steps.iter().filter_map(|step| step.action.as_ref())
    }
}

fn sign(change: PolicyChange) -> char {
    match change {
        PolicyChange::Grant => '+',
        PolicyChange::Revoke => '-',
    }
}

impl fmt::Display for SetupPlan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(["STATE", "WHAT", "WHY"]);
        for step in &self.steps {
            let state = step.state.to_string();
            table.row([state, step.what.clone(), step.why.clone()]);
        }
        write!(formatter, "{table}")?;
        let mut last = None;
        for action in self.actions() {
            let StepAction::Policy(resource, change, grant) = action else {
                continue;
            };
            if last.is_none() {
                writeln!(formatter, "\nPolicies, with their changes:\n")?;
            }
            if last != Some(resource) {
                writeln!(formatter, "  {resource}")?;
                last = Some(resource);
            }
            let sign = sign(*change);
            writeln!(formatter, "    {sign} {} {}", grant.role, grant.member)?;
        }
        let mut is_first = true;
        for action in self.actions() {
            let (StepAction::AlterProvider(provider, change)
            | StepAction::RestoreProvider(provider, change)) = action
            else {
                continue;
            };
            if change.is_empty() {
                continue;
            }
            if is_first {
                writeln!(formatter, "\nProviders, with their changes:\n")?;
                is_first = false;
            }
            write!(formatter, "  {}/{}\n{change}", provider.pool, provider.id)?;
        }
        for note in &self.notes {
            writeln!(formatter, "\nnote: {note}")?;
        }
        for warning in &self.warnings {
            writeln!(formatter, "\nwarning: {warning}")?;
        }
        Ok(())
    }
}
