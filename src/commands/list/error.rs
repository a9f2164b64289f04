//! A listing that could not be had.

use crate::diagnostics::{Diagnostic, ExitCode};
use crate::google::GoogleError;
use crate::registry::RegistryError;

/// A listing that could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The registry refused.
    #[error("could not list `{0}`")]
    Registry(String, #[source] RegistryError),
    /// Artifact Registry's API refused, and nobody else can be asked.
    #[error("could not list the repositories of `{0}`")]
    Api(String, #[source] Box<GoogleError>),
    /// The registry knows nothing there.
    #[error("there is nothing at `{0}`")]
    Nothing(String),
    /// It has no list of its repositories, or keeps it to itself.
    #[error("`{0}` does not list its images")]
    NoCatalog(String, #[source] Option<RegistryError>),
}

impl Diagnostic for ListError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Registry(_, cause) | Self::NoCatalog(_, Some(cause)) => cause.exit_code(),
            Self::Api(_, cause) => cause.exit_code(),
            Self::Nothing(_) | Self::NoCatalog(_, None) => ExitCode::Failed,
        }
    }

    fn hints(&self) -> Vec<String> {
        let name = "name the image in `name`, or in `tags` with its registry, to list its tags";
        match self {
            Self::Registry(_, cause) => cause.hints(),
            Self::Api(_, cause) => {
                let mut hints = cause.hints();
                hints.push("or name one in `repository`".to_owned());
                hints
            }
            Self::Nothing(_) => {
                vec!["check `image`, or `project_id`, `repository` and `name`".to_owned()]
            }
            Self::NoCatalog(_, None) => vec![name.to_owned()],
            Self::NoCatalog(_, Some(cause)) => {
                let mut hints = cause.hints();
                hints.insert(
                    0,
                    format!("many registries keep that list to themselves: {name}"),
                );
                hints
            }
        }
    }
}
