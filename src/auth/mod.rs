//! Signing in: which credential an endpoint is shown, and where it comes from.
//!
//! `config` chooses the one way to sign in to Google and gathers the logins for other registries;
//! here tokens are bought with it, kept fresh, and handed to whom they are for.

pub mod claims;
pub mod credential_file;
pub mod credential_helper;
pub mod docker_config;
mod error;
mod exchange;
pub mod google;
mod identity;
pub mod logins;
mod refusal;
mod refused;
pub mod subject;
mod token_info;
pub mod token_source;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::OnceCell;

use crate::diagnostics::secret::Secret;
use crate::http::Network;
use crate::oci::reference::Endpoint;
use crate::registry::once_map::OnceMap;
use credential_helper::HelperCall;
use docker_config::DockerConfigError;
use exchange::Exchange;
use google::federation::ExternalAccount;
use google::impersonation::Impersonation;
use google::key::ServiceAccountKey;
use google::metadata::MetadataServer;
use logins::{Found, HOME_FILE, Login, Logins, PasswordKind};

pub use error::{AuthError, Operation};
pub use exchange::ExchangeError;
pub use google::user::AuthorizedUser;
pub use identity::Identity;
pub(crate) use refusal::service_controls;
pub use token_source::{AccessToken, TokenSource};

/// The user name that Google's registries take an OAuth token under.
/// <https://cloud.google.com/artifact-registry/docs/docker/authentication#token>
pub(crate) const TOKEN_USER: &str = "oauth2accesstoken";

/// The user whose password is a whole key file.
/// <https://cloud.google.com/artifact-registry/docs/docker/authentication#json-key>
const KEY_FILE_USER: &str = "_json_key";

/// All that a run may sign in with.
#[derive(Clone, Debug)]
pub struct SignIn {
    /// The one way to sign in to Google that was chosen; none where the machine itself may have one.
    pub google: Option<(CredentialSource, GoogleCredential)>,
    /// Logins for registries.
    pub logins: Logins,
    /// Where the machine's own account would be found.
    pub metadata: MetadataServer,
    /// What helps here, in this shell or CI, where a Google host has no credential.
    pub advice: Vec<String>,
    /// Variables that no program is given that is run to sign in.
    pub withheld: Vec<OsString>,
    /// The project whose quota requests to Google's APIs count for, whatever a credential says.
    pub quota_project: Option<String>,
}

/// A way to sign in to Google.
#[derive(Clone, Debug)]
pub enum GoogleCredential {
    /// A service-account key, which buys short-lived tokens.
    Key(ServiceAccountKey),
    /// A ready OAuth access token.
    AccessToken(Secret),
    /// An identity of another provider, which the CI vouches for.
    External(Box<ExternalAccount>),
    /// A person's login.
    User(AuthorizedUser),
    /// One of these, to act as a service account.
    Impersonated(Box<GoogleCredential>, Impersonation),
}

/// Where a way to sign in was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialSource {
    /// In this variable.
    Variable(&'static str),
    /// In the file that gcloud leaves.
    WellKnownFile(PathBuf),
    /// On the machine itself.
    MetadataServer,
    /// Setup has just made it, or was lent it.
    Setup,
}

impl fmt::Display for CredentialSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(formatter, "`{name}`"),
            Self::WellKnownFile(path) => write!(formatter, "gcloud's `{}`", path.display()),
            Self::MetadataServer => formatter.write_str("the metadata server"),
            Self::Setup => formatter.write_str("setup"),
        }
    }
}

/// Every credential of a run, and the rule that says which host is shown which.
pub struct Credentials {
    google: Option<Arc<TokenSource>>,
    logins: Logins,
    metadata: MetadataServer,
    machine: OnceCell<Option<Arc<TokenSource>>>,
    quota_project: Option<String>,
    exchange: Exchange,
    advice: Vec<String>,
    withheld: Vec<OsString>,
    helpers: OnceMap<HelperCall, Result<Option<Login>, DockerConfigError>>,
}

impl Credentials {
    /// Makes the credentials of a request ready; nothing is sent yet.
    ///
    /// # Errors
    ///
    /// When the key cannot sign or the HTTP client for it cannot be built.
    pub async fn new(sign_in: SignIn, network: &Network) -> Result<Self, AuthError> {
        let exchange = Exchange::new(network)?;
        let google = match sign_in.google {
            Some((origin, credential)) => {
                let tokens = TokenSource::new(origin, credential, exchange.clone()).await?;
                Some(Arc::new(tokens.counted_for(sign_in.quota_project.clone())))
            }
            None => None,
        };
        Ok(Self {
            google,
            logins: sign_in.logins,
            metadata: sign_in.metadata,
            machine: OnceCell::new(),
            quota_project: sign_in.quota_project,
            exchange,
            advice: sign_in.advice,
            withheld: sign_in.withheld,
            helpers: OnceMap::default(),
        })
    }

