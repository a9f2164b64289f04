//! The final check: tests the permissions of each account with its own token, and warns of
//! overprivileged accounts.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::names;
use super::plan::SetupPlan;
use super::repositories;
use super::services::Services;
use super::storage;
use super::{Setup, SetupError};
use crate::auth::{Credential, CredentialSource, GoogleCredential};
use crate::ci::table::Table;
use crate::commands::setup::request::{Backend, Role, SetupRegistry, account_host};
use crate::diagnostics::secret::Secret;
use crate::google::preflight::Permissions;
use crate::google::{Api, Backoff, Google, GoogleError, Grant, Policy, Resource};

/// The results of the check: a row for each account and repository, and warnings as sentences.
#[derive(Debug, Default)]
pub(super) struct AccountChecks {
    pub(super) rows: Vec<[String; 4]>,
    pub(super) warnings: Vec<String>,
}

/// The time that a grant may take to propagate: usually two minutes, sometimes seven or more.
/// <https://cloud.google.com/iam/docs/access-change-propagation>
pub(super) const GRANT_PROPAGATION: Duration = Duration::from_secs(8 * 60);

/// The time that a new key may take to propagate.
const KEY_PROPAGATION: Duration = Duration::from_secs(2 * 60);

impl Setup<'_> {
    /// Checks both accounts on every repository, or on the buckets that still serve a registry.
    pub(super) async fn check(&self, services: &Services) -> Result<AccountChecks, SetupError> {
        let mut checked = AccountChecks::default();
        let is_asked = match self.request.backend {
            Backend::ArtifactRegistry => true,
            Backend::Storage => {
                let state = self.redirection(services).await?.unwrap_or_default();
                !repositories::is_redirected(&state)
            }
        };
        if is_asked {
            for role in [Role::Pusher, Role::Puller] {
                self.check_account(role, &mut checked).await?;
            }
        }
        checked
            .warnings
            .extend(self.overprivileged(services).await?);
        Ok(checked)
    }

    /// The resource on which an account's permissions are tested.
    fn subject(&self, registry: &SetupRegistry) -> Subject {
        match self.request.backend {
            Backend::ArtifactRegistry => {
                Subject::Repository(names::repository(&self.request.project, registry))
            }
            Backend::Storage => Subject::Bucket(self.bucket(registry)),
        }
    }

    async fn check_account(
        &self,
        role: Role,
        checked: &mut AccountChecks,
    ) -> Result<(), SetupError> {
        let email = self.email(role);
        let (credential, how) = match self.credential_of(role).await? {
            Ok(found) => found,
            Err(why) => {
                for registry in &self.request.registries {
                    checked.rows.push([
                        email.clone(),
                        registry.host.to_string(),
                        "not checked".to_owned(),
                        why.clone(),
                    ]);
                }
                return Ok(());
            }
        };
        let google = Google::new(credential, self.network).map_err(SetupError::Network)?;
        for registry in &self.request.registries {
            let subject = self.subject(registry);
            let held = permissions(&google, &subject, role).await;
            let (result, note) = match held {
                Ok(permissions) => assess(role, permissions),
                Err(error) => ("unknown".to_owned(), error.to_string()),
            };
            if role == Role::Puller && result == OVERPRIVILEGED {
                checked.warnings.push(format!(
                    "{email} can also push to `{subject}`, with a role from elsewhere: everyone \
                     who reads a cluster's pull secret could replace images"
                ));
            }
            let note = if note.is_empty() { how.clone() } else { note };
            checked
                .rows
                .push([email.clone(), registry.host.to_string(), result, note]);
        }
        Ok(())
    }

    /// A credential of the account and its origin, or the reason why there is none.
    pub(super) async fn credential_of(
        &self,
        role: Role,
    ) -> Result<Result<(Credential, String), String>, SetupError> {
        let email = self.email(role);
        if let Some(key) = self.key_of(role) {
            let signed_in = |cause| SetupError::SignIn(email.clone(), Box::new(cause));
            let key = GoogleCredential::Key(key);
            let credential = Credential::of(CredentialSource::Setup, key, self.network)
                .await
                .map_err(signed_in)?;
            let mut backoff = Backoff::new(KEY_PROPAGATION);
            // A new key takes time to propagate.
            while let Err(error) = credential.basic().await {
                if !backoff.wait().await {
                    return Err(signed_in(error));
                }
                tracing::info!("Google does not know the new key of `{email}` yet; waiting");
            }
            return Ok(Ok((credential, "with its key".to_owned())));
        }
        match self.impersonated_token(&email).await {
            Ok(token) => {
                let how = "with an impersonated token".to_owned();
                let token = GoogleCredential::AccessToken(token);
                let credential = Credential::of(CredentialSource::Setup, token, self.network).await;
                let signed_in = |cause| SetupError::SignIn(email.clone(), Box::new(cause));
                Ok(Ok((credential.map_err(signed_in)?, how)))
            }
            Err(error) if error.is_service_disabled() => Ok(Err(format!(
                "it has no key here, and the API {}, which issues tokens for it, is not enabled; \
                 its policy is correct",
                Api::IamCredentials.service()
            ))),
            Err(error) if error.status() == Some(403) => Ok(Err(
                "it has no key here, and the user who runs setup is not allowed to impersonate \
                 it; its policy is correct"
                    .to_owned(),
            )),
            Err(error) => Ok(Err(error.to_string())),
        }
    }

    /// Obtains a token of another account by impersonation.
    pub(super) async fn impersonated_token(&self, email: &str) -> Result<Secret, GoogleError> {
        /// It has no `Debug`, because it contains a token.
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct TokenResponse {
            access_token: String,
        }
        let path = format!("v1/projects/-/serviceAccounts/{email}:generateAccessToken");
        let body = json!({
            "scope": ["https://www.googleapis.com/auth/cloud-platform"],
            "lifetime": "600s",
        });
        let url = Api::IamCredentials.url(&path);
        let response: TokenResponse = self.google.post(url, &body).await?;
        Ok(Secret::new(response.access_token))
    }

    /// Adds warnings about the accounts' roles on the whole project to the plan.
    pub(super) async fn plan_warnings(&self, services: &Services, plan: &mut SetupPlan) {
        if !services.has(Api::ResourceManager) {
            return;
        }
        let accounts = [Role::Pusher, Role::Puller].map(|role| names::member(&self.email(role)));
        let is_one = |member: &str| accounts.iter().any(|account| account == member);
        match self.broad_roles(is_one).await {
            Ok(found) => plan.warnings.extend(found),
            Err(error) => plan.notes.push(format!(
                "the roles of the accounts on the whole project were not checked: {error}"
            )),
        }
    }

    /// One warning for each broad role on the project of a matching service account.
    async fn broad_roles(
        &self,
        matches: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>, GoogleError> {
        let project = &self.request.project;
        let resource = Resource::Project(project.clone());
        let policy = self.google.policy(&resource).await?;
        let mut warnings = Vec::new();
        for Grant { role, member } in policy.grants() {
            let is_account = member.starts_with("serviceAccount:") && matches(&member);
            // The first push needs this role, and setup revokes it.
            let is_temporary = self.request.backend == Backend::Storage
                && role == storage::TEMPORARY_ROLE
                && member == names::member(&self.email(Role::Pusher));
            if let (true, false, Some(why)) = (is_account, is_temporary, broad(&role)) {
                warnings.push(format!(
                    "{member} has `{role}` on the whole project, {why}: if it only pushes or \
                     pulls, `gcloud projects remove-iam-policy-binding {project} --member={member} \
                     --role={role} --condition=None` removes the role"
                ));
            }
        }
        Ok(warnings)
    }

    /// Warnings about broad roles of the project's accounts, and about old keys.
    async fn overprivileged(&self, services: &Services) -> Result<Vec<String>, SetupError> {
        let mut warnings = Vec::new();
        if services.has(Api::ResourceManager) {
            let own = format!("@{}", account_host(&self.request.project));
            let is_own = |member: &str| member.ends_with(&own);
            match self.broad_roles(is_own).await {
                Ok(found) => warnings.extend(found),
                // These are other accounts too, so an unreadable policy is no failure.
                Err(error) => tracing::warn!("the project's policy was not checked: {error}"),
            }
        }
        for role in [Role::Pusher, Role::Puller] {
            let email = self.email(role);
            match self.keys(&email).await {
                Ok(keys) => {
                    for key in keys.iter().filter(|key| key.is_old()) {
                        warnings.push(format!(
                            "the key {} of {email} is from {}: replace it, and delete it with \
                             `gcloud iam service-accounts keys delete {} --iam-account={email} \
                             --quiet`",
                            key.id(),
                            key.day(),
                            key.id()
                        ));
                    }
                }
                Err(error) => tracing::warn!("{error}"),
            }
        }
        Ok(warnings)
    }
}

