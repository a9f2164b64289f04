//! The old Container Registry: `gcr.io` names of a project that was never moved, kept in a bucket of
//! the project, which the first push makes. What may be done there is told by roles on the bucket.
//! <https://cloud.google.com/container-registry/docs/access-control>

use crate::accounts::Identity;
use crate::answer::Refusal;
use crate::call::Call;
use crate::iam::Permission;
use crate::registry::RepositoryOptions;
use crate::site::Place;

/// Whether images at this place are still kept in a bucket; its name, and the project's.
fn behind(call: &Call, place: &Place) -> Option<(String, String)> {
    let project = place.project.trim_start_matches("projects/").to_owned();
    let region = call.site.host.strip_suffix("gcr.io")?;
    let mut state = call.shared.cloud.state();
    let held = state.held(&project)?;
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

/// Whether this identity may do that there; makes the bucket where a push may make it. None where
/// Artifact Registry decides.
pub(super) fn authorize(
    call: &Call,
    identity: &Identity,
    place: &Place,
    wanted: Permission,
) -> Option<Result<(), Refusal>> {
    let (bucket, project) = behind(call, place)?;
    let is_there = call.shared.cloud.state().buckets.contains_key(&bucket);
    // Who may make the bucket may look whether there is one. By Google's page the role that pushes
    // pulls too, although it has no `storage.objects.get`.
    let (permission, on) = match (wanted, is_there) {
        (Permission::Download, true) if may_push(call, identity, &project, &bucket) => {
            ("storage.objects.create", true)
        }
        (Permission::Download, true) => ("storage.objects.get", true),
        (_, true) => ("storage.objects.create", true),
        (_, false) => ("storage.buckets.create", false),
    };
    let resource = match on {
        true => format!("projects/{project}/buckets/{bucket}"),
        false => format!("projects/{project}"),
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
    if !call.shared.store.has_repository(&place.resource) {
        let options = RepositoryOptions::default();
        call.shared.store.create(&place.resource, options);
    }
    Some(Ok(()))
}
