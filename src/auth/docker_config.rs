//! Reads logins from a Docker `config.json`, for registries other than Google's.
//! <https://docs.docker.com/reference/cli/docker/login/>,
//! <https://github.com/containers/image/blob/main/docs/containers-auth.json.5.md>

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use super::logins::PasswordKind;
use crate::diagnostics::sanitize::sanitize;
use crate::diagnostics::secret::Secret;
use crate::oci::json;
use crate::oci::reference::Endpoint;

/// The logins (`auths`) of a Docker config, by the name of the server in it.
#[derive(Clone, Debug, Default)]
pub struct DockerConfig {
    logins: BTreeMap<String, Stored>,
    helpers: BTreeMap<String, String>,
    store: Option<String>,
}

/// The entry of a server in a Docker config.
#[derive(Clone, Debug)]
enum Stored {
    Login(String, Secret, PasswordKind),
    /// An empty entry, whose secret is in a credential helper or store.
    Empty,
    Broken,
}

/// A login for an endpoint, or the helper that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AuthEntry {
    Login {
        user: String,
        password: Secret,
        kind: PasswordKind,
    },
    /// The credential helper `docker-credential-PROGRAM` has the login.
    Helper {
        program: String,
        server: String,
        /// True if the config states that the helper has a login for this server.
        is_sure: bool,
    },
}

/// Why a Docker config cannot be used. No message quotes a secret.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum DockerConfigError {
    /// It is not the JSON of a config.
    #[error("it is not a Docker config: expected JSON with `auths`")]
    NotJson,
    /// It is JSON of another kind.
    #[error("it is {0}, not a Docker config: expected JSON with `auths`")]
    Other(&'static str),
    /// The credential helper that has the login is not installed.
    #[error(
        "the login for `{0}` is in the credential helper `docker-credential-{1}`, which is not on \
         PATH"
    )]
    Helper(Endpoint, String),
    /// The credential helper failed.
    #[error(
        "the credential helper `docker-credential-{helper}` did not return a login for `{server}`: \
         {why}"
    )]
    HelperFailed {
        /// The name of the helper.
        helper: String,
        /// The server that it was called for.
        server: String,
        /// The reason.
        why: String,
    },
    /// An `auth` that is not base64 of `user:password`.
    #[error("the `auth` for `{0}` is not base64 of `user:password`")]
    Auth(Endpoint),
}

impl DockerConfigError {
    /// The hint for the error.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotJson => None,
            Self::Other(A_KEY) => Some("put the key in `credentials_json`".to_owned()),
            Self::Other(A_SECRET) => Some(
                "use the config in it: `kubectl get secret NAME -o \
                 jsonpath='{.data.\\.dockerconfigjson}'` prints it as base64, which gcr-push \
                 accepts"
                    .to_owned(),
            ),
            Self::Other(_) => None,
            Self::Helper(endpoint, _) => Some(format!(
                "put a password in the file itself, or set `credentials_json` for Google hosts: a \
                 container does not have the helper for `{endpoint}`"
            )),
            Self::HelperFailed { helper, server, .. } => Some(format!(
                "see the error with `echo {server} | docker-credential-{helper} get`; log in \
                 again, or set `username` and `password`"
            )),
            Self::Auth(_) => {
                Some("create it with `printf '%s' \"$USER:$PASSWORD\" | base64 -w0`".to_owned())
            }
        }
    }
}

const A_KEY: &str = "a Google credential";
const A_SECRET: &str = "a Kubernetes Secret";

