//! The registry: one implementation of the OCI distribution API, with Google's ways on
//! Google's hosts and plain ones elsewhere.

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
use crate::iam::Permission;
use crate::route::Route;
use crate::site::{Family, Place};

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
            let place = enter(call, &name, Permission::Download)?;
            listing::tags(call, &place)
        }
        Route::Referrers { name, digest } => {
            names::check_digest(&digest)?;
            let place = enter_image(call, &name, Permission::Download)?;
            listing::referrers(call, &place, &digest)
        }
        Route::Manifest { name, reference } => {
            check_reference(&reference)?;
            let wanted = permission(&call.method)?;
            if wanted == Permission::Download {
                not_migrated(call, &name, NotMigrated::Manifests)?;
            }
            let place = enter_image(call, &name, wanted)?;
            match wanted {
                Permission::Upload => manifests::put(call, &place, &reference).await,
                Permission::Delete => manifests::delete(call, &place, &reference),
                _ => manifests::get(call, &place, &reference),
            }
        }
        Route::Blob { name, digest } => {
            names::check_digest(&digest)?;
            let wanted = permission(&call.method)?;
            let place = enter_image(call, &name, wanted)?;
            match wanted {
                Permission::Delete => blobs::delete(call, &place, &digest),
                Permission::Download => blobs::get(call, &place, &digest),
                _ => Err(unsupported()),
            }
        }
        Route::Uploads { name } => {
            if call.method != Method::POST {
                return Err(unsupported());
            }
            let place = enter_image(call, &name, Permission::Upload)?;
            uploads::start(call, place).await
        }
        Route::Upload { name, secret } => {
            // The URL outside `/v2/` carries its own permission: docker sends it without
            // any Authorization (seen in proxies that others put in front of Google).
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

/// What a method on a manifest or a blob needs.
fn permission(method: &Method) -> Result<Permission, Refusal> {
    match method.as_str() {
        "GET" | "HEAD" => Ok(Permission::Download),
        "PUT" => Ok(Permission::Upload),
        "DELETE" => Ok(Permission::Delete),
        _ => Err(unsupported()),
    }
}

/// Everything that comes before the work itself: is the name one, who is calling, and may
/// they. The order is Google's: a bad name is told before a credential is asked for.
fn enter(call: &Call, name: &str, wanted: Permission) -> Result<Place, Refusal> {
    let place = resolve(call, name)?;
    admit(call, place, wanted)
}

/// The same where an image has to be named; Google refuses a push to `P/R` with 400.
fn enter_image(call: &Call, name: &str, wanted: Permission) -> Result<Place, Refusal> {
    let place = resolve(call, name)?;
    if place.image.is_empty() {
        let parts = name.split('/').count();
        let message = format!("invalid number of path components: {parts}");
        return Err(Refusal::registry(400, "NAME_INVALID", message));
    }
    admit(call, place, wanted)
}

fn resolve(call: &Call, name: &str) -> Result<Place, Refusal> {
    names::check_name(name)?;
    Place::resolve(&call.site.family, &call.site.host, name)
}

fn admit(call: &Call, place: Place, wanted: Permission) -> Result<Place, Refusal> {
    let identity = auth::identify(call, &place, wanted)?;
    auth::authorize(call, &identity, &place, wanted)?;
    Ok(place)
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

/// The 412 of gcr.io names that still belong to the old Container Registry: plain text in
/// place of the JSON that clients expect.
fn not_migrated(call: &Call, name: &str, here: NotMigrated) -> Result<(), Refusal> {
    let told = match call.behaviour.not_migrated {
        NotMigrated::No => false,
        NotMigrated::TokenAndManifests => true,
        NotMigrated::Manifests => here == NotMigrated::Manifests,
    };
    if !told || !matches!(call.site.family, Family::Gcr { .. }) {
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
