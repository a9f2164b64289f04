//! Applies the plan, one step after the other. If a step fails, the finished steps stay and the
//! next run continues from there. Only the temporary role for the first push is revoked again.

use super::plan::{SetupPlan, StepAction};
use super::{Setup, SetupError, storage};
use crate::google::PolicyChange;

impl Setup<'_> {
    /// Does every action of the plan; the APIs are enabled already. The temporary role is revoked
    /// even if a step fails.
    pub(super) async fn apply_plan(&self, plan: &SetupPlan) -> Result<(), SetupError> {
        let mut grant_guard = TemporaryGrant::of(plan);
        let result = self.apply_steps(plan, &mut grant_guard).await;
        if let (Err(_), Some(revoke)) = (&result, grant_guard.revocation()) {
            match self.act(revoke).await {
                Ok(changed) => {
                    grant_guard.is_granted = false;
                    for line in changed {
                        tracing::info!("revoked: {line}");
                    }
                }
                Err(error) => tracing::warn!("{error}"),
            }
        }
        result
    }

    async fn apply_steps(
        &self,
        plan: &SetupPlan,
        grant_guard: &mut TemporaryGrant<'_>,
    ) -> Result<(), SetupError> {
        let count = plan.actions().count();
        let mut finished = 0;
        for (number, step) in plan.steps.iter().enumerate() {
            if let Some(action) = &step.action {
                self.record.begin(number);
                // The role may be granted even if no response arrived.
                grant_guard.is_granted |=
                    storage::is_temporary(action) == Some(PolicyChange::Grant);
                let result = self.act(action).await;
                self.record.end(number, result.is_ok());
                let changed = result.inspect_err(|_| {
                    if finished > 0 {
                        tracing::warn!(
                            "{finished} of {count} steps are done, and stay done: run this again \
                             to continue"
                        );
                    }
                })?;
                grant_guard.is_granted &=
                    storage::is_temporary(action) != Some(PolicyChange::Revoke);
                finished += 1;
                tracing::info!("{}: {}", past_tense(action), step.what);
                for line in changed {
                    tracing::info!("  {line}");
                }
            }
        }
        Ok(())
    }

    /// Enables the missing APIs of the plan together. Returns false if none is missing.
    pub(super) async fn enable_missing(&self, plan: &SetupPlan) -> Result<bool, SetupError> {
        let numbered = plan.steps.iter().enumerate();
        let (numbers, names): (Vec<usize>, Vec<String>) = numbered
            .filter_map(|(number, step)| match &step.action {
                Some(StepAction::Enable(name)) => Some((number, name.clone())),
                _ => None,
            })
            .unzip();
        if names.is_empty() {
            return Ok(false);
        }
        tracing::info!("enabling {}; this takes a minute", names.join(", "));
        numbers.iter().for_each(|number| self.record.begin(*number));
        let enabled = self.enable(&names).await;
        for number in numbers {
            self.record.end(number, enabled.is_ok());
        }
        enabled.map(|()| true)
    }

    /// Does one action, and returns the changed lines of a policy.
    async fn act(&self, action: &StepAction) -> Result<Vec<String>, SetupError> {
        match action {
            StepAction::Policy(resource, change, grant) => {
                let changed = self.google.change_policy(resource, *change, grant).await;
                return changed.map_err(|cause| {
                    let doing = format!("could not change the policy of `{resource}`");
                    SetupError::google(doing, cause)
                });
            }
            StepAction::FirstPush(order) => self.first_push(order).await,
            StepAction::Enable(name) => self.enable(std::slice::from_ref(name)).await,
            StepAction::CreateRepository(registry) => self.create_repository(registry).await,
            StepAction::DeleteRepository(name) => self.delete_repository(name).await,
            StepAction::CreateAccount(role, id) => self.create_account(*role, id).await,
            StepAction::EnableAccount(email) => self.enable_account(email).await,
            StepAction::DeleteAccount(email) => self.delete_account(email).await,
            StepAction::CreatePool(pool) => self.create_pool(pool).await,
            StepAction::RestorePool(pool) => self.restore_pool(pool).await,
            StepAction::EnablePool(pool) => self.enable_pool(pool).await,
            StepAction::CreateProvider(provider) => self.create_provider(provider).await,
            StepAction::RestoreProvider(provider, _) => self.restore_provider(provider).await,
            StepAction::AlterProvider(provider, _) => self.alter_provider(provider).await,
            StepAction::DeletePool(name) | StepAction::DeleteProvider(name) => {
                self.delete_federated(name).await
            }
            StepAction::CreateKey(order) => self.create_key(order).await,
            StepAction::DeleteKey(name) => self.delete_key(name).await,
        }?;
        Ok(Vec::new())
    }
}

/// The temporary role of the first push. If the run ends while it is granted, even by a signal, a
/// warning is logged.
struct TemporaryGrant<'a> {
    revoke: Option<&'a StepAction>,
    is_granted: bool,
}

impl<'a> TemporaryGrant<'a> {
    /// The grant that the plan makes and revokes. An earlier run may have granted the role already.
    fn of(plan: &'a SetupPlan) -> Self {
        let of = |change| move |action: &&StepAction| storage::is_temporary(action) == Some(change);
        let revoke = plan.actions().find(of(PolicyChange::Revoke));
        Self {
            is_granted: revoke.is_some() && plan.actions().find(of(PolicyChange::Grant)).is_none(),
            revoke,
        }
    }

    /// The action that revokes the role. `None` if it is not granted.
    fn revocation(&self) -> Option<&'a StepAction> {
        self.revoke.filter(|_| self.is_granted)
    }
}

impl Drop for TemporaryGrant<'_> {
    fn drop(&mut self) {
        if let Some(StepAction::Policy(resource, _, grant)) = self.revocation() {
            tracing::warn!(
                "`{}` on `{resource}`, which was for the first push, may still be granted to {}: \
                 run setup again to revoke it",
                grant.role,
                grant.member
            );
        }
    }
}

fn past_tense(action: &StepAction) -> &'static str {
    match action {
        StepAction::FirstPush(_) => "created by the first push",
        StepAction::Enable(_) | StepAction::EnableAccount(_) | StepAction::EnablePool(_) => {
            "enabled"
        }
        StepAction::CreateRepository(_)
        | StepAction::CreateAccount(..)
        | StepAction::CreatePool(_)
        | StepAction::CreateProvider(_)
        | StepAction::CreateKey(_) => "created",
        StepAction::DeleteRepository(_)
        | StepAction::DeleteAccount(_)
        | StepAction::DeletePool(_)
        | StepAction::DeleteProvider(_)
        | StepAction::DeleteKey(_) => "deleted",
        StepAction::RestorePool(_) | StepAction::RestoreProvider(..) => "restored",
        StepAction::AlterProvider(..) => "changed",
        StepAction::Policy(_, PolicyChange::Grant, _) => "granted",
        StepAction::Policy(_, PolicyChange::Revoke, _) => "removed",
    }
}
