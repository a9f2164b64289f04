//! Checks every write with a server-side dry run, before the first one is made.

use http::{Method, StatusCode};
use kube::api::PostParams;
use kube::core::Request;
use serde_json::{Value, json};

use super::client::Cluster;
use super::failed_request::{Task, causes};
use super::objects::{FoundSecret, ObjectRef};
use super::secret::{PullSecret, TYPE};
use super::state::{ClusterState, NamespaceState};
use super::{DesiredState, KubernetesError};
use crate::diagnostics::sanitize::sanitize;
use crate::http::{ErrorResponse, HttpError, bounded_text};

/// The writes that a cluster accepts, in their order.
pub struct CheckedWrites {
    pub(super) cluster: Cluster,
    pub(super) secret_name: String,
    pub(super) replaces: bool,
    pub(super) steps: Vec<WriteStep>,
}

/// One write.
pub(super) enum WriteStep {
    CreateNamespace(ObjectRef),
    /// Apply the Secret on the server side. The flag is true if the Secret is new.
    Apply(ObjectRef, bool),
    /// Delete exactly the Secret that was read.
    Delete(ObjectRef, FoundSecret),
    /// Add the Secret to the service account. The flag is true if the account will be created
    /// together with its namespace.
    Add(ObjectRef, bool),
}

impl ClusterState<'_> {
    /// Lets the cluster check every write (`dryRun=All`): permissions, names, sizes, owners of
    /// fields and admission.
    /// <https://kubernetes.io/docs/reference/using-api/api-concepts/#dry-run>
    ///
    /// # Errors
    ///
    /// With one error for each write that the cluster would refuse.
    pub async fn check(self, secret: &PullSecret) -> Result<CheckedWrites, Vec<KubernetesError>> {
        let mut steps = Vec::new();
        let mut errors = Vec::new();
        let wanted = self.wanted;
        for space in self.spaces {
            let check = Check {
                cluster: &self.cluster,
                wanted,
                secret,
            };
            check.space(space, &mut steps, &mut errors).await;
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(CheckedWrites {
            cluster: self.cluster,
            secret_name: wanted.name.to_owned(),
            replaces: wanted.replaces,
            steps,
        })
    }
}

struct Check<'a> {
    cluster: &'a Cluster,
    wanted: DesiredState<'a>,
    secret: &'a PullSecret,
}

