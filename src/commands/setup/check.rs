//! The check at the end: each account with a token of its own, asked what it may do. And what is
//! over-privileged, named.

use std::collections::BTreeSet;
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
use crate::google::{Api, Backoff, Google, GoogleError, Grant, Policy, Resource};

/// What the check found, a row for each account and repository, and sentences on what is too much.
#[derive(Debug, Default)]
pub(super) struct AccountChecks {
    pub(super) rows: Vec<[String; 4]>,
    pub(super) warnings: Vec<String>,
}

const DOWNLOAD: &str = "artifactregistry.repositories.downloadArtifacts";
const UPLOAD: &str = "artifactregistry.repositories.uploadArtifacts";

/// The same on the bucket of the old registry.
const GET_OBJECTS: &str = "storage.objects.get";
const CREATE_OBJECTS: &str = "storage.objects.create";

/// How long a grant may take to hold: two minutes as a rule, seven or more at times.
/// <https://cloud.google.com/iam/docs/access-change-propagation>
pub(super) const GRANT_PROPAGATION: Duration = Duration::from_secs(8 * 60);

/// How long a new key may take to be known.
const ACCOUNT_PROPAGATION: Duration = Duration::from_secs(2 * 60);

impl Setup<'_> {
    /// Checks both accounts on every repository, or on the buckets that are a registry still.
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
        checked.warnings.extend(self.too_much(services).await?);
        Ok(checked)
    }

    /// Where an account's permissions are asked for.
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
                        "not asked".to_owned(),
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
            let (verdict, note) = match held {
                Ok(may) => judged(role, &may),
                Err(error) => ("not known".to_owned(), error.to_string()),
            };
            if role == Role::Puller && verdict == OVERPRIVILEGED {
                checked.warnings.push(format!(
                    "{email} may push to `{subject}` as well, by a role that it has elsewhere: whoever \
                     reads a cluster's pull secret could replace images"
                ));
            }
            let note = if note.is_empty() { how.clone() } else { note };
            checked
                .rows
                .push([email.clone(), registry.host.to_string(), verdict, note]);
        }
        Ok(())
    }

    /// A credential of the account itself, and where it is from; else why there is none.
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
            let mut patience = Backoff::new(ACCOUNT_PROPAGATION);
            // A key that was made just now is not known everywhere.
            while let Err(error) = credential.basic().await {
                if !patience.wait().await {
                    return Err(signed_in(error));
                }
                tracing::info!("Google does not know the new key of `{email}` yet; waiting");
            }
            return Ok(Ok((credential, "with its key".to_owned())));
        }
        match self.borrowed(&email).await {
            Ok(token) => {
                let how = "with a token that Google lent".to_owned();
                let token = GoogleCredential::AccessToken(token);
                let credential = Credential::of(CredentialSource::Setup, token, self.network).await;
                let signed_in = |cause| SetupError::SignIn(email.clone(), Box::new(cause));
                Ok(Ok((credential.map_err(signed_in)?, how)))
            }
            Err(error) if error.is_service_disabled() => Ok(Err(format!(
                "it has no key here, and the API {}, which would lend a token of it, is off; its \
                 policy is as it should be",
                Api::IamCredentials.service()
            ))),
            Err(error) if error.status() == Some(403) => Ok(Err(
                "it has no key here, and who runs setup may not act as it; its policy is as it \
                 should be"
                    .to_owned(),
            )),
            Err(error) => Ok(Err(error.to_string())),
        }
    }

    /// A token of another account, for who may have one.
    pub(super) async fn borrowed(&self, email: &str) -> Result<Secret, GoogleError> {
        /// It has no `Debug`: it is a token.
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Lent {
            access_token: String,
        }
        let path = format!("v1/projects/-/serviceAccounts/{email}:generateAccessToken");
        let body = json!({
            "scope": ["https://www.googleapis.com/auth/cloud-platform"],
            "lifetime": "600s",
        });
        let url = Api::IamCredentials.url(&path);
        let lent: Lent = self.google.post(url, &body).await?;
        Ok(Secret::new(lent.access_token))
    }

    /// What both accounts may do in the whole project besides, for the plan.
    pub(super) async fn plan_warnings(&self, services: &Services, plan: &mut SetupPlan) {
        if !services.has(Api::ResourceManager) {
            return;
        }
        let accounts = [Role::Pusher, Role::Puller].map(|role| names::member(&self.email(role)));
        let is_one = |member: &str| accounts.iter().any(|account| account == member);
        match self.broad_roles(is_one).await {
            Ok(found) => plan.warnings.extend(found),
            Err(error) => plan.notes.push(format!(
                "which roles the accounts have on the whole project was not looked at: {error}"
            )),
        }
    }

    /// A warning for each broad role on the project of a service account that `is_meant`.
    async fn broad_roles(
        &self,
        is_meant: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>, GoogleError> {
        let project = &self.request.project;
        let resource = Resource::Project(project.clone());
        let policy = self.google.policy(&resource).await?;
        let mut warnings = Vec::new();
        for Grant { role, member } in policy.grants() {
            let is_account = member.starts_with("serviceAccount:") && is_meant(&member);
            // A first push is given this one, and it is taken back.
            let is_temporary = self.request.backend == Backend::Storage
                && role == storage::TEMPORARY_ROLE
                && member == names::member(&self.email(Role::Pusher));
            if let (true, false, Some(why)) = (is_account, is_temporary, broad(&role)) {
                warnings.push(format!(
                    "{member} has `{role}` on the whole project, {why}: where it only pushes or \
                     pulls, `gcloud projects remove-iam-policy-binding {project} \
                     --member={member} --role={role} --condition=None` takes it away"
                ));
            }
        }
        Ok(warnings)
    }

    /// Roles of the project's own accounts that are more than pushing and pulling takes, and keys
    /// that are old.
    async fn too_much(&self, services: &Services) -> Result<Vec<String>, SetupError> {
        let mut warnings = Vec::new();
        if services.has(Api::ResourceManager) {
            let own = format!("@{}", account_host(&self.request.project));
            let is_own = |member: &str| member.ends_with(&own);
            match self.broad_roles(is_own).await {
                Ok(found) => warnings.extend(found),
                // It is a look at others' affairs: what may not be seen is no failure of ours.
                Err(error) => tracing::warn!("the project's policy was not looked at: {error}"),
            }
        }
        for role in [Role::Pusher, Role::Puller] {
            let email = self.email(role);
            match self.keys(&email).await {
                Ok(keys) => {
                    for key in keys.iter().filter(|key| key.is_old()) {
                        warnings.push(format!(
                            "the key {} of {email} is of {}: replace it, and delete it with \
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

/// What permissions are held on.
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

/// Whether an account pulls and pushes there; asked again while what it was given does not hold yet.
async fn permissions(
    google: &Google,
    subject: &Subject,
    role: Role,
) -> Result<AccountPermissions, GoogleError> {
    let mut patience = Backoff::new(GRANT_PROPAGATION);
    loop {
        let may = match subject {
            Subject::Repository(name) => {
                let path = format!("v1/{name}:testIamPermissions");
                let url = Api::ArtifactRegistry.url(&path);
                AccountPermissions::of(
                    &google
                        .test_iam_permissions(url, &[DOWNLOAD, UPLOAD])
                        .await?,
                    DOWNLOAD,
                    UPLOAD,
                )
            }
            Subject::Bucket(name) => {
                let held = storage::held(google, name, &[GET_OBJECTS, CREATE_OBJECTS]).await?;
                AccountPermissions::of(&held, GET_OBJECTS, CREATE_OBJECTS)
            }
        };
        let enough = match role {
            Role::Pusher => may.push,
            Role::Puller => may.pull,
        };
        if enough || !patience.wait().await {
            return Ok(may);
        }
        tracing::info!("what was granted on `{subject}` does not hold yet; waiting");
    }
}

/// What an account may do.
struct AccountPermissions {
    pull: bool,
    push: bool,
}

impl AccountPermissions {
    fn of(held: &BTreeSet<String>, pull: &str, push: &str) -> Self {
        Self {
            pull: held.contains(pull),
            push: held.contains(push),
        }
    }
}

const OVERPRIVILEGED: &str = "may push";

fn judged(role: Role, may: &AccountPermissions) -> (String, String) {
    let verdict = match (role, may.pull, may.push) {
        (Role::Pusher, true, true) => "pushes and pulls",
        // What Google's page gives for pushing to a bucket reads no objects.
        (Role::Pusher, false, true) => "pushes",
        (Role::Puller, true, false) => "pulls",
        (Role::Puller, _, true) => OVERPRIVILEGED,
        _ => {
            let note = "Google has the grant, and it does not hold yet: it can take ten minutes";
            return ("not yet".to_owned(), note.to_owned());
        }
    };
    (verdict.to_owned(), String::new())
}

/// A warning for each role on a repository or a bucket by which the account that pulls could push.
pub(super) fn puller_s_broad_roles(
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
                "{puller} has `{role}` on `{resource}`: whoever reads a cluster's pull secret could \
                 replace images"
            )
        })
        .collect()
}

/// Why a role is too much for an account that pushes or pulls.
fn broad(role: &str) -> Option<&'static str> {
    Some(match role {
        "roles/storage.admin" => {
            "which is the first push's on the old registry, and opens every bucket"
        }
        "roles/storage.objectAdmin"
        | "roles/storage.objectUser"
        | "roles/storage.objectCreator"
        | "roles/storage.legacyBucketWriter"
        | "roles/storage.legacyBucketOwner" => "which opens every bucket",
        "roles/owner" | "roles/editor" => "which opens nearly all that is in it",
        "roles/artifactregistry.admin"
        | "roles/artifactregistry.repoAdmin"
        | "roles/artifactregistry.writer"
        | "roles/artifactregistry.createOnPushWriter"
        | "roles/artifactregistry.createOnPushRepoAdmin" => "which opens every repository",
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
