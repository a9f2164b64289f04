//! What to do about a refusal: Google's few sentences, each with the command that mends it.

use reqwest::Url;

use super::error::{NO_CLIENT_CERTIFICATE, PAGE};
use crate::auth::{Identity, service_controls};
use crate::http::ConnectionFailure;
use crate::oci::reference::{ArtifactRegistryRepository, Endpoint};

/// Who was refused, and what they came for: it decides which advice helps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Requester {
    pub(super) identity: Identity,
    /// What the refused request showed of it.
    pub(super) presented: Presented,
    /// True where the registry was opened to be written to.
    pub(super) writes: bool,
}

/// What a request shows in its `Authorization` header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Presented {
    /// Nothing.
    #[default]
    Nothing,
    /// The credential itself.
    Credential,
    /// A registry token that the credential was traded for.
    Token,
}

/// A refusal as far as advice depends on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal<'a> {
    pub(super) url: &'a Url,
    pub(super) status: u16,
    pub(super) code: &'a str,
    pub(super) sentence: &'a str,
    /// The other host that the registry sent the request on to.
    pub(super) sent_on_to: Option<&'a str>,
}

/// How Docker Hub says that too much was pulled.
/// <https://docs.docker.com/docker-hub/usage/pulls/>
pub(super) const PULL_LIMIT: &str = "pull rate limit";

/// What to do where something else than a registry seems to answer.
pub(super) const NO_REGISTRY: &str = "this may not be a registry that answers: check the host, \
    and that no proxy or sign-in page answers in its place";

/// The advice, most useful first; none where there is nothing to be said that the registry did not.
pub(super) fn advice(refusal: Refusal<'_>, asker: Option<&Requester>) -> Vec<String> {
    let says = |words: &str| refusal.sentence.contains(words);
    if let Some(other) = refusal.sent_on_to {
        return elsewhere(&refusal, other);
    }
    if let Some(place) = place(refusal.url)
        && let Some(hints) = of_google(&refusal, &place, asker)
    {
        return hints;
    }
    let host = host(refusal.url);
    let hint = match refusal.status {
        _ if refusal.sentence == NO_CLIENT_CERTIFICATE => {
            ConnectionFailure::ClientCertificate.hint(&host)
        }
        401 => who_is_not_known(&host, asker),
        _ if says("immutab") => {
            "the repository lets no tag move: push under a new tag, or leave this one where it is \
             with `existing_tag: keep`"
                .to_owned()
        }
        300..=399 => format!(
            "`{host}` redirects to where nothing can be followed: name the host that it sends to, \
             and check that no proxy or sign-in page answers in its place"
        ),
        403 if is_google(refusal.url) => return Vec::new(),
        403 => who_may_not(&host, asker),
        405 => format!(
            "`{host}` takes no such request: it may be a mirror or a proxy that can only be read, \
             or a path that is no repository"
        ),
        429 if says(PULL_LIMIT) => match asker.map(|asker| &asker.identity) {
            Some(Identity::Login(user, _)) => format!(
                "`{user}` has pulled as much as the plan allows: wait for the hour that it counts \
                 over, or pull from a mirror"
            ),
            _ => "sign in to pull more: give a login for Docker Hub in `docker_config`".to_owned(),
        },
        429 => "too much was asked for in too short a time: run this again in a few minutes, with \
                a lower `concurrency`, or with `requests_per_minute`"
            .to_owned(),
        408 | 500.. => "the trouble is the registry's: run this again in a few minutes".to_owned(),
        413 => format!(
            "`{host}`, or the proxy in front of it, takes no body of this size: have its limit \
             raised (nginx: `client_max_body_size`)"
        ),
        _ if refusal.url.path() == "/v2/" || refusal.sentence == PAGE => NO_REGISTRY.to_owned(),
        _ => return Vec::new(),
    };
    vec![hint]
}

/// What helps where the registry sent the request on to another host, which sees no login of ours.
fn elsewhere(refusal: &Refusal<'_>, other: &str) -> Vec<String> {
    let host = host(refusal.url);
    vec![match refusal.status {
        401 | 403 => format!(
            "`{other}` is where `{host}` sends blobs, with an address that is good for a while and \
             shows no login: check the clocks of both, and that no proxy changes the address"
        ),
        429 | 500.. => format!("the trouble is that of `{other}`: run this again in a few minutes"),
        _ => format!("check with those who run `{host}` that it sends blobs to `{other}`"),
    }]
}

