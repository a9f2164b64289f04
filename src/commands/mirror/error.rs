//! The errors of `mirror`.

use std::io;
use std::sync::Arc;

use super::PlannedImage;
use crate::auth::AuthError;
use crate::ci::output::OutputError;
use crate::commands::pull_secret::PullSecretError;
use crate::diagnostics::sanitize::{quoted, sanitize};
use crate::diagnostics::{Diagnostic, ExitCode, SharedError};
use crate::image::SourceError;
use crate::kubernetes::WorkloadListError;
use crate::oci::digest::Digest;
use crate::oci::reference::ReferenceError;
use crate::push::PushError;
use crate::registry::ListingError;
use crate::registry::pool::PoolError;

/// An error of `mirror`.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// There is no credential for a destination.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// A registry cannot be opened.
    #[error(transparent)]
    Open(#[from] Arc<PoolError>),
    /// An image cannot be read.
    #[error(transparent)]
    Source(SourceError),
    /// An image could not be pushed to any destination.
    #[error(transparent)]
    Push(PushError),
    /// A destination did not get an image.
    #[error(transparent)]
    Destination(SharedError),
    /// The pull secret could not be created.
    #[error(transparent)]
    PullSecret(#[from] PullSecretError),
    /// A result could not be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A registry did not list a path.
    #[error(transparent)]
    Listing(#[from] ListingError),
    /// There is no repository below a path.
    #[error("there is no repository below `{0}`")]
    NothingBelow(String),
    /// The repository does not exist.
    #[error("the repository `{0}` does not exist")]
    NoRepository(String),
    /// The image does not exist.
    #[error("`{0}` does not exist")]
    NoImage(String),
    /// The newest by date are requested of a registry that reports no dates.
    #[error(
        "`{0}` cannot be ordered by date: its registry does not report when a tag was uploaded"
    )]
    NoDates(String),
    /// Two images would have the same name at the destination.
    #[error("both `{first}` and `{second}` would become `{target}`")]
    Collision {
        /// One of them.
        first: String,
        /// The other.
        second: String,
        /// The name of both.
        target: String,
    },
    /// Two entries select the same image with different platforms.
    #[error("two entries mirror `{image}` to `{target}` with different platforms")]
    Platforms {
        /// The image.
        image: String,
        /// Its name at the destination.
        target: String,
    },
    /// An image could not be read or pushed.
    #[error("could not mirror `{image}`")]
    Image {
        /// The image.
        image: String,
        /// The reason.
        #[source]
        cause: Box<Self>,
    },
    /// A cluster does not list what it runs.
    #[error(transparent)]
    Cluster(#[from] WorkloadListError),
    /// No workload names an image.
    #[error("no workload in {place} names an image: {what}")]
    NoWorkload {
        /// Where they were looked for, in words.
        place: String,
        /// What is there instead, by kind.
        what: String,
    },
    /// An object names as an image what is none.
    #[error("`{image}`, which {used_by} names, is not an image")]
    NoReference {
        /// The name, escaped and shortened.
        image: String,
        /// The object.
        used_by: String,
        /// The error of the name.
        #[source]
        cause: ReferenceError,
    },
    /// A pattern of `paths` matches no file.
    #[error("{} in `paths` matches no file", quoted(.0))]
    NoManifest(String),
    /// A file of `paths` cannot be read.
    #[error("could not read {}", quoted(.0))]
    UnreadManifest(String, #[source] io::Error),
    /// A file of `paths` is not YAML.
    #[error("{} is not YAML: {}", quoted(file), sanitize(reason))]
    NoYaml {
        /// The file.
        file: String,
        /// The error of the parser, which may quote the file.
        reason: String,
    },
    /// An image that a workload names cannot be compared.
    #[error("could not check `{image}`, which {used_by} names")]
    Workload {
        /// The image.
        image: String,
        /// The objects.
        used_by: String,
        /// The reason.
        #[source]
        cause: Box<Self>,
    },
    /// The source does not have the digest that runs.
    #[error("the running image, {0}, is no longer in its registry: its tag was moved or deleted")]
    Gone(Digest),
    /// A required destination is not up to date, and the run was asked to check that.
    #[error("the required destinations lack images: {0}")]
    Incomplete(String),
    /// The name at the destination is invalid.
    #[error("`{source_name}` cannot have this name at the destination")]
    Name {
        /// The image.
        source_name: String,
        /// The error of the new name.
        #[source]
        cause: ReferenceError,
    },
}

impl MirrorError {
    /// The error with the objects that name the image, if workloads do.
    pub(super) fn of_workload(self, image: &PlannedImage) -> Self {
        match &image.used_by {
            Some(used_by) => Self::Workload {
                image: image.name.clone(),
                used_by: used_by.clone(),
                cause: Box::new(self),
            },
            None => self,
        }
    }

    /// The error of an image that could not be copied to any destination.
    pub(super) fn of_image(image: &PlannedImage, cause: Self) -> Self {
        match cause {
            Self::Source(SourceError::NoImage { .. }) => Self::NoImage(image.source.to_string()),
            Self::Auth(_) | Self::Open(_) | Self::Source(_) | Self::Push(_) => Self::Image {
                image: image.name.clone(),
                cause: Box::new(cause),
            },
            cause => cause,
        }
    }
}

impl Diagnostic for MirrorError {
    fn diagnostic_source(&self) -> Option<&dyn Diagnostic> {
        Some(match self {
            Self::Auth(error) => error,
            Self::Open(error) => &**error,
            Self::Source(error) => error,
            Self::Push(error) => error,
            Self::Destination(error) => &**error,
            Self::PullSecret(error) => error,
            Self::Output(error) => error,
            Self::Cluster(error) => error,
            Self::Image { cause, .. } | Self::Workload { cause, .. } => &**cause,
            Self::Listing(error) => error,
            _ => return None,
        })
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoManifest(_)
            | Self::UnreadManifest(..)
            | Self::NoYaml { .. }
            | Self::NoDates(_)
            | Self::Collision { .. }
            | Self::Platforms { .. }
            | Self::Name { .. } => ExitCode::Usage,
            _ => self.source_exit_code(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Listing(ListingError::Registry(_, cause)) => cause.hints(),
            Self::Listing(error) => {
                let mut hints = error.hints();
                let or = if hints.is_empty() { "" } else { "or " };
                hints.push(format!("{or}name the repositories one by one"));
                hints
            }
            Self::NothingBelow(_) => vec![
                "some registries list only what the login is allowed to see, and some list \
                 nothing: name the repositories one by one"
                    .to_owned(),
            ],
            Self::NoDates(_) => vec!["use `by: semver`".to_owned()],
            Self::Collision { .. } => vec![
                "separate them with `to: \"{path}\"`, which is the whole path of the source, with \
                 `to: \"{host}/{path}\"`, or with `tags`"
                    .to_owned(),
            ],
            Self::Platforms { .. } => vec![
                "set the same `platforms` for both, or set a different name for one of them with \
                 `to`"
                    .to_owned(),
            ],
            Self::NoRepository(_) | Self::NoImage(_) => vec![
                "if it does exist, the login of its registry may not be allowed to see it; use \
                 another tag, or remove the entry"
                    .to_owned(),
            ],
            Self::Name { .. } => vec!["choose another name with `to`".to_owned()],
            Self::NoWorkload { .. } => vec![
                "check the namespaces, the cluster or the files; for a chart, use the output of \
                 `helm template`, and for an overlay, the output of `kustomize build`"
                    .to_owned(),
            ],
            Self::NoReference { .. } => {
                vec!["exclude it with `exclude`, or set an image in the object".to_owned()]
            }
            Self::NoManifest(_) => vec![
                "a path is relative to the directory where gcr-push runs, and matches files, not a \
                 directory; `*` matches a part of a name, `**` any directories"
                    .to_owned(),
            ],
            Self::UnreadManifest(_, cause) if cause.kind() == io::ErrorKind::InvalidData => {
                vec!["save it as UTF-8: `>` of Windows PowerShell writes UTF-16".to_owned()]
            }
            Self::NoYaml { .. } => {
                vec!["for a chart, use the output of `helm template`, not its templates".to_owned()]
            }
            Self::Workload { cause, .. } => {
                let mut hints = match &**cause {
                    Self::NoImage(_) | Self::Gone(_) => Vec::new(),
                    cause => cause.hints(),
                };
                hints.push(
                    "use `exclude` for an image that only a node has, or whose registry refuses \
                     access"
                        .to_owned(),
                );
                hints
            }
            Self::Incomplete(_) => {
                vec!["run it without `dry_run` to copy what is missing".to_owned()]
            }
            _ => self.source_hints(),
        }
    }
}
