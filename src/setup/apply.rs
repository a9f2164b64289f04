//! Carrying the plan out, one step after the other, each of which may be the last: whatever was done
//! stays, and the next run goes on from there.

use super::plan::{Plan, Work};
use super::{Setup, SetupError};

impl Setup<'_> {
    /// Does everything that the plan has to do; the APIs are on already.
    pub(super) async fn carry_out(&self, plan: &Plan) -> Result<(), SetupError> {
        let count = plan.works().count();
        let mut finished = 0;
        for step in &plan.steps {
            if let Some(work) = &step.work {
                let changed = self.work(work).await.inspect_err(|_| {
                    if finished > 0 {
                        tracing::warn!(
                            "{finished} of {count} steps are done, and stay: run this again, and \
                             it goes on from there"
                        );
                    }
                })?;
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
        let names: Vec<String> = plan
            .works()
            .filter_map(|work| match work {
                Work::Enable(name) => Some(name.clone()),
                _ => None,
            })
            .collect();
        if names.is_empty() {
            return Ok(false);
        }
        tracing::info!("enabling {}; this takes a minute", names.join(", "));
        self.enable(&names).await?;
        Ok(true)
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
            Work::RestoreProvider(provider) => self.restore_provider(provider).await,
            Work::AlterProvider(provider) => self.alter_provider(provider).await,
            Work::DeletePool(name) | Work::DeleteProvider(name) => {
                self.delete_federated(name).await
            }
            Work::CreateKey(order) => self.create_key(order).await,
            Work::DeleteKey(name) => self.delete_key(name).await,
        }?;
        Ok(Vec::new())
    }
}

fn done(work: &Work) -> &'static str {
    use crate::google::Change;
    match work {
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
        Work::RestorePool(_) | Work::RestoreProvider(_) => "brought back",
        Work::AlterProvider(_) => "changed",
        Work::Policy(_, Change::Give, _) => "granted",
        Work::Policy(_, Change::Take, _) => "taken away",
    }
}
