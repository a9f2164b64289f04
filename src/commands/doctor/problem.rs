//! The problems that the checks find, each with the command or the setting that fixes it.

use crate::auth::Identity;
use crate::diagnostics::{Diagnostic, ExitCode};
use crate::google::preflight::MissingRole;
use crate::oci::reference::{ArtifactRegistryRepository, Endpoint};
use crate::registry::RegistryError;

/// A problem that would make a push fail.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    /// The API is not enabled in this project, which may differ from the repository's.
    #[error("the Artifact Registry API is not enabled in `{0}`")]
    ApiOff(String),
    /// The registry refused to open an upload.
    #[error("could not open an upload at `{0}`")]
    Upload(String, #[source] RegistryError),
    /// The repository does not exist, and this push does not create it.
    #[error("there is no repository `{}` in the location `{}` of `{}`", place.repository, place.location, place.project)]
    NoRepository {
        /// The missing repository.
        place: ArtifactRegistryRepository,
        /// Another location with a repository of that name. `None` if none was found.
        elsewhere: Option<String>,
        /// True for a `gcr.io` name, whose repository a push can create.
        is_made_by_push: bool,
        /// The identity that needs the permission to create it.
        identity: Identity,
    },
    /// The repository does not take pushed images.
    #[error("`{}` in `{}` of `{}` does not accept images: {what}", place.repository, place.location, place.project)]
    OtherKind {
        /// The repository.
        place: ArtifactRegistryRepository,
        /// The kind of the repository.
        what: String,
    },
    /// A role is missing.
    #[error(transparent)]
    Role(#[from] MissingRole),
    /// The scopes of the token are not enough for a push.
    #[error("the token used {identity} does not have the scopes for a push")]
    Scopes {
        /// The identity of the token.
        identity: Identity,
        /// True if the scope for writing is missing, false for reading.
        writes: bool,
    },
    /// The clock of this machine is wrong.
    #[error(
        "the clock of this machine is {seconds} s {} that of `{host}`",
        if *.is_ahead { "ahead of" } else { "behind" }
    )]
    Clock {
        /// The host that it was compared with.
        host: Endpoint,
        /// The difference in seconds.
        seconds: u64,
        /// True if it is ahead of the host, false if it is behind.
        is_ahead: bool,
    },
}

impl Diagnostic for Problem {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Role(_) | Self::Scopes { .. } => ExitCode::Denied,
            Self::Upload(_, cause) => cause.exit_code(),
            Self::ApiOff(_)
            | Self::NoRepository { .. }
            | Self::OtherKind { .. }
            | Self::Clock { .. } => ExitCode::Failed,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::ApiOff(project) => vec![format!(
                "enable it: `gcloud services enable artifactregistry.googleapis.com \
                 --project={project}`; it takes effect within minutes"
            )],
            Self::Upload(_, cause) => cause.hints(),
            Self::NoRepository {
                place,
                elsewhere,
                is_made_by_push,
                identity,
            } => {
                let mut hints = Vec::new();
                if let Some(location) = elsewhere {
                    hints.push(format!(
                        "a repository with this name exists in `{location}`: push to \
                         `{location}-docker.pkg.dev/{}/{}`",
                        place.project.replacen(':', "/", 1),
                        place.repository
                    ));
                }
                hints.push(format!("create it: {}", place.create()));
                if *is_made_by_push {
                    let (member, whose) = identity.grantee();
                    let command = place.let_create(&member);
                    hints.push(format!("or allow the push to create it: {command}{whose}"));
                }
                hints
            }
            Self::OtherKind { place, .. } => vec![format!(
                "push to a standard repository with the format Docker; this command creates one: \
                 {}",
                ArtifactRegistryRepository {
                    repository: "NAME".to_owned(),
                    ..place.clone()
                }
                .create()
            )],
            Self::Role(role) => role.hints(),
            Self::Scopes { identity, writes } => {
                vec![identity.lacks_scope(*writes).unwrap_or_else(|| {
                    "create it with the scope `https://www.googleapis.com/auth/cloud-platform`"
                        .to_owned()
                })]
            }
            Self::Clock { .. } => vec![
                "set the clock: Google refuses a signature if the clock is wrong by more than a \
                 few minutes"
                    .to_owned(),
            ],
        }
    }
}
