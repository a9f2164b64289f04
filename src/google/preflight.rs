//! What whoever is signed in may do with an Artifact Registry repository, and the one such question
//! that every push can afford.

use std::time::Duration;

use super::{Api, Google, GoogleError};
use crate::auth::{Credential, Credentials, Identity};
use crate::diagnostics::{Diagnostic, ExitCode};
use crate::http::Network;
use crate::oci::reference::{ArtifactRegistryRepository, Endpoint};

const UPLOAD: &str = "artifactregistry.repositories.uploadArtifacts";
const DOWNLOAD: &str = "artifactregistry.repositories.downloadArtifacts";

/// How long a question may take whose answer only says more.
const TIMEOUT: Duration = Duration::from_secs(3);

/// What an identity may do with a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// It may pull.
    pub read: bool,
    /// It may push.
    pub write: bool,
}

/// A role that is missing on a repository.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} `{}` in `{}` of `{}` is not allowed {identity}",
    if *.writes { "pushing to" } else { "pulling from" },
    repository.repository, repository.location, repository.project
)]
pub struct MissingRole {
    /// The repository.
    pub repository: ArtifactRegistryRepository,
    /// Who lacks the role.
    pub identity: Identity,
    /// True for writing, false for reading.
    pub writes: bool,
    /// False if nothing at all is allowed, so that the repository may not even exist.
    pub exists: bool,
}

impl Diagnostic for MissingRole {
    fn exit_code(&self) -> ExitCode {
        ExitCode::Denied
    }

    fn hints(&self) -> Vec<String> {
        let (member, whose) = self.identity.grantee();
        let role = if self.writes { "writer" } else { "reader" };
        let command = self.repository.grant(&member, role);
        let mut hints = vec![format!(
            "grant the role: {command}{whose}; it takes effect within minutes"
        )];
        if !self.exists {
            hints.push(format!(
                "if the repository does not exist, create it: {}",
                self.repository.create()
            ));
        }
        hints
    }
}

impl Permissions {
    /// Asks Google in one request, which needs no permission itself. `resource` is the name of the
    /// repository: `projects/PROJECT/locations/LOCATION/repositories/REPOSITORY`.
    ///
    /// # Errors
    ///
    /// When Google does not answer the question.
    pub async fn of(google: &Google, resource: &str) -> Result<Self, GoogleError> {
        let path = format!("v1/{resource}:testIamPermissions");
        let url = Api::ArtifactRegistry.url(&path);
        let granted = google
            .test_iam_permissions(url, &[UPLOAD, DOWNLOAD])
            .await?;
        let has = |name: &str| granted.contains(name);
        Ok(Self {
            read: has(DOWNLOAD),
            write: has(UPLOAD),
        })
    }

    /// The same within [`TIMEOUT`]. `None` if there is no answer.
    async fn in_time(google: &Google, repository: &ArtifactRegistryRepository) -> Option<Self> {
        let resource = repository.resource();
        match tokio::time::timeout(TIMEOUT, Self::of(google, &resource)).await {
            Ok(Ok(permissions)) => Some(permissions),
            Ok(Err(error)) => {
                tracing::debug!("could not check the permissions on {resource}: {error}");
                None
            }
            Err(_) => {
                tracing::debug!("could not check the permissions on {resource} in time");
                None
            }
        }
    }

    /// The error of an identity that lacks one of them.
    pub fn missing_role(
        self,
        repository: &ArtifactRegistryRepository,
        identity: &Identity,
        writes: bool,
    ) -> MissingRole {
        MissingRole {
            repository: repository.clone(),
            identity: identity.clone(),
            writes,
            exists: self.read || self.write,
        }
    }
}

/// Whether whoever is signed in to `google` may write to a repository, by its permissions alone:
/// nothing is sent to the registry. `None` if Google does not say.
pub async fn may_write(google: &Google, repository: &ArtifactRegistryRepository) -> Option<bool> {
    let permissions = Permissions::in_time(google, repository).await;
    permissions.map(|permissions| permissions.write)
}

/// Asks in one request, before a push reads or sends anything, whether it may write. Passes if Google
/// does not say.
///
/// # Errors
///
/// When reading is allowed and writing is not.
pub async fn preflight(
    credentials: &Credentials,
    endpoint: &Endpoint,
    repository: &ArtifactRegistryRepository,
    network: &Network,
) -> Result<(), MissingRole> {
    let Ok(credential @ Credential::Tokens(_)) = credentials.for_destination(endpoint).await else {
        return Ok(());
    };
    let Ok(google) = Google::new(credential.clone(), network) else {
        return Ok(());
    };
    match Permissions::in_time(&google.short_retries(), repository).await {
        Some(permissions) if permissions.read && !permissions.write => {
            let identity = owner(&credential).await;
            Err(permissions.missing_role(repository, &identity, true))
        }
        Some(_) | None => Ok(()),
    }
}

/// Whom a credential belongs to. Google is asked if the credential does not say it itself.
async fn owner(credential: &Credential) -> Identity {
    let identity = credential.identity();
    let Credential::Tokens(tokens) = credential else {
        return identity;
    };
    if !matches!(identity, Identity::AccessToken | Identity::User) {
        return identity;
    }
    let email = async {
        let token = tokens.token().await.ok()?;
        tokens.info(&token).await?.email
    };
    let email = tokio::time::timeout(TIMEOUT, email).await;
    with_owner(identity, email.ok().flatten())
}

/// The identity of a token whose owner Google named, if the credential does not say it itself.
pub fn with_owner(identity: Identity, owner: Option<String>) -> Identity {
    match (identity, owner) {
        (Identity::AccessToken | Identity::User, Some(email)) => Identity::Account(email),
        (identity, _) => identity,
    }
}
