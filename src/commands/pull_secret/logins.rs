//! Which login each host gets, and how long it works.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::PullSecretError;
use super::verify::PulledImage;
use crate::auth::logins::PasswordKind;
use crate::auth::{AuthError, BasicAuth, Credential, Credentials, StaticCredential};
use crate::commands::pull_secret::request::{PullCredential, PullSecretRequest};
use crate::diagnostics::secret::Secret;
use crate::oci::reference::Endpoint;

/// User and password for one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SecretLogin {
    pub(super) user: String,
    pub(super) password: Secret,
}

impl From<BasicAuth> for SecretLogin {
    fn from(shown: BasicAuth) -> Self {
        Self {
            user: shown.user,
            password: shown.password,
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

/// What each host is going to be shown; a token is not bought yet.
pub(super) struct LoginPlan(BTreeMap<Endpoint, Source>);

enum Source {
    /// It is known already.
    Ready(Credential),
    /// A token of the sign-in to Google.
    Token,
}

/// Every login of a pull secret.
pub(super) struct SecretLogins {
    /// By host, as a registry is shown it.
    pub(super) credentials: BTreeMap<Endpoint, Credential>,
    /// By host, as it is written.
    pub(super) written: BTreeMap<String, SecretLogin>,
    /// What runs out.
    pub(super) token: Option<Token>,
}

/// That a token is among the logins, and when it stops working, as far as that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) expires_at: Option<SystemTime>,
}

impl LoginPlan {
    /// Decides for every host.
    ///
    /// # Errors
    ///
    /// When there is no host that a login is known for, or the Docker config's cannot be used.
    pub(super) async fn new(
        asked: &PullSecretRequest,
        hosts: &[Endpoint],
        images: &[PulledImage],
        credentials: &Credentials,
    ) -> Result<Self, PullSecretError> {
        let mut sources = BTreeMap::new();
        for host in hosts {
            let source = match &asked.credential {
                Some(credential) if host.is_google() => match credential {
                    PullCredential::Key { key, .. } => {
                        Source::Ready(Credential::Given(Box::new(StaticCredential::key_file(key))))
                    }
                    PullCredential::Token => Source::Token,
                },
                _ if host.is_google() => continue,
                _ => match credentials
                    .for_destination(host)
                    .await
                    .map_err(PullSecretError::Login)?
                {
                    login @ (Credential::Login(_) | Credential::Paths(_))
                        if asked.allow_push_key =>
                    {
                        let images = images.iter().filter(|image| image.endpoint == *host);
                        let pulled = images.map(|image| image.repository.as_str());
                        let login = login.for_repositories(pulled);
                        if servers(host, &login).is_empty() {
                            tracing::warn!(
                                "the pull secret `{}` has no login for `{host}`: a cluster trades \
                                 no identity token",
                                asked.name
                            );
                            continue;
                        }
                        Source::Ready(login)
                    }
                    Credential::Anonymous => {
                        tracing::info!("`{host}` asks for no login that is known, so it gets none");
                        continue;
                    }
                    _ => {
                        tracing::warn!(
                            "the pull secret `{}` has no login for `{host}`: the one that pushes \
                             there goes into it with `pull_secret_allow_push_key: true`",
                            asked.name
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

    /// True when `docker_config` has a login for the very same hosts, and they are the same ones,
    /// but for tokens, which are never the same twice.
    pub(super) async fn is_met_by(&self, docker_config: &str) -> bool {
        let Some(found) = read(docker_config) else {
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

    /// True when one of them is a token.
    pub(super) fn has_token(&self) -> bool {
        let mut sources = self.0.values();
        sources.any(|source| matches!(source, Source::Token))
    }

    /// Buys the token, if one is needed, as fresh as it can be had.
    ///
    /// # Errors
    ///
    /// When it is not sold.
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
                (Source::Token, Some(token)) => Credential::Given(Box::new(token.clone())),
                (Source::Token, None) => {
                    let given = fresh_token(credentials)
                        .await
                        .map_err(PullSecretError::Login)?;
                    let expires_at = given.shown().expires_at;
                    logins.token = Some(Token { expires_at });
                    Credential::Given(Box::new(token.insert(given).clone()))
                }
            };
            logins.written.extend(servers(&host, &credential));
            logins.credentials.insert(host, credential);
        }
        Ok(logins)
    }
}

/// What stands in the file for one host: a login for all of it, or one for each path, which a
/// kubelet finds by the longest name that fits.
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
        Credential::Given(given) => {
            let login = SecretLogin::from(given.shown().clone());
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

/// Reads back what [`super::json::docker_config`] writes; none for anything else.
fn read(docker_config: &str) -> Option<BTreeMap<String, SecretLogin>> {
    #[derive(serde::Deserialize)]
    struct File {
        auths: BTreeMap<String, Entry>,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        username: String,
        password: String,
    }
    let file: File = serde_json::from_str(docker_config).ok()?;
    let logins: BTreeMap<_, _> = file
        .auths
        .into_iter()
        .map(|(server, entry)| {
            let login = SecretLogin {
                user: entry.username,
                password: Secret::new(entry.password),
            };
            (server, login)
        })
        .collect();
    // What else stands in it, or in another form, is not ours.
    (super::json::docker_config(&logins) == docker_config).then_some(logins)
}
