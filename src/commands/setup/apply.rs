//! Carrying the plan out, one step after the other, each of which may be the last: whatever was done
//! stays, and the next run goes on from there. Only the role that a first push takes does not stay.

use super::plan::{SetupPlan, StepAction};
use super::{Setup, SetupError, storage};
use crate::google::PolicyChange;

impl Setup<'_> {
    /// Does everything that the plan has to do; the APIs are on already. A role that was lent is
    /// taken back whatever comes in between.
    pub(super) async fn carry_out(&self, plan: &SetupPlan) -> Result<(), SetupError> {
        let mut loan = TemporaryGrant::of(plan);
        let carried = self.each_step(plan, &mut loan).await;
        if let (Err(_), Some(back)) = (&carried, loan.take_back()) {
            match self.work(back).await {
                Ok(changed) => {
                    loan.is_out = false;
                    for line in changed {
                        tracing::info!("taken back: {line}");
                    }
                }
                Err(error) => tracing::warn!("{error}"),
            }
        }
        carried
    }

    async fn each_step(
        &self,
        plan: &SetupPlan,
        loan: &mut TemporaryGrant<'_>,
    ) -> Result<(), SetupError> {
        let count = plan.works().count();
        let mut finished = 0;
        for (number, step) in plan.steps.iter().enumerate() {
            if let Some(work) = &step.work {
                self.record.begin(number);
                // Even where no answer came it may have been given.
                loan.is_out |= storage::is_temporary(work) == Some(PolicyChange::Grant);
                let worked = self.work(work).await;
                self.record.end(number, worked.is_ok());
                let changed = worked.inspect_err(|_| {
                    if finished > 0 {
                        tracing::warn!(
                            "{finished} of {count} steps are done, and stay: run this again, and \
                             it goes on from there"
                        );
                    }
                })?;
                loan.is_out &= storage::is_temporary(work) != Some(PolicyChange::Revoke);
                finished += 1;
                tracing::info!("{}: {}", done(work), step.what);
                for line in changed {
                    tracing::info!("  {line}");
                }
            }
        }
        Ok(())
    }

    /// Enables the APIs that the plan wants, together. False where there was none.
    pub(super) async fn enable_missing(&self, plan: &SetupPlan) -> Result<bool, SetupError> {
        let numbered = plan.steps.iter().enumerate();
        let (numbers, names): (Vec<usize>, Vec<String>) = numbered
            .filter_map(|(number, step)| match &step.work {
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

    /// Does one thing, and tells the lines by which a policy changed.
    async fn work(&self, work: &StepAction) -> Result<Vec<String>, SetupError> {
        match work {
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

/// The broad role of the first push while it is out: whatever ends the run then, a signal too, it is
/// said that it is.
struct TemporaryGrant<'a> {
    back: Option<&'a StepAction>,
    is_out: bool,
}

impl<'a> TemporaryGrant<'a> {
    /// What the plan will lend and take back; of an earlier run it may be out already.
    fn of(plan: &'a SetupPlan) -> Self {
        let of = |change| move |work: &&StepAction| storage::is_temporary(work) == Some(change);
        let back = plan.works().find(of(PolicyChange::Revoke));
        Self {
            is_out: back.is_some() && plan.works().find(of(PolicyChange::Grant)).is_none(),
            back,
        }
    }

    /// How it is taken back, if it is out.
    fn take_back(&self) -> Option<&'a StepAction> {
        self.back.filter(|_| self.is_out)
    }
}

impl Drop for TemporaryGrant<'_> {
    fn drop(&mut self) {
        if let Some(StepAction::Policy(resource, _, grant)) = self.take_back() {
            tracing::warn!(
                "`{}` on `{resource}`, which was for the first push, may still be with {}: run \
                 setup again, which takes it away",
                grant.role,
                grant.member
            );
        }
    }
}

fn done(work: &StepAction) -> &'static str {
    match work {
        StepAction::FirstPush(_) => "made by the first push",
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
        StepAction::RestorePool(_) | StepAction::RestoreProvider(..) => "brought back",
        StepAction::AlterProvider(..) => "changed",
        StepAction::Policy(_, PolicyChange::Grant, _) => "granted",
        StepAction::Policy(_, PolicyChange::Revoke, _) => "taken away",
    }
}