#[derive(Deserialize)]
struct StoredEntry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl DockerConfig {
    /// Parses a Docker config, or the older format `.dockercfg`.
    ///
    /// # Errors
    ///
    /// If it is neither. Invalid entries are reported only when they are needed.
    pub fn parse(text: &str) -> Result<Self, DockerConfigError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct File {
            auths: Option<BTreeMap<String, Option<StoredEntry>>>,
            cred_helpers: Option<BTreeMap<String, String>>,
            creds_store: Option<String>,
        }
        let file: File = json::from_str(text).map_err(|_| DockerConfigError::NotJson)?;
        let is_config =
            file.auths.is_some() || file.cred_helpers.is_some() || file.creds_store.is_some();
        let auths = if is_config {
            file.auths.unwrap_or_default()
        } else {
            parse_dockercfg(text)?
        };
        let logins = auths.into_iter().map(|(server, entry)| {
            let stored = entry.map_or(Stored::Empty, StoredEntry::read);
            (server, stored)
        });
        Ok(Self {
            logins: logins.collect(),
            helpers: file.cred_helpers.unwrap_or_default(),
            store: file.creds_store.filter(|store| !store.is_empty()),
        })
    }

    /// Returns the logins for `endpoint` and for paths below it, the longest path first.
    ///
    /// A server may be written bare, with a scheme, or with a trailing `/v1/` or `/v2/`, as
    /// versions of `docker login` do. Anything else after the host is a path
    /// (containers-auth.json(5)).
    pub(super) fn entries(
        &self,
        endpoint: &Endpoint,
    ) -> Vec<(String, Result<AuthEntry, DockerConfigError>)> {
        let host = endpoint.host();
        let mut entries: Vec<_> = self
            .logins
            .iter()
            .filter_map(|(server, stored)| Some((path_at(server, host)?, server, stored)))
            .collect();
        // The bare name comes first, so that the choice between two entries for one server is
        // stable.
        entries.sort_by_key(|(path, server, _)| {
            (std::cmp::Reverse(path.len()), *server != host, *server)
        });
        let helper = self
            .helpers
            .iter()
            .find(|(server, _)| path_at(server, host).is_some_and(str::is_empty));
        let mut found: Vec<_> = entries
            .iter()
            .filter_map(|(path, server, stored)| {
                let is_whole = path.is_empty();
                let entry = match (stored, &self.store) {
                    // Docker uses only the helper.
                    _ if is_whole && helper.is_some() => return None,
                    (Stored::Login(user, password, kind), _) => Ok(AuthEntry::Login {
                        user: user.clone(),
                        password: password.clone(),
                        kind: *kind,
                    }),
                    (Stored::Broken, _) => Err(DockerConfigError::Auth(endpoint.clone())),
                    (Stored::Empty, Some(store)) => Ok(AuthEntry::Helper {
                        program: store.clone(),
                        server: (*server).clone(),
                        is_sure: true,
                    }),
                    (Stored::Empty, None) => return None,
                };
                Some(((*path).to_owned(), entry))
            })
            .collect();
        let whole = found.iter().any(|(path, _)| path.is_empty());
        let program = match (helper, &self.store) {
            (Some((server, program)), _) => Some((server.clone(), program, true)),
            (None, Some(store)) if !whole => Some((server_of(endpoint), store, false)),
            (None, _) => None,
        };
        if let Some((server, program, is_sure)) = program {
            let entry = AuthEntry::Helper {
                program: program.clone(),
                server,
                is_sure,
            };
            found.push((String::new(), Ok(entry)));
        }
        found
    }

    /// The names of the servers in the config.
    pub(super) fn servers(&self) -> Vec<String> {
        let mut servers: Vec<_> = self.logins.keys().chain(self.helpers.keys()).collect();
        servers.sort();
        servers.dedup();
        servers.into_iter().map(|server| sanitize(server)).collect()
    }
}

impl StoredEntry {
    fn read(self) -> Stored {
        let is_set = |value: &String| !value.is_empty();
        let auth = self.auth.filter(is_set);
        let user = || match &auth {
            Some(auth) => decode(auth).map(|(user, _)| user),
            None => self.username.clone(),
        };
        if let Some(token) = self.identitytoken.filter(is_set) {
            let user = user().unwrap_or_default();
            return Stored::Login(user, Secret::new(token), PasswordKind::IdentityToken);
        }
        if let Some(token) = self.registrytoken.filter(is_set) {
            let user = user().unwrap_or_default();
            return Stored::Login(user, Secret::new(token), PasswordKind::RegistryToken);
        }
        match (auth, self.username) {
            (Some(auth), _) => match decode(&auth) {
                Some((user, password)) => Stored::Login(user, password, PasswordKind::Password),
                None => Stored::Broken,
            },
            (None, Some(user)) => Stored::Login(
                user,
                Secret::new(self.password.unwrap_or_default()),
                PasswordKind::Password,
            ),
            (None, None) => Stored::Empty,
        }
    }
}

