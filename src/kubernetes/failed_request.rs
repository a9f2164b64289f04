//! A failed request to an API server: its purpose, its error and the hints.

use std::fmt;

use http::StatusCode;
use serde_json::Value;

use super::objects::ObjectRef;
use crate::diagnostics::sanitize::sanitize;
use crate::diagnostics::{Diagnostic, ExitCode};
use crate::http::{ConnectionFailure, ErrorResponse, HttpError, HttpErrorKind};

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
#[error("could not {task}")]
pub struct FailedRequest {
    /// The purpose of the request.
    pub(super) task: Task,
    /// The error.
    #[source]
    pub(super) cause: HttpError,
}

/// The causes in the details of a refusal, with their `reason`, `message` and `field`.
/// <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/>
pub(super) fn causes(refusal: &ErrorResponse) -> &[Value] {
    refusal.details["causes"]
        .as_array()
        .map_or(&[], Vec::as_slice)
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
    fn exit_code(&self) -> ExitCode {
        match self.cause.status() {
            Some(StatusCode::CONFLICT) => ExitCode::Temporary,
            _ => self.cause.exit_code(),
        }
    }

    fn hints(&self) -> Vec<String> {
        let host = self.cause.host();
        let hint = match &self.cause.kind {
            HttpErrorKind::Response(response) => return refusal_hints(&self.task, response),
            HttpErrorKind::Connection => match self.cause.connection_failure() {
                ConnectionFailure::Certificate | ConnectionFailure::SelfSigned => {
                    "put the cluster's certificate authority in the kubeconfig \
                     (`certificate-authority-data`), or in `ca_certificates`"
                        .to_owned()
                }
                ConnectionFailure::ClientCertificate => format!(
                    "`{host}` requires a client certificate: put one in the user of the kubeconfig \
                     (`client-certificate-data` and `client-key-data`)"
                ),
                ConnectionFailure::Stalled => {
                    "the cluster or the network did not respond in time; try again".to_owned()
                }
                ConnectionFailure::Unreachable | ConnectionFailure::Broken => format!(
                    "check that this machine can reach `{host}`: an API server is often open only \
                     to its own network"
                ),
                other => other.hint(&host),
            },
            _ => format!(
                "check that `{host}` is a Kubernetes API server, and that no sign-in page answers \
                 instead"
            ),
        };
        vec![hint]
    }
}

/// The hints for a refusal. Empty if there is nothing to add to the server's message.
fn refusal_hints(task: &Task, response: &ErrorResponse) -> Vec<String> {
    let refusal = Refusal(&response.message);
    if let Some(name) = refusal.admission() {
        return vec![format!(
            "the cluster's admission control `{}` refuses it, and a role does not change this: do \
             what its message requires, or ask the cluster's administrator to allow it",
            sanitize(name)
        )];
    }
    let is_terminating = |cause: &Value| cause["reason"] == "NamespaceTerminating";
    let hint = match response.status.as_u16() {
        401 => {
            "the cluster does not accept the kubeconfig's login: its token or certificate may have \
             expired"
        }
        403 if causes(response).iter().any(is_terminating) => {
            "wait until the namespace is deleted, and create it again"
        }
        403 if refusal.is_of_rbac() => return role(task, &refusal),
        403 => {
            "the cluster does not report a missing role as the cause: ask its administrator about \
             its rules"
        }
        429 | 500.. => "the cluster has a temporary problem; try again in a few minutes",
        _ => return Vec::new(),
    };
    vec![hint.to_owned()]
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
            "it is not allowed to `{refused}` `{resource}`: create a {} that allows `{verbs}`: \
             `kubectl create {kind} {name} --verb={verbs} --resource={resource}{place}`",
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