    /// One sign-in to Google and nothing else.
    ///
    /// # Errors
    ///
    /// When the HTTP client cannot be built.
    pub fn of_google(tokens: Arc<TokenSource>, network: &Network) -> Result<Self, AuthError> {
        Ok(Self {
            google: Some(tokens),
            logins: Logins::default(),
            metadata: MetadataServer::default(),
            machine: OnceCell::new(),
            quota_project: None,
            exchange: Exchange::new(network)?,
            advice: Vec::new(),
            withheld: Vec::new(),
            helpers: OnceMap::default(),
        })
    }

    /// What a destination is shown: Google's credentials on Google's hosts and nowhere else, a login
    /// for the host on the others.
    ///
    /// # Errors
    ///
    /// When a Google host has no credential, or the Docker config's entry cannot be used.
    pub async fn for_destination(&self, endpoint: &Endpoint) -> Result<Credential, AuthError> {
        match self.find(endpoint, false).await? {
            Some(credential) => Ok(credential),
            None if endpoint.is_google() => {
                let others = self.logins.others();
                let advice = others.into_iter().chain(self.advice.iter().cloned());
                Err(AuthError::NoCredential(endpoint.clone(), advice.collect()))
            }
            None => {
                if let Some(others) = self.logins.others() {
                    tracing::info!("there is no login for `{endpoint}`: {others}");
                }
                Ok(Credential::Anonymous)
            }
        }
    }

    /// Checks that there is something to show to each of these destinations, before anything is read
    /// for them.
    ///
    /// # Errors
    ///
    /// When a Google host has no credential.
    pub async fn check(&self, destinations: &[Endpoint]) -> Result<(), AuthError> {
        for endpoint in destinations {
            // What else keeps us from one does not keep us from the others.
            if let Err(error @ AuthError::NoCredential(..)) = self.for_destination(endpoint).await {
                return Err(error);
            }
        }
        Ok(())
    }

    /// What a source is shown: the same, but its own login first, and nothing where there is none,
    /// for what is public is given to anybody.
    ///
    /// # Errors
    ///
    /// When the Docker config's entry cannot be used.
    pub async fn for_source(&self, endpoint: &Endpoint) -> Result<Credential, AuthError> {
        let found = self.find(endpoint, true).await?;
        Ok(found.unwrap_or(Credential::Anonymous))
    }

    /// What Google's own APIs are shown.
    ///
    /// # Errors
    ///
    /// When there is no way to sign in to Google.
    pub async fn for_google(&self) -> Result<Credential, AuthError> {
        let tokens = match &self.google {
            Some(tokens) => Some(Arc::clone(tokens)),
            None => self.of_machine().await,
        };
        tokens.map(Credential::Tokens).ok_or(AuthError::NoToken)
    }

    async fn find(
        &self,
        endpoint: &Endpoint,
        is_source: bool,
    ) -> Result<Option<Credential>, AuthError> {
        if let (true, Some(tokens)) = (endpoint.is_google(), &self.google) {
            let own = self.logins.source.as_ref().filter(|_| is_source);
            if own.is_none_or(|login| login.host != *endpoint) {
                return Ok(Some(Credential::Tokens(Arc::clone(tokens))));
            }
        }
        let (logins, helper) = self.logins_of(endpoint, is_source).await?;
        if let Some(credential) = Credential::of_logins(logins) {
            return Ok(Some(credential));
        }
        let machine = if endpoint.is_google() {
            self.of_machine().await
        } else {
            None
        };
        match (machine, helper) {
            (Some(tokens), _) => Ok(Some(Credential::Tokens(tokens))),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(None),
        }
    }

