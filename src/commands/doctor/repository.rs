//! An Artifact Registry repository, asked about at Google's APIs.
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

/// Whether the API is on, the repository there, and what may be done with it.
pub(super) async fn examine(
    into: &mut DoctorReport,
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
            into.good("API", &place.project, "Artifact Registry is enabled");
            let verdict = of_kind(place, &repository, is_source);
            let is_bad = matches!(verdict, CheckResult::Failed(_));
            into.push("repository", of, verdict);
            if is_bad {
                return;
            }
        }
        Err(error) if error.is_service_disabled() => {
            api_off(into, &error, place);
            return;
        }
        Err(error) if error.is_not_found() => {
            into.good("API", &place.project, "Artifact Registry is enabled");
            let verdict = missing(google, identity, endpoint, place).await;
            into.push("repository", of, verdict);
            return;
        }
        Err(error) if is_too_narrow(google, &error) => {
            into.push("token", of, narrow(google, is_source));
            return;
        }
        // It takes a permission that who pushes may not have.
        Err(error) => into.note(
            "repository",
            &of,
            &format!("not looked at: {}", told(&error)),
        ),
    }
    permissions(into, google, identity, endpoint, place, is_source).await;
}

/// The API is off in the project that Google says it asked, which may be the quota project.
fn api_off(into: &mut DoctorReport, error: &GoogleError, place: &ArtifactRegistryRepository) {
    let is_project = |name: &&str| {
        let inside = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b':');
        !name.is_empty() && name.bytes().all(inside)
    };
    let consumer = error.metadata("consumer");
    let consumer = consumer.and_then(|name| name.strip_prefix("projects/"));
    let project = consumer.filter(is_project).unwrap_or(&place.project);
    let off = CheckResult::found(Problem::ApiOff(project.to_owned()));
    into.push("API", project.to_owned(), off);
}

fn of_kind(
    place: &ArtifactRegistryRepository,
    repository: &Repository,
    is_source: bool,
) -> CheckResult {
    let what = match (repository.format.as_str(), repository.mode.as_str()) {
        ("DOCKER", "REMOTE_REPOSITORY") if !is_source => "it is a cache of another registry",
        ("DOCKER", "VIRTUAL_REPOSITORY") if !is_source => "it only shows others together",
        ("DOCKER", _) => {
            let is_fixed = repository
                .docker_config
                .as_ref()
                .is_some_and(|config| config.immutable_tags);
            return match is_fixed {
                true => {
                    CheckResult::Note("it is there; a tag that exists cannot be moved".to_owned())
                }
                false => CheckResult::Ok("it is there".to_owned()),
            };
        }
        _ => "its format is not Docker",
    };
    CheckResult::found(Problem::OtherKind {
        place: place.clone(),
        what: what.to_owned(),
    })
}

/// A repository that is not there: whether this push makes it, or it is somewhere else.
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
        let may = google.test_iam_permissions(url, &[CREATE_ON_PUSH]).await;
        match may {
            Ok(held) if !held.is_empty() => {
                return CheckResult::Ok("it is not there yet; the first push makes it".to_owned());
            }
            Ok(_) => {}
            Err(error) => {
                return CheckResult::Note(format!(
                    "it is not there; whether a push may make it cannot be told: {}",
                    told(&error)
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
    into: &mut DoctorReport,
    google: &Google,
    identity: &Identity,
    endpoint: &Endpoint,
    place: &ArtifactRegistryRepository,
    is_source: bool,
) {
    let of = format!("{}/{}", endpoint, place.repository);
    let may = match Permissions::of(google, place).await {
        Ok(may) => may,
        Err(error) if is_too_narrow(google, &error) => {
            into.push("token", of, narrow(google, is_source));
            return;
        }
        Err(error) if error.is_service_disabled() => {
            api_off(into, &error, place);
            return;
        }
        Err(error) => {
            into.note(
                "permissions",
                &of,
                &format!("not looked at: {}", told(&error)),
            );
            return;
        }
    };
    let lacks =
        |writes| CheckResult::found(Problem::Role(may.missing_role(place, identity, writes)));
    let good = |text: &str| CheckResult::Ok(text.to_owned());
    if !is_source {
        let verdict = match may.write {
            true => good("it may be pushed to"),
            false => lacks(true),
        };
        into.push("upload", of.clone(), verdict);
    }
    if may.read || is_source || may.write {
        let verdict = match may.read {
            true => good("it may be pulled and listed from"),
            false => lacks(false),
        };
        into.push("download", of, verdict);
    }
}

/// True where the token was made for less than this request takes. Scopes of a machine that let it
/// push all the same do not count: the registry takes more of them than the API.
fn is_too_narrow(google: &Google, error: &GoogleError) -> bool {
    let knows = matches!(
        google.credential().identity(),
        Identity::LimitedAccount { .. } | Identity::AccessToken
    );
    error.is_of_narrow_scopes() && knows
}

fn narrow(google: &Google, is_source: bool) -> CheckResult {
    CheckResult::found(Problem::Scopes {
        identity: google.credential().identity(),
        writes: !is_source,
    })
}

/// What an API said, in one sentence; where it said nothing, what kept the request from it.
fn told(error: &GoogleError) -> String {
    match (error.message(), causes(error).pop()) {
        ("", Some(cause)) => format!("{error}: {cause}"),
        ("", None) => error.to_string(),
        (message, _) => message.to_owned(),
    }
}
