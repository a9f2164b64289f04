//! Checks an Artifact Registry repository through Google's APIs.
//! <https://cloud.google.com/artifact-registry/docs/reference/rest/v1/projects.locations.repositories>

use serde::Deserialize;

use super::{CheckResult, DoctorReport, Problem};
use crate::auth::Identity;
use crate::diagnostics::render::causes;
use crate::google::preflight::Permissions;
use crate::google::{Api, Google, GoogleError};
use crate::oci::reference::{ArtifactRegistryRepository, Endpoint, HostKind};

const CREATE_ON_PUSH: &str = "artifactregistry.repositories.createOnPush";

/// The repository as its API describes it.
#[derive(Deserialize)]
struct Repository {
    #[serde(default)]
    format: String,
    #[serde(default)]
    mode: String,
    #[serde(rename = "dockerConfig")]
    docker_config: Option<DockerConfig>,
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(rename = "immutableTags", default)]
    immutable_tags: bool,
}

/// Checks that the API is enabled, that the repository exists, and the permissions on it.
pub(super) async fn check_repository(
    report: &mut DoctorReport,
    google: &Google,
    identity: &Identity,
    endpoint: &Endpoint,
    place: &ArtifactRegistryRepository,
    is_source: bool,
) {
    let of = format!("{}/{}", endpoint, place.repository);
    let found: Result<Repository, GoogleError> = google
        .get(Api::ArtifactRegistry.url(&format!("v1/{}", place.resource())))
        .await;
    match found {
        Ok(repository) => {
            report.pass("API", &place.project, "Artifact Registry is enabled");
            let result = check_kind(place, &repository, is_source);
            let is_failed = matches!(result, CheckResult::Failed(_));
            report.push("repository", of, result);
            if is_failed {
                return;
            }
        }
        Err(error) if error.is_service_disabled() => {
            report_disabled_api(report, &error, place);
            return;
        }
        Err(error) if error.is_not_found() => {
            report.pass("API", &place.project, "Artifact Registry is enabled");
            let result = missing(google, identity, endpoint, place).await;
            report.push("repository", of, result);
            return;
        }
        Err(error) if is_too_narrow(google, &error) => {
            report.push("token", of, narrow_scopes(google, is_source));
            return;
        }
        // A pusher may lack the permission to read the repository's description.
        Err(error) => report.note(
            "repository",
            &of,
            &format!("not checked: {}", message_of(&error)),
        ),
    }
    permissions(report, google, identity, endpoint, place, is_source).await;
}

/// Reports that the API is disabled in the project that Google names, which may be the quota project.
fn report_disabled_api(
    report: &mut DoctorReport,
    error: &GoogleError,
    place: &ArtifactRegistryRepository,
) {
    let is_project = |name: &&str| {
        let inside = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b':');
        !name.is_empty() && name.bytes().all(inside)
    };
    let consumer = error.metadata("consumer");
    let consumer = consumer.and_then(|name| name.strip_prefix("projects/"));
    let project = consumer.filter(is_project).unwrap_or(&place.project);
    let off = CheckResult::found(Problem::ApiOff(project.to_owned()));
    report.push("API", project.to_owned(), off);
}

fn check_kind(
    place: &ArtifactRegistryRepository,
    repository: &Repository,
    is_source: bool,
) -> CheckResult {
    let what = match (repository.format.as_str(), repository.mode.as_str()) {
        ("DOCKER", "REMOTE_REPOSITORY") if !is_source => "it is a cache of another registry",
        ("DOCKER", "VIRTUAL_REPOSITORY") if !is_source => "it only combines other repositories",
        ("DOCKER", _) => {
            let is_fixed = repository
                .docker_config
                .as_ref()
                .is_some_and(|config| config.immutable_tags);
            return if is_fixed {
                CheckResult::Note("it exists; an existing tag cannot be moved".to_owned())
            } else {
                CheckResult::Ok("it exists".to_owned())
            };
        }
        _ => "its format is not Docker",
    };
    CheckResult::found(Problem::OtherKind {
        place: place.clone(),
        what: what.to_owned(),
    })
}