/// A resource on which permissions are tested.
enum Subject {
    Repository(String),
    Bucket(String),
}

impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repository(name) => formatter.write_str(name),
            Self::Bucket(name) => write!(formatter, "gs://{name}"),
        }
    }
}

/// Tests whether an account can pull and push. Waits while its grant propagates.
async fn permissions(
    google: &Google,
    subject: &Subject,
    role: Role,
) -> Result<Permissions, GoogleError> {
    let mut backoff = Backoff::new(GRANT_PROPAGATION);
    loop {
        let permissions = match subject {
            Subject::Repository(name) => Permissions::of(google, name).await?,
            Subject::Bucket(name) => storage::bucket_permissions(google, name).await?,
        };
        let enough = match role {
            Role::Pusher => permissions.write,
            Role::Puller => permissions.read,
        };
        if enough || !backoff.wait().await {
            return Ok(permissions);
        }
        tracing::info!("the roles that were granted on `{subject}` have no effect yet; waiting");
    }
}

const OVERPRIVILEGED: &str = "may push";

fn assess(role: Role, permissions: Permissions) -> (String, String) {
    let result = match (role, permissions.read, permissions.write) {
        (Role::Pusher, true, true) => "pushes and pulls",
        // The role that Google documents for pushing to a bucket cannot read objects.
        (Role::Pusher, false, true) => "pushes",
        (Role::Puller, true, false) => "pulls",
        (Role::Puller, _, true) => OVERPRIVILEGED,
        _ => {
            let note = "Google has the grant, but it has no effect yet: this can take ten minutes";
            return ("not yet".to_owned(), note.to_owned());
        }
    };
    (result.to_owned(), String::new())
}