fn is_google(url: &Url) -> bool {
    let endpoint = url.host_str().map(str::parse::<Endpoint>);
    endpoint.is_some_and(|endpoint| endpoint.is_ok_and(|endpoint| endpoint.is_google()))
}

/// What to do about a 403 that is none of Google's.
fn who_may_not(host: &str, asker: Option<&Requester>) -> String {
    match asker {
        Some(Requester {
            identity: Identity::Login(user, _),
            presented: Presented::Credential | Presented::Token,
            ..
        }) => format!("`{user}` may not do that: have it allowed there"),
        Some(Requester {
            presented: Presented::Nothing,
            ..
        })
        | None => format!(
            "`{host}` does not allow that without a login: give one in `docker_config`, or have it \
             allowed there"
        ),
        Some(_) => format!("have what this login may do at `{host}` checked there"),
    }
}

/// What helps against Google's own refusals; none where it would be the same anywhere else.
fn of_google(
    refusal: &Refusal<'_>,
    place: &ArtifactRegistryRepository,
    asker: Option<&Requester>,
) -> Option<Vec<String>> {
    let says = |words: &str| refusal.sentence.contains(words);
    let project = &place.project;
    if refusal.status == 412 {
        return Some(vec![format!(
            "the gcr.io names of `{project}` were never moved to Artifact Registry: run `gcloud \
             artifacts docker upgrade migrate --projects={project} --quiet`, or push to a \
             `LOCATION-docker.pkg.dev` host"
        )]);
    }
    if says("has not been used in project") {
        return Some(vec![format!(
            "enable the API: `gcloud services enable artifactregistry.googleapis.com \
             --project={project}`"
        )]);
    }
    if let Some(hint) = service_controls(refusal.sentence) {
        return Some(vec![hint]);
    }
    let identity = asker.map_or(&Identity::Anonymous, |asker| &asker.identity);
    let (member, whose) = identity.grantee();
    if says("createOnPush") {
        return Some(vec![
            format!("create the repository once: {}", place.create()),
            format!(
                "or let the push create it: {}{whose}",
                place.let_create(&member)
            ),
        ]);
    }
    if (refusal.status, refusal.code) == (404, "NAME_UNKNOWN") {
        return Some(vec![format!(
            "create the repository once: {}",
            place.create()
        )]);
    }
    if refusal.status == 403 && says("ermission") {
        let ArtifactRegistryRepository {
            location,
            repository,
            ..
        } = place;
        // Whoever may not even read is told so first, and would be told of writing next.
        let writes = asker.is_some_and(|asker| asker.writes) || says("uploadArtifacts");
        let role = if writes { "writer" } else { "reader" };
        let grant = place.grant(&member, role);
        let mut hints: Vec<String> = identity.lacks_scope(writes).into_iter().collect();
        if asker.is_some_and(|asker| asker.identity == Identity::Anonymous) {
            hints.push(format!(
                "nothing was shown to `{}`: give `credentials_json` (a service-account key), \
                 `access_token`, or `workload_identity_provider`",
                host(refusal.url)
            ));
            hints.push(format!(
                "whoever that signs in needs the role: {grant}, where ACCOUNT is that account"
            ));
        } else {
            hints.push(format!("grant the role: {grant}{whose}"));
        }
        hints.push(format!(
            "if there is no repository `{repository}` in `{location}` yet, create it once: {}",
            place.create()
        ));
        return Some(hints);
    }
    None
}

/// `host` or `host:port`, as the user wrote it.
pub(super) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn who_is_not_known(host: &str, asker: Option<&Requester>) -> String {
    let Some(asker) = asker else {
        return format!("give a login for `{host}` in `docker_config`");
    };
    match (&asker.identity, asker.presented) {
        (
            Identity::Account(account)
            | Identity::LimitedAccount { account, .. }
            | Identity::Federated(account),
            _,
        ) => format!(
            "the registry does not take the token of `{account}`, which Google has just given: \
             check that the account is not disabled, and run this again"
        ),
        (Identity::User, _) => {
            "the registry does not take the token of the login, which Google has just given: run \
             this again"
                .to_owned()
        }
        (Identity::AccessToken, _) => {
            "`access_token` is not valid, or no longer: it lives an hour at most; a \
             service-account key in `credentials_json`, or `workload_identity_provider`, is renewed"
                .to_owned()
        }
        (Identity::Login(user, origin), Presented::Credential) => {
            let why = match user.as_str() {
                "_json_key" => {
                    ": the key may have been deleted, or it stands there in base64, with which the \
                     user is `_json_key_base64`"
                }
                "oauth2accesstoken" => ": such a token lives an hour at most",
                _ => "",
            };
            format!(
                "the registry does not take the password of `{user}` that `{origin}` has for \
                 it{why}"
            )
        }
        (Identity::Login(user, _), Presented::Token) => format!(
            "the registry gave `{user}` a token and does not take it for this: have it allowed \
             there what is asked for"
        ),
        (Identity::Login(user, _), Presented::Nothing) => format!(
            "`{host}` asks for a login and does not say how, so that `{user}` was shown to nobody: \
             check that it is a registry, and that no proxy changes its answers"
        ),
        (Identity::Anonymous, _) => {
            let variables = if asker.writes {
                "`username` and `password`, or in `docker_config`"
            } else {
                "`docker_config`"
            };
            format!("give a login for `{host}` in {variables}")
        }
    }
}

