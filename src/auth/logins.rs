//! User names and passwords for registries, each for its host: out of Docker configs, out of
//! variables, out of what a CI has for its own registry.

use super::docker_config::{DockerConfig, DockerConfigError};
use crate::reference::Endpoint;
use crate::secret::Secret;

/// The Docker config that nobody has named: where `docker login` writes by itself.
pub const HOME_FILE: &str = "~/.docker/config.json";

/// Every login of a run.
#[derive(Clone, Debug, Default)]
pub struct Logins {
    /// For the host of `image`, and to read from it alone.
    pub source: Option<Login>,
    /// Docker configs with the variables, or the file, that they are from, best first.
    pub docker: Vec<(&'static str, DockerConfig)>,
    /// What the CI has for its own registry.
    pub ci: Vec<Login>,
}

/// A user name and a password for one registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The variable that it is from.
    pub origin: &'static str,
    /// The registry.
    pub host: Endpoint,
    /// The user name.
    pub user: String,
    /// The password, or a token that stands for it.
    pub password: Secret,
}

impl Logins {
    /// The login for an endpoint, if there is one.
    ///
    /// # Errors
    ///
    /// When a Docker config names the endpoint, but its entry cannot be used.
    pub fn login(
        &self,
        endpoint: &Endpoint,
        is_source: bool,
    ) -> Result<Option<Login>, (&'static str, DockerConfigError)> {
        let of_source = self.source.as_ref().filter(|_| is_source);
        if let Some(login) = of_source.filter(|login| login.host == *endpoint) {
            return Ok(Some(login.clone()));
        }
        for (origin, config) in &self.docker {
            let found = match config.login(endpoint) {
                // Nobody pointed us there, and most images of public registries need no login.
                Err(error @ DockerConfigError::Helper(..)) if *origin == HOME_FILE => {
                    tracing::warn!("{error}: going on without (`{origin}`)");
                    None
                }
                found => found.map_err(|error| (*origin, error))?,
            };
            if let Some((user, password)) = found {
                return Ok(Some(Login {
                    origin,
                    host: endpoint.clone(),
                    user,
                    password,
                }));
            }
        }
        let mut own = self.ci.iter();
        Ok(own.find(|login| login.host == *endpoint).cloned())
    }
}
