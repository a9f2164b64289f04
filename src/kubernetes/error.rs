//! The errors of a cluster, with hints.

use std::io;
use std::time::Duration;

use kube::client::AuthError;
use kube::config::{KubeconfigError, LoadDataError};

use super::failed_request::FailedRequest;
use crate::diagnostics::sanitize::sanitize;
use crate::diagnostics::secret::redact;
use crate::diagnostics::{Diagnostic, ExitCode};
use crate::http::{ErrorResponse, RetryKind, Retryable};

/// An error of a cluster or of its kubeconfig.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    /// A part of the kubeconfig, or a file that it names, cannot be used.
    #[error("could not use the kubeconfig")]
    Kubeconfig(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An auth provider that Kubernetes has removed.
    #[error("the kubeconfig uses the auth provider `{0}`, which Kubernetes no longer supports")]
    Provider(String),
    /// The login program cannot be run.
    #[error("the kubeconfig's login program `{command}` cannot run here")]
    NoPlugin {
        /// The program.
        command: String,
        /// The error of the system.
        #[source]
        cause: io::Error,
    },
    /// The login program failed.
    #[error(
        "the kubeconfig's login program `{command}` failed: {status}{}",
        details(said)
    )]
    Plugin {
        /// The program.
        command: String,
        /// The exit status.
        status: String,
        /// The text on standard error.
        said: String,
    },
    /// The login program did not end in time.
    #[error("the kubeconfig's login program `{command}` did not end within {seconds} s")]
    PluginStalled {
        /// The program.
        command: String,
        /// The time limit in seconds.
        seconds: u64,
    },
    /// A failed request.
    #[error(transparent)]
    Request(Box<FailedRequest>),
    /// The namespace does not exist.
    #[error("there is no namespace `{0}` in the cluster")]
    NoNamespace(String),
    /// The service account does not exist.
    #[error("there is no service account `{name}` in the namespace `{namespace}`")]
    NoServiceAccount {
        /// Its name.
        name: String,
        /// Its namespace.
        namespace: String,
    },
    /// Other field managers own fields that would be written.
    #[error("the Secret `{name}` in `{namespace}` was written by {}; gcr-push does not take over \
             its fields unless you allow it", managers.join(", "))]
    Conflict {
        /// The Secret.
        name: String,
        /// Its namespace.
        namespace: String,
        /// The owners of the fields.
        managers: Vec<String>,
    },
    /// The Secret has to be replaced, because its type differs or it is immutable.
    #[error("the Secret `{name}` in `{namespace}` is {what}, which cannot be changed")]
    Fixed {
        /// The Secret.
        name: String,
        /// Its namespace.
        namespace: String,
        /// The property that cannot be changed.
        what: String,
    },
    /// A write failed after others succeeded.
    #[error("the pull secret is only partly applied")]
    Partly {
        /// The writes that succeeded, as sentences.
        written: Vec<String>,
        /// The error of the failed write.
        #[source]
        cause: Box<KubernetesError>,
    },
}

/// Renders the standard error of a program for the end of a message.
fn details(said: &str) -> String {
    match said {
        "" => String::new(),
        said => format!(": {}", sanitize(said)),
    }
}

impl KubernetesError {
    /// Wraps the error of a part of the kubeconfig, or of a file that it names.
    pub(super) fn unusable(cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Kubeconfig(Box::new(cause))
    }

    pub(super) fn unreadable(path: &str, cause: io::Error) -> Self {
        Self::Kubeconfig(format!("`{}` cannot be read: {cause}", sanitize(path)).into())
    }

    pub(super) fn of_kubeconfig(error: KubeconfigError) -> Self {
        use LoadDataError::NoBase64DataOrFile;
        match error {
            KubeconfigError::LoadClientCertificate(NoBase64DataOrFile) => {
                Self::Kubeconfig("its user has a client key, but no certificate".into())
            }
            KubeconfigError::LoadClientKey(NoBase64DataOrFile) => {
                Self::Kubeconfig("its user has a client certificate, but no key".into())
            }
            other => Self::unusable(other),
        }
    }

    /// Converts an error of kube from signing in and configuring TLS.
    pub(super) fn of_kube(plugin: Option<&str>, error: kube::Error) -> Self {
        match error {
            kube::Error::Auth(error) => Self::of_login(plugin, error),
            kube::Error::InferKubeconfig(error) => Self::of_kubeconfig(error),
            kube::Error::RustlsTls(error) => Self::unusable(error),
            other => Self::unusable(other),
        }
    }

