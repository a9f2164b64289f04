//! GitHub and GitLab: which numbers a repository has there, and by which of its claims Google is to
//! know its jobs.
//!
//! Names can be given up and taken by somebody else; numbers cannot. So conditions and bindings name
//! numbers alone.
//! <https://cloud.google.com/iam/docs/workload-identity-federation-with-deployment-pipelines>

use reqwest::{StatusCode, Url};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::federation::{Pool, Provider};
use super::{Setup, SetupError};
use crate::config::{Forge, ForgeIds, ForgeKind};
use crate::network::{WINDOW, read_bounded};

/// A repository whose jobs may push, and all that Google is told of it.
#[derive(Clone, Debug)]
pub(super) struct Trust {
    pub(super) forge: Forge,
    pub(super) pool: Pool,
    pub(super) provider: Provider,
    /// The attribute and its value by which the pusher is bound: `attribute.repository_id/456`.
    pub(super) attribute: String,
}

impl Trust {
    fn new(forge: &Forge, ids: &ForgeIds) -> Self {
        let ForgeIds { owner, repository } = ids;
        let (pool, issuer, kind, claims) = match &forge.kind {
            ForgeKind::GitHub => (
                "gcr-push-github".to_owned(),
                "https://token.actions.githubusercontent.com".to_owned(),
                "GitHub",
                ["repository_id", "repository_owner_id", "run_id"],
            ),
            ForgeKind::GitLab(host) => (
                pool_of_gitlab(host),
                format!("https://{host}"),
                "GitLab",
                ["project_id", "namespace_id", "job_id"],
            ),
        };
        let [own, owner_claim, run] = claims;
        let id = format!("{}-{repository}", kind.to_ascii_lowercase());
        let host = match &forge.kind {
            ForgeKind::GitHub => "github.com",
            ForgeKind::GitLab(host) => host,
        };
        Self {
            forge: forge.clone(),
            pool: Pool {
                id: pool.clone(),
                purpose: format!("Jobs of {host}"),
            },
            provider: Provider {
                pool,
                id,
                purpose: format!("Jobs of {host}/{}", forge.path),
                issuer,
                // Not `sub`, which has the branch in it: Google refuses a subject of more than 127
                // bytes. https://cloud.google.com/iam/docs/workload-identity-federation#mapping
                mapping: vec![
                    (
                        "google.subject".to_owned(),
                        format!("assertion.{own} + ':' + assertion.{run}"),
                    ),
                    (format!("attribute.{own}"), format!("assertion.{own}")),
                    (
                        format!("attribute.{owner_claim}"),
                        format!("assertion.{owner_claim}"),
                    ),
                ],
                condition: format!(
                    "assertion.{own} == '{repository}' && assertion.{owner_claim} == '{owner}'"
                ),
            },
            attribute: format!("attribute.{own}/{repository}"),
        }
    }
}

/// A pool for each GitLab, so that a number on one never stands for the same number on another.
fn pool_of_gitlab(host: &str) -> String {
    if host == "gitlab.com" {
        return "gcr-push-gitlab".to_owned();
    }
    let hash = Sha256::digest(host.as_bytes());
    let start: String = hash.iter().take(4).map(|b| format!("{b:02x}")).collect();
    format!("gcr-push-gitlab-{start}")
}

/// The most bytes of a forge's answer; GitHub's are some ten KiB.
const MAX_BODY: usize = 1024 * 1024;

#[derive(Deserialize)]
struct GitHubRepository {
    id: u64,
    owner: Numbered,
}

#[derive(Deserialize)]
struct GitLabProject {
    id: u64,
    namespace: Numbered,
}

#[derive(Deserialize)]
struct Numbered {
    id: u64,
}

impl Setup<'_> {
    /// What Google is to be told of each repository that may push.
    pub(super) async fn trusts(&self) -> Result<Vec<Trust>, SetupError> {
        let mut trusts = Vec::new();
        for forge in &self.request.forges {
            let ids = match &forge.ids {
                Some(ids) => ids.clone(),
                None => self.look_up(forge).await?,
            };
            trusts.push(Trust::new(forge, &ids));
        }
        Ok(trusts)
    }

    /// Asks the forge for the numbers of a repository that everybody may see.
    async fn look_up(&self, forge: &Forge) -> Result<ForgeIds, SetupError> {
        let refused = |cause: Option<Box<dyn std::error::Error + Send + Sync>>| SetupError::Forge {
            forge: forge.clone(),
            cause,
        };
        let text = match &forge.kind {
            ForgeKind::GitHub => format!("https://api.github.com/repos/{}", forge.path),
            ForgeKind::GitLab(host) => format!(
                "https://{host}/api/v4/projects/{}",
                forge.path.replace('/', "%2F")
            ),
        };
        let url: Url = text.parse().map_err(|_| refused(None))?;
        let client = self.network.http_client().map_err(SetupError::Network)?;
        let sent = client.get(url).header("accept", "application/json");
        let answer = sent
            .send()
            .await
            .map_err(|error| refused(Some(Box::new(error.without_url()))))?;
        if answer.status() != StatusCode::OK {
            return Err(refused(None));
        }
        let body = read_bounded(answer, MAX_BODY, WINDOW)
            .await
            .map_err(|error| refused(Some(Box::new(error))))?;
        let ids = match &forge.kind {
            ForgeKind::GitHub => {
                serde_json::from_slice(&body).map(|found: GitHubRepository| ForgeIds {
                    owner: found.owner.id,
                    repository: found.id,
                })
            }
            ForgeKind::GitLab(_) => {
                serde_json::from_slice(&body).map(|found: GitLabProject| ForgeIds {
                    owner: found.namespace.id,
                    repository: found.id,
                })
            }
        };
        ids.map_err(|_| refused(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_pools_and_providers_keep_to_google_s_rules() {
        let host = format!("gitlab.{}.example.com", "a".repeat(60));
        for kind in [
            ForgeKind::GitHub,
            ForgeKind::GitLab("gitlab.com".to_owned()),
            ForgeKind::GitLab(host),
        ] {
            let forge = Forge {
                kind,
                path: "a/b".to_owned(),
                ids: None,
            };
            let ids = ForgeIds {
                owner: 1,
                repository: u64::MAX,
            };
            let trust = Trust::new(&forge, &ids);
            for id in [&trust.pool.id, &trust.provider.id] {
                let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
                assert!(
                    (4..=32).contains(&id.len()) && id.bytes().all(inside),
                    "{id}"
                );
                assert!(!id.starts_with("gcp-"));
            }
        }
    }

    #[test]
    fn the_same_number_on_another_gitlab_is_in_another_pool() {
        assert_ne!(
            pool_of_gitlab("gitlab.com"),
            pool_of_gitlab("gitlab.a.example")
        );
        assert_ne!(
            pool_of_gitlab("gitlab.a.example"),
            pool_of_gitlab("gitlab.b.example")
        );
    }
}
