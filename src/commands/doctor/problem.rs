//! What the checks find wrong, each with the command or the setting that mends it.

use crate::auth::Identity;
use crate::diagnostics::{Diagnostic, ExitCode};
use crate::google::preflight::MissingRole;
use crate::oci::reference::{ArtifactRegistryRepository, Endpoint};
use crate::registry::RegistryError;

/// Something that would keep a push from being done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    /// The API is not enabled in this project, which may be another than the repository's.
    #[error("the Artifact Registry API is not enabled in `{0}`")]
    ApiOff(String),
    /// The registry opens no upload.
    #[error("could not open an upload at `{0}`")]
    Upload(String, #[source] RegistryError),
    /// There is no such repository, and this push does not make it.
    #[error("there is no repository `{}` in the location `{}` of `{}`", place.repository, place.location, place.project)]
    NoRepository {
        /// What was looked for.
        place: ArtifactRegistryRepository,
        /// Where a repository of that name is.
        elsewhere: Option<String>,
        /// True for a `gcr.io` name, whose repository a push may make.
        is_made_by_push: bool,
        /// Who would have to be allowed to make it.
        identity: Identity,
    },
    /// A repository of another kind.
    #[error("`{}` in `{}` of `{}` takes no images: {what}", place.repository, place.location, place.project)]
    OtherKind {
        /// The repository.
        place: ArtifactRegistryRepository,
        /// What it is.
        what: String,
    },
    /// A role that is missing.
    #[error(transparent)]
    Role(#[from] MissingRole),
    /// A token that was made for less than a push takes.
    #[error("the token that is shown {identity} was made for less than a push takes")]
    Scopes {
        /// Whose it is.
        identity: Identity,
        /// True where it is writing that is wanted, false for reading.
        writes: bool,
    },
    /// This machine's clock is wrong.
    #[error(
        "the clock of this machine is {seconds} s {} that of `{host}`",
        if *.is_ahead { "ahead of" } else { "behind" }
    )]
    Clock {
        /// Whose clock it was compared with.
        host: Endpoint,
        /// By how much.
        seconds: u64,
        /// In which direction.
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
                 --project={project}`; it takes a few minutes to be known everywhere"
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
                        "there is one of that name in `{location}`: push to \
                         `{location}-docker.pkg.dev/{}/{}`",
                        place.project.replacen(':', "/", 1),
                        place.repository
                    ));
                }
                hints.push(format!("create it once: {}", place.create()));
                if *is_made_by_push {
                    let (member, whose) = identity.grantee();
                    let command = place.let_create(&member);
                    hints.push(format!("or let the push create it: {command}{whose}"));
                }
                hints
            }
            Self::OtherKind { place, .. } => vec![format!(
                "push to a standard repository of the format Docker; another is made by {}",
                ArtifactRegistryRepository {
                    repository: "NAME".to_owned(),
                    ..place.clone()
                }
                .create()
            )],
            Self::Role(role) => role.hints(),
            Self::Scopes { identity, writes } => {
                vec![identity.lacks_scope(*writes).unwrap_or_else(|| {
                    "let it be made with the scope \
                     `https://www.googleapis.com/auth/cloud-platform`"
                        .to_owned()
                })]
            }
            Self::Clock { .. } => vec![
                "set the clock: Google refuses what is signed by one that is wrong by more than \
                 some minutes"
                    .to_owned(),
            ],
        }
    }
}
