//! The errors of `list`.

use std::sync::Arc;

use crate::auth::AuthError;
use crate::ci::output::OutputError;
use crate::diagnostics::Diagnostic;
use crate::google::GoogleError;
use crate::registry::ListingError;
use crate::registry::pool::PoolError;

/// An error of `list`.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// There is no credential for a registry.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// A registry cannot be opened.
    #[error(transparent)]
    Open(#[from] Arc<PoolError>),
    /// The list could not be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The registry did not list the path.
    #[error(transparent)]
    Listing(#[from] ListingError),
    /// Artifact Registry's API returned an error, and the registry cannot list the path either.
    #[error("could not list the repositories of `{0}`")]
    Api(String, #[source] Box<GoogleError>),
    /// The registry has nothing at the path.
    #[error("there is nothing at `{0}`")]
    Nothing(String),
}

impl Diagnostic for ListError {
    fn diagnostic_source(&self) -> Option<&dyn Diagnostic> {
        Some(match self {
            Self::Auth(error) => error,
            Self::Open(error) => &**error,
            Self::Output(error) => error,
            Self::Listing(error) => error,
            Self::Api(_, cause) => &**cause,
            Self::Nothing(_) => return None,
        })
    }

    fn hints(&self) -> Vec<String> {
        let name_hint = "to list the tags of an image, set `name`, or set `tags` to the image \
                         with its registry";
        let mut hints = self.source_hints();
        match self {
            Self::Api(..) => {
                hints.push("or set `repository`".to_owned());
            }
            Self::Nothing(_) => {
                hints.push("check `image`, or `project_id`, `repository` and `name`".to_owned());
            }
            Self::Listing(ListingError::Registry(..)) => {}
            Self::Listing(ListingError::NoCatalog(_, None)) => hints.push(name_hint.to_owned()),
            Self::Listing(ListingError::NoCatalog(_, Some(_))) => {
                let hint = format!("many registries do not provide this list: {name_hint}");
                hints.insert(0, hint);
            }
            Self::Listing(_) => hints.push(format!("or {name_hint}")),
            Self::Auth(_) | Self::Open(_) | Self::Output(_) => {}
        }
        hints
    }
}