impl Check<'_> {
    async fn space(
        &self,
        space: NamespaceState,
        steps: &mut Vec<WriteStep>,
        errors: &mut Vec<KubernetesError>,
    ) {
        let mut is_new = false;
        if !space.is_current {
            match self.secret(space.secret, space.found).await {
                Ok(mut checked) => {
                    is_new = matches!(checked.first(), Some(WriteStep::CreateNamespace(_)));
                    steps.append(&mut checked);
                }
                Err(error @ KubernetesError::NoNamespace(_)) => {
                    errors.push(error);
                    return;
                }
                Err(error) => errors.push(error),
            }
        }
        for (account, found) in space.accounts {
            match found {
                Some(found) if found.has(self.wanted.name) => {}
                Some(found) => {
                    let tried = account.add(&found, self.wanted.name, true);
                    let answer = self
                        .cluster
                        .ask::<Value>(account.task("patch"), tried)
                        .await;
                    match answer {
                        Ok(_) => steps.push(WriteStep::Add(account, false)),
                        // The account was changed in between. It is read again before the write.
                        Err(error) if is_conflict(&error) => {
                            steps.push(WriteStep::Add(account, false))
                        }
                        Err(error) => errors.push(error),
                    }
                }
                // Kubernetes creates the account `default` in every new namespace, after a moment.
                None if is_new && account.name == "default" => {
                    match self.check_access(account.task("patch")).await {
                        Ok(()) => steps.push(WriteStep::Add(account, true)),
                        Err(error) => errors.push(error),
                    }
                }
                None => errors.push(KubernetesError::NoServiceAccount {
                    namespace: account.namespace_name(),
                    name: account.name,
                }),
            }
        }
    }

    async fn secret(
        &self,
        at: ObjectRef,
        found: Option<FoundSecret>,
    ) -> Result<Vec<WriteStep>, KubernetesError> {
        if let Some(found) = found
            .as_ref()
            .filter(|f| f.r#type() != TYPE || f.is_immutable())
        {
            return self.replacement(at, found).await;
        }
        let tried = at.apply(self.secret, self.wanted.replaces, true);
        let answer = self.cluster.ask::<Value>(at.task("patch"), tried).await;
        let Err(error) = answer else {
            return Ok(vec![WriteStep::Apply(at, found.is_none())]);
        };
        match error.refusal() {
            Some(refusal)
                if error.status() == Some(404) && refusal.details["kind"] == "namespaces" =>
            {
                self.new_namespace(at).await
            }
            Some(refusal) if is_conflict(&error) && !managers(refusal).is_empty() => {
                Err(KubernetesError::Conflict {
                    managers: managers(refusal),
                    namespace: at.namespace_name(),
                    name: at.name,
                })
            }
            _ => Err(error),
        }
    }

    /// Checks the replacement of a Secret whose type differs or that is immutable. Such a Secret
    /// has to be deleted and created again.
    async fn replacement(
        &self,
        at: ObjectRef,
        found: &FoundSecret,
    ) -> Result<Vec<WriteStep>, KubernetesError> {
        if !self.wanted.replaces {
            let what = if found.is_immutable() {
                "immutable".to_owned()
            } else {
                format!("of the type `{}`", sanitize(found.r#type()))
            };
            return Err(KubernetesError::Fixed {
                namespace: at.namespace_name(),
                name: at.name,
                what,
            });
        }
        let tried = at.delete(found, true);
        self.cluster.ask::<Value>(at.task("delete"), tried).await?;
        // Checked before the deletion, because without the permissions there would be no Secret
        // afterwards.
        for verb in ["patch", "create"] {
            self.check_access(at.task(verb)).await?;
        }
        Ok(vec![
            WriteStep::Delete(at.clone(), found.clone()),
            WriteStep::Apply(at, true),
        ])
    }

    async fn new_namespace(&self, at: ObjectRef) -> Result<Vec<WriteStep>, KubernetesError> {
        if !self.wanted.creates_namespaces {
            return Err(KubernetesError::NoNamespace(at.namespace_name()));
        }
        let namespace = ObjectRef::namespace(&at.namespace_name());
        let tried = namespace.create(true);
        let task = namespace.task("create");
        self.cluster.ask::<Value>(task, tried).await?;
        // A missing namespace allows no dry run, but permissions can be checked.
        for verb in ["patch", "create"] {
            self.check_access(at.task(verb)).await?;
        }
        Ok(vec![
            WriteStep::CreateNamespace(namespace),
            WriteStep::Apply(at, true),
        ])
    }

    /// Checks a permission with an access review. A cluster that does not answer it counts as
    /// allowing the task.
    /// <https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access>
    async fn check_access(&self, task: Task) -> Result<(), KubernetesError> {
        let object = &task.object;
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": { "resourceAttributes": {
                "namespace": object.namespace,
                "verb": task.verb,
                "resource": object.resource,
                "name": object.name,
                "version": "v1",
            } },
        });
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let asked = Request::new(path).create(&PostParams::default(), review.to_string().into());
        let answer = self.cluster.ask::<Value>(task.clone(), asked).await;
        match answer {
            Ok(review) if review["status"]["allowed"] == false => {
                let message = format!("`{}` of `{}` is not allowed", task.verb, object.resource);
                let refusal = ErrorResponse {
                    status: StatusCode::FORBIDDEN,
                    code: None,
                    message,
                    details: Value::Null,
                    retry_after: None,
                };
                let url = self.cluster.url(path);
                let refused = HttpError::refused(Method::POST, url, refusal);
                Err(self.cluster.failed(task, refused))
            }
            _ => Ok(()),
        }
    }
}

fn is_conflict(error: &KubernetesError) -> bool {
    error.status() == Some(409)
}

/// The owners of fields, in the server's words: `conflict with "kubectl-create" using v1`.
fn managers(refusal: &ErrorResponse) -> Vec<String> {
    let text = |value: &Value| bounded_text(value.as_str().unwrap_or_default());
    let mut managers: Vec<String> = causes(refusal)
        .iter()
        .filter(|cause| cause["reason"] == "FieldManagerConflict")
        .map(|cause| {
            let (message, field) = (text(&cause["message"]), text(&cause["field"]));
            let manager = message.split('"').nth(1).unwrap_or(&message);
            format!("`{}` (`{}`)", sanitize(manager), sanitize(&field))
        })
        .collect();
    managers.dedup();
    managers
}
