//! Logins of a Docker `config.json`, for registries that are not Google's.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::reference::Endpoint;
use crate::secret::Secret;

/// The logins (`auths`) of a Docker config, by the server's name as it stands there.
#[derive(Clone, Debug, Default)]
pub struct DockerConfig {
    logins: HashMap<String, Login>,
    helpers: HashMap<String, String>,
    store: Option<String>,
}

/// What a Docker config says about one server.
#[derive(Clone, Debug)]
enum Login {
    Basic(String, Secret),
    /// An entry with nothing in it: a credential helper or store has the secret.
    Empty,
    Broken,
    IdentityToken,
}

/// A Docker config that cannot be used. No message quotes a secret.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DockerConfigError {
    /// Not the JSON of a config.
    #[error("it is no Docker config: expected JSON with `auths`")]
    NotJson,
    /// The login is kept by a program that is not here.
    #[error(
        "the login for `{0}` is kept by the credential helper `docker-credential-{1}`, which gcr-push does not run"
    )]
    Helper(Endpoint, String),
    /// An `auth` that is not base64 of `user:password`.
    #[error("the `auth` for `{0}` is not base64 of `user:password`")]
    Auth(Endpoint),
    /// A token that buys tokens by a protocol that is not spoken here.
    #[error("the login for `{0}` is an `identitytoken`, which gcr-push does not trade")]
    IdentityToken(Endpoint),
}

impl DockerConfig {
    /// Reads the JSON text of a Docker config.
    ///
    /// # Errors
    ///
    /// When it is no such JSON. Single broken entries are told when they are needed.
    pub fn parse(json: &str) -> Result<Self, DockerConfigError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct File {
            #[serde(default)]
            auths: HashMap<String, Entry>,
            #[serde(default)]
            cred_helpers: HashMap<String, String>,
            creds_store: Option<String>,
        }
        #[derive(Deserialize)]
        struct Entry {
            auth: Option<String>,
            username: Option<String>,
            password: Option<String>,
            identitytoken: Option<String>,
        }
        let file: File = serde_json::from_str(json).map_err(|_| DockerConfigError::NotJson)?;
        let logins = file
            .auths
            .into_iter()
            .map(|(server, entry)| {
                let is_set = |value: &Option<String>| value.as_ref().is_some_and(|v| !v.is_empty());
                let login = match (entry.auth.filter(|a| !a.is_empty()), entry.username) {
                    _ if is_set(&entry.identitytoken) => Login::IdentityToken,
                    (Some(auth), _) => decode(&auth),
                    (None, Some(user)) => {
                        Login::Basic(user, Secret::new(entry.password.unwrap_or_default()))
                    }
                    (None, None) => Login::Empty,
                };
                (server, login)
            })
            .collect();
        Ok(Self {
            logins,
            helpers: file.cred_helpers,
            store: file.creds_store.filter(|store| !store.is_empty()),
        })
    }

    /// User and password for `endpoint`, if the config has them.
    ///
    /// A server may be written bare, with a scheme, or with `/v1/` or `/v2/` behind it, as
    /// `docker login` has written it over the years. An entry for a path below a server
    /// (containers-auth.json(5)) is not for all of it, and is passed over.
    ///
    /// # Errors
    ///
    /// When the config names the endpoint, but a helper holds its secret or the entry is broken.
    pub fn login(
        &self,
        endpoint: &Endpoint,
    ) -> Result<Option<(String, Secret)>, DockerConfigError> {
        let host = endpoint.host();
        let helper = self.helpers.iter().find(|(server, _)| names(server, host));
        if let Some((_, helper)) = helper {
            return Err(DockerConfigError::Helper(endpoint.clone(), helper.clone()));
        }
        // The bare name first, so that of two entries for one server always the same is taken.
        let login = self.logins.get(host).or_else(|| {
            let mut others: Vec<_> = self.logins.iter().collect();
            others.sort_by_key(|(server, _)| *server);
            let mut others = others.into_iter();
            others
                .find(|(server, _)| names(server, host))
                .map(|(_, login)| login)
        });
        match (login, &self.store) {
            (Some(Login::Basic(user, password)), _) => Ok(Some((user.clone(), password.clone()))),
            (Some(Login::Broken), _) => Err(DockerConfigError::Auth(endpoint.clone())),
            (Some(Login::IdentityToken), _) => {
                Err(DockerConfigError::IdentityToken(endpoint.clone()))
            }
            (Some(Login::Empty), Some(store)) => {
                Err(DockerConfigError::Helper(endpoint.clone(), store.clone()))
            }
            (Some(Login::Empty) | None, _) => Ok(None),
        }
    }
}

