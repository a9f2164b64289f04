//! User names and passwords for registries or for paths in them: from Docker configs, from
//! variables, and from a CI for its own registry.

use super::credential_helper::HelperCall;
use super::docker_config::{AuthEntry, DockerConfig, DockerConfigError};
use crate::diagnostics::secret::Secret;
use crate::oci::reference::Endpoint;

/// The default Docker config, which `docker login` writes.
pub const HOME_FILE: &str = "~/.docker/config.json";

/// All logins of a run.
#[derive(Clone, Debug, Default)]
pub struct Logins {
    /// The login for the host of `image`, used only for reading.
    pub source: Option<Login>,
    /// The login for the destination that is not Google's.
    pub destination: Option<Login>,
    /// The Docker configs with the variables or files that they are from, the preferred one first.
    pub docker: Vec<(&'static str, DockerConfig)>,
    /// The CI's logins for its own registry.
    pub ci: Vec<Login>,
}

/// A user name and a password for a registry, or for a path in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The variable that it is from.
    pub origin: &'static str,
    /// The host and port of the registry.
    pub host: Endpoint,
    /// The path in the registry. Empty for the whole registry.
    pub path: String,
    /// The user name.
    pub user: String,
    /// The password, or a token in place of one.
    pub password: Secret,
    /// The kind of password.
    pub kind: PasswordKind,
}

/// The kind of a password, which decides how it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PasswordKind {
    /// It is sent with the user name.
    #[default]
    Password,
    /// A refresh token, which is exchanged for registry tokens.
    /// <https://distribution.github.io/distribution/spec/auth/oauth/>
    IdentityToken,
    /// A registry token, which is sent unchanged.
    RegistryToken,
}

/// An entry for a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HostEntry {
    Login(Login),
    /// A credential helper has the login.
    Helper(HelperCall),
    /// An entry for this path that cannot be used. An empty path is the whole host.
    Unusable(&'static str, String, DockerConfigError),
}

impl Login {
    /// True if it applies to this repository.
    pub fn covers(&self, repository: &str) -> bool {
        match repository.strip_prefix(&self.path) {
            Some(rest) => self.path.is_empty() || rest.is_empty() || rest.starts_with('/'),
            None => false,
        }
    }
}

impl Logins {
    /// Returns the entries for a host, the preferred one first. Within one Docker config the
    /// longest path comes first. The first entry that applies to a repository is used.
    pub(super) fn for_host(&self, endpoint: &Endpoint, is_source: bool) -> Vec<HostEntry> {
        let of_source = self.source.iter().filter(|_| is_source);
        let explicit = of_source.chain(&self.destination);
        let mut found: Vec<_> = explicit
            .filter(|login| login.host == *endpoint)
            .cloned()
            .map(HostEntry::Login)
            .collect();
        for (origin, config) in &self.docker {
            for (path, entry) in config.entries(endpoint) {
                found.push(match entry {
                    Ok(AuthEntry::Login {
                        user,
                        password,
                        kind,
                    }) => HostEntry::Login(Login {
                        origin,
                        host: endpoint.clone(),
                        path,
                        user,
                        password,
                        kind,
                    }),
                    Ok(AuthEntry::Helper {
                        program,
                        server,
                        is_sure,
                    }) => HostEntry::Helper(HelperCall {
                        origin,
                        host: endpoint.clone(),
                        program,
                        server,
                        is_sure,
                    }),
                    Err(error) => HostEntry::Unusable(origin, path, error),
                });
            }
        }
        let own = self.ci.iter().filter(|login| login.host == *endpoint);
        found.extend(own.cloned().map(HostEntry::Login));
        found
    }

    /// Describes the servers in the Docker configs that the user named. `None` if there are none.
    pub(super) fn describe_servers(&self) -> Option<String> {
        let named = self
            .docker
            .iter()
            .filter(|(origin, _)| *origin != HOME_FILE);
        let descriptions: Vec<_> = named
            .filter_map(|(origin, config)| {
                let servers = config.servers();
                let servers: Vec<_> = servers.iter().map(|name| format!("`{name}`")).collect();
                (!servers.is_empty())
                    .then(|| format!("`{origin}` has logins only for {}", servers.join(", ")))
            })
            .collect();
        (!descriptions.is_empty()).then(|| descriptions.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(path: &str) -> Login {
        Login {
            origin: "docker_config",
            host: "r.example".parse().unwrap(),
            path: path.to_owned(),
            user: "robot".to_owned(),
            password: Secret::new("hunter2"),
            kind: PasswordKind::Password,
        }
    }

    #[test]
    fn path_covers_whole_components_below_it() {
        for (path, repository, covers) in [
            ("", "team/app", true),
            ("team", "team", true),
            ("team", "team/app", true),
            ("team/app", "team", false),
            ("team", "teammate/app", false),
            ("app", "team/app", false),
            ("team", "", false),
        ] {
            assert_eq!(
                login(path).covers(repository),
                covers,
                "{path} {repository}"
            );
        }
    }
}
