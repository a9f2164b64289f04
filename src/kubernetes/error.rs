//! What a cluster refuses, in one form, with what to do about it.

use std::fmt;
use std::io;

use http::StatusCode;
use serde::Deserialize;

use crate::error::{ExitCode, Hint, harmless};
use crate::network::Trouble;

/// A cluster that does not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    /// Something that the kubeconfig names cannot be used.
    #[error("could not use the kubeconfig")]
    Kubeconfig(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A way to sign in that kubectl itself has given up.
    #[error("the kubeconfig signs in with the auth provider `{0}`, which Kubernetes has given up")]
    Provider(String),
    /// The program that signs in is not there.
    #[error("the kubeconfig signs in with the program `{command}`, which cannot be run here")]
    NoPlugin {
        /// The program.
        command: String,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// The program that signs in failed.
    #[error(
        "`{command}`, with which the kubeconfig signs in, failed: {status}{}",
        told(said)
    )]
    Plugin {
        /// The program.
        command: String,
        /// How it ended.
        status: String,
        /// What it said on standard error.
        said: String,
    },
    /// The program that signs in does not end.
    #[error("`{command}`, with which the kubeconfig signs in, did not end within {seconds} s")]
    PluginStalled {
        /// The program.
        command: String,
        /// How long it was given.
        seconds: u64,
    },
    /// A request that was not answered as it should be.
    #[error(transparent)]
    Request(Box<FailedRequest>),
    /// A namespace that is not there.
    #[error("there is no namespace `{0}` in the cluster")]
    NoNamespace(String),
    /// A service account that is not there.
    #[error("there is no service account `{name}` in the namespace `{namespace}`")]
    NoServiceAccount {
        /// Its name.
        name: String,
        /// Where it was looked for.
        namespace: String,
    },
    /// Others wrote what would be written.
    #[error("the Secret `{name}` in `{namespace}` was written by {}, whose fields are not taken over unasked", managers.join(", "))]
    Conflict {
        /// The Secret.
        name: String,
        /// Its namespace.
        namespace: String,
        /// Who owns which field.
        managers: Vec<String>,
    },
    /// Something about a Secret that can be changed only by making it anew.
    #[error("the Secret `{name}` in `{namespace}` is {what}, which cannot be changed")]
    Fixed {
        /// The Secret.
        name: String,
        /// Its namespace.
        namespace: String,
        /// What it is.
        what: String,
    },
    /// It failed after something was written.
    #[error("the pull secret is applied in part only")]
    Partly {
        /// What was written before, as sentences.
        written: Vec<String>,
        /// What failed then.
        #[source]
        cause: Box<KubernetesError>,
    },
}

fn told(said: &str) -> String {
    match said {
        "" => String::new(),
        said => format!(": {}", harmless(said)),
    }
}

/// What is being done to which object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Task {
    /// The verb, as RBAC calls it.
    pub(super) verb: &'static str,
    /// The resource, as RBAC calls it.
    pub(super) resource: &'static str,
    /// The object's name.
    pub(super) name: String,
    /// Its namespace; a namespace itself has none.
    pub(super) namespace: Option<String>,
}

impl fmt::Display for Task {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.verb {
            "get" => "read",
            "patch" if self.resource == "secrets" => "apply",
            "patch" => "change",
            other => other,
        };
        let kind = match self.resource {
            "secrets" => "Secret",
            "serviceaccounts" => "service account",
            _ => "namespace",
        };
        write!(formatter, "{verb} the {kind} `{}`", self.name)?;
        match &self.namespace {
            Some(namespace) => write!(formatter, " in `{namespace}`"),
            None => Ok(()),
        }
    }
}

/// A request that was not answered as it should be.
#[derive(Debug, thiserror::Error)]
#[error("could not {task} at {server}")]
pub struct FailedRequest {
    /// Where the cluster is.
    pub(super) server: String,
    /// What was being done.
    pub(super) task: Task,
    /// What came of it.
    #[source]
    pub(super) cause: RequestError,
}

