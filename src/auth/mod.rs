//! Credentials: which one is used for an endpoint, and where it comes from.
//!
//! `config` selects one credential for Google and collects the logins for other registries. Here
//! tokens are obtained with them, renewed, and used only for the hosts that they are for.

pub mod claims;
pub mod credential_file;
pub mod credential_helper;
pub mod docker_config;
mod error;
mod exchange;
pub mod google;
mod hints;
mod identity;
pub mod logins;
pub mod once_map;
pub mod subject;
mod token_info;
pub mod token_source;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::OnceCell;

use crate::auth::once_map::OnceMap;
use crate::diagnostics::secret::Secret;
use crate::http::Network;
use crate::oci::reference::Endpoint;
use credential_helper::HelperCall;
use docker_config::DockerConfigError;
use exchange::Exchange;
use google::federation::ExternalAccount;
use google::impersonation::Impersonation;
use google::key::ServiceAccountKey;
use google::metadata::MetadataServer;
use logins::{HOME_FILE, HostEntry, Login, Logins, PasswordKind};

pub use error::{AuthError, AuthOperation};
pub use google::user::AuthorizedUser;
pub(crate) use hints::{NARROW_SCOPES, general_hint, is_of_narrow_scopes, service_controls};
pub use identity::Identity;
pub use token_source::{AccessToken, TokenSource};

/// The user name for an OAuth token at Google's registries.
/// <https://cloud.google.com/artifact-registry/docs/docker/authentication#token>
pub(crate) const TOKEN_USER: &str = "oauth2accesstoken";

/// The user name for a whole key file as the password.
/// <https://cloud.google.com/artifact-registry/docs/docker/authentication#json-key>
const KEY_FILE_USER: &str = "_json_key";

/// All credentials of a run, before they are used.
#[derive(Clone, Debug)]
pub struct SignIn {
    /// The selected credential for Google. `None` if only the machine may have one.
    pub google: Option<(CredentialSource, GoogleCredential)>,
    /// Logins for registries.
    pub logins: Logins,
    /// The metadata server for the machine's own account.
    pub metadata: MetadataServer,
    /// Hints for this shell or CI if a Google host has no credential.
    pub advice: Vec<String>,
    /// Variables that are removed from the environment of credential helpers.
    pub withheld: Vec<OsString>,
    /// The quota project for requests to Google's APIs. It overrides that of a credential.
    pub quota_project: Option<String>,
}

/// A credential for Google.
#[derive(Clone, Debug)]
pub enum GoogleCredential {
    /// A service-account key, which is exchanged for short-lived tokens.
    Key(ServiceAccountKey),
    /// An OAuth access token.
    AccessToken(Secret),
    /// A federated identity, with a token of the CI.
    External(Box<ExternalAccount>),
    /// The credentials of a user.
    User(AuthorizedUser),
    /// Another credential that impersonates a service account.
    Impersonated(Box<GoogleCredential>, Impersonation),
}

