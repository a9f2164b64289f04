//! Carrying the plan out, one step after the other, each of which may be the last: whatever was done
//! stays, and the next run goes on from there. Only the role that a first push takes does not stay.

use super::plan::{Plan, Work};
use super::{Setup, SetupError, storage};
use crate::google::PolicyChange;

impl Setup<'_> {
    /// Does everything that the plan has to do; the APIs are on already. A role that was lent is
    /// taken back whatever comes in between.
    pub(super) async fn carry_out(&self, plan: &Plan) -> Result<(), SetupError> {
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
        plan: &Plan,
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
    pub(super) async fn enable_missing(&self, plan: &Plan) -> Result<bool, SetupError> {
        let numbered = plan.steps.iter().enumerate();
        let (numbers, names): (Vec<usize>, Vec<String>) = numbered
            .filter_map(|(number, step)| match &step.work {
                Some(Work::Enable(name)) => Some((number, name.clone())),
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
    async fn work(&self, work: &Work) -> Result<Vec<String>, SetupError> {
        match work {
            Work::Policy(resource, change, grant) => {
                let changed = self.google.change_policy(resource, *change, grant).await;
                return changed.map_err(|cause| {
                    let doing = format!("could not change the policy of `{resource}`");
                    SetupError::google(doing, cause)
                });
            }
            Work::FirstPush(order) => self.first_push(order).await,
            Work::Enable(name) => self.enable(std::slice::from_ref(name)).await,
            Work::CreateRepository(registry) => self.create_repository(registry).await,
            Work::DeleteRepository(name) => self.delete_repository(name).await,
            Work::CreateAccount(role, id) => self.create_account(*role, id).await,
            Work::EnableAccount(email) => self.enable_account(email).await,
            Work::DeleteAccount(email) => self.delete_account(email).await,
            Work::CreatePool(pool) => self.create_pool(pool).await,
            Work::RestorePool(pool) => self.restore_pool(pool).await,
            Work::EnablePool(pool) => self.enable_pool(pool).await,
            Work::CreateProvider(provider) => self.create_provider(provider).await,
            Work::RestoreProvider(provider, _) => self.restore_provider(provider).await,
            Work::AlterProvider(provider, _) => self.alter_provider(provider).await,
            Work::DeletePool(name) | Work::DeleteProvider(name) => {
                self.delete_federated(name).await
            }
            Work::CreateKey(order) => self.create_key(order).await,
            Work::DeleteKey(name) => self.delete_key(name).await,
        }?;
        Ok(Vec::new())
    }
}

/// The broad role of the first push while it is out: whatever ends the run then, a signal too, it is
/// said that it is.
struct TemporaryGrant<'a> {
    back: Option<&'a Work>,
    is_out: bool,
}

impl<'a> TemporaryGrant<'a> {
    /// What the plan will lend and take back; of an earlier run it may be out already.
    fn of(plan: &'a Plan) -> Self {
        let of = |change| move |work: &&Work| storage::is_temporary(work) == Some(change);
        let back = plan.works().find(of(PolicyChange::Revoke));
        Self {
            is_out: back.is_some() && plan.works().find(of(PolicyChange::Grant)).is_none(),
            back,
        }
    }

    /// How it is taken back, if it is out.
    fn take_back(&self) -> Option<&'a Work> {
        self.back.filter(|_| self.is_out)
    }
}

impl Drop for TemporaryGrant<'_> {
    fn drop(&mut self) {
        if let Some(Work::Policy(resource, _, grant)) = self.take_back() {
            tracing::warn!(
                "`{}` on `{resource}`, which was for the first push, may still be with {}: run \
                 setup again, which takes it away",
                grant.role,
                grant.member
            );
        }
    }
}

fn done(work: &Work) -> &'static str {
    match work {
        Work::FirstPush(_) => "made by the first push",
        Work::Enable(_) | Work::EnableAccount(_) | Work::EnablePool(_) => "enabled",
        Work::CreateRepository(_)
        | Work::CreateAccount(..)
        | Work::CreatePool(_)
        | Work::CreateProvider(_)
        | Work::CreateKey(_) => "created",
        Work::DeleteRepository(_)
        | Work::DeleteAccount(_)
        | Work::DeletePool(_)
        | Work::DeleteProvider(_)
        | Work::DeleteKey(_) => "deleted",
        Work::RestorePool(_) | Work::RestoreProvider(..) => "brought back",
        Work::AlterProvider(..) => "changed",
        Work::Policy(_, PolicyChange::Grant, _) => "granted",
        Work::Policy(_, PolicyChange::Revoke, _) => "taken away",
    }
}