/// Parses the format before `auths`, with servers at the top level. Other JSON is identified in the
/// error.
fn parse_dockercfg(text: &str) -> Result<BTreeMap<String, Option<StoredEntry>>, DockerConfigError> {
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|_| DockerConfigError::NotJson)?;
    if object.contains_key("kind") && object.contains_key("apiVersion") {
        return Err(DockerConfigError::Other(A_SECRET));
    }
    if object.contains_key("type") || object.contains_key("private_key") {
        return Err(DockerConfigError::Other(A_KEY));
    }
    let entries = object.into_iter().filter_map(|(server, value)| {
        let is_server = server.contains(['.', ':']) || server == "localhost";
        let has_login = value.get("auth").is_some() || value.get("username").is_some();
        // Other fields of a config, such as `HttpHeaders`, are ignored.
        (is_server && has_login).then_some((server, value))
    });
    entries
        .map(|(server, value)| {
            let entry = json::from_value(value).map_err(|_| DockerConfigError::NotJson)?;
            Ok((server, Some(entry)))
        })
        .collect()
}

/// The names of Docker Hub. `docker login` writes the second.
const HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// The name under which `docker login` stores a server's login.
fn server_of(endpoint: &Endpoint) -> String {
    if endpoint.is_docker_hub() {
        "https://index.docker.io/v1/".to_owned()
    } else {
        endpoint.host().to_owned()
    }
}

/// Returns the path in the name of a server if it is on this host.
fn path_at<'a>(server: &'a str, host: &str) -> Option<&'a str> {
    let server = server
        .strip_prefix("https://")
        .or_else(|| server.strip_prefix("http://"))
        .unwrap_or(server);
    let (server, path) = server.split_once('/').unwrap_or((server, ""));
    let is_host = server.eq_ignore_ascii_case(host) || HUB.contains(&server) && HUB.contains(&host);
    let path = path.trim_end_matches('/');
    is_host.then_some(match path {
        "v1" | "v2" => "",
        path => path,
    })
}