/// The result for a missing repository: whether a push creates it, or where else it exists.
async fn missing(
    google: &Google,
    identity: &Identity,
    endpoint: &Endpoint,
    place: &ArtifactRegistryRepository,
) -> CheckResult {
    let is_gcr = matches!(endpoint.kind(), HostKind::Gcr { .. });
    if is_gcr {
        let path = format!("v1/projects/{}:testIamPermissions", place.project);
        let url = Api::ResourceManager.url(&path);
        let permissions = google.test_iam_permissions(url, &[CREATE_ON_PUSH]).await;
        match permissions {
            Ok(held) if !held.is_empty() => {
                return CheckResult::Ok(
                    "it does not exist yet; the first push creates it".to_owned(),
                );
            }
            Ok(_) => {}
            Err(error) => {
                return CheckResult::Note(format!(
                    "it does not exist; gcr-push could not check if a push is allowed to create \
                     it: {}",
                    message_of(&error)
                ));
            }
        }
    }
    let mut elsewhere = None;
    if !is_gcr {
        for location in ["us", "europe", "asia"] {
            let other = ArtifactRegistryRepository {
                location: location.to_owned(),
                ..place.clone()
            };
            let url = Api::ArtifactRegistry.url(&format!("v1/{}", other.resource()));
            if other != *place && google.get::<Repository>(url).await.is_ok() {
                elsewhere = Some(location.to_owned());
                break;
            }
        }
    }
    CheckResult::found(Problem::NoRepository {
        place: place.clone(),
        elsewhere,
        is_made_by_push: is_gcr,
        identity: identity.clone(),
    })
}

async fn permissions(
    report: &mut DoctorReport,
    google: &Google,
    identity: &Identity,
    endpoint: &Endpoint,
    place: &ArtifactRegistryRepository,
    is_source: bool,
) {
    let of = format!("{}/{}", endpoint, place.repository);
    let permissions = match Permissions::of(google, &place.resource()).await {
        Ok(permissions) => permissions,
        Err(error) if is_too_narrow(google, &error) => {
            report.push("token", of, narrow_scopes(google, is_source));
            return;
        }
        Err(error) if error.is_service_disabled() => {
            report_disabled_api(report, &error, place);
            return;
        }
        Err(error) => {
            report.note(
                "permissions",
                &of,
                &format!("not checked: {}", message_of(&error)),
            );
            return;
        }
    };
    let lacks = |writes| {
        CheckResult::found(Problem::Role(
            permissions.missing_role(place, identity, writes),
        ))
    };
    let pass = |text: &str| CheckResult::Ok(text.to_owned());
    if !is_source {
        let result = if permissions.write {
            pass("pushing is allowed")
        } else {
            lacks(true)
        };
        report.push("upload", of.clone(), result);
    }
    if permissions.read || is_source || permissions.write {
        let result = if permissions.read {
            pass("pulling and listing are allowed")
        } else {
            lacks(false)
        };
        report.push("download", of, result);
    }
}

/// True if the scopes of the token are too narrow for this request. The scopes of a machine may still
/// allow a push, because the registry accepts more of them than the API: they are not reported.
fn is_too_narrow(google: &Google, error: &GoogleError) -> bool {
    let knows = matches!(
        google.credential().identity(),
        Identity::LimitedAccount { .. } | Identity::AccessToken
    );
    error.is_of_narrow_scopes() && knows
}

fn narrow_scopes(google: &Google, is_source: bool) -> CheckResult {
    CheckResult::found(Problem::Scopes {
        identity: google.credential().identity(),
        writes: !is_source,
    })
}

/// The API's message, or the innermost cause if there is no message.
fn message_of(error: &GoogleError) -> String {
    match (error.message(), causes(error).pop()) {
        ("", Some(cause)) => format!("{error}: {cause}"),
        ("", None) => error.to_string(),
        (message, _) => message.to_owned(),
    }
}
