//! What a request shows of who asks, and what it may do with it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;

use crate::diagnostics::secret::Secret;

/// What a request shows in its `Authorization` header.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Authorization {
    /// Nothing.
    None,
    /// User and password.
    Basic(String, Secret),
    /// A registry token.
    Bearer(Secret),
}

impl Authorization {
    /// The header's value, marked so that no debug output shows it.
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

/// What may be done with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Access {
    /// Read alone.
    Pull,
    /// Read and write.
    PullPush,
    /// Read the names of all repositories.
    Catalog,
    /// List on one of Google's registries, which takes the OAuth token itself: no token has to be
    /// bought for each repository; or by GitLab's API, which takes the login's token likewise.
    /// <https://cloud.google.com/artifact-registry/docs/reference/docker-api>,
    /// <https://docs.gitlab.com/api/rest/authentication/>
    List,
}

impl Access {
    /// The scope that a token server is asked for.
    /// <https://distribution.github.io/distribution/spec/auth/scope/>
    pub(crate) fn scope(self, repository: &str) -> String {
        match self {
            Self::Pull => format!("repository:{repository}:pull"),
            Self::PullPush => format!("repository:{repository}:pull,push"),
            Self::Catalog | Self::List => "registry:catalog:*".to_owned(),
        }
    }
}

/// What a token is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    pub(crate) repository: String,
    pub(crate) access: Access,
    /// Another repository that may be read with it, to mount from.
    pub(crate) and_read: Option<String>,
}

impl Scope {
    pub(crate) fn of(repository: &str, access: Access) -> Self {
        Self {
            repository: repository.to_owned(),
            access,
            and_read: None,
        }
    }
}