/// Decodes an `auth` value. Line breaks are ignored, as in Go's decoder.
fn decode(auth: &str) -> Option<(String, Secret)> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let auth: String = auth.split_ascii_whitespace().collect();
    let text = String::from_utf8(LENIENT.decode(auth).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    // Docker's own writer once padded the password with NULs, and its reader strips them.
    let password = Secret::new(password.trim_end_matches('\0'));
    Some((user.to_owned(), password))
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::oci::json::variants;

    proptest! {
        #[test]
        fn config_is_read_with_any_spelling_of_fields(
            text in variants::of(
                json!({"auths": {"r.example": {"username": "a", "password": "b"}}}),
                variants::Fields {
                    all: &["auths", "credHelpers", "credsStore", "username", "password"],
                    optional: &["auth", "identitytoken", "credHelpers", "credsStore"],
                },
            )
        ) {
            let config = DockerConfig::parse(&text).unwrap();
            prop_assert_eq!(
                config.entries(&endpoint("r.example")),
                [(String::new(), Ok(login("a", "b")))]
            );
        }
    }

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

    fn login(user: &str, password: &str) -> AuthEntry {
        AuthEntry::Login {
            user: user.to_owned(),
            password: Secret::new(password),
            kind: PasswordKind::Password,
        }
    }

    #[test]
    fn password_may_contain_colons() {
        assert_eq!(
            config("user:pass:word").entries(&endpoint("registry.example.com")),
            [(String::new(), Ok(login("user", "pass:word")))]
        );
    }

    #[test]
    fn other_port_or_longer_host_is_another_server() {
        for host in [
            "registry.example.com:5000",
            "registry.example.com.evil.example",
        ] {
            assert_eq!(config("u:p").entries(&endpoint(host)), [], "{host}");
        }
    }

    #[test]
    fn server_matches_the_names_docker_writes() {
        for (server, host, path) in [
            ("https://index.docker.io/v1/", "docker.io", Some("")),
            ("docker.io", "registry-1.docker.io", Some("")),
            ("https://r.example/v2", "r.example", Some("")),
            ("http://r.example/", "r.example", Some("")),
            ("r.example/team", "r.example", Some("team")),
            ("https://r.example/team/app/", "r.example", Some("team/app")),
            ("docker.io/library", "docker.io", Some("library")),
            ("r.example:5000", "r.example", None),
            ("https://index.docker.io/v1/", "ghcr.io", None),
        ] {
            assert_eq!(path_at(server, host), path, "{server} for {host}");
        }
    }

    #[test]
    fn longest_path_comes_first() {
        let auth = |user: &str| format!(r#"{{"auth":"{}"}}"#, STANDARD.encode(format!("{user}:p")));
        let config = DockerConfig::parse(&format!(
            r#"{{"auths":{{"r.example":{},"r.example/team":{},"r.example/team/app":{},"r.example/x":{}}}}}"#,
            auth("all"),
            auth("team"),
            auth("app"),
            auth("x")
        ))
        .unwrap();
        let found = config.entries(&endpoint("r.example"));
        let paths: Vec<_> = found.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, ["team/app", "team", "x", ""]);
    }

    #[test]
    fn credential_helper_is_named() {
        assert_eq!(
            config("u:p").entries(&endpoint("gcr.io")),
            [(
                String::new(),
                Ok(AuthEntry::Helper {
                    program: "gcloud".to_owned(),
                    server: "gcr.io".to_owned(),
                    is_sure: true
                })
            )]
        );
    }

    #[test]
    fn broken_entry_is_reported_for_its_host_only() {
        assert_eq!(
            config("no-colon").entries(&endpoint("registry.example.com")),
            [(
                String::new(),
                Err(DockerConfigError::Auth(endpoint("registry.example.com")))
            )]
        );
        assert_eq!(config("no-colon").entries(&endpoint("other.example")), []);
    }

    #[test]
    fn invalid_config_error_says_what_it_is() {
        let parse = |json: &str| DockerConfig::parse(json).map(|config| config.servers());
        let other = |what| Err(DockerConfigError::Other(what));
        assert_eq!(parse(r#"{"type":"service_account"}"#), other(A_KEY));
        assert_eq!(
            parse(r#"{"apiVersion":"v1","kind":"Secret","data":{}}"#),
            other(A_SECRET)
        );
        assert_eq!(parse("[]"), Err(DockerConfigError::NotJson));
        assert_eq!(parse("{}"), Ok(Vec::new()));
        assert_eq!(parse(r#"{"HttpHeaders":{"a.b":"c"}}"#), Ok(Vec::new()));
        assert_eq!(
            parse(r#"{"gcr.io":{"auth":"dTpw","email":"x@example.com"}}"#),
            Ok(vec!["gcr.io".to_owned()])
        );
        assert_eq!(parse(r#"{"auths":null,"credsStore":null}"#), Ok(Vec::new()));
    }

    proptest! {
        #[test]
        fn auth_with_line_breaks_reads_back(
            user in "[a-z$]{1,10}", password in "\\PC{0,200}", width in 1usize..90,
        ) {
            let encoded = STANDARD.encode(format!("{user}:{password}"));
            let lines: Vec<_> = encoded
                .as_bytes()
                .chunks(width)
                .map(|line| String::from_utf8_lossy(line).into_owned())
                .collect();
            let read = decode(&lines.join("\r\n"));
            prop_assert_eq!(read, Some((user, Secret::new(password.trim_end_matches('\0')))));
        }

        #[test]
        fn random_text_causes_no_panic(text in "\\PC{0,60}") {
            let _ = DockerConfig::parse(&text).map(|config| config.entries(&endpoint("r.example")));
        }
    }
}
