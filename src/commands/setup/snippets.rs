//! The snippets for a workflow or a job that use the created resources.

use std::fmt::Write as _;

use super::Setup;
use super::forge::Trust;
use super::services::Services;
use crate::commands::setup::request::{ForgeKind, Role};
use crate::oci::reference::HostKind;

impl Setup<'_> {
    /// A snippet for the CI of each repository, to be copied.
    pub(super) fn snippets(&self, services: &Services, trusts: &[Trust]) -> String {
        let mut text = String::new();
        for trust in trusts {
            let provider = format!(
                "{}/providers/{}",
                self.pool_name(services, &trust.pool.id),
                trust.provider.id
            );
            let account = self.email(Role::Pusher);
            let tag = self.example_tag();
            let path = &trust.forge.path;
            let lines = match &trust.forge.kind {
                ForgeKind::GitHub => format!(
                    "\
For a workflow of {path}:

    permissions:
      contents: read
      id-token: write
    steps:
      - uses: gcr-push/gcr-push@main # no release exists yet: then its tag
        with:
          image: docker-archive:image.tar
          tags: {tag}
          workload_identity_provider: {provider}
          service_account: {account}
"
                ),
                ForgeKind::GitLab(_) => format!(
                    "\
For a job of {path}:

    push:
      image: IMAGE # no release exists yet: what you build from the Dockerfile of gcr-push
      id_tokens:
        GCR_PUSH_OIDC_TOKEN:
          aud: https://iam.googleapis.com/{provider}
      variables:
        GCR_PUSH_IMAGE: docker-archive:image.tar
        GCR_PUSH_TAGS: {tag}
        GCR_PUSH_WORKLOAD_IDENTITY_PROVIDER: {provider}
        GCR_PUSH_SERVICE_ACCOUNT: {account}
      script: gcr-push
"
                ),
            };
            // Writing to a `String` does not fail.
            let _ = write!(text, "\n{lines}");
        }
        text
    }

    /// An example destination in the first repository.
    fn example_tag(&self) -> String {
        // In a path, the colon of a project of a domain, `example.com:acme`, is a slash.
        let project = self.request.project.replacen(':', "/", 1);
        match self.request.registries.first() {
            Some(registry) => match registry.host.kind() {
                HostKind::ArtifactRegistry { .. } => {
                    format!(
                        "{}/{project}/{}/NAME:TAG",
                        registry.host, registry.repository
                    )
                }
                HostKind::Gcr { .. } | HostKind::Other => {
                    format!("{}/{project}/NAME:TAG", registry.host)
                }
            },
            None => "NAME:TAG".to_owned(),
        }
    }
}
