//! What keeps a mirror from being planned.

use super::PlannedImage;
use crate::diagnostics::{Diagnostic, ExitCode};
use crate::error::Error;
use crate::image::SourceError;
use crate::oci::reference::ReferenceError;
use crate::registry::RegistryError;

/// A plan that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// A registry does not list what it was asked for.
    #[error("could not list `{what}`")]
    List {
        /// `host/path`.
        what: String,
        /// What the registry said.
        #[source]
        cause: RegistryError,
    },
    /// GitLab does not list what a group has.
    #[error("could not list the repositories of GitLab's `{what}`")]
    Group {
        /// `host/path`.
        what: String,
        /// What GitLab said.
        #[source]
        cause: RegistryError,
    },
    /// GitLab has no such group, project or user, or does not show it.
    #[error("GitLab shows no group, project or user `{0}` to this login")]
    NoGroup(String),
    /// The login is a job's own, which lists no group.
    #[error("the login for GitLab's `{0}` is the job's own token, which lists no group")]
    JobToken(String),
    /// There is nothing below a path.
    #[error("there is no repository below `{0}`")]
    NothingBelow(String),
    /// There is no such repository.
    #[error("the repository `{0}` does not exist")]
    NoRepository(String),
    /// No such tag.
    #[error("`{0}` does not exist")]
    NoImage(String),
    /// The newest by date are wanted of a registry that tells no dates.
    #[error("`{0}` cannot be ordered by date: its registry does not tell when a tag was uploaded")]
    NoDates(String),
    /// A plan file that knows none of the repositories.
    #[error(
        "`{0}` is the plan of other images: it names none of the repositories that are mirrored"
    )]
    ForeignPlan(String),
    /// Two images would arrive under one name.
    #[error("both `{first}` and `{second}` would become `{target}`")]
    Collision {
        /// One of them.
        first: String,
        /// The other.
        second: String,
        /// What both are to be called.
        target: String,
    },
    /// One image would arrive under one name in two forms.
    #[error("two entries bring `{image}` to `{target}`, each with other platforms")]
    Platforms {
        /// The image.
        image: String,
        /// What it is to be called.
        target: String,
    },
    /// An image could not be read, or not as it is wanted.
    #[error("could not mirror `{image}`")]
    Image {
        /// The image.
        image: String,
        /// Why.
        #[source]
        cause: Box<Error>,
    },
    /// A name that no registry takes.
    #[error("`{source_name}` cannot be put there")]
    Name {
        /// The image.
        source_name: String,
        /// What is wrong with its new name.
        #[source]
        cause: ReferenceError,
    },
}

impl MirrorError {
    /// What kept an image from being brought anywhere.
    pub(super) fn of_image(item: &PlannedImage, cause: Error) -> Self {
        match cause {
            Error::Source(SourceError::NoImage { .. }) => Self::NoImage(item.source.to_string()),
            Error::Mirror(error) => error,
            cause => Self::Image {
                image: item.name.clone(),
                cause: Box::new(cause),
            },
        }
    }
}

impl Diagnostic for MirrorError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::List { cause, .. } | Self::Group { cause, .. } => cause.exit_code(),
            Self::NoGroup(_) | Self::JobToken(_) => ExitCode::Denied,
            Self::NothingBelow(_) | Self::NoRepository(_) | Self::NoImage(_) => ExitCode::Failed,
            Self::Image { cause, .. } => cause.exit_code(),
            Self::NoDates(_)
            | Self::ForeignPlan(_)
            | Self::Collision { .. }
            | Self::Platforms { .. }
            | Self::Name { .. } => ExitCode::Usage,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::List { cause, .. } => cause.hints(),
            Self::Group { .. } | Self::NoGroup(_) | Self::JobToken(_) => vec![
                "give that registry a login whose password is a group access token, or a person's, \
                 with the role Reporter and the scopes `read_api` and `read_registry`: neither \
                 CI_JOB_TOKEN nor a deploy token lists a group; or name the repositories one by one"
                    .to_owned(),
            ],
            Self::ForeignPlan(_) => vec![
                "make it anew with `dry_run: true`, once for all runners, or leave `plan_file` out"
                    .to_owned(),
            ],
            Self::NothingBelow(_) => vec![
                "some registries list only what the login may see, and some list nothing: name \
                 the repositories one by one"
                    .to_owned(),
            ],
            Self::NoDates(_) => vec!["use `by: semver`".to_owned()],
            Self::Collision { .. } => vec![
                "keep them apart with `to: \"{path}\"`, which is the whole path of the source, or with \
                 `tags`"
                    .to_owned(),
            ],
            Self::Platforms { .. } => vec![
                "give both the same `platforms`, or one of them a name of its own with `to`"
                    .to_owned(),
            ],
            Self::Image { cause, .. } => cause.hints(),
            Self::NoRepository(_) | Self::NoImage(_) => vec![
                "where it does, the login of its registry may not see it; name another tag, or take \
                 the entry out"
                    .to_owned(),
            ],
            Self::Name { .. } => vec!["choose another name with `to`".to_owned()],
        }
    }
}
