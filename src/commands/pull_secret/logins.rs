//! The logins of a pull secret, one for each host or path, and their expiry.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::PullSecretError;
use super::forms::read_docker_config;
use super::verify::PulledImage;
use crate::auth::logins::PasswordKind;
use crate::auth::{AuthError, BasicAuth, Credential, Credentials, StaticCredential};
use crate::commands::pull_secret::request::{PullCredential, PullSecretOptions};
use crate::diagnostics::secret::Secret;
use crate::oci::reference::Endpoint;

/// The user and the password for one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SecretLogin {
    pub(super) user: String,
    pub(super) password: Secret,
}

impl From<BasicAuth> for SecretLogin {
    fn from(basic: BasicAuth) -> Self {
        Self {
            user: basic.user,
            password: basic.password,
        }
    }
}

impl SecretLogin {
    #[cfg(test)]
    pub(super) fn new(user: &str, password: &str) -> Self {
        Self {
            user: user.to_owned(),
            password: Secret::new(password),
        }
    }
}

/// The source of the login of each host. A token is not requested yet.
pub(super) struct LoginPlan(BTreeMap<Endpoint, Source>);

enum Source {
    /// A credential that is known already.
    Ready(Credential),
    /// An access token of the sign-in to Google.
    Token,
}

/// The logins of a pull secret.
pub(super) struct SecretLogins {
    /// The credentials by host, for the registry client.
    pub(super) credentials: BTreeMap<Endpoint, Credential>,
    /// The logins by server, as they are written.
    pub(super) written: BTreeMap<String, SecretLogin>,
    /// The token among them. `None` if there is none.
    pub(super) token: Option<Token>,
}

/// The token among the logins, and its expiry if that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) expires_at: Option<SystemTime>,
}

impl LoginPlan {
    /// Chooses the source of the login for every host.
    ///
    /// # Errors
    ///
    /// If no host has a login, or a login of the Docker config cannot be read.
    pub(super) async fn new(
        options: &PullSecretOptions,
        hosts: &[Endpoint],
        images: &[PulledImage],
        credentials: &Credentials,
    ) -> Result<Self, PullSecretError> {
        let mut sources = BTreeMap::new();
        for host in hosts {
            let source = match &options.credential {
                Some(credential) if host.is_google() => match credential {
                    PullCredential::Key { key, .. } => Source::Ready(Credential::Static(Box::new(
                        StaticCredential::key_file(key),
                    ))),
                    PullCredential::Token => Source::Token,
                },
                _ if host.is_google() => continue,
                _ => match credentials
                    .for_destination(host)
                    .await
                    .map_err(PullSecretError::Login)?
                {
                    login @ (Credential::Login(_) | Credential::Paths(_))
                        if options.allow_push_key =>
                    {
                        let images = images.iter().filter(|image| image.endpoint == *host);
                        let pulled = images.map(|image| image.repository.as_str());
                        let login = login.for_repositories(pulled);
                        if servers(host, &login).is_empty() {
                            tracing::warn!(
                                "the pull secret `{}` has no login for `{host}`: a cluster cannot \
                                 exchange an identity token",
                                options.name
                            );
                            continue;
                        }
                        Source::Ready(login)
                    }
                    Credential::Anonymous => {
                        tracing::info!(
                            "no login is known for `{host}`, so the pull secret has \
                                        none for it"
                        );
                        continue;
                    }
                    _ => {
                        tracing::warn!(
                            "the pull secret `{}` has no login for `{host}`: with \
                             `pull_secret_allow_push_key: true`, it gets the login that pushes \
                             there",
                            options.name
                        );
                        continue;
                    }
                },
            };
            sources.insert(host.clone(), source);
        }
        if sources.is_empty() {
            return Err(PullSecretError::NoLogin);
        }
        Ok(Self(sources))
    }

    /// True if `docker_config` has the same logins for the same hosts. Tokens are not compared,
    /// because every token is different.
    pub(super) async fn is_current(&self, docker_config: &str) -> bool {
        let Some(found) = read_docker_config(docker_config) else {
            return false;
        };
        let mut expected = 0;
        for (host, source) in &self.0 {
            let same = match source {
                Source::Token => {
                    expected += 1;
                    let login = found.get(host.host());
                    login.is_some_and(|login| login.user == crate::auth::TOKEN_USER)
                }
                Source::Ready(credential) => {
                    let servers = servers(host, credential);
                    expected += servers.len();
                    let mut servers = servers.iter();
                    servers.all(|(server, login)| found.get(server) == Some(login))
                }
            };
            if !same {
                return false;
            }
        }
        found.len() == expected
    }

    /// True if a login is a token.
    pub(super) fn has_token(&self) -> bool {
        let mut sources = self.0.values();
        sources.any(|source| matches!(source, Source::Token))
    }

    /// Obtains a fresh token if one is needed, and returns all logins.
    ///
    /// # Errors
    ///
    /// If no token can be obtained.
    pub(super) async fn gather(
        self,
        credentials: &Credentials,
    ) -> Result<SecretLogins, PullSecretError> {
        let mut logins = SecretLogins {
            credentials: BTreeMap::new(),
            written: BTreeMap::new(),
            token: None,
        };
        let mut token: Option<StaticCredential> = None;
        for (host, source) in self.0 {
            let credential = match (source, &token) {
                (Source::Ready(credential), _) => credential,
                (Source::Token, Some(token)) => Credential::Static(Box::new(token.clone())),
                (Source::Token, None) => {
                    let credential = fresh_token(credentials)
                        .await
                        .map_err(PullSecretError::Login)?;
                    let expires_at = credential.shown().expires_at;
                    logins.token = Some(Token { expires_at });
                    Credential::Static(Box::new(token.insert(credential).clone()))
                }
            };
            logins.written.extend(servers(&host, &credential));
            logins.credentials.insert(host, credential);
        }
        Ok(logins)
    }
}

/// The entries of the Docker config for one host: one login for the host, or one for each path. A
/// kubelet uses the entry with the longest matching path.
fn servers(host: &Endpoint, credential: &Credential) -> Vec<(String, SecretLogin)> {
    let of_login = |login: &crate::auth::logins::Login| {
        let server = match login.path.as_str() {
            "" => host.host().to_owned(),
            path => format!("{host}/{path}"),
        };
        let user = login.user.clone();
        let password = login.password.clone();
        (login.kind == PasswordKind::Password).then_some((server, SecretLogin { user, password }))
    };
    match credential {
        Credential::Login(login) => of_login(login).into_iter().collect(),
        Credential::Paths(logins) => logins.iter().filter_map(of_login).collect(),
        Credential::Static(credential) => {
            let login = SecretLogin::from(credential.shown().clone());
            vec![(host.host().to_owned(), login)]
        }
        Credential::Anonymous | Credential::Tokens(_) => Vec::new(),
    }
}

async fn fresh_token(credentials: &Credentials) -> Result<StaticCredential, AuthError> {
    match credentials.for_google().await? {
        Credential::Tokens(tokens) => Ok(StaticCredential::token(
            tokens.fresh().await?,
            tokens.identity(),
        )),
        _ => Err(AuthError::NoToken),
    }
}