/// The names that Docker Hub goes by; `docker login` writes the second.
const HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// True when a server's name in a config means this host.
fn names(server: &str, host: &str) -> bool {
    let server = server
        .strip_prefix("https://")
        .or_else(|| server.strip_prefix("http://"))
        .unwrap_or(server);
    let (server, path) = server.split_once('/').unwrap_or((server, ""));
    let is_whole = matches!(path.trim_end_matches('/'), "" | "v1" | "v2");
    is_whole && (server == host || HUB.contains(&server) && HUB.contains(&host))
}

fn decode(auth: &str) -> Login {
    let text = STANDARD
        .decode(auth.trim())
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    match text.as_deref().and_then(|text| text.split_once(':')) {
        // Docker's own writer once padded the password with NULs, and its reader strips them.
        Some((user, password)) => Login::Basic(
            user.to_owned(),
            Secret::new(password.trim_end_matches('\0')),
        ),
        None => Login::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(auth: &str) -> DockerConfig {
        let encoded = STANDARD.encode(auth);
        DockerConfig::parse(&format!(
            r#"{{"auths":{{"https://registry.example.com/v2/":{{"auth":"{encoded}"}}}},
                "credHelpers":{{"gcr.io":"gcloud"}},"credsStore":""}}"#
        ))
        .unwrap()
    }

    fn endpoint(host: &str) -> Endpoint {
        host.parse().unwrap()
    }

    #[test]
    fn a_password_may_hold_colons() {
        let login = config("user:pass:word").login(&endpoint("registry.example.com"));
        assert_eq!(
            login,
            Ok(Some(("user".to_owned(), Secret::new("pass:word"))))
        );
    }

    #[test]
    fn another_port_or_a_longer_host_is_another_server() {
        for host in [
            "registry.example.com:5000",
            "registry.example.com.evil.example",
        ] {
            assert_eq!(config("u:p").login(&endpoint(host)), Ok(None), "{host}");
        }
    }

    #[test]
    fn a_server_goes_by_the_names_that_docker_writes_and_a_path_is_not_the_whole_server() {
        for (server, host, same) in [
            ("https://index.docker.io/v1/", "docker.io", true),
            ("docker.io", "registry-1.docker.io", true),
            ("https://r.example/v2", "r.example", true),
            ("http://r.example/", "r.example", true),
            ("r.example/team", "r.example", false),
            ("r.example:5000", "r.example", false),
            ("https://index.docker.io/v1/", "ghcr.io", false),
        ] {
            assert_eq!(names(server, host), same, "{server} for {host}");
        }
    }

    #[test]
    fn a_helper_is_refused_by_name() {
        assert_eq!(
            config("u:p").login(&endpoint("gcr.io")),
            Err(DockerConfigError::Helper(
                endpoint("gcr.io"),
                "gcloud".to_owned()
            ))
        );
    }

    #[test]
    fn a_broken_entry_is_told_when_it_is_needed() {
        assert_eq!(
            config("no-colon").login(&endpoint("registry.example.com")),
            Err(DockerConfigError::Auth(endpoint("registry.example.com")))
        );
        assert_eq!(
            config("no-colon").login(&endpoint("other.example")),
            Ok(None)
        );
    }
}
