//! Reads which APIs of the project are enabled, and enables the missing ones.

use std::collections::BTreeSet;

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::plan::{PlanStep, ResourceState, StepAction};
use super::{Setup, SetupError};
use crate::commands::setup::request::Backend;
use crate::google::{Api, Operation};

/// The enabled APIs, of those that setup uses.
#[derive(Debug, Default)]
pub(super) struct Services {
    /// The number of the project.
    pub(super) number: String,
    enabled: BTreeSet<String>,
}

impl Services {
    /// True if the API is enabled.
    pub(super) fn has(&self, api: Api) -> bool {
        self.enabled.contains(api.service())
    }
}

#[derive(Deserialize)]
struct Service {
    name: String,
    #[serde(default)]
    state: String,
}

/// A service that failed in a batch that succeeded as a whole.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct EnableFailure {
    #[serde(default)]
    service_id: String,
    #[serde(default)]
    error_message: String,
}

impl Setup<'_> {
    /// The APIs that the request needs, each with the reason.
    fn needed(&self, redirected: bool) -> Vec<(&'static str, &'static str)> {
        let mut needed = match self.request.backend {
            Backend::ArtifactRegistry => vec![(
                Api::ArtifactRegistry.service(),
                "the registry, `gcr.io` names too",
            )],
            // Left-over buckets do not need Container Registry.
            Backend::Storage if redirected => vec![(Api::Storage.service(), "the buckets")],
            Backend::Storage => vec![
                ("containerregistry.googleapis.com", "the old registry"),
                (Api::Storage.service(), "its buckets"),
                (
                    Api::IamCredentials.service(),
                    "a token of the pusher for its first push",
                ),
            ],
        };
        needed.push((Api::Iam.service(), "accounts and their keys"));
        needed.push((Api::ResourceManager.service(), "the project's policy"));
        if !self.request.forges.is_empty() {
            needed.push((
                "sts.googleapis.com",
                "to exchange a CI's identity for a token",
            ));
            let acts = Api::IamCredentials.service();
            if needed.iter().all(|(name, _)| *name != acts) {
                needed.push((acts, "to use this token as the pusher"));
            }
        }
        needed
    }

    /// Reads which APIs are enabled. If an enabled API still responds that it is disabled, requests
    /// wait for it, because a new state takes time to propagate.
    pub(super) async fn services(&self) -> Result<Services, SetupError> {
        let project = &self.request.project;
        let mut url = Api::ServiceUsage.url(&format!("v1/projects/{project}/services:batchGet"));
        let asked = self.needed(false).into_iter().map(|(name, _)| name);
        // These decide which resources can be read, even if they are not needed.
        let readable = [Api::ArtifactRegistry, Api::Storage].map(Api::service);
        let asked: BTreeSet<&str> = asked.chain(readable).collect();
        for name in asked {
            let name = format!("projects/{project}/services/{name}");
            url.query_pairs_mut().append_pair("names", &name);
        }
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            services: Vec<Service>,
        }
        let answer: Answer = self
            .google
            .get(url)
            .await
            .map_err(|cause| SetupError::project(project, cause))?;
        let mut services = Services::default();
        for service in answer.services {
            // `projects/NUMBER/services/NAME`
            let mut parts = service.name.split('/').skip(1);
            services.number = parts.next().unwrap_or_default().to_owned();
            let name = parts.nth(1).unwrap_or_default().to_owned();
            if service.state == "ENABLED" {
                self.google.mark_enabled(&name);
                services.enabled.insert(name);
            }
        }
        Ok(services)
    }

    /// The steps for the APIs. Container Registry is not needed if `gcr.io` is redirected to Artifact
    /// Registry.
    pub(super) fn plan_services(&self, services: &Services, redirected: bool) -> Vec<PlanStep> {
        let needed = self.needed(redirected).into_iter();
        needed
            .map(|(name, why)| {
                let what = format!("API {name}");
                if services.enabled.contains(name) {
                    PlanStep::present(what, why)
                } else {
                    let action = StepAction::Enable(name.to_owned());
                    PlanStep::new(ResourceState::Create, what, why, Some(action))
                }
            })
            .collect()
    }

    /// Enables several APIs with one request.
    pub(super) async fn enable(&self, names: &[String]) -> Result<(), SetupError> {
        let project = &self.request.project;
        let doing = || format!("could not enable {}", names.join(", "));
        let (url, body) = match names {
            [one] => {
                let path = format!("v1/projects/{project}/services/{one}:enable");
                (Api::ServiceUsage.url(&path), json!({}))
            }
            several => {
                let path = format!("v1/projects/{project}/services:batchEnable");
                let url = Api::ServiceUsage.url(&path);
                (url, json!({"serviceIds": several}))
            }
        };
        let begun: Operation = self
            .google
            .post(url.clone(), &body)
            .await
            .map_err(|cause| SetupError::google(doing(), cause))?;
        let asked = (Method::POST, url);
        let result = self
            .google
            .wait_operation(Api::ServiceUsage, begun, asked)
            .await;
        let mut result = result.map_err(|cause| SetupError::google(doing(), cause))?;
        let failures = result.get_mut("failures").map(Value::take);
        let failures: Vec<EnableFailure> = failures
            .and_then(|failures| serde_json::from_value(failures).ok())
            .unwrap_or_default();
        if !failures.is_empty() {
            let failures = failures.into_iter();
            return Err(SetupError::NotEnabled(
                failures
                    .map(|failure| (failure.service_id, failure.error_message))
                    .collect(),
            ));
        }
        for name in names {
            self.google.mark_enabled(name);
        }
        Ok(())
    }
}
