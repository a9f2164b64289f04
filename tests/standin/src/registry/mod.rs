//! The registry: one implementation of the OCI distribution API, with Google's behaviour on
//! Google's hosts and plain behaviour elsewhere.

mod api;
mod auth;
mod blobs;
mod bucket;
mod contents;
mod identity;
mod listing;
mod manifests;
mod names;
mod references;
mod token;
mod uploads;

use http::header::HeaderName;
use http::{Method, header};

pub(crate) use api::{docker_images, versions};
pub use contents::RepositoryOptions;
pub(crate) use contents::Store;

use crate::answer::{self, Answer, Refusal};
use crate::behaviour::NotMigrated;
use crate::call::Call;
use crate::hosts::{HostKind, ImagePath};
use crate::iam::Permission;
use crate::route::Route;

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// Answers a token endpoint that is on another host than the registry.
pub(crate) fn token(call: &Call) -> Result<Answer, Refusal> {
    token::get(call)
}

/// The names of all repositories of the plain registry.
pub(crate) fn plain_repositories(call: &Call) -> Vec<String> {
    listing::plain_names(call)
}

/// Answers a registry request.
pub(crate) async fn handle(call: &mut Call, route: Route) -> Answer {
    let mut answer = answered(call, route).await.unwrap_or_else(Answer::from);
    answer::set(&mut answer, API_VERSION, "registry/2.0");
    answer
}

async fn answered(call: &mut Call, route: Route) -> Result<Answer, Refusal> {
    call.shared.counted.pass(call)?;
    match route {
        Route::Ping => auth::ping(call),
        Route::Token => token::answer(call).await,
        Route::Catalog => listing::catalog(call),
        Route::Download { secret } => blobs::download(call, &secret),
        Route::Tags { name } => {
            let image_path = enter(call, &name, Permission::Download)?;
            listing::tags(call, &image_path)
        }
        Route::Referrers { name, digest } => {
            names::check_digest(&digest)?;
            let image_path = enter_image(call, &name, Permission::Download)?;
            listing::referrers(call, &image_path, &digest)
        }
        Route::Manifest { name, reference } => {
            check_reference(&reference)?;
            let wanted = permission(&call.method)?;
            if wanted == Permission::Download {
                not_migrated(call, &name, NotMigrated::Manifests)?;
            }
            let image_path = enter_image(call, &name, wanted)?;
            match wanted {
                Permission::Upload => manifests::put(call, &image_path, &reference).await,
                Permission::Delete => manifests::delete(call, &image_path, &reference),
                _ => manifests::get(call, &image_path, &reference),
            }
        }
        Route::Blob { name, digest } => {
            names::check_digest(&digest)?;
            let wanted = permission(&call.method)?;
            let image_path = enter_image(call, &name, wanted)?;
            match wanted {
                Permission::Delete => blobs::delete(call, &image_path, &digest),
                Permission::Download => blobs::get(call, &image_path, &digest),
                _ => Err(unsupported()),
            }
        }
        Route::Uploads { name } => {
            if call.method != Method::POST {
                return Err(unsupported());
            }
            let image_path = enter_image(call, &name, Permission::Upload)?;
            uploads::start(call, image_path).await
        }
        Route::Upload { name, secret } => {
            // The URL outside `/v2/` carries its own permission: docker sends it without any
            // Authorization (observed in proxies before Google).
            if let Some(name) = &name {
                enter_image(call, name, Permission::Upload)?;
            }
            uploads::resume(call, name.as_deref(), &secret).await
        }
        Route::OAuthToken
        | Route::Sts { .. }
        | Route::Oidc { .. }
        | Route::Metadata { .. }
        | Route::TokenInfo
        | Route::Kubernetes { .. }
        | Route::Api { .. }
        | Route::Forge { .. }
        | Route::Unknown => Err(Refusal::page(404, "Not Found")),
    }
}

/// The permission that a method on a manifest or a blob needs.
fn permission(method: &Method) -> Result<Permission, Refusal> {
    match method.as_str() {
        "GET" | "HEAD" => Ok(Permission::Download),
        "PUT" => Ok(Permission::Upload),
        "DELETE" => Ok(Permission::Delete),
        _ => Err(unsupported()),
    }
}

/// The checks before a request is served: the name, the caller, and its permission. The order is
/// Google's: an invalid name is refused before a credential is asked for.
fn enter(call: &Call, name: &str, wanted: Permission) -> Result<ImagePath, Refusal> {
    let image_path = resolve(call, name)?;
    admit(call, image_path, wanted)
}

/// The same if an image has to be named; Google refuses a push to `P/R` with 400.
fn enter_image(call: &Call, name: &str, wanted: Permission) -> Result<ImagePath, Refusal> {
    let image_path = resolve(call, name)?;
    if image_path.image.is_empty() {
        let parts = name.split('/').count();
        let message = format!("invalid number of path components: {parts}");
        return Err(Refusal::registry(400, "NAME_INVALID", message));
    }
    admit(call, image_path, wanted)
}

fn resolve(call: &Call, name: &str) -> Result<ImagePath, Refusal> {
    names::check_name(name)?;
    ImagePath::resolve(&call.site.family, &call.site.host, name)
}

fn admit(call: &Call, image_path: ImagePath, wanted: Permission) -> Result<ImagePath, Refusal> {
    let identity = auth::identify(call, &image_path, wanted)?;
    auth::authorize(call, &identity, &image_path, wanted)?;
    Ok(image_path)
}

fn check_reference(reference: &str) -> Result<(), Refusal> {
    if reference.contains(':') {
        return names::check_digest(reference);
    }
    if names::is_tag(reference) {
        return Ok(());
    }
    let message = format!("invalid tag: {reference:.140}");
    Err(Refusal::registry(400, "TAG_INVALID", message))
}

/// The 412 of gcr.io names that still belong to Container Registry: plain text in place of the JSON
/// that clients expect.
fn not_migrated(call: &Call, name: &str, here: NotMigrated) -> Result<(), Refusal> {
    let applies = match call.behaviour.not_migrated {
        NotMigrated::No => false,
        NotMigrated::TokenAndManifests => true,
        NotMigrated::Manifests => here == NotMigrated::Manifests,
    };
    if !applies || !matches!(call.site.family, HostKind::Gcr { .. }) {
        return Ok(());
    }
    let project = name.split('/').next().unwrap_or_default();
    Err(Refusal::text(
        412,
        format!(
            "Container Registry is deprecated and shutting down, please use the auto migration \
             tool to migrate to Artifact Registry (gcloud artifacts docker upgrade migrate \
             --projects='{project}'). For more details see: \
             https://cloud.google.com/artifact-registry/docs/transition/auto-migrate-gcr-ar"
        ),
    ))
}

fn unsupported() -> Refusal {
    Refusal::registry(405, "UNSUPPORTED", "The operation is unsupported.")
}

/// A `Location` below `/v2/`.
fn located(answer: &mut Answer, name: &str, kind: &str, reference: &str) {
    let location = format!("/v2/{name}/{kind}/{reference}");
    answer::set(answer, header::LOCATION, &location);
}