/// Where a credential was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialSource {
    /// In this variable.
    Variable(&'static str),
    /// In the file that gcloud writes.
    WellKnownFile(PathBuf),
    /// At the metadata server.
    MetadataServer,
    /// Created by setup, or an impersonation of setup.
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

/// All credentials of a run, and the rules which host receives which.
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
    /// Prepares the credentials. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// If the key cannot sign, or the HTTP client cannot be built.
    pub async fn new(sign_in: SignIn, network: &Network) -> Result<Self, AuthError> {
        let exchange = Exchange::new(network)?;
        let google = match sign_in.google {
            Some((origin, credential)) => {
                let tokens = TokenSource::new(origin, credential, exchange.clone()).await?;
                Some(Arc::new(
                    tokens.with_quota_project(sign_in.quota_project.clone()),
                ))
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

    /// Creates the credentials of one token source for Google and nothing else.
    ///
    /// # Errors
    ///
    /// If the HTTP client cannot be built.
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

    /// Returns the credential for a destination. Google's hosts, and only they, receive Google
    /// credentials; other hosts receive their login.
    ///
    /// # Errors
    ///
    /// If there is no credential for a Google host, or the entry in the Docker config cannot be
    /// used.
    pub async fn for_destination(&self, endpoint: &Endpoint) -> Result<Credential, AuthError> {
        match self.find(endpoint, false).await? {
            Some(credential) => Ok(credential),
            None if endpoint.is_google() => {
                let servers = self.logins.describe_servers();
                let advice = servers.into_iter().chain(self.advice.iter().cloned());
                Err(AuthError::NoCredential(endpoint.clone(), advice.collect()))
            }
            None => {
                if let Some(servers) = self.logins.describe_servers() {
                    tracing::info!("there is no login for `{endpoint}`: {servers}");
                }
                Ok(Credential::Anonymous)
            }
        }
    }

    /// Checks that there is a credential for each destination, before anything is read for them.
    ///
    /// # Errors
    ///
    /// If there is no credential for a Google host.
    pub async fn check(&self, destinations: &[Endpoint]) -> Result<(), AuthError> {
        for endpoint in destinations {
            // Other errors of one destination do not affect the others.
            if let Err(error @ AuthError::NoCredential(..)) = self.for_destination(endpoint).await {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Returns the credential for a source: first its own login, then the same as for a
    /// destination, else none, because the image may be public.
    ///
    /// # Errors
    ///
    /// If the entry in the Docker config cannot be used.
    pub async fn for_source(&self, endpoint: &Endpoint) -> Result<Credential, AuthError> {
        let found = self.find(endpoint, true).await?;
        Ok(found.unwrap_or(Credential::Anonymous))
    }

    /// Returns the credential for Google's APIs.
    ///
    /// # Errors
    ///
    /// If there is no credential for Google.
    pub async fn for_google(&self) -> Result<Credential, AuthError> {
        let tokens = match &self.google {
            Some(tokens) => Some(Arc::clone(tokens)),
            None => self.machine_tokens().await,
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
            self.machine_tokens().await
        } else {
            None
        };
        match (machine, helper) {
            (Some(tokens), _) => Ok(Some(Credential::Tokens(tokens))),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(None),
        }
    }

    /// Returns the logins for a host and for paths in it, the preferred one first. For Google's
    /// hosts, which may have another credential, an error of a credential helper is returned beside
    /// them.
    async fn logins_of(
        &self,
        endpoint: &Endpoint,
        is_source: bool,
    ) -> Result<(Vec<Login>, Option<AuthError>), AuthError> {
        let mut logins = Vec::new();
        for found in self.logins.for_host(endpoint, is_source) {
            let login = match found {
                HostEntry::Login(login) => login,
                HostEntry::Unusable(origin, path, error) if !path.is_empty() => {
                    tracing::warn!("{error}: using no login for `{path}` (`{origin}`)");
                    continue;
                }
                HostEntry::Unusable(origin, _, error) => {
                    return Err(AuthError::DockerConfig(origin, error));
                }
                HostEntry::Helper(call) => {
                    let origin = call.origin;
                    match self.ask_helper(call).await {
                        Ok(Some(login)) => login,
                        Ok(None) => continue,
                        // `gcloud auth configure-docker` leaves such entries even if another
                        // credential is used for Google.
                        Err(error) if endpoint.is_google() => {
                            return Ok((logins, Some(AuthError::DockerConfig(origin, error))));
                        }
                        // Google's public hosts need no login.
                        Err(_) if endpoint.is_read_only() => continue,
                        // The user did not name this config, and most public images need no login.
                        Err(error) if origin == HOME_FILE => {
                            tracing::warn!("{error}: continuing without this login (`{origin}`)");
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

    /// Runs each helper once for each server.
    async fn ask_helper(&self, call: HelperCall) -> Result<Option<Login>, DockerConfigError> {
        let cell = self.helpers.of(call.clone());
        let asked = cell.get_or_init(|| async { call.login(&self.withheld).await });
        asked.await.clone()
    }

    /// Returns the tokens of the machine's own account, which is looked up once.
    async fn machine_tokens(&self) -> Option<Arc<TokenSource>> {
        let found = self.machine.get_or_init(|| async {
            let machine = Box::pin(self.metadata.machine(&self.exchange)).await?;
            let tokens = TokenSource::of_machine(machine, self.exchange.clone());
            Some(Arc::new(
                tokens.with_quota_project(self.quota_project.clone()),
            ))
        });
        found.await.clone()
    }
}

/// The credential for one endpoint.
#[derive(Clone)]
pub enum Credential {
    /// No credential.
    Anonymous,
    /// A user name and a password.
    Login(Login),
    /// Logins for paths, the preferred one first. A repository uses the first that applies to it,
    /// or none.
    Paths(Arc<Vec<Login>>),
    /// OAuth tokens of Google, which are renewed when needed.
    Tokens(Arc<TokenSource>),
    /// The credential of a pull secret. It is never renewed.
    Static(Box<StaticCredential>),
}

/// A fixed login and its identity.
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

    /// A token and its identity.
    pub fn token(token: AccessToken, identity: Identity) -> Self {
        Self {
            shown: token.into(),
            identity,
        }
    }

    /// The user name and the password.
    pub fn shown(&self) -> &BasicAuth {
        &self.shown
    }
}

/// A user name and a password.
#[derive(Clone)]
pub struct BasicAuth {
    /// The user name.
    pub user: String,
    /// The password.
    pub password: Secret,
    /// What the password is.
    pub kind: PasswordKind,
    /// When it expires. `None` if it does not.
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

    /// Returns the credential for requests to one repository. An empty name means no particular
    /// repository.
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

    /// True if any login is a refresh token.
    pub(crate) fn has_identity_token(&self) -> bool {
        let logins = match self {
            Self::Login(login) => std::slice::from_ref(login),
            Self::Paths(logins) => logins.as_slice(),
            Self::Anonymous | Self::Tokens(_) | Self::Static(_) => &[],
        };
        logins
            .iter()
            .any(|login| login.kind == PasswordKind::IdentityToken)
    }

    /// Keeps only the logins that one of these repositories uses, or all if no repository is named.
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

    /// Creates the tokens of one credential, without any others of the run.
    ///
    /// # Errors
    ///
    /// If a key cannot sign, or the HTTP client cannot be built.
    pub async fn of(
        origin: CredentialSource,
        credential: GoogleCredential,
        network: &Network,
    ) -> Result<Self, AuthError> {
        let exchange = Exchange::new(network)?;
        let tokens = TokenSource::new(origin, credential, exchange).await?;
        Ok(Self::Tokens(Arc::new(tokens)))
    }

    /// Returns the current user name and password. `None` if there is no credential.
    ///
    /// # Errors
    ///
    /// If a token is needed and cannot be obtained.
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
            Self::Static(given) => Some(given.shown.clone()),
        })
    }

    /// Returns a replacement for a password that was refused. `None` if there is none.
    ///
    /// # Errors
    ///
    /// If no new token can be obtained.
    pub async fn renewed(&self, refused: &Secret) -> Result<Option<BasicAuth>, AuthError> {
        Ok(match self {
            Self::Anonymous | Self::Login(_) | Self::Paths(_) | Self::Static(_) => None,
            Self::Tokens(tokens) => tokens.replace_rejected(refused).await?.map(BasicAuth::from),
        })
    }

    /// The quota project for requests to Google's APIs.
    pub fn quota_project(&self) -> Option<&str> {
        match self {
            Self::Tokens(tokens) => tokens.quota_project(),
            Self::Anonymous | Self::Login(_) | Self::Paths(_) | Self::Static(_) => None,
        }
    }

    /// The identity that the server knows for this credential.
    pub fn identity(&self) -> Identity {
        match self {
            Self::Anonymous | Self::Paths(_) => Identity::Anonymous,
            Self::Login(login) => Identity::Login(login.user.clone(), login.origin),
            Self::Tokens(tokens) => tokens.identity(),
            Self::Static(given) => given.identity.clone(),
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
            Self::Login(login) => write!(formatter, ", with `{}`", login.origin),
            Self::Tokens(tokens) => {
                write!(
                    formatter,
                    ", with {} from {}",
                    tokens.describe(),
                    tokens.origin()
                )
            }
            Self::Static(_) => formatter.write_str(", with the content of the pull secret"),
        }
    }
}

fn path_and_user(login: &Login) -> String {
    let Login {
        origin, user, path, ..
    } = login;
    match path.as_str() {
        "" => format!("as `{user}`, with `{origin}`"),
        path => format!("as `{user}` for `{path}`, with `{origin}`"),
    }
}
