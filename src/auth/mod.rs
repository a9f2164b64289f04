//! Signing in: which credential an endpoint is shown, and where it comes from.

pub mod docker_config;
pub mod google;

use std::sync::Arc;

use crate::config::GoogleCredential;
use crate::error::{ExitCode, Hint};
use crate::network::{Network, NetworkError, Trouble};
use crate::reference::Endpoint;
use crate::secret::Secret;
use docker_config::{DockerConfig, DockerConfigError};
use google::{ExchangeError, KeyTokens};

/// The user name that Google's registries take an OAuth token under.
/// <https://cloud.google.com/artifact-registry/docs/docker/authentication#token>
const TOKEN_USER: &str = "oauth2accesstoken";

/// Every credential of a run, and the rule that says which host is shown which.
pub struct Credentials {
    google: Option<Google>,
    docker_config: Option<DockerConfig>,
}

#[derive(Clone)]
enum Google {
    Key(Arc<KeyTokens>),
    Token(Secret),
}

impl Credentials {
    /// Makes the credentials of a request ready; nothing is sent yet.
    ///
    /// # Errors
    ///
    /// When the key cannot sign or the HTTP client for it cannot be built.
    pub async fn new(
        google: Option<GoogleCredential>,
        docker_config: Option<DockerConfig>,
        network: &Network,
    ) -> Result<Self, AuthError> {
        let google = match google {
            Some(GoogleCredential::Key(key)) => {
                Some(Google::Key(Arc::new(KeyTokens::new(key, network).await?)))
            }
            Some(GoogleCredential::AccessToken(token)) => Some(Google::Token(token)),
            None => None,
        };
        Ok(Self {
            google,
            docker_config,
        })
    }

    /// What Google's APIs are shown: the token that was given, or those that are bought.
    ///
    /// # Errors
    ///
    /// When there is neither.
    pub fn for_google(&self) -> Result<Credential, AuthError> {
        match self.google.clone() {
            Some(Google::Key(tokens)) => Ok(Credential::Key(tokens)),
            Some(Google::Token(token)) => Ok(Credential::AccessToken(token)),
            None => Err(AuthError::NoToken),
        }
    }

    /// What a destination is shown: Google's credentials on Google's hosts and nowhere else, the
    /// Docker config's login on the others.
    ///
    /// # Errors
    ///
    /// When a Google host has no credential, or the Docker config's entry cannot be used.
    pub fn for_destination(&self, endpoint: &Endpoint) -> Result<Credential, AuthError> {
        if let (true, Some(google)) = (endpoint.is_google(), &self.google) {
            return Ok(match google.clone() {
                Google::Key(tokens) => Credential::Key(tokens),
                Google::Token(token) => Credential::AccessToken(token),
            });
        }
        let login = match &self.docker_config {
            Some(config) => config.login(endpoint).map_err(AuthError::DockerConfig)?,
            None => None,
        };
        match login {
            Some((user, password)) => Ok(Credential::Basic(user, password)),
            None if endpoint.is_google() => Err(AuthError::NoCredential(endpoint.clone())),
            None => Ok(Credential::Anonymous),
        }
    }
}

/// What one endpoint is shown when it asks who is there.
#[derive(Clone)]
pub enum Credential {
    /// Nothing.
    Anonymous,
    /// User and password.
    Basic(String, Secret),
    /// A ready OAuth token.
    AccessToken(Secret),
    /// A token that the key buys, and buys again when it has run out.
    Key(Arc<KeyTokens>),
}

impl Credential {
    /// User and password as they are shown now; none when there is nothing to show.
    ///
    /// # Errors
    ///
    /// When a token has to be bought and is not sold.
    pub async fn basic(&self) -> Result<Option<(String, Secret)>, AuthError> {
        Ok(match self {
            Self::Anonymous => None,
            Self::Basic(user, password) => Some((user.clone(), password.clone())),
            Self::AccessToken(token) => Some((TOKEN_USER.to_owned(), token.clone())),
            Self::Key(tokens) => Some((TOKEN_USER.to_owned(), tokens.token().await?.secret)),
        })
    }

    /// The same with a token that was bought just now; none when there is nothing to buy one with.
    ///
    /// # Errors
    ///
    /// When the token is not sold.
    pub async fn renewed(&self) -> Result<Option<(String, Secret)>, AuthError> {
        Ok(match self {
            Self::Key(tokens) => Some((TOKEN_USER.to_owned(), tokens.new_token().await?.secret)),
            Self::Anonymous | Self::Basic(..) | Self::AccessToken(_) => None,
        })
    }