/// What came of a request.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    /// It was answered with a refusal.
    #[error(transparent)]
    Refused(Refusal),
    /// No answer, or one that broke off.
    #[error("there is no answer")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No answer in time.
    #[error("there is no answer within {0} s")]
    TimedOut(u64),
    /// An answer that is not Kubernetes'.
    #[error("the answer is not one of Kubernetes")]
    Unreadable,
}

/// What an API server says when it refuses (a `Status`).
/// <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/>
#[derive(Debug, thiserror::Error)]
#[error("{code} {}: {}", harmless(reason), harmless(message))]
pub(super) struct Refusal {
    pub(super) code: u16,
    pub(super) reason: String,
    pub(super) message: String,
    /// What the refusal is about: the kind, in plural, of the object that is missing.
    pub(super) about: String,
    pub(super) causes: Vec<Cause>,
}

/// One of the causes of a refusal.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Cause {
    pub(super) reason: String,
    pub(super) field: String,
    pub(super) message: String,
}

impl Refusal {
    /// Reads the body of a refusal; one that is no `Status` is a proxy's or a gateway's.
    pub(super) fn of(code: StatusCode, body: &[u8]) -> Self {
        #[derive(Default, Deserialize)]
        struct Status {
            #[serde(default)]
            message: String,
            #[serde(default)]
            reason: String,
            #[serde(default)]
            details: Option<Details>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Details {
            kind: String,
            causes: Vec<Cause>,
        }
        let status: Status = serde_json::from_slice(body).unwrap_or_default();
        let details = status.details.unwrap_or_default();
        let or = |text: String, other: &str| match text.as_str() {
            "" => other.to_owned(),
            _ => text,
        };
        Self {
            code: code.as_u16(),
            reason: or(status.reason, code.canonical_reason().unwrap_or("refused")),
            message: or(status.message, "no reason is given")
                .chars()
                .take(1000)
                .collect(),
            about: details.kind,
            causes: details.causes,
        }
    }

    /// Whom the server knows us as, out of its own sentence.
    fn user(&self) -> Option<&str> {
        let (_, rest) = self.message.split_once("User \"")?;
        rest.split_once('"').map(|(user, _)| user)
    }
}

impl KubernetesError {
    /// The refusal that it is, if it is one.
    pub(super) fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Request(failed) => match &failed.cause {
                RequestError::Refused(refusal) => Some(refusal),
                _ => None,
            },
            _ => None,
        }
    }

    /// What the process exits with.
    pub fn exit_code(&self) -> ExitCode {
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
            Self::Request(failed) => match &failed.cause {
                RequestError::Refused(refusal) => match refusal.code {
                    401 | 403 => ExitCode::Denied,
                    408 | 409 | 429 | 500.. => ExitCode::Temporary,
                    _ => ExitCode::Failed,
                },
                RequestError::Broken(cause) => Trouble::of(&**cause).exit_code(),
                RequestError::TimedOut(_) => ExitCode::Temporary,
                RequestError::Unreadable => ExitCode::Failed,
            },
            Self::Partly { cause, .. } => cause.exit_code(),
        }
    }
}

impl Hint for KubernetesError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::Kubeconfig(_) => Vec::new(),
            Self::Provider(_)
            | Self::NoPlugin { .. }
            | Self::Plugin { .. }
            | Self::PluginStalled { .. } => vec![
                "give a kubeconfig that needs no program, with the token of a service account: \
                 `kubectl create token NAME --namespace=NAMESPACE` makes one"
                    .to_owned(),
            ],
            Self::Request(failed) => request_hints(failed),
            Self::NoNamespace(namespace) => vec![format!(
                "create it with `kubectl create namespace {namespace}`, or set \
                 `pull_secret_create_namespace: true`"
            )],
            Self::NoServiceAccount { name, namespace } => vec![format!(
                "create it with `kubectl create serviceaccount {name} --namespace={namespace}`, or \
                 name another in `pull_secret_service_accounts`"
            )],
            Self::Conflict {
                name, namespace, ..
            } => vec![
                "set `pull_secret_replace: true` to take its fields over, once: after that they \
                 are ours"
                    .to_owned(),
                format!(
                    "or delete it first: `kubectl delete secret {name} --namespace={namespace}`"
                ),
            ],
            Self::Fixed {
                name, namespace, ..
            } => vec![
                "set `pull_secret_replace: true` to delete it and make it anew".to_owned(),
                format!("or look first: `kubectl get secret {name} --namespace={namespace}`"),
            ],
            Self::Partly { written, cause } => {
                let mut hints = vec![format!("written before it failed: {}", written.join("; "))];
                hints.extend(cause.hints());
                hints
            }
        }
    }
}

