//! What setup calls things, and how it knows afterwards what it made.

use crate::commands::setup::request::{Role, SetupRegistry, account_host};
use crate::google::Resource;

/// Stands in the description of everything that setup makes: accounts and bindings carry no labels,
/// and a job's log is soon gone.
pub(super) const MARK: &str = "Made by gcr-push setup";

/// True where a description says that setup made the thing.
pub(super) fn is_ours(description: &str) -> bool {
    description.contains(MARK)
}

/// The description of something that setup makes for a purpose. Google takes 256 bytes, and a path
/// in a GitLab can be longer.
pub(super) fn description(purpose: &str) -> String {
    let mut end = purpose.len().min(200);
    while !purpose.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}. {MARK}.", &purpose[..end])
}

/// An account's address.
pub(super) fn email(id: &str, project: &str) -> String {
    format!("{id}@{}", account_host(project))
}

/// An account as policies name it.
pub(super) fn member(email: &str) -> String {
    format!("serviceAccount:{email}")
}

/// A repository by its whole name.
pub(super) fn repository(project: &str, registry: &SetupRegistry) -> String {
    format!(
        "projects/{project}/locations/{}/repositories/{}",
        registry.location, registry.repository
    )
}

/// A repository as something that has a policy.
pub(super) fn repository_resource(project: &str, registry: &SetupRegistry) -> Resource {
    Resource::Repository(repository(project, registry))
}

/// What an account needs on a repository, and nothing more.
pub(super) fn repository_role(role: Role) -> &'static str {
    match role {
        Role::Pusher => "roles/artifactregistry.writer",
        Role::Puller => "roles/artifactregistry.reader",
    }
}

/// The purpose of an account, as its description tells it.
pub(super) fn purpose(role: Role) -> &'static str {
    match role {
        Role::Pusher => "Pushes images from a CI",
        Role::Puller => "Pulls images into a cluster",
    }
}
