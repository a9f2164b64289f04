//! Hints for a missing Google credential, which depend on the CI.

use super::console::ci;
use super::environment::Environment;
use super::github_event;
use crate::ci::Ci;

const SKIP: &str = "for pull requests of forks, `missing_credentials: skip` checks the image and \
    pushes nothing";

/// The hints, most useful first.
pub(super) fn missing_credential(environment: &Environment<'_>) -> Vec<String> {
    let (first, rest): (_, &[&str]) = match ci(environment) {
        None => (
            of_shell(),
            &[
                "a CI has no such login: it is given a service-account key in `credentials_json`, \
               or signs in without a key by `workload_identity_provider`",
            ],
        ),
        Some(Ci::GitHub) => (
            "give `credentials_json` (a service-account key) from a secret; or no key at all: \
             `permissions: id-token: write` and `contents: read` for the job, and the provider's \
             name in `workload_identity_provider`"
                .to_owned(),
            &[
                "a secret is empty where its name is misspelt, in jobs without its `environment`, \
                 and in pull requests of forks and Dependabot's",
                SKIP,
            ],
        ),
        Some(Ci::GitLab) => (
            "give GCR_PUSH_CREDENTIALS_JSON (a service-account key) in Settings > CI/CD > \
             Variables; or no key at all: `id_tokens: {GCR_PUSH_OIDC_TOKEN: {aud: \
             https://gitlab.com}}` in the job, and the provider's name in \
             GCR_PUSH_WORKLOAD_IDENTITY_PROVIDER"
                .to_owned(),
            &[
                "a variable that is protected is there on protected branches and tags alone, one \
                 of an environment in that environment's jobs alone, and none in pipelines of \
                 forks",
                "for merge requests of forks, `missing_credentials: skip` checks the image and \
                 pushes nothing",
            ],
        ),
        Some(Ci::Other) => (
            "give `credentials_json` (a service-account key), `access_token`, or \
             `workload_identity_provider` with the CI's OIDC token in `oidc_token`; a secret is \
             empty where its name is misspelt, or this job may not see it"
                .to_owned(),
            &[SKIP],
        ),
    };
    let skips = environment.inputs.missing_credentials.text() == Some("skip");
    let event = github_event::with_secrets(environment).filter(|_| skips);
    let not_here = event.map(|event| {
        format!(
            "`missing_credentials: skip` is for runs that get no secrets, as those for pull \
             requests of forks, and this one, for {event}, gets them"
        )
    });
    let rest = rest.iter().filter(|hint| !skips || !hint.contains("skip"));
    let rest = rest.map(|hint| (*hint).to_owned());
    [first].into_iter().chain(not_here).chain(rest).collect()
}

fn of_shell() -> String {
    "log in as yourself with `gcloud auth application-default login`, or for an hour with `export \
     GCR_PUSH_ACCESS_TOKEN=$(gcloud auth print-access-token)`"
        .to_owned()
}
