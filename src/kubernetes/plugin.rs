//! Programs that sign in to a cluster, as kubectl runs them.
//!
//! <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins>

use std::ffi::OsString;
use std::process::{Output, Stdio};
use std::time::Duration;

use kube::config::ExecConfig;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::process::Command;
use tokio::sync::Mutex;

use super::KubernetesError;
use super::auth::ClientIdentity;
use crate::diagnostics::secret::{Secret, redact};

/// How long a plugin may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How long before its end a token is asked for anew.
const RENEWED_BEFORE: time::Duration = time::Duration::MINUTE;

/// A program that was run, and the token that it printed.
pub(super) struct Plugin {
    exec: ExecConfig,
    withheld: Vec<OsString>,
    held: Mutex<PluginToken>,
}

struct PluginToken {
    /// None from a plugin that signs in by a certificate.
    token: Option<Secret>,
    until: Option<OffsetDateTime>,
}

/// What a plugin is told, and what it prints.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct ExecCredential {
    #[serde(default)]
    api_version: Option<String>,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default, skip_deserializing)]
    spec: serde_json::Value,
    #[serde(default, skip_serializing)]
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    expiration_timestamp: Option<String>,
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    client_certificate_data: Option<String>,
    #[serde(default)]
    client_key_data: Option<String>,
}

impl Plugin {
    /// Runs the program that `exec` names, and has the certificate that it may print as well. It is
    /// not given the variables that are `withheld`: a program that signs in to a cluster needs no
    /// credential of a registry.
    ///
    /// # Errors
    ///
    /// When it cannot be run, fails, does not end or prints something else.
    pub(super) async fn run(
        exec: &ExecConfig,
        withheld: &[OsString],
    ) -> Result<(Self, Option<ClientIdentity>), KubernetesError> {
        let (held, identity) = ask(exec, withheld).await?;
        let plugin = Self {
            exec: exec.clone(),
            withheld: withheld.to_vec(),
            held: Mutex::new(held),
        };
        Ok((plugin, identity))
    }

    /// The token, from the program again where the last one ends soon.
    ///
    /// # Errors
    ///
    /// When it has to be run again, as for [`run`](Self::run).
    pub(super) async fn token(&self) -> Result<Option<Secret>, KubernetesError> {
        let mut held = self.held.lock().await;
        let ends = |until| OffsetDateTime::now_utc() + RENEWED_BEFORE >= until;
        if held.token.is_some() && held.until.is_some_and(ends) {
            (*held, _) = ask(&self.exec, &self.withheld).await?;
        }
        Ok(held.token.clone())
    }
}

async fn ask(
    exec: &ExecConfig,
    withheld: &[OsString],
) -> Result<(PluginToken, Option<ClientIdentity>), KubernetesError> {
    let name = exec.command.clone().unwrap_or_default();
    let failed = |status: &str| KubernetesError::Plugin {
        command: name.clone(),
        status: status.to_owned(),
        said: String::new(),
    };
    let output = run(exec, &name, withheld).await?;
    if !output.status.success() {
        // What it prints besides may be a token.
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(KubernetesError::Plugin {
            command: name,
            status: output.status.to_string(),
            said: redact(said.trim()).chars().take(500).collect(),
        });
    }
    // Some print YAML, and kubectl takes it; JSON is YAML.
    let status = serde_yaml::from_slice::<ExecCredential>(&output.stdout)
        .ok()
        .and_then(|credential| credential.status)
        .ok_or_else(|| failed("an answer that is no ExecCredential"))?;
    let until = status
        .expiration_timestamp
        .map(|text| OffsetDateTime::parse(&text, &Rfc3339))
        .transpose()
        .map_err(|_| failed("an `expirationTimestamp` that is no time of RFC 3339"))?;
    let identity = match (status.client_certificate_data, status.client_key_data) {
        (Some(certificate), Some(key)) => {
            let key = Secret::new(key);
            Some(ClientIdentity::parse(
                certificate.as_bytes(),
                key.expose().as_bytes(),
            )?)
        }
        _ => None,
    };
    let token = status.token.filter(|token| !token.is_empty());
    if token.is_none() && identity.is_none() {
        return Err(failed("an ExecCredential with no token and no certificate"));
    }
    let held = PluginToken {
        token: token.map(Secret::new),
        until,
    };
    Ok((held, identity))
}

async fn run(
    exec: &ExecConfig,
    name: &str,
    withheld: &[OsString],
) -> Result<Output, KubernetesError> {
    // Standard input may be an image.
    let mut spec = serde_json::json!({"interactive": false});
    if let Some(cluster) = &exec.cluster {
        spec["cluster"] = serde_json::to_value(cluster).unwrap_or_default();
    }
    let told = ExecCredential {
        api_version: exec.api_version.clone(),
        kind: Some("ExecCredential".to_owned()),
        spec,
        status: None,
    };
    let variables = exec.env.iter().flatten().filter_map(|variable| {
        let name = variable.get("name")?;
        Some((name, variable.get("value")?))
    });
    let mut command = Command::new(name);
    for variable in withheld {
        command.env_remove(variable);
    }
    let running = command
        .args(exec.args.iter().flatten())
        .envs(variables)
        .env(
            "KUBERNETES_EXEC_INFO",
            serde_json::to_string(&told).unwrap_or_default(),
        )
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(TIMEOUT, running).await {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(cause)) => Err(KubernetesError::NoPlugin {
            command: name.to_owned(),
            cause,
        }),
        Err(_) => Err(KubernetesError::PluginStalled {
            command: name.to_owned(),
            seconds: TIMEOUT.as_secs(),
        }),
    }
}