    /// Converts an error of kube from signing in. kube's message quotes the whole output of a
    /// program, which may be a token.
    pub(super) fn of_login(plugin: Option<&str>, error: AuthError) -> Self {
        let Some(command) = plugin.map(str::to_owned) else {
            return Self::unusable(error);
        };
        match error {
            AuthError::AuthExecStart(cause) => Self::NoPlugin { command, cause },
            AuthError::AuthExecRun { status, out, .. } => {
                let said = String::from_utf8_lossy(&out.stderr);
                Self::Plugin {
                    command,
                    status: status.to_string(),
                    said: redact(said.trim()).chars().take(500).collect(),
                }
            }
            AuthError::AuthExecParse(_) | AuthError::ExecPluginFailed => {
                Self::bad_plugin(command, "it did not print an ExecCredential")
            }
            AuthError::MalformedTokenExpirationDate(_) => {
                Self::bad_plugin(command, "its `expirationTimestamp` is not an RFC 3339 time")
            }
            other => Self::unusable(other),
        }
    }

    /// The error for a login program whose output is no login.
    pub(super) fn bad_plugin(command: String, printed: &str) -> Self {
        Self::Plugin {
            command,
            status: printed.to_owned(),
            said: String::new(),
        }
    }

    /// The error response of the server. `None` if this is another error.
    pub(super) fn refusal(&self) -> Option<&ErrorResponse> {
        match self {
            Self::Request(failed) => failed.cause.response(),
            _ => None,
        }
    }

    /// The HTTP status of that response.
    pub(super) fn status(&self) -> Option<u16> {
        self.refusal().map(|response| response.status.as_u16())
    }
}

impl Retryable for KubernetesError {
    fn retry(&self) -> RetryKind {
        match self.refusal() {
            // The cluster did nothing yet, so any request can be repeated.
            Some(response) if matches!(response.status.as_u16(), 429 | 503 | 504) => {
                RetryKind::Transient(response.retry_after)
            }
            _ => RetryKind::Never,
        }
    }

    fn tried(mut self, times: u32, during: Duration) -> Self {
        if let Self::Request(failed) = &mut self {
            failed.cause.note_tries(times, during);
        }
        self
    }
}

impl Diagnostic for KubernetesError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Kubeconfig(_)
            | Self::Provider(_)
            | Self::NoPlugin { .. }
            | Self::NoNamespace(_)
            | Self::NoServiceAccount { .. }
            | Self::Conflict { .. }
            | Self::Fixed { .. } => ExitCode::Usage,
            Self::Plugin { .. } => ExitCode::Denied,
            Self::PluginStalled { .. } => ExitCode::Temporary,
            Self::Request(failed) => failed.exit_code(),
            Self::Partly { cause, .. } => cause.exit_code(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Kubeconfig(_) => Vec::new(),
            Self::Provider(_)
            | Self::NoPlugin { .. }
            | Self::Plugin { .. }
            | Self::PluginStalled { .. } => vec![
                "use a kubeconfig that needs no program, with the token of a service account: \
                 `kubectl create token NAME --namespace=NAMESPACE` creates one"
                    .to_owned(),
            ],
            Self::Request(failed) => failed.hints(),
            Self::NoNamespace(namespace) => vec![format!(
                "create it with `kubectl create namespace {namespace}`, or set \
                 `pull_secret_create_namespace: true`"
            )],
            Self::NoServiceAccount { name, namespace } => vec![format!(
                "create it with `kubectl create serviceaccount {name} --namespace={namespace}`, or \
                 set another in `pull_secret_service_accounts`"
            )],
            Self::Conflict {
                name, namespace, ..
            } => vec![
                "set `pull_secret_replace: true` to take over its fields; after that, they belong \
                 to gcr-push"
                    .to_owned(),
                format!(
                    "or delete it first: `kubectl delete secret {name} --namespace={namespace}`"
                ),
            ],
            Self::Fixed {
                name, namespace, ..
            } => vec![
                "set `pull_secret_replace: true` to delete it and create it again".to_owned(),
                format!("or look at it first: `kubectl get secret {name} --namespace={namespace}`"),
            ],
            Self::Partly { written, cause } => {
                let mut hints = vec![format!(
                    "changed before the failure: {}",
                    written.join("; ")
                )];
                hints.extend(cause.hints());
                hints
            }
        }
    }
}