    /// Whom the other side knows us as.
    pub fn identity(&self) -> Identity {
        match self {
            Self::Anonymous => Identity::Nobody,
            Self::Basic(user, _) => Identity::User(user.clone()),
            Self::AccessToken(_) => Identity::TokenHolder,
            Self::Key(tokens) => Identity::Account(tokens.account().to_owned()),
        }
    }
}

/// Whom the other side knows us as: what a refusal is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Nobody in particular.
    Nobody,
    /// A user with a password.
    User(String),
    /// Whoever the given access token belongs to.
    TokenHolder,
    /// A service account.
    Account(String),
}

impl std::fmt::Display for Credential {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Anonymous => formatter.write_str("anonymously"),
            Self::Basic(user, _) => write!(formatter, "as `{user}`"),
            Self::AccessToken(_) => formatter.write_str("with the given access token"),
            Self::Key(tokens) => write!(formatter, "with the key of `{}`", tokens.account()),
        }
    }
}

/// Signing in failed.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// A Google host and nothing to show it.
    #[error("there is no credential for `{0}`")]
    NoCredential(Endpoint),
    /// An API of Google's and no token to show it.
    #[error("there is no token for Google's APIs")]
    NoToken,
    /// The Docker config's entry cannot be used.
    #[error("could not take the login from the Docker config")]
    DockerConfig(#[source] DockerConfigError),
    /// The key signs nothing.
    #[error("could not make the service-account key ready to sign")]
    Key(#[source] std::io::Error),
    /// No token for the key.
    #[error("could not get an access token for `{account}` from {endpoint}")]
    Exchange {
        /// The service account.
        account: String,
        /// Its `token_uri`.
        endpoint: String,
        /// What the other side said.
        #[source]
        cause: ExchangeError,
    },
    /// The HTTP client could not be built.
    #[error("could not make ready to sign in")]
    Network(#[source] NetworkError),
}

impl AuthError {
    /// What the process exits with.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoCredential(_) | Self::NoToken | Self::DockerConfig(_) | Self::Key(_) => {
                ExitCode::Denied
            }
            Self::Exchange { cause, .. } => match cause {
                ExchangeError::Refused { .. } => ExitCode::Denied,
                ExchangeError::Connection(cause) => Trouble::of(&**cause).exit_code(),
                ExchangeError::TimedOut | ExchangeError::Answer => ExitCode::Temporary,
            },
            Self::Network(_) => ExitCode::Failed,
        }
    }
}

impl Hint for AuthError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::NoCredential(_) | Self::NoToken => vec![
                "give `credentials_json` (a service-account key) or `access_token`; a secret is \
                 empty when the workflow runs from a fork or the secret's name is misspelt"
                    .to_owned(),
            ],
            Self::DockerConfig(DockerConfigError::Helper(endpoint, _)) => vec![format!(
                "log in with a password that stands in the file itself, or give Google hosts \
                 `credentials_json`: in a container the helper for `{endpoint}` is not there"
            )],
            Self::DockerConfig(_) | Self::Key(_) | Self::Network(_) => Vec::new(),
            Self::Exchange {
                account,
                endpoint,
                cause,
            } => match cause {
                ExchangeError::Refused { description, .. } => refusal_hints(account, description),
                ExchangeError::Connection(cause) => {
                    let trouble = Trouble::of(&**cause);
                    vec![trouble.hint(host(endpoint))]
                }
                ExchangeError::TimedOut => {
                    vec!["the other side or the network stood still: try again".to_owned()]
                }
                ExchangeError::Answer => vec![
                    "run this again in a few minutes; where it stays so, check that no proxy or \
                     sign-in page answers in Google's place"
                        .to_owned(),
                ],
            },
        }
    }
}

/// The host of an URL that was checked to have one.
fn host(url: &str) -> &str {
    let rest = url.strip_prefix("https://").unwrap_or(url);
    rest.split(['/', ':']).next().unwrap_or(rest)
}

/// What Google's few sentences about a refused key mean, as far as they are known from reports
/// (googleapis/google-cloud-php#3622, google-api-ruby-client#720).
fn refusal_hints(account: &str, description: &str) -> Vec<String> {
    let hint = if description.contains("account not found") {
        format!(
            "the account was deleted or disabled; where it is disabled, `gcloud iam \
             service-accounts enable {account}` brings it back"
        )
    } else if description.contains("Invalid JWT Signature") {
        format!(
            "this key was deleted, or is not the account's: make a new one with `gcloud iam \
             service-accounts keys create key.json --iam-account={account}`"
        )
    } else if description.contains("reasonable timeframe") {
        "the clock of this machine is wrong: Google takes an assertion within an hour of its time"
            .to_owned()
    } else {
        return Vec::new();
    };
    vec![hint]
}
