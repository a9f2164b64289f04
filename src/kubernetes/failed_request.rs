//! A request to an API server that failed: what it was for, what came of it, and what to do.

use std::fmt;

use http::StatusCode;
use serde::Deserialize;

use crate::diagnostics::Diagnostic;
use crate::diagnostics::sanitize::sanitize;
use crate::diagnostics::secret::redact;
use crate::http::ConnectionFailure;
use crate::oci::json;

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
#[error("{code} {}: {}", sanitize(reason), sanitize(message))]
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
        let status: Status = json::from_slice(body).unwrap_or_default();
        let details = status.details.unwrap_or_default();
        let or = |text: String, other: &str| match text.as_str() {
            "" => other.to_owned(),
            _ => text,
        };
        Self {
            code: code.as_u16(),
            reason: or(status.reason, code.canonical_reason().unwrap_or("refused")),
            message: or(redacted(&status.message), "no reason is given"),
            about: details.kind,
            causes: details
                .causes
                .into_iter()
                .map(|cause| Cause {
                    message: redacted(&cause.message),
                    ..cause
                })
                .collect(),
        }
    }

    /// True where it is RBAC that refuses: where a role is missing.
    /// The API server names the user and what it cannot do; an access review names neither.
    fn is_of_rbac(&self) -> bool {
        let is_reviewed = self.message.starts_with('`') && self.message.ends_with("is not allowed");
        is_reviewed || self.user().is_some() && self.message.contains(" cannot ")
    }

    /// The admission webhook or policy that refuses, where it is one.
    fn admission(&self) -> Option<&str> {
        ["admission webhook \"", "ValidatingAdmissionPolicy '"]
            .into_iter()
            .find_map(|start| {
                let (_, rest) = self.message.split_once(start)?;
                rest.split(['"', '\'']).next()
            })
            .filter(|_| self.message.contains("denied"))
    }

    /// Whom the server knows us as, out of its own sentence.
    fn user(&self) -> Option<&str> {
        let (_, rest) = self.message.split_once("User \"")?;
        rest.split_once('"').map(|(user, _)| user)
    }
}

impl Diagnostic for FailedRequest {
    fn hints(&self) -> Vec<String> {
        let Self {
            server,
            task,
            cause,
        } = self;
        let refusal = match cause {
            RequestError::Refused(refusal) => refusal,
            RequestError::Broken(cause) => {
                let trouble = ConnectionFailure::of(&**cause);
                return vec![match trouble {
                    ConnectionFailure::Certificate | ConnectionFailure::SelfSigned => {
                        "give the cluster's own certificate authority in the \
                                         kubeconfig (`certificate-authority-data`), or in \
                                         `ca_certificates`"
                            .to_owned()
                    }
                    ConnectionFailure::Unreachable
                    | ConnectionFailure::Stalled
                    | ConnectionFailure::Broken => format!(
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
        if let Some(name) = refusal.admission() {
            return vec![format!(
                "the cluster's admission control `{}` refuses it, whatever roles there are: change \
                 what it asks for, or have who runs the cluster allow it",
                sanitize(name)
            )];
        }
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
            403 if refusal.is_of_rbac() => role(task, refusal.user()),
            403 => vec![
                "it is no role that is missing, by what the cluster says: who runs it knows its rules"
                    .to_owned(),
            ],
            429 | 500.. => {
                vec!["the trouble is the cluster's: run this again in a few minutes".to_owned()]
            }
            _ => Vec::new(),
        }
    }
}

/// What another side says as it may be told: some quote what they were sent.
fn redacted(text: &str) -> String {
    let text: String = text.chars().take(16 * 1024).collect();
    redact(&text).chars().take(1000).collect()
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
