//! Runs credential helpers of a Docker config, which store logins in a keychain or request them
//! from a cloud. <https://docs.docker.com/reference/cli/docker/login/#credential-helper-protocol>

use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use super::docker_config::DockerConfigError;
use super::logins::{Login, PasswordKind};
use crate::diagnostics::sanitize::sanitize;
use crate::diagnostics::secret::Secret;
use crate::oci::reference::Endpoint;

/// How long a helper may run. Some open a browser, and some send requests to a cloud.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The maximum size of a helper's output.
const MAX_OUTPUT: u64 = 256 * 1024;

/// The user name that marks an identity token.
const TOKEN_USER: &str = "<token>";

/// A call of a credential helper.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct HelperCall {
    /// The variable or file that names the helper.
    pub(super) origin: &'static str,
    pub(super) host: Endpoint,
    /// `docker-credential-PROGRAM`.
    pub(super) program: String,
    pub(super) server: String,
    /// True if the config states that the helper has a login for this server.
    pub(super) is_sure: bool,
}

impl HelperCall {
    /// Returns the helper's login. `None` if it has none and the config does not state that it has.
    ///
    /// # Errors
    ///
    /// If the helper is missing, fails, runs too long or prints something else. No error contains
    /// its standard output.
    pub(super) async fn login(
        &self,
        withheld: &[OsString],
    ) -> Result<Option<Login>, DockerConfigError> {
        match self.get(withheld).await {
            Err(_) if !self.is_sure => Ok(None),
            result => result,
        }
    }

    async fn get(&self, withheld: &[OsString]) -> Result<Option<Login>, DockerConfigError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Output {
            username: String,
            secret: String,
        }
        let is_name = self
            .program
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if !is_name {
            return Err(self.failed("its name is not a valid program name"));
        }
        let running = self.run(withheld);
        let output_bytes = tokio::time::timeout(TIMEOUT, running)
            .await
            .map_err(|_| self.failed(format!("it did not end within {} s", TIMEOUT.as_secs())))??;
        let Some(output_bytes) = output_bytes else {
            return Ok(None);
        };
        let output: Output = serde_json::from_slice(&output_bytes)
            .map_err(|_| self.failed("it did not print JSON with a login"))?;
        if output.secret.is_empty() {
            return Ok(None);
        }
        let kind = if output.username == TOKEN_USER {
            PasswordKind::IdentityToken
        } else {
            PasswordKind::Password
        };
        Ok(Some(Login {
            origin: self.origin,
            host: self.host.clone(),
            path: String::new(),
            user: output.username,
            password: Secret::new(output.secret),
            kind,
        }))
    }

    /// Runs the helper and returns its output. `None` if it states that it has no login.
    async fn run(&self, withheld: &[OsString]) -> Result<Option<Vec<u8>>, DockerConfigError> {
        let mut child = self.spawn(withheld)?;
        let failed = |error: std::io::Error| self.failed(error);
        if let Some(mut input) = child.stdin.take() {
            // A helper that does not read its input reports the reason by its status.
            let _ = input
                .write_all(format!("{}\n", self.server).as_bytes())
                .await;
        }
        let mut output_bytes = Vec::new();
        if let Some(output) = child.stdout.take() {
            let mut output = output.take(MAX_OUTPUT + 1);
            output
                .read_to_end(&mut output_bytes)
                .await
                .map_err(failed)?;
        }
        if output_bytes.len() as u64 > MAX_OUTPUT {
            return Err(self.failed("it printed too much"));
        }
        let status = child.wait().await.map_err(failed)?;
        if status.success() {
            return Ok(Some(output_bytes));
        }
        // The only message of the protocol that is not a failure.
        if String::from_utf8_lossy(&output_bytes).contains("credentials not found") {
            Ok(None)
        } else {
            Err(self.failed(status))
        }
    }

    fn spawn(&self, withheld: &[OsString]) -> Result<Child, DockerConfigError> {
        let mut command = Command::new(format!("docker-credential-{}", self.program));
        command
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        for name in withheld {
            command.env_remove(name);
        }
        command.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                DockerConfigError::Helper(self.host.clone(), sanitize(&self.program))
            }
            _ => self.failed(error),
        })
    }

    fn failed(&self, why: impl std::fmt::Display) -> DockerConfigError {
        DockerConfigError::HelperFailed {
            helper: sanitize(&self.program),
            server: sanitize(&self.server),
            why: why.to_string(),
        }
    }
}
