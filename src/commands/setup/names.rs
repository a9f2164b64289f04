//! The names and descriptions of the resources that setup creates.

use crate::commands::setup::request::{Role, SetupRegistry, account_host};
use crate::google::Resource;

/// The mark in the description of every resource that setup creates, because accounts have no labels.
pub(super) const MARK: &str = "Made by gcr-push setup";

/// True if the description has the mark of setup.
pub(super) fn is_ours(description: &str) -> bool {
    description.contains(MARK)
}

/// The description of a resource with this purpose. It is shortened, because Google accepts 256
/// bytes and the path of a GitLab project can be longer.
pub(super) fn description(purpose: &str) -> String {
    let mut end = purpose.len().min(200);
    while !purpose.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}. {MARK}.", &purpose[..end])
}

/// The email address of an account.
pub(super) fn email(id: &str, project: &str) -> String {
    format!("{id}@{}", account_host(project))
}

/// The member of a policy for an account.
pub(super) fn member(email: &str) -> String {
    format!("serviceAccount:{email}")
}

/// The resource name of a repository.
pub(super) fn repository(project: &str, registry: &SetupRegistry) -> String {
    format!(
        "projects/{project}/locations/{}/repositories/{}",
        registry.location, registry.repository
    )
}

/// The repository as a resource with a policy.
pub(super) fn repository_resource(project: &str, registry: &SetupRegistry) -> Resource {
    Resource::Repository(repository(project, registry))
}

/// The least role that an account needs on a repository.
pub(super) fn repository_role(role: Role) -> &'static str {
    match role {
        Role::Pusher => "roles/artifactregistry.writer",
        Role::Puller => "roles/artifactregistry.reader",
    }
}

/// The purpose in the description of an account.
pub(super) fn purpose(role: Role) -> &'static str {
    match role {
        Role::Pusher => "Pushes images from a CI",
        Role::Puller => "Pulls images into a cluster",
    }
}
