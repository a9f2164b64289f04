//! Credential helpers of a Docker config, which keep logins in a keychain or get them from a cloud.
//! <https://docs.docker.com/reference/cli/docker/login/#credential-helper-protocol>

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

/// How long a helper may take: some open a browser, some ask a cloud.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The most bytes that a helper may print.
const MAX_OUTPUT: u64 = 256 * 1024;

/// The user name that stands for an identity token.
const TOKEN_USER: &str = "<token>";

/// Which helper is asked for what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct HelperCall {
    /// The variable, or the file, that names the helper.
    pub(super) origin: &'static str,
    pub(super) host: Endpoint,
    /// `docker-credential-PROGRAM`.
    pub(super) program: String,
    pub(super) server: String,
    /// True when the config says that the helper has a login for this very server.
    pub(super) is_sure: bool,
}

impl HelperCall {
    /// The login that the helper has; none where it has none and nothing says that it should.
    ///
    /// # Errors
    ///
    /// When the helper is not here, fails, does not end or prints something else. No error holds
    /// what it printed on its standard output.
    pub(super) async fn login(
        &self,
        withheld: &[OsString],
    ) -> Result<Option<Login>, DockerConfigError> {
        match self.ask(withheld).await {
            Err(_) if !self.is_sure => Ok(None),
            answer => answer,
        }
    }

    async fn ask(&self, withheld: &[OsString]) -> Result<Option<Login>, DockerConfigError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            username: String,
            secret: String,
        }
        let is_name = self
            .program
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if !is_name {
            return Err(self.failed("its name is none that a program can have"));
        }
        let running = self.run(withheld);
        let printed = tokio::time::timeout(TIMEOUT, running)
            .await
            .map_err(|_| self.failed(format!("it did not end within {} s", TIMEOUT.as_secs())))??;
        let Some(printed) = printed else {
            return Ok(None);
        };
        let answer: Answer = serde_json::from_slice(&printed)
            .map_err(|_| self.failed("it printed something else than JSON with a login"))?;
        if answer.secret.is_empty() {
            return Ok(None);
        }
        let kind = if answer.username == TOKEN_USER {
            PasswordKind::IdentityToken
        } else {
            PasswordKind::Password
        };
        Ok(Some(Login {
            origin: self.origin,
            host: self.host.clone(),
            path: String::new(),
            user: answer.username,
            password: Secret::new(answer.secret),
            kind,
        }))
    }

    /// What the helper prints; none where it says that it has no login.
    async fn run(&self, withheld: &[OsString]) -> Result<Option<Vec<u8>>, DockerConfigError> {
        let mut child = self.spawn(withheld)?;
        let failed = |error: std::io::Error| self.failed(error);
        if let Some(mut input) = child.stdin.take() {
            // One that does not read what it is asked has its reason, which its status tells.
            let _ = input
                .write_all(format!("{}\n", self.server).as_bytes())
                .await;
        }
        let mut printed = Vec::new();
        if let Some(output) = child.stdout.take() {
            let mut output = output.take(MAX_OUTPUT + 1);
            output.read_to_end(&mut printed).await.map_err(failed)?;
        }
        if printed.len() as u64 > MAX_OUTPUT {
            return Err(self.failed("it printed too much"));
        }
        let status = child.wait().await.map_err(failed)?;
        if status.success() {
            return Ok(Some(printed));
        }
        // The one sentence of the protocol that is no failure.
        if String::from_utf8_lossy(&printed).contains("credentials not found") {
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
