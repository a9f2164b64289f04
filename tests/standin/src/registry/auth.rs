//! Authentication and authorization: the challenge, and what an identity may do. Google answers
//! both differently from a plain registry.

use http::{Method, header};

use super::RepositoryOptions;
use super::bucket;
use super::identity::{google_identity, plain_identity};
use crate::accounts::Identity;
use crate::answer::{self, Answer, Refusal};
use crate::behaviour::{Challenge, DeniedWording};
use crate::call::Call;
use crate::hosts::{HostKind, ImagePath};
use crate::iam::Permission;

/// `GET /v2/`.
pub(super) fn ping(call: &Call) -> Result<Answer, Refusal> {
    if !matches!(call.method, Method::GET | Method::HEAD) {
        return Err(super::unsupported());
    }
    if call.site.is_google_registry() {
        if google_identity(call)?.is_none() {
            let message = "not authenticated: No credential was supplied.";
            let challenge = call.behaviour.ping_challenge;
            return Err(unauthorized(call, challenge, message, None));
        }
        // An empty HTML answer, as observed on the live service.
        return Ok(answer::bytes(200, "text/html; charset=UTF-8", ""));
    }
    plain_identity(call, None)?;
    Ok(answer::bytes(200, "application/json", "{}"))
}

/// The identity of the caller, or a 401 with a challenge.
pub(super) fn identify(
    call: &Call,
    image_path: &ImagePath,
    wanted: Permission,
) -> Result<Identity, Refusal> {
    if !call.site.is_google_registry() {
        return plain_identity(call, Some((image_path, wanted)));
    }
    google_identity(call)?.ok_or_else(|| {
        let message = "not authenticated: No valid credential was supplied.";
        let scope = google_scope(call, image_path);
        unauthorized(call, call.behaviour.data_challenge, message, Some(scope))
    })
}

/// Checks a permission of this identity; creates the repository if a push may create it.
pub(super) fn authorize(
    call: &Call,
    identity: &Identity,
    image_path: &ImagePath,
    wanted: Permission,
) -> Result<(), Refusal> {
    if !call.site.is_google_registry() {
        return Ok(());
    }
    if let Some(decision) = bucket::authorize(call, identity, image_path, wanted) {
        return decision;
    }
    if call.behaviour.api_off || !enabled(call, image_path) {
        return Err(api_off(call));
    }
    let allowed = |permission, resource: &str| {
        let public = permission == Permission::Download && call.behaviour.anonymous_pull;
        public
            || call
                .shared
                .grants
                .allow(identity.member(), permission, resource)
    };
    if !allowed(wanted, &image_path.resource) {
        return Err(denied(call, identity, image_path, wanted));
    }
    if call.shared.store.has_repository(&image_path.resource) {
        return Ok(());
    }
    if wanted != Permission::Upload || !image_path.through_gcr || !call.behaviour.create_on_push {
        let message = format!("Repository \"{}\" not found", image_path.repository());
        return Err(Refusal::registry(404, "NAME_UNKNOWN", message));
    }
    if !allowed(Permission::CreateOnPush, &image_path.resource) {
        // The text says gcr.io for all four hosts, in every report so far.
        return Err(Refusal::registry(
            call.behaviour.statuses.create_on_push,
            "DENIED",
            "gcr.io repo does not exist. Creating on push requires the \
             artifactregistry.repositories.createOnPush permission",
        ));
    }
    let options = RepositoryOptions::default();
    call.shared.store.create(&image_path.resource, options);
    Ok(())
}

/// True if the caller may read another image, for a mount.
pub(super) fn may_read(call: &Call, from: &ImagePath) -> bool {
    let identity = identify(call, from, Permission::Download);
    identity.is_ok_and(|identity| authorize(call, &identity, from, Permission::Download).is_ok())
}