/// One warning for each role on a repository or a bucket with which the puller could push.
pub(super) fn puller_write_roles(
    policy: &Policy,
    resource: &Resource,
    puller: &str,
) -> Vec<String> {
    let member = names::member(puller);
    let grants = policy.grants().filter(|grant| grant.member == member);
    let writes = grants.filter(|grant| broad(&grant.role).is_some());
    writes
        .map(|Grant { role, .. }| {
            format!(
                "{puller} has `{role}` on `{resource}`: everyone who reads a cluster's pull \
                 secret could replace images"
            )
        })
        .collect()
}

/// The reason why a role is too broad for an account that pushes or pulls. `None` if it is not.
fn broad(role: &str) -> Option<&'static str> {
    Some(match role {
        "roles/storage.admin" => {
            "which is only for the first push to the old registry, and gives access to every \
             bucket"
        }
        "roles/storage.objectAdmin"
        | "roles/storage.objectUser"
        | "roles/storage.objectCreator"
        | "roles/storage.legacyBucketWriter"
        | "roles/storage.legacyBucketOwner" => "which gives access to every bucket",
        "roles/owner" | "roles/editor" => "which gives access to nearly everything in it",
        "roles/artifactregistry.admin"
        | "roles/artifactregistry.repoAdmin"
        | "roles/artifactregistry.writer"
        | "roles/artifactregistry.createOnPushWriter"
        | "roles/artifactregistry.createOnPushRepoAdmin" => {
            "which gives access to every \
                                                             repository"
        }
        _ => return None,
    })
}

impl fmt::Display for AccountChecks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rows.is_empty() {
            return Ok(());
        }
        let mut table = Table::new(["ACCOUNT", "REGISTRY", "CHECKED", "HOW"]);
        for row in &self.rows {
            table.row(row.clone());
        }
        write!(formatter, "{table}")
    }
}