/// The repository that a URL of a Google registry leads to.
fn place(url: &Url) -> Option<ArtifactRegistryRepository> {
    let endpoint: Endpoint = url.host_str()?.parse().ok()?;
    let scope = url
        .query_pairs()
        .find(|(key, _)| key == "scope")
        .and_then(|(_, scope)| scope.split(':').nth(1).map(str::to_owned));
    let upload = url.path().strip_prefix("/artifacts-uploads/namespaces/");
    let name = match (scope, upload) {
        (Some(name), _) => name,
        // An upload goes on at `PROJECT/repositories/REPOSITORY/uploads/…`.
        (None, Some(rest)) => rest.replacen("/repositories/", "/", 1),
        (None, None) => url.path().strip_prefix("/v2/")?.to_owned(),
    };
    ArtifactRegistryRepository::of(&endpoint, &name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(url: &str) -> Option<(String, String, String)> {
        let place = place(&url.parse().unwrap())?;
        Some((place.project, place.location, place.repository))
    }

    #[test]
    fn the_repository_is_found_in_every_url_of_a_push() {
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
    fn who_writes_is_told_the_writer_s_role_even_where_reading_is_refused() {
        let url = "https://us-docker.pkg.dev/v2/p/r/app/manifests/1"
            .parse()
            .unwrap();
        let refusal = Refusal {
            url: &url,
            status: 403,
            code: "DENIED",
            sentence: "Permission \"artifactregistry.repositories.downloadArtifacts\" denied",
            sent_on_to: None,
        };
        for (writes, role) in [
            (true, "artifactregistry.writer"),
            (false, "artifactregistry.reader"),
        ] {
            let identity = Identity::Account("ci@p.iam.gserviceaccount.com".to_owned());
            let presented = Presented::Token;
            let asker = Requester {
                identity,
                presented,
                writes,
            };
            let hints = advice(refusal, Some(&asker));
            assert!(hints[0].contains(role), "{hints:?}");
            assert!(hints[0].contains("serviceAccount:ci@p.iam"), "{hints:?}");
        }
    }

    #[test]
    fn a_plain_registry_gets_no_advice_about_google() {
        let url = "https://r.example/v2/p/app/manifests/1".parse().unwrap();
        for status in [302, 403, 404, 405, 412] {
            let refusal = Refusal {
                url: &url,
                status,
                code: "NAME_UNKNOWN",
                sentence: "Permission denied",
                sent_on_to: None,
            };
            let hints = advice(refusal, None);
            assert!(
                hints.iter().all(|hint| !hint.contains("gcloud")),
                "{hints:?}"
            );
            assert_eq!(hints.is_empty(), matches!(status, 404 | 412), "{status}");
        }
    }

    #[test]
    fn a_password_is_blamed_only_where_it_was_shown() {
        let url = "https://r.example/v2/p/app/blobs/uploads/".parse().unwrap();
        for status in [401, 403] {
            for presented in [Presented::Nothing, Presented::Credential, Presented::Token] {
                let refusal = Refusal {
                    url: &url,
                    status,
                    code: "UNAUTHORIZED",
                    sentence: "authentication required",
                    sent_on_to: None,
                };
                let asker = Requester {
                    identity: Identity::Login("ci".to_owned(), "docker_config"),
                    presented,
                    writes: true,
                };
                let hints = advice(refusal, Some(&asker));
                assert_eq!(
                    hints[0].contains("password"),
                    status == 401 && presented == Presented::Credential,
                    "{hints:?}"
                );
            }
        }
    }
}
