//! The two service accounts: one that pushes, one that pulls.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::names::{self, is_ours};
use super::plan::{PlanStep, ResourceState, StepAction};
use super::services::Services;
use super::{Setup, SetupError};
use crate::commands::setup::request::Role;
use crate::google::{Api, Backoff, GoogleError};

/// A service account, with the fields that setup uses.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Account {
    #[serde(default)]
    pub(super) email: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    disabled: bool,
}

impl Account {
    /// True if setup created the account.
    pub(super) fn is_ours(&self) -> bool {
        is_ours(&self.description)
    }
}

/// The time that a new account may take to propagate. Reads have been seen to fail for about ten
/// seconds (GoogleCloudPlatform/magic-modules#10813).
const ACCOUNT_PROPAGATION: Duration = Duration::from_secs(2 * 60);

impl Setup<'_> {
    /// The email address of an account.
    pub(super) fn email(&self, role: Role) -> String {
        names::email(self.id(role), &self.request.project)
    }

    fn id(&self, role: Role) -> &str {
        match role {
            Role::Pusher => &self.request.pusher,
            Role::Puller => &self.request.puller,
        }
    }

    /// The steps for both accounts.
    pub(super) async fn plan_accounts(
        &self,
        services: &Services,
    ) -> Result<Vec<PlanStep>, SetupError> {
        let mut steps = Vec::new();
        for role in [Role::Pusher, Role::Puller] {
            let email = self.email(role);
            let what = format!("account {email}");
            let create = |why: &str| {
                let action = StepAction::CreateAccount(role, self.id(role).to_owned());
                PlanStep::new(ResourceState::Create, what.clone(), why, Some(action))
            };
            let purpose = match role {
                Role::Pusher => "it pushes",
                Role::Puller => "it pulls",
            };
            if !services.has(Api::Iam) {
                steps.push(create("it cannot be checked before its API is enabled"));
                continue;
            }
            steps.push(match self.account(&email).await? {
                None => create(purpose),
                Some(account) if account.disabled => {
                    let action = StepAction::EnableAccount(email.clone());
                    PlanStep::new(ResourceState::Change, what, "it is disabled", Some(action))
                }
                Some(account) if account.is_ours() => {
                    PlanStep::present(what, format!("{purpose}; created by setup"))
                }
                Some(_) => PlanStep::present(what, purpose),
            });
        }
        Ok(steps)
    }

    /// Reads an account. `None` if it does not exist. Waits for an account that this run created
    /// and that is not visible yet.
    pub(super) async fn account(&self, email: &str) -> Result<Option<Account>, SetupError> {
        let path = format!(
            "v1/projects/{}/serviceAccounts/{email}",
            self.request.project
        );
        let url = Api::Iam.url(&path);
        let mut backoff = Backoff::new(ACCOUNT_PROPAGATION);
        loop {
            match self.google.get(url.clone()).await {
                Ok(account) => return Ok(Some(account)),
                Err(error) if self.may_be_propagating(email, &error) && backoff.wait().await => {
                    tracing::info!("Google does not list the account `{email}` yet; waiting");
                }
                Err(error) if error.is_not_found() => return Ok(None),
                Err(cause) => {
                    let doing = format!("could not check the account `{email}`");
                    return Err(SetupError::google(doing, cause));
                }
            }
        }
    }

    /// True if the error may come from an account that this run created and that has not propagated
    /// yet.
    pub(super) fn may_be_propagating(&self, email: &str, error: &GoogleError) -> bool {
        self.google.is_new_account(email) && error.may_be_young()
    }

    /// Creates an account.
    pub(super) async fn create_account(&self, role: Role, id: &str) -> Result<(), SetupError> {
        let path = format!("v1/projects/{}/serviceAccounts", self.request.project);
        let display = match role {
            Role::Pusher => "gcr-push: pusher",
            Role::Puller => "gcr-push: puller",
        };
        let body = json!({
            "accountId": id,
            "serviceAccount": {
                "displayName": display,
                "description": names::description(names::purpose(role)),
            },
        });
        let url = Api::Iam.url(&path);
        let created = match self.google.post::<Value>(url.clone(), &body).await {
            // If the response was lost, a second request shows whether the account was created.
            Err(error) if error.is_broken() => self.google.post::<Value>(url, &body).await,
            created => created,
        };
        match created {
            Ok(_) => {
                self.google.mark_account_new(&self.email(role));
                Ok(())
            }
            // An interrupted run created it, and it may not be visible yet.
            Err(error) if error.is_already_there() => {
                self.google.mark_account_new(&self.email(role));
                self.existing_account(id, error).await
            }
            Err(cause) => {
                let doing = format!("could not create the account `{id}`");
                Err(SetupError::google(doing, cause))
            }
        }
    }

    /// Reads an account that was created in the meantime or by an interrupted run. It may not be
    /// visible yet, and may be disabled.
    async fn existing_account(&self, id: &str, conflict: GoogleError) -> Result<(), SetupError> {
        let email = names::email(id, &self.request.project);
        let mut backoff = Backoff::new(ACCOUNT_PROPAGATION);
        loop {
            match self.account(&email).await? {
                Some(account) if account.disabled => return self.enable_account(&email).await,
                Some(_) => return Ok(()),
                None if backoff.wait().await => {}
                None => {
                    let doing = format!("could not create the account `{id}`");
                    return Err(SetupError::google(doing, conflict));
                }
            }
        }
    }

    /// Enables a disabled account.
    pub(super) async fn enable_account(&self, email: &str) -> Result<(), SetupError> {
        let path = format!(
            "v1/projects/{}/serviceAccounts/{email}:enable",
            self.request.project
        );
        let enabled: Result<Value, _> = self.google.post(Api::Iam.url(&path), &json!({})).await;
        enabled.map(drop).map_err(|cause| {
            SetupError::google(format!("could not enable the account `{email}`"), cause)
        })
    }

    /// Deletes an account.
    pub(super) async fn delete_account(&self, email: &str) -> Result<(), SetupError> {
        let path = format!(
            "v1/projects/{}/serviceAccounts/{email}",
            self.request.project
        );
        match self.google.delete::<Value>(Api::Iam.url(&path)).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(cause) => {
                let doing = format!("could not delete the account `{email}`");
                Err(SetupError::google(doing, cause))
            }
        }
    }

    /// The accounts that setup created, with any name.
    pub(super) async fn own_accounts(&self) -> Result<Vec<Account>, SetupError> {
        let path = format!("v1/projects/{}/serviceAccounts", self.request.project);
        let accounts = self.google.pages(Api::Iam.url(&path), "accounts").await;
        let mut accounts: Vec<Account> = accounts
            .map_err(|cause| SetupError::google("could not list the project's accounts", cause))?;
        accounts.retain(Account::is_ours);
        Ok(accounts)
    }
}
