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
        }
        let file: File = serde_json::from_str(json).map_err(|_| DockerConfigError::NotJson)?;
        let logins = file
            .auths
            .into_iter()
            .map(|(server, entry)| {
                let login = match (entry.auth.filter(|a| !a.is_empty()), entry.username) {
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
    /// `docker login` has written it over the years.
    ///
    /// # Errors
    ///
    /// When the config names the endpoint, but a helper holds its secret or the entry is broken.
    pub fn login(
        &self,
        endpoint: &Endpoint,
    ) -> Result<Option<(String, Secret)>, DockerConfigError> {
        let host = endpoint.host();
        if let Some(helper) = self.helpers.get(host) {
            return Err(DockerConfigError::Helper(endpoint.clone(), helper.clone()));
        }
        let login = self
            .logins
            .iter()
            .find(|(server, _)| server_host(server) == host)
            .map(|(_, login)| login);
        match (login, &self.store) {
            (Some(Login::Basic(user, password)), _) => Ok(Some((user.clone(), password.clone()))),
            (Some(Login::Broken), _) => Err(DockerConfigError::Auth(endpoint.clone())),
            (Some(Login::Empty), Some(store)) => {
                Err(DockerConfigError::Helper(endpoint.clone(), store.clone()))
            }
            (Some(Login::Empty) | None, _) => Ok(None),
        }
    }
}

fn server_host(server: &str) -> &str {
    let server = server
        .strip_prefix("https://")
        .or_else(|| server.strip_prefix("http://"))
        .unwrap_or(server);
    server.split('/').next().unwrap_or(server)
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
