//! User names and passwords for registries, each for its host, or for a path below it: out of Docker
//! configs, out of variables, out of what a CI has for its own registry.

use super::credential_helper::HelperCall;
use super::docker_config::{AuthEntry, DockerConfig, DockerConfigError};
use crate::diagnostics::secret::Secret;
use crate::oci::reference::Endpoint;

/// The Docker config that nobody has named: where `docker login` writes by itself.
pub const HOME_FILE: &str = "~/.docker/config.json";

/// Every login of a run.
#[derive(Clone, Debug, Default)]
pub struct Logins {
    /// For the host of `image`, and to read from it alone.
    pub source: Option<Login>,
    /// For the destination that is not Google's.
    pub destination: Option<Login>,
    /// Docker configs with the variables, or the file, that they are from, best first.
    pub docker: Vec<(&'static str, DockerConfig)>,
    /// What the CI has for its own registry.
    pub ci: Vec<Login>,
}

/// A user name and a password for one registry, or for a path below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The variable that it is from.
    pub origin: &'static str,
    /// The registry.
    pub host: Endpoint,
    /// The path below the registry that it is for; empty for all of it.
    pub path: String,
    /// The user name.
    pub user: String,
    /// The password, or a token that stands for it.
    pub password: Secret,
    /// What the password is.
    pub kind: PasswordKind,
}

/// What a password is, which says how it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PasswordKind {
    /// It is sent with the user name.
    #[default]
    Password,
    /// A refresh token, which is traded for registry tokens.
    /// <https://distribution.github.io/distribution/spec/auth/oauth/>
    IdentityToken,
    /// A registry token, which is sent as it is.
    RegistryToken,
}

/// What is known about one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FoundLogin {
    Login(Login),
    /// A program has the login.
    Helper(HelperCall),
    /// An entry for this path that cannot be used; an empty path is the whole host.
    Unusable(&'static str, String, DockerConfigError),
}

impl Login {
    /// True when it is for this repository.
    pub fn covers(&self, repository: &str) -> bool {
        match repository.strip_prefix(&self.path) {
            Some(rest) => self.path.is_empty() || rest.is_empty() || rest.starts_with('/'),
            None => false,
        }
    }
}

impl Logins {
    /// The user of the best login for all of a host.
    #[cfg(test)]
    pub(crate) fn user(&self, endpoint: &Endpoint) -> Option<String> {
        let mut found = self.of_host(endpoint, false).into_iter();
        found.find_map(|found| match found {
            FoundLogin::Login(login) => Some(login.user),
            FoundLogin::Helper(_) | FoundLogin::Unusable(..) => None,
        })
    }

    /// What is known about a host, best first: within one Docker config the longest path stands
    /// first, and what stands first counts for a repository that it covers.
    pub(super) fn of_host(&self, endpoint: &Endpoint, is_source: bool) -> Vec<FoundLogin> {
        let of_source = self.source.iter().filter(|_| is_source);
        let given = of_source.chain(&self.destination);
        let mut found: Vec<_> = given
            .filter(|login| login.host == *endpoint)
            .cloned()
            .map(FoundLogin::Login)
            .collect();
        for (origin, config) in &self.docker {
            for (path, entry) in config.entries(endpoint) {
                found.push(match entry {
                    Ok(AuthEntry::Login {
                        user,
                        password,
                        kind,
                    }) => FoundLogin::Login(Login {
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
                    }) => FoundLogin::Helper(HelperCall {
                        origin,
                        host: endpoint.clone(),
                        program,
                        server,
                        is_sure,
                    }),
                    Err(error) => FoundLogin::Unusable(origin, path, error),
                });
            }
        }
        let own = self.ci.iter().filter(|login| login.host == *endpoint);
        found.extend(own.cloned().map(FoundLogin::Login));
        found
    }

    /// The servers that the Docker configs which somebody named have logins for, where there are
    /// any.
    pub(super) fn others(&self) -> Option<String> {
        let named = self
            .docker
            .iter()
            .filter(|(origin, _)| *origin != HOME_FILE);
        let told: Vec<_> = named
            .filter_map(|(origin, config)| {
                let servers = config.servers();
                let servers: Vec<_> = servers.iter().map(|one| format!("`{one}`")).collect();
                (!servers.is_empty())
                    .then(|| format!("`{origin}` has logins for {} alone", servers.join(", ")))
            })
            .collect();
        (!told.is_empty()).then(|| told.join("; "))
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
