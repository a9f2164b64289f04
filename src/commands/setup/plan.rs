//! The plan: each thing that setup is about, the state it is in, and what is to be done about it.

use std::fmt;

use super::federation::{Pool, Provider};
use super::first_push::FirstPush;
use super::keys::KeyOrder;
use super::provider_change::ProviderChange;
use crate::ci::table::Table;
use crate::commands::setup::request::{Role, SetupRegistry};
use crate::google::{Grant, PolicyChange, Resource};

/// What is to become of a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceState {
    /// It is as it should be.
    Present,
    /// It is not there.
    Create,
    /// It is there, and not as it should be.
    Change,
    /// Setup made it.
    Remove,
    /// It stays although all else is taken away.
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

/// One thing, what is to become of it, and why.
#[derive(Clone, Debug)]
pub struct PlanStep {
    /// What is to become of it.
    pub verdict: ResourceState,
    /// What it is.
    pub what: String,
    /// Why.
    pub why: String,
    /// What there is to do; none where there is nothing.
    pub(super) work: Option<StepAction>,
}

impl PlanStep {
    /// Something that stays as it is.
    pub(super) fn present(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(ResourceState::Present, what, why, None)
    }

    pub(super) fn new(
        verdict: ResourceState,
        what: impl Into<String>,
        why: impl Into<String>,
        work: Option<StepAction>,
    ) -> Self {
        Self {
            verdict,
            what: what.into(),
            why: why.into(),
            work,
        }
    }

    /// What would change in a policy or a provider, a line each.
    pub(super) fn changes(&self) -> Vec<String> {
        match &self.work {
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

/// What can be done, each by one request or a few that belong together.
#[derive(Clone, Debug)]
pub(super) enum StepAction {
    /// Enable an API.
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
    /// The permission without which it cannot be done.
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
            // A bucket's owners have theirs from the bucket itself; the project knows nothing of it.
            Self::Policy(Resource::Bucket(_), ..) => return None,
            // The pusher's own, which it is given just before.
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

/// All steps, in the order in which they are taken.
#[derive(Clone, Debug, Default)]
pub struct SetupPlan {
    /// The steps.
    pub steps: Vec<PlanStep>,
    /// What else is to be said, a sentence each.
    pub notes: Vec<String>,
    /// What is more than an account needs, a sentence each.
    pub warnings: Vec<String>,
    /// Permissions that are missing on something other than the project.
    pub(super) missing: Vec<&'static str>,
}

impl SetupPlan {
    /// True when there is nothing to do.
    pub fn is_done(&self) -> bool {
        self.steps.iter().all(|step| step.work.is_none())
    }

    pub(super) fn works(&self) -> impl Iterator<Item = &StepAction> {
        self.steps.iter().filter_map(|step| step.work.as_ref())
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
            let verdict = step.verdict.to_string();
            table.row([verdict, step.what.clone(), step.why.clone()]);
        }
        write!(formatter, "{table}")?;
        let mut last = None;
        for work in self.works() {
            let StepAction::Policy(resource, change, grant) = work else {
                continue;
            };
            if last.is_none() {
                writeln!(formatter, "\nPolicies, by what would change in them:")?;
            }
            if last != Some(resource) {
                writeln!(formatter, "  {resource}")?;
                last = Some(resource);
            }
            let sign = sign(*change);
            writeln!(formatter, "    {sign} {} {}", grant.role, grant.member)?;
        }
        let mut is_first = true;
        for work in self.works() {
            let (StepAction::AlterProvider(provider, change)
            | StepAction::RestoreProvider(provider, change)) = work
            else {
                continue;
            };
            if change.is_empty() {
                continue;
            }
            if is_first {
                writeln!(formatter, "\nProviders, by what would change in them:")?;
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