/// The refusal for a missing permission.
pub(super) fn denied(
    call: &Call,
    identity: &Identity,
    image_path: &ImagePath,
    wanted: Permission,
) -> Refusal {
    let (permission, resource) = (wanted.name(), &image_path.resource);
    let message = match (identity, call.behaviour.denied_wording) {
        (Identity::Anonymous, _) => format!(
            "Unauthenticated request. Unauthenticated requests do not have permission \
             \"{permission}\" on resource \"{resource}\" (or it may not exist)"
        ),
        (_, DeniedWording::NamesResource) => format!(
            "Permission \"{permission}\" denied on resource \"{resource}\" (or it may not exist)"
        ),
        (_, DeniedWording::Troubleshooter) => format!(
            "Permission '{permission}' denied on resource (or it may not exist). Remediate \
             access with this Troubleshooter URL or share it with your administrator - \
             https://console.cloud.google.com/iam-admin/troubleshooter;errorId=0123456789abcdef"
        ),
    };
    Refusal::registry(403, "DENIED", message)
}

/// True if the project has enabled the API; projects that no test described have.
fn enabled(call: &Call, image_path: &ImagePath) -> bool {
    let project = image_path.project.trim_start_matches("projects/");
    let mut state = call.shared.cloud.state();
    let held = state.project_state(project);
    held.is_none_or(|held| {
        let services = &held.project.services;
        services.contains("artifactregistry.googleapis.com")
    })
}

fn api_off(call: &Call) -> Refusal {
    Refusal::registry(
        call.behaviour.statuses.api_off,
        "DENIED",
        "Artifact Registry API has not been used in project 123456789012 before or it is \
         disabled. Enable it by visiting https://console.developers.google.com/apis/api/\
         artifactregistry.googleapis.com/overview?project=123456789012 then retry. If you \
         enabled this API recently, wait a few minutes for the action to propagate to our \
         systems and retry.",
    )
}

/// The scope of Google's challenge: `pull,push` for all writes, DELETE included, and `pkg` in place
/// of a missing image name.
fn google_scope(call: &Call, image_path: &ImagePath) -> String {
    let reads = matches!(call.method, Method::GET | Method::HEAD);
    let actions = if reads { "pull" } else { "pull,push" };
    let unnamed = image_path.image.is_empty() && matches!(call.site.family, HostKind::Pkg { .. });
    let image = if unnamed { "/pkg" } else { "" };
    format!("repository:{}{image}:{actions}", image_path.name)
}

/// The refusal with a challenge.
pub(super) fn unauthorized(
    call: &Call,
    challenge: Challenge,
    message: &str,
    scope: Option<String>,
) -> Refusal {
    let refusal = Refusal::registry(401, "UNAUTHORIZED", message);
    let challenge = match (challenge, &call.site.family, &scope) {
        // gcr.io, as a client reported it: "no challenge on real requests".
        (Challenge::ByHost, HostKind::Gcr { .. }, Some(_)) => Challenge::Absent,
        (Challenge::ByHost, HostKind::Pkg { .. }, None) => Challenge::WithoutService,
        (Challenge::ByHost, _, _) => Challenge::WithService,
        (other, _, _) => other,
    };
    let token = if call.site.is_google_registry() {
        "/v2/token"
    } else {
        "/token"
    };
    let own = || format!("{}{token}", call.site.origin());
    let realm = call.behaviour.realm.clone().unwrap_or_else(own);
    let mut value = format!("Bearer realm=\"{realm}\"");
    match challenge {
        Challenge::Absent => return refusal,
        Challenge::WithoutService | Challenge::ByHost => {}
        Challenge::WithService => {
            let service = call.behaviour.service.as_deref();
            let service = service.unwrap_or(&call.site.host);
            value += &format!(",service=\"{service}\"");
            if let Some(scope) = scope {
                value += &format!(",scope=\"{scope}\"");
            }
        }
    }
    refusal.with(header::WWW_AUTHENTICATE, value)
}