    /// The logins for a host and for paths below it, best first; and what keeps a credential helper
    /// from giving one for a host of Google's, which may be signed in to by other means.
    async fn logins_of(
        &self,
        endpoint: &Endpoint,
        is_source: bool,
    ) -> Result<(Vec<Login>, Option<AuthError>), AuthError> {
        let mut logins = Vec::new();
        for found in self.logins.of_host(endpoint, is_source) {
            let login = match found {
                Found::Login(login) => login,
                Found::Unusable(origin, path, error) if !path.is_empty() => {
                    tracing::warn!("{error}: `{path}` goes without (`{origin}`)");
                    continue;
                }
                Found::Unusable(origin, _, error) => {
                    return Err(AuthError::DockerConfig(origin, error));
                }
                Found::Helper(call) => {
                    let origin = call.origin;
                    match self.ask_helper(call).await {
                        Ok(Some(login)) => login,
                        Ok(None) => continue,
                        // `gcloud auth configure-docker` leaves such entries wherever Google is
                        // signed in to by other means.
                        Err(error) if endpoint.is_google() => {
                            return Ok((logins, Some(AuthError::DockerConfig(origin, error))));
                        }
                        // Public hosts of Google's need no login at all.
                        Err(_) if endpoint.is_read_only() => continue,
                        // Nobody pointed us there, and most images of public registries need no
                        // login.
                        Err(error) if origin == HOME_FILE => {
                            tracing::warn!("{error}: going on without (`{origin}`)");
                            continue;
                        }
                        Err(error) => return Err(AuthError::DockerConfig(origin, error)),
                    }
                }
            };
            let is_for_all = login.path.is_empty();
            logins.push(login);
            if is_for_all {
                break;
            }
        }
        Ok((logins, None))
    }

    /// Each helper is asked once for each server.
    async fn ask_helper(&self, call: HelperCall) -> Result<Option<Login>, DockerConfigError> {
        let cell = self.helpers.of(call.clone());
        let asked = cell.get_or_init(|| async { call.login(&self.withheld).await });
        asked.await.clone()
    }

    /// The machine's own account, which is looked for once.
    async fn of_machine(&self) -> Option<Arc<TokenSource>> {
        let found = self.machine.get_or_init(|| async {
            let machine = Box::pin(self.metadata.machine(&self.exchange)).await?;
            let tokens = TokenSource::of_machine(machine, self.exchange.clone());
            Some(Arc::new(tokens.counted_for(self.quota_project.clone())))
        });
        found.await.clone()
    }
}

/// What one endpoint is shown when it asks who is there.
#[derive(Clone)]
pub enum Credential {
    /// Nothing.
    Anonymous,
    /// User and password.
    Login(Login),
    /// Logins for paths, best first: each repository is shown the first that covers it, or nothing.
    Paths(Arc<Vec<Login>>),
    /// A token of Google's, fresh whenever it is asked for.
    Tokens(Arc<TokenSource>),
    /// What a cluster is given, as it is: nothing of it is ever renewed.
    Given(Box<StaticCredential>),
}

/// A login that is handed on, and whose it is.
#[derive(Clone)]
pub struct StaticCredential {
    shown: BasicAuth,
    identity: Identity,
}

impl StaticCredential {
    /// A whole key file.
    pub fn key_file(key: &ServiceAccountKey) -> Self {
        Self {
            shown: BasicAuth {
                user: KEY_FILE_USER.to_owned(),
                password: key.json().clone(),
                kind: PasswordKind::Password,
                expires_at: None,
            },
            identity: Identity::Account(key.client_email.clone()),
        }
    }

    /// A token, and whose it is.
    pub fn token(token: AccessToken, identity: Identity) -> Self {
        Self {
            shown: token.into(),
            identity,
        }
    }

    /// User and password.
    pub fn shown(&self) -> &BasicAuth {
        &self.shown
    }
}

/// User and password as a registry is shown them.
#[derive(Clone)]
pub struct BasicAuth {
    /// The user name.
    pub user: String,
    /// The password.
    pub password: Secret,
    /// What the password is.
    pub kind: PasswordKind,
    /// When it stops working; none for what lives on.
    pub expires_at: Option<std::time::SystemTime>,
}

impl Credential {
    fn of_logins(mut logins: Vec<Login>) -> Option<Self> {
        match logins.len() {
            0 => None,
            1 if logins.iter().all(|login| login.path.is_empty()) => logins.pop().map(Self::Login),
            _ => Some(Self::Paths(Arc::new(logins))),
        }
    }

    /// What requests about one repository show; an empty name is none in particular.
    pub fn for_repository(&self, repository: &str) -> Self {
        match self {
            Self::Paths(logins) => {
                let mut logins = logins.iter();
                let login = logins.find(|login| login.covers(repository));
                login.cloned().map_or(Self::Anonymous, Self::Login)
            }
            other => other.clone(),
        }
    }

