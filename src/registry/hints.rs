//! Hints for error responses of registries. Google's known messages each get the command that
//! resolves them.

use reqwest::Url;

use crate::auth::{Identity, service_controls};
use crate::http::{ConnectionFailure, NO_CLIENT_CERTIFICATE, PAGE, host};
use crate::oci::manifest::media_type::{DOCKER_LIST, DOCKER_MANIFEST};
use crate::oci::reference::{ArtifactRegistryRepository, Endpoint};

/// Who sent a refused request, and for what purpose. The hints depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Requester {
    pub(super) identity: Identity,
    /// The credential in the refused request.
    pub(super) presented: Presented,
    /// True if the registry was opened for writing.
    pub(super) writes: bool,
}

/// The credential in the `Authorization` header of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Presented {
    /// None.
    #[default]
    Nothing,
    /// The login or OAuth token itself.
    Credential,
    /// A registry token that was issued for the credential.
    Token,
}

/// The parts of an error response that hints depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal<'a> {
    pub(super) url: &'a Url,
    pub(super) status: u16,
    pub(super) code: &'a str,
    pub(super) message: &'a str,
    /// The media type of the manifest that was sent.
    pub(super) media_type: Option<&'a str>,
    /// The other host that the registry redirected the request to.
    pub(super) redirected_to: Option<&'a str>,
}

/// The text of Docker Hub's pull limit. <https://docs.docker.com/docker-hub/usage/pulls/>
pub(super) const PULL_LIMIT: &str = "pull rate limit";

/// The hint if the server does not seem to be a registry.
pub(super) const NO_REGISTRY: &str = "this may not be a registry: check the host, and check that \
                                      no proxy or sign-in page answers instead";

/// Returns the hints, the most useful first. Empty if there is nothing to add to the registry's
/// message.
pub(super) fn hints_for(refusal: Refusal<'_>, requester: Option<&Requester>) -> Vec<String> {
    let contains = |words: &str| refusal.message.contains(words);
    if let Some(other) = refusal.redirected_to {
        return redirect_hints(&refusal, other);
    }
    if let Some(repository) = artifact_registry_repository(refusal.url)
        && let Some(hints) = google_hints(&refusal, &repository, requester)
    {
        return hints;
    }
    let host = host(refusal.url);
    let hint = match refusal.status {
        _ if refusal.message == NO_CLIENT_CERTIFICATE => {
            ConnectionFailure::ClientCertificate.hint(&host)
        }
        401 => unauthorized_hint(&host, requester),
        _ if contains("immutab") => {
            "the repository does not allow tags to change: push a new tag, or keep this one with \
             `existing_tag: keep`"
                .to_owned()
        }
        300..=399 => format!(
            "`{host}` redirects to an address that cannot be used: use the host that it redirects \
             to, and check that no proxy or sign-in page answers instead"
        ),
        403 if is_google(refusal.url) => return Vec::new(),
        403 => forbidden_hint(&host, requester),
        405 => format!(
            "`{host}` does not accept this request: it may be a read-only mirror or proxy, or the \
             path is not a repository"
        ),
        429 if contains(PULL_LIMIT) => match requester.map(|requester| &requester.identity) {
            Some(Identity::Login(user, _)) => format!(
                "`{user}` has reached the hourly pull limit of its plan: try again later, or pull \
                 from a mirror"
            ),
            _ => "log in to pull more: put a login for Docker Hub in `docker_config`".to_owned(),
        },
        429 => "there were too many requests in a short time: try again in a few minutes, with a \
                lower `concurrency`, or set `requests_per_minute`"
            .to_owned(),
        408 | 500.. => {
            "the registry has a temporary problem; try again in a few minutes".to_owned()
        }
        413 => format!(
            "`{host}`, or the proxy in front of it, does not accept a body of this size: raise its \
             limit (nginx: `client_max_body_size`)"
        ),
        415 if matches!(refusal.media_type, Some(DOCKER_MANIFEST | DOCKER_LIST)) => format!(
            "`{host}` accepts only OCI manifests; this image has a Docker manifest, and a copy \
             keeps its bytes: convert it first, or allow Docker manifests there (zot: \
             `http.compat: [docker2s2]`)"
        ),
        _ if refusal.url.path() == "/v2/" || refusal.message == PAGE => NO_REGISTRY.to_owned(),
        _ => return Vec::new(),
    };
    vec![hint]
}

/// The hint if the registry redirected the request to another host, which receives no credential.
fn redirect_hints(refusal: &Refusal<'_>, other: &str) -> Vec<String> {
    let host = host(refusal.url);
    vec![match refusal.status {
        401 | 403 => format!(
            "`{host}` redirects blobs to `{other}` with a temporary address that needs no login: \
             check the clocks of both, and check that no proxy changes the address"
        ),
        429 | 500.. => format!("`{other}` has a temporary problem; try again in a few minutes"),
        _ => format!("ask the administrator of `{host}` whether its blobs are at `{other}`"),
    }]
}

