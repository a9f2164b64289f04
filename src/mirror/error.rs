//! What keeps a mirror from being planned.

use crate::error::{ExitCode, Hint};
use crate::reference::ReferenceError;
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
    /// What the process exits with.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::List { cause, .. } => cause.exit_code(),
            Self::NothingBelow(_) | Self::NoRepository(_) | Self::NoImage(_) => ExitCode::Failed,
            Self::NoDates(_) | Self::Collision { .. } | Self::Name { .. } => ExitCode::Usage,
        }
    }
}

impl Hint for MirrorError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::List { cause, .. } => cause.hints(),
            Self::NothingBelow(_) => vec![
                "some registries list only what the login may see, and some list nothing: name \
                 the repositories one by one"
                    .to_owned(),
            ],
            Self::NoDates(_) => vec!["use `by: semver`".to_owned()],
            Self::Collision { .. } => vec![
                "keep them apart with `to: \"{path}\"`, which is the whole path of the source"
                    .to_owned(),
            ],
            Self::NoRepository(_) | Self::NoImage(_) => vec![
                "where it does, the login of its registry may not see it; name another tag, or take \
                 the entry out"
                    .to_owned(),
            ],
            Self::Name { .. } => vec!["choose another name with `to`".to_owned()],
        }
    }
}
