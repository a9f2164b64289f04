//! A failed request to an API server: its purpose, its error and the hints.

use std::fmt;

use http::StatusCode;
use kube::core::Status;

use super::objects::ObjectRef;
use crate::diagnostics::Diagnostic;
use crate::diagnostics::sanitize::sanitize;
use crate::http::{ConnectionFailure, bounded_text};
use crate::oci::json;

/// A verb and the object that it is applied to.
#[derive(Clone, Debug)]
pub(super) struct Task {
    /// A verb of RBAC.
    pub(super) verb: &'static str,
    /// The object.
    pub(super) object: ObjectRef,
}

impl fmt::Display for Task {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let object = &self.object;
        if self.verb == "list" {
            write!(formatter, "list the `{}`", object.resource)?;
            return match &object.namespace {
                Some(namespace) => write!(formatter, " in `{namespace}`"),
                None => Ok(()),
            };
        }
        let verb = match self.verb {
            "get" => "read",
            "patch" if object.resource == "secrets" => "apply",
            "patch" => "change",
            other => other,
        };
        let kind = match object.resource {
            "secrets" => "Secret",
            "serviceaccounts" => "service account",
            _ => "namespace",
        };
        write!(formatter, "{verb} the {kind} `{}`", object.name)?;
        match &object.namespace {
            Some(namespace) => write!(formatter, " in `{namespace}`"),
            None => Ok(()),
        }
    }
}

/// A failed request.
#[derive(Debug, thiserror::Error)]
#[error("could not {task} at {server}")]
pub struct FailedRequest {
    /// The URL of the cluster.
    pub(super) server: String,
    /// The purpose of the request.
    pub(super) task: Task,
    /// The error.
    #[source]
    pub(super) cause: RequestError,
}

/// The error of a request.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    /// The server refused the request.
    #[error("{} {}: {}", .0.code, sanitize(&.0.reason), sanitize(&.0.message))]
    Refused(Box<Status>),
    /// There is no response, or an incomplete one.
    #[error("there is no answer")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There is no response in time.
    #[error("there is no answer within {0} s")]
    TimedOut(u64),
    /// The response is not one of Kubernetes.
    #[error("the answer is not one of Kubernetes")]
    Unreadable,
}

/// Parses the body of a refusal. A body that is no `Status` comes from a proxy or a gateway.
/// <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/>
pub(super) fn refusal(code: StatusCode, body: &[u8]) -> Status {
    let mut status: Status = json::from_slice(body).unwrap_or_default();
    status.code = code.as_u16();
    if status.reason.is_empty() {
        status.reason = code.canonical_reason().unwrap_or("refused").to_owned();
    }
    status.message = match status.message.as_str() {
        "" => "no reason is given".to_owned(),
        message => bounded_text(message),
    };
    for cause in status.details.iter_mut().flat_map(|d| &mut d.causes) {
        cause.message = bounded_text(&cause.message);
    }
    status
}

/// The message of a refusal, which shows what refused the request.
struct Refusal<'a>(&'a str);

impl<'a> Refusal<'a> {
    /// True if RBAC refused the request because a role is missing.
    /// The API server names the user and what it cannot do; an access review names neither.
    fn is_of_rbac(&self) -> bool {
        let is_reviewed = self.0.starts_with('`') && self.0.ends_with("is not allowed");
        is_reviewed || self.user().is_some() && self.0.contains(" cannot ")
    }

    /// The admission webhook or policy that refused the request. `None` if it was neither.
    fn admission(&self) -> Option<&'a str> {
        ["admission webhook \"", "ValidatingAdmissionPolicy '"]
            .into_iter()
            .find_map(|start| {
                let (_, rest) = self.0.split_once(start)?;
                rest.split(['"', '\'']).next()
            })
            .filter(|_| self.0.contains("denied"))
    }

    /// The refused verb in the message of the server. It need not be the request's: a PATCH that
    /// applies a new object needs `create` too.
    fn verb(&self) -> Option<&'a str> {
        let (_, rest) = self.0.split_once("\" cannot ")?;
        let (verb, _) = rest.split_once(" resource")?;
        let is_verb = !verb.is_empty() && verb.bytes().all(|byte| byte.is_ascii_lowercase());
        is_verb.then_some(verb)
    }

    /// Our user name in the message of the server. `None` if the message has none.
    fn user(&self) -> Option<&'a str> {
        let (_, rest) = self.0.split_once("User \"")?;
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
        let status = match cause {
            RequestError::Refused(status) => status,
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
        let refusal = Refusal(&status.message);
        if let Some(name) = refusal.admission() {
            return vec![format!(
                "the cluster's admission control `{}` refuses it, whatever roles there are: change \
                 what it asks for, or have who runs the cluster allow it",
                sanitize(name)
            )];
        }
        let mut causes = status.details.iter().flat_map(|d| &d.causes);
        match status.code {
            401 => vec![
            "the cluster does not take the kubeconfig's login: its token or certificate may have \
             run out"
                .to_owned(),
        ],
            403 if causes.any(|cause| cause.reason == "NamespaceTerminating") =>
            {
                vec!["wait until the namespace is gone, and create it again".to_owned()]
            }
            403 if refusal.is_of_rbac() => role(task, &refusal),
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

fn host(server: &str) -> &str {
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    rest.split(['/', ':']).next().unwrap_or(rest)
}

/// The hints with the commands that create the missing role and its binding. The role allows every
/// verb that gcr-push uses on the resource, so that the next run does not miss another.
fn role(task: &Task, refusal: &Refusal<'_>) -> Vec<String> {
    let subject = match refusal
        .user()
        .map(|user| (user, user.strip_prefix("system:serviceaccount:")))
    {
        Some((_, Some(account))) => format!("--serviceaccount={account}"),
        Some((user, None)) => format!("--user='{user}'"),
        None => "--user=USER".to_owned(),
    };
    let Task { verb, object } = task;
    let refused = refusal.verb().unwrap_or(verb);
    let ObjectRef {
        resource,
        namespace,
        ..
    } = object;
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
            "it may not `{refused}` `{resource}`; let it with a {} that allows `{verbs}`: `kubectl \
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