fn is_google(url: &Url) -> bool {
    let endpoint = url.host_str().map(str::parse::<Endpoint>);
    endpoint.is_some_and(|endpoint| endpoint.is_ok_and(|endpoint| endpoint.is_google()))
}

/// The hint for a 403 of a registry that is not Google's.
fn forbidden_hint(host: &str, requester: Option<&Requester>) -> String {
    match requester {
        Some(Requester {
            identity: Identity::Login(user, _),
            presented: Presented::Credential | Presented::Token,
            ..
        }) => format!(
            "`{user}` is not allowed to do this: ask the administrator of the registry to allow it"
        ),
        Some(Requester {
            presented: Presented::Nothing,
            ..
        })
        | None => format!(
            "`{host}` does not allow this without a login: put a login in `docker_config`, or ask \
             its administrator to allow it"
        ),
        Some(_) => format!("ask the administrator of `{host}` what this login is allowed to do"),
    }
}

/// Returns hints for errors specific to Google. `None` for errors that have the same meaning at
/// other registries.
fn google_hints(
    refusal: &Refusal<'_>,
    repository: &ArtifactRegistryRepository,
    requester: Option<&Requester>,
) -> Option<Vec<String>> {
    let contains = |words: &str| refusal.message.contains(words);
    let project = &repository.project;
    if refusal.status == 412 {
        return Some(vec![format!(
            "the gcr.io names of `{project}` were never moved to Artifact Registry: run `gcloud \
             artifacts docker upgrade migrate --projects={project} --quiet`, or push to a \
             `LOCATION-docker.pkg.dev` host"
        )]);
    }
    if contains("has not been used in project") {
        return Some(vec![format!(
            "enable the API: `gcloud services enable artifactregistry.googleapis.com \
             --project={project}`"
        )]);
    }
    if let Some(hint) = service_controls(refusal.message) {
        return Some(vec![hint]);
    }
    let identity = requester.map_or(&Identity::Anonymous, |requester| &requester.identity);
    let (member, whose) = identity.grantee();
    if contains("createOnPush") {
        return Some(vec![
            format!("create the repository: {}", repository.create()),
            format!(
                "or allow the push to create it: {}{whose}",
                repository.let_create(&member)
            ),
        ]);
    }
    if (refusal.status, refusal.code) == (404, "NAME_UNKNOWN") {
        return Some(vec![format!(
            "create the repository: {}",
            repository.create()
        )]);
    }
    if refusal.status == 403 && contains("ermission") {
        let ArtifactRegistryRepository {
            location,
            repository: name,
            ..
        } = repository;
        // The permission to read is checked first, so a writer who lacks it would next lack the
        // permission to write.
        let writes =
            requester.is_some_and(|requester| requester.writes) || contains("uploadArtifacts");
        let role = if writes { "writer" } else { "reader" };
        let grant = repository.grant(&member, role);
        let mut hints: Vec<String> = identity.lacks_scope(writes).into_iter().collect();
        if requester.is_some_and(|requester| requester.identity == Identity::Anonymous) {
            hints.push(format!(
                "no credentials were sent to `{}`: set `credentials_json` (a service-account key), \
                 `access_token`, or `workload_identity_provider`",
                host(refusal.url)
            ));
            hints.push(format!(
                "grant the role to that account: {grant}, where ACCOUNT is its address"
            ));
        } else {
            hints.push(format!("grant the role: {grant}{whose}"));
        }
        hints.push(format!(
            "if the repository `{name}` does not exist in `{location}`, create it: {}",
            repository.create()
        ));
        return Some(hints);
    }
    None
}

fn unauthorized_hint(host: &str, requester: Option<&Requester>) -> String {
    let Some(requester) = requester else {
        return format!("put a login for `{host}` in `docker_config`");
    };
    match (&requester.identity, requester.presented) {
        (
            Identity::Account(account)
            | Identity::LimitedAccount { account, .. }
            | Identity::Federated(account),
            _,
        ) => format!(
            "the registry does not accept the token of `{account}`, which Google has just issued: \
             check that the account is not disabled, and try again"
        ),
        (Identity::User, _) => {
            "the registry does not accept the token of the login, which Google has just issued: \
             try again"
                .to_owned()
        }
        (Identity::AccessToken, _) => {
            "`access_token` is invalid or has expired; it is valid for at most one hour: use \
             `credentials_json` (a service-account key) or `workload_identity_provider`, which \
             gcr-push renews"
                .to_owned()
        }
        (Identity::Login(user, origin), Presented::Credential) => {
            let why = match user.as_str() {
                "_json_key" => {
                    ": the key may have been deleted; if the password is the key in base64, the \
                     user is `_json_key_base64`"
                }
                "oauth2accesstoken" => ": such a token is valid for at most one hour",
                _ => "",
            };
            format!("the registry does not accept the password of `{user}` from `{origin}`{why}")
        }
        (Identity::Login(user, _), Presented::Token) => format!(
            "the registry issued a token to `{user}`, but does not accept it for this request: ask \
             the administrator of the registry to allow it"
        ),
        (Identity::Login(user, _), Presented::Nothing) => format!(
            "`{host}` requires a login but does not say how to send it, so the login of `{user}` \
             was not sent: check that it is a registry, and that no proxy changes its responses"
        ),
        (Identity::Anonymous, _) => {
            let variables = if requester.writes {
                "`username` and `password`, or in `docker_config`"
            } else {
                "`docker_config`"
            };
            format!("put a login for `{host}` in {variables}")
        }
    }
}

