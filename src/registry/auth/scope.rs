//! The `Authorization` header of a request, and the scope of a token.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;

use crate::diagnostics::secret::Secret;

/// The content of the `Authorization` header.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Authorization {
    /// No header.
    None,
    /// User name and password.
    Basic(String, Secret),
    /// A registry token.
    Bearer(Secret),
}

impl Authorization {
    /// The header value, marked as sensitive so that debug output omits it.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        let text = match self {
            Self::None => return None,
            Self::Basic(user, password) => format!(
                "Basic {}",
                STANDARD.encode(format!("{user}:{}", password.expose()))
            ),
            Self::Bearer(token) => format!("Bearer {}", token.expose()),
        };
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// What a token permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Access {
    /// Read only.
    Pull,
    /// Read and write.
    PullPush,
    /// Read the names of all repositories.
    Catalog,
    /// List at a Google registry, which accepts the OAuth token itself, so that no token exchange
    /// per repository is needed; or in GitLab's API, which accepts the login's token.
    /// <https://cloud.google.com/artifact-registry/docs/reference/docker-api>,
    /// <https://docs.gitlab.com/api/rest/authentication/>
    List,
}

impl Access {
    /// The `scope` parameter for the token server.
    /// <https://distribution.github.io/distribution/spec/auth/scope/>
    pub(crate) fn scope(self, repository: &str) -> String {
        match self {
            Self::Pull => format!("repository:{repository}:pull"),
            Self::PullPush => format!("repository:{repository}:pull,push"),
            Self::Catalog | Self::List => "registry:catalog:*".to_owned(),
        }
    }
}

/// The repositories and the access of a token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    pub(crate) repository: String,
    pub(crate) access: Access,
    /// Another repository that may be read, as the source of a mount.
    pub(crate) mount_from: Option<String>,
}

impl Scope {
    pub(crate) fn of(repository: &str, access: Access) -> Self {
        Self {
            repository: repository.to_owned(),
            access,
            mount_from: None,
        }
    }
}
