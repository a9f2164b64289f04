//! Who may do what: grants of Artifact Registry's predefined roles on projects and
//! repositories.

use std::collections::BTreeSet;
use std::sync::Mutex;

/// What a caller wants to do, in IAM's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permission {
    Download,
    Upload,
    Delete,
    CreateOnPush,
}

impl Permission {
    /// The name that error texts show. Which method needs which one is in Artifact
    /// Registry's audit-logging table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Permission::Download => "artifactregistry.repositories.downloadArtifacts",
            Permission::Upload => "artifactregistry.repositories.uploadArtifacts",
            Permission::Delete => "artifactregistry.repositories.deleteArtifacts",
            Permission::CreateOnPush => "artifactregistry.repositories.createOnPush",
        }
    }
}

/// What a role allows (cloud.google.com/iam/docs/roles-permissions/artifactregistry).
fn permissions(role: &str) -> Option<&'static [Permission]> {
    use Permission::{CreateOnPush, Delete, Download, Upload};
    Some(match role {
        "roles/artifactregistry.reader" => &[Download],
        "roles/artifactregistry.writer" => &[Download, Upload],
        "roles/artifactregistry.repoAdmin" => &[Download, Upload, Delete],
        "roles/artifactregistry.createOnPushWriter" => &[Download, Upload, CreateOnPush],
        "roles/artifactregistry.createOnPushRepoAdmin" | "roles/artifactregistry.admin" => {
            &[Download, Upload, Delete, CreateOnPush]
        }
        _ => return None,
    })
}

/// Everybody, with or without an account.
pub(crate) const ALL_USERS: &str = "allUsers";

/// All grants there are.
#[derive(Default)]
pub(crate) struct Grants {
    held: Mutex<BTreeSet<(String, String, String)>>,
}

impl Grants {
    pub(crate) fn add(&self, member: &str, role: &str, resource: &str) {
        assert!(
            permissions(role).is_some(),
            "the stand-in knows no role {role}"
        );
        assert!(
            is_resource(resource),
            "{resource} is neither a project nor a repository"
        );
        self.held
            .lock()
            .unwrap()
            .insert(grant(member, role, resource));
    }

    pub(crate) fn remove(&self, member: &str, role: &str, resource: &str) {
        self.held
            .lock()
            .unwrap()
            .remove(&grant(member, role, resource));
    }

    /// Whether a member (an e-mail address, or `None` without an account) has a permission
    /// on a resource. A grant on a project holds for everything in it.
    pub(crate) fn allow(&self, member: Option<&str>, wanted: Permission, resource: &str) -> bool {
        let held = self.held.lock().unwrap();
        held.iter().any(|(holder, role, on)| {
            (holder == ALL_USERS || Some(holder.as_str()) == member)
                && permissions(role).is_some_and(|held| held.contains(&wanted))
                && covers(on, resource)
        })
    }
}

fn grant(member: &str, role: &str, resource: &str) -> (String, String, String) {
    (member.to_owned(), role.to_owned(), resource.to_owned())
}

fn covers(granted: &str, resource: &str) -> bool {
    let below = resource.strip_prefix(granted);
    below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `projects/P` or `projects/P/locations/L/repositories/R`.
pub(crate) fn is_resource(resource: &str) -> bool {
    let parts: Vec<&str> = resource.split('/').collect();
    match parts.as_slice() {
        ["projects", project] => !project.is_empty(),
        [
            "projects",
            project,
            "locations",
            location,
            "repositories",
            repository,
        ] => [project, location, repository]
            .iter()
            .all(|part| !part.is_empty()),
        _ => false,
    }
}