    /// True when a login in it is a refresh token.
    pub(crate) fn has_identity_token(&self) -> bool {
        let logins = match self {
            Self::Login(login) => std::slice::from_ref(login),
            Self::Paths(logins) => logins.as_slice(),
            Self::Anonymous | Self::Tokens(_) | Self::Given(_) => &[],
        };
        logins
            .iter()
            .any(|login| login.kind == PasswordKind::IdentityToken)
    }

    /// The same with no login that none of these repositories is shown; with all where none is
    /// named.
    pub fn for_repositories<'a>(&self, repositories: impl Iterator<Item = &'a str>) -> Self {
        let Self::Paths(logins) = self else {
            return self.clone();
        };
        let mut named = repositories.peekable();
        if named.peek().is_none() {
            return self.clone();
        }
        let used: Vec<_> = named
            .filter_map(|repository| logins.iter().position(|login| login.covers(repository)))
            .collect();
        let logins = logins.iter().enumerate();
        let logins = logins.filter(|(index, _)| used.contains(index));
        Self::Paths(Arc::new(logins.map(|(_, login)| login.clone()).collect()))
    }

    /// The tokens of one way to sign in, whatever else the run has.
    ///
    /// # Errors
    ///
    /// When a key cannot sign or the HTTP client cannot be built.
    pub async fn of(
        origin: CredentialSource,
        credential: GoogleCredential,
        network: &Network,
    ) -> Result<Self, AuthError> {
        let exchange = Exchange::new(network)?;
        let tokens = TokenSource::new(origin, credential, exchange).await?;
        Ok(Self::Tokens(Arc::new(tokens)))
    }

    /// User and password as they are shown now; none when there is nothing to show.
    ///
    /// # Errors
    ///
    /// When a token has to be bought and is not sold.
    pub async fn basic(&self) -> Result<Option<BasicAuth>, AuthError> {
        Ok(match self {
            Self::Anonymous | Self::Paths(_) => None,
            Self::Login(login) => Some(BasicAuth {
                user: login.user.clone(),
                password: login.password.clone(),
                kind: login.kind,
                expires_at: None,
            }),
            Self::Tokens(tokens) => Some(tokens.token().await?.into()),
            Self::Given(given) => Some(given.shown.clone()),
        })
    }

    /// The same in place of a password that was refused; none when there is nothing to buy another
    /// with.
    ///
    /// # Errors
    ///
    /// When the token is not sold.
    pub async fn renewed(&self, refused: &Secret) -> Result<Option<BasicAuth>, AuthError> {
        Ok(match self {
            Self::Anonymous | Self::Login(_) | Self::Paths(_) | Self::Given(_) => None,
            Self::Tokens(tokens) => tokens.replace_rejected(refused).await?.map(BasicAuth::from),
        })
    }

    /// The project whose quota requests to Google's APIs count for.
    pub fn quota_project(&self) -> Option<&str> {
        match self {
            Self::Tokens(tokens) => tokens.quota_project(),
            Self::Anonymous | Self::Login(_) | Self::Paths(_) | Self::Given(_) => None,
        }
    }

    /// Whom the other side knows us as.
    pub fn identity(&self) -> Identity {
        match self {
            Self::Anonymous | Self::Paths(_) => Identity::Anonymous,
            Self::Login(login) => Identity::Login(login.user.clone(), login.origin),
            Self::Tokens(tokens) => tokens.identity(),
            Self::Given(given) => given.identity.clone(),
        }
    }
}

impl From<AccessToken> for BasicAuth {
    fn from(token: AccessToken) -> Self {
        Self {
            user: TOKEN_USER.to_owned(),
            password: token.secret,
            kind: PasswordKind::Password,
            expires_at: token.expires_at,
        }
    }
}

impl fmt::Display for Credential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Paths(logins) = self {
            let names: Vec<_> = logins.iter().map(path_and_user).collect();
            return formatter.write_str(&names.join(", "));
        }
        write!(formatter, "{}", self.identity())?;
        match self {
            Self::Anonymous | Self::Paths(_) => Ok(()),
            Self::Login(login) => write!(formatter, ", by `{}`", login.origin),
            Self::Tokens(tokens) => {
                write!(
                    formatter,
                    ", by {} of {}",
                    tokens.describe(),
                    tokens.origin()
                )
            }
            Self::Given(_) => formatter.write_str(", by what the pull secret holds"),
        }
    }
}

fn path_and_user(login: &Login) -> String {
    let Login {
        origin, user, path, ..
    } = login;
    match path.as_str() {
        "" => format!("as `{user}`, by `{origin}`"),
        path => format!("as `{user}` for `{path}`, by `{origin}`"),
    }
}