fn request_hints(failed: &FailedRequest) -> Vec<String> {
    let FailedRequest {
        server,
        task,
        cause,
    } = failed;
    let refusal = match cause {
        RequestError::Refused(refusal) => refusal,
        RequestError::Broken(cause) => {
            let trouble = Trouble::of(&**cause);
            return vec![match trouble {
                Trouble::Certificate => "give the cluster's own certificate authority in the \
                                         kubeconfig (`certificate-authority-data`), or in \
                                         `ca_certificates`"
                    .to_owned(),
                Trouble::Unreachable | Trouble::Stalled | Trouble::Broken => format!(
                    "check that {server} can be reached from here: an API server is often open to \
                     its own network alone"
                ),
                other => other.hint(host(server)),
            }];
        }
        RequestError::TimedOut(_) => {
            return vec!["the cluster or the network stood still: try again".to_owned()];
        }
        RequestError::Unreadable => {
            return vec![format!(
                "check that {server} is an API server of Kubernetes, and that no sign-in page \
                 answers in its place"
            )];
        }
    };
    match refusal.code {
        401 => vec![
            "the cluster does not take the kubeconfig's login: its token or certificate may have \
             run out"
                .to_owned(),
        ],
        403 if refusal
            .causes
            .iter()
            .any(|cause| cause.reason == "NamespaceTerminating") =>
        {
            vec!["wait until the namespace is gone, and create it again".to_owned()]
        }
        403 => role(task, refusal.user()),
        429 | 500.. => {
            vec!["the trouble is the cluster's: run this again in a few minutes".to_owned()]
        }
        _ => Vec::new(),
    }
}

fn host(server: &str) -> &str {
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    rest.split(['/', ':']).next().unwrap_or(rest)
}

/// The role that is missing and its binding, as commands: all that is done to this resource, so that
/// nobody is sent round once a verb.
fn role(task: &Task, user: Option<&str>) -> Vec<String> {
    let subject = match user.map(|user| (user, user.strip_prefix("system:serviceaccount:"))) {
        Some((_, Some(account))) => format!("--serviceaccount={account}"),
        Some((user, None)) => format!("--user='{user}'"),
        None => "--user=USER".to_owned(),
    };
    let Task {
        verb,
        resource,
        namespace,
        ..
    } = task;
    let verbs = match (*resource, *verb) {
        ("secrets", "delete") => "get,create,patch,delete",
        ("secrets", _) => "get,create,patch",
        ("serviceaccounts", _) => "get,patch",
        _ => "create",
    };
    let name = format!("gcr-push-{resource}");
    let (kind, place) = match namespace {
        Some(namespace) => ("role", format!(" --namespace={namespace}")),
        None => ("clusterrole", String::new()),
    };
    vec![
        format!(
            "it may not `{verb}` `{resource}`; let it with a {} that allows `{verbs}`: `kubectl \
             create {kind} {name} --verb={verbs} --resource={resource}{place}`",
            if namespace.is_some() {
                "Role"
            } else {
                "ClusterRole"
            }
        ),
        format!(
            "and bind it: `kubectl create {kind}binding {name} --{kind}={name} {subject}{place}`"
        ),
    ]
}