/// Returns the Artifact Registry repository in a URL of a Google registry.
fn artifact_registry_repository(url: &Url) -> Option<ArtifactRegistryRepository> {
    let endpoint: Endpoint = url.host_str()?.parse().ok()?;
    let scope = url
        .query_pairs()
        .find(|(key, _)| key == "scope")
        .and_then(|(_, scope)| scope.split(':').nth(1).map(str::to_owned));
    let upload = url.path().strip_prefix("/artifacts-uploads/namespaces/");
    let name = match (scope, upload) {
        (Some(name), _) => name,
        // An upload session is at `PROJECT/repositories/REPOSITORY/uploads/…`.
        (None, Some(rest)) => rest.replacen("/repositories/", "/", 1),
        (None, None) => url.path().strip_prefix("/v2/")?.to_owned(),
    };
    ArtifactRegistryRepository::of(&endpoint, &name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(url: &str) -> Option<(String, String, String)> {
        let repository = artifact_registry_repository(&url.parse().unwrap())?;
        Some((
            repository.project,
            repository.location,
            repository.repository,
        ))
    }

    #[test]
    fn repository_is_found_in_every_url_of_a_push() {
        for url in [
            "https://europe-docker.pkg.dev/v2/p/r/app/manifests/1",
            "https://europe-docker.pkg.dev/v2/p/r/tags/list",
            "https://europe-docker.pkg.dev/v2/token?scope=repository:p/r/app:pull,push",
            "https://europe-docker.pkg.dev/artifacts-uploads/namespaces/p/repositories/r/uploads/x",
        ] {
            let expected = ("p".to_owned(), "europe".to_owned(), "r".to_owned());
            assert_eq!(parts(url), Some(expected), "{url}");
        }
        for url in [
            "https://gcr.io/v2/example.com/p/app/blobs/uploads/",
            "https://gcr.io/v2/token?service=gcr.io&scope=repository:example.com/p/app:pull",
        ] {
            let expected = (
                "example.com:p".to_owned(),
                "us".to_owned(),
                "gcr.io".to_owned(),
            );
            assert_eq!(parts(url), Some(expected), "{url}");
        }
        assert_eq!(parts("https://gcr.io/v2/"), None);
        assert_eq!(parts("https://ghcr.io/v2/p/app/manifests/1"), None);
    }

    #[test]
    fn writer_role_is_named_even_when_reading_is_refused() {
        let url = "https://us-docker.pkg.dev/v2/p/r/app/manifests/1"
            .parse()
            .unwrap();
        let refusal = Refusal {
            url: &url,
            status: 403,
            code: "DENIED",
            message: "Permission \"artifactregistry.repositories.downloadArtifacts\" denied",
            media_type: None,
            redirected_to: None,
        };
        for (writes, role) in [
            (true, "artifactregistry.writer"),
            (false, "artifactregistry.reader"),
        ] {
            let identity = Identity::Account("ci@p.iam.gserviceaccount.com".to_owned());
            let presented = Presented::Token;
            let requester = Requester {
                identity,
                presented,
                writes,
            };
            let hints = hints_for(refusal, Some(&requester));
            assert!(hints[0].contains(role), "{hints:?}");
            assert!(hints[0].contains("serviceAccount:ci@p.iam"), "{hints:?}");
        }
    }

    #[test]
    fn plain_registry_gets_no_google_hint() {
        let url = "https://r.example/v2/p/app/manifests/1".parse().unwrap();
        for status in [302, 403, 404, 405, 412] {
            let refusal = Refusal {
                url: &url,
                status,
                code: "NAME_UNKNOWN",
                message: "Permission denied",
                media_type: None,
                redirected_to: None,
            };
            let hints = hints_for(refusal, None);
            assert!(
                hints.iter().all(|hint| !hint.contains("gcloud")),
                "{hints:?}"
            );
            assert_eq!(hints.is_empty(), matches!(status, 404 | 412), "{status}");
        }
    }

    #[test]
    fn password_is_blamed_only_where_it_was_sent() {
        let url = "https://r.example/v2/p/app/blobs/uploads/".parse().unwrap();
        for status in [401, 403] {
            for presented in [Presented::Nothing, Presented::Credential, Presented::Token] {
                let refusal = Refusal {
                    url: &url,
                    status,
                    code: "UNAUTHORIZED",
                    message: "authentication required",
                    media_type: None,
                    redirected_to: None,
                };
                let requester = Requester {
                    identity: Identity::Login("ci".to_owned(), "docker_config"),
                    presented,
                    writes: true,
                };
                let hints = hints_for(refusal, Some(&requester));
                assert_eq!(
                    hints[0].contains("password"),
                    status == 401 && presented == Presented::Credential,
                    "{hints:?}"
                );
            }
        }
    }
}
