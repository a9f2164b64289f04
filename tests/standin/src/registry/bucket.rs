//! Container Registry: `gcr.io` names of an unmigrated project, stored in a bucket of the project,
//! which the first push creates. Roles on the bucket decide who may read and write.
//! <https://cloud.google.com/container-registry/docs/access-control>

use crate::accounts::Identity;
use crate::answer::Refusal;
use crate::call::Call;
use crate::hosts::ImagePath;
use crate::iam::Permission;
use crate::registry::RepositoryOptions;

/// The bucket and project of images that are still stored in a bucket. `None` otherwise.
fn legacy_bucket(call: &Call, image_path: &ImagePath) -> Option<(String, String)> {
    let project = image_path
        .project
        .trim_start_matches("projects/")
        .to_owned();
    let region = call.site.host.strip_suffix("gcr.io")?;
    let mut state = call.shared.cloud.state();
    let held = state.project_state(&project)?;
    let is_old = held.project.redirection.is_none()
        && held
            .project
            .services
            .contains("containerregistry.googleapis.com");
    is_old.then(|| (format!("{region}artifacts.{project}.appspot.com"), project))
}

fn may_push(call: &Call, identity: &Identity, project: &str, bucket: &str) -> bool {
    let resource = format!("projects/{project}/buckets/{bucket}");
    let grants = &call.shared.grants;
    grants.allow_named(identity.member(), "storage.objects.create", &resource)
}

/// Checks a permission of this identity; creates the bucket if a push may create it. `None` if
/// Artifact Registry decides.
pub(super) fn authorize(
    call: &Call,
    identity: &Identity,
    image_path: &ImagePath,
    wanted: Permission,
) -> Option<Result<(), Refusal>> {
    let (bucket, project) = legacy_bucket(call, image_path)?;
    let is_there = call.shared.cloud.state().buckets.contains_key(&bucket);
    // A caller that may create the bucket may check whether it exists. By Google's page the role
    // that pushes pulls too, although it has no `storage.objects.get`.
    let (permission, on) = match (wanted, is_there) {
        (Permission::Download, true) if may_push(call, identity, &project, &bucket) => {
            ("storage.objects.create", true)
        }
        (Permission::Download, true) => ("storage.objects.get", true),
        (_, true) => ("storage.objects.create", true),
        (_, false) => ("storage.buckets.create", false),
    };
    let resource = if on {
        format!("projects/{project}/buckets/{bucket}")
    } else {
        format!("projects/{project}")
    };
    let grants = &call.shared.grants;
    let member = identity.member();
    let by_project = || {
        let owner = format!("projectOwner:{project}");
        let owns = |email| grants.has_role(email, "roles/owner", &format!("projects/{project}"));
        member.is_some_and(owns) && grants.allow_named(Some(&owner), permission, &resource)
    };
    if !grants.allow_named(member, permission, &resource) && !by_project() {
        return Some(Err(Refusal::registry(
            403,
            "DENIED",
            format!(
                "Token exchange failed for project '{project}'. Caller does not have permission \
                 '{permission}'. To configure permissions, follow instructions at: \
                 https://cloud.google.com/container-registry/docs/access-control"
            ),
        )));
    }
    if !is_there && wanted == Permission::Upload {
        call.shared.create_bucket(&bucket, &project);
    }
    if !call.shared.store.has_repository(&image_path.resource) {
        let options = RepositoryOptions::default();
        call.shared.store.create(&image_path.resource, options);
    }
    Some(Ok(()))
}
