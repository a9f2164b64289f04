//! Hints for a missing Google credential, which depend on the CI.

use super::console::ci;
use super::environment::Environment;
use super::github_event;
use crate::ci::Ci;

const SKIP: &str = "for pull requests from forks, set `missing_credentials: skip`: it checks the \
                    image and pushes nothing";

/// The hints, most useful first.
pub(super) fn missing_credential(environment: &Environment<'_>) -> Vec<String> {
    let (first, rest): (_, &[&str]) = match ci(environment) {
        None => (
            of_shell(),
            &[
                "a CI job has no such login: set `credentials_json` to a service-account key, or \
                 sign in without a key with `workload_identity_provider`",
            ],
        ),
        Some(Ci::GitHub) => (
            "set `credentials_json` to a service-account key from a secret, or use no key: add \
             `permissions: id-token: write` and `contents: read` to the job, and set \
             `workload_identity_provider`"
                .to_owned(),
            &[
                "a secret is empty if its name is misspelled, if the job lacks the secret's \
                 `environment`, and in pull requests from forks and from Dependabot",
                SKIP,
            ],
        ),
        Some(Ci::GitLab) => (
            "set GCR_PUSH_CREDENTIALS_JSON to a service-account key in Settings > CI/CD > \
             Variables, or use no key: add `id_tokens: {GCR_PUSH_OIDC_TOKEN: {aud: \
             https://gitlab.com}}` to the job, and set GCR_PUSH_WORKLOAD_IDENTITY_PROVIDER"
                .to_owned(),
            &[
                "a protected variable is set only on protected branches and tags, and a variable \
                 of an environment only in jobs of that environment; pipelines from forks have \
                 neither",
                "for merge requests from forks, set `missing_credentials: skip`: it checks the \
                 image and pushes nothing",
            ],
        ),
        Some(Ci::Other) => (
            "set `credentials_json` to a service-account key, or set `access_token`, or set \
             `workload_identity_provider` and put the CI's OIDC token in `oidc_token`; a secret is \
             empty if its name is misspelled, or if this job is not allowed to read it"
                .to_owned(),
            &[SKIP],
        ),
    };
    let skips = environment.inputs.missing_credentials.text() == Some("skip");
    let event = github_event::with_secrets(environment).filter(|_| skips);
    let not_here = event.map(|event| {
        format!(
            "`missing_credentials: skip` is only for runs that get no secrets, such as those for \
             pull requests from forks; this run, for {event}, gets secrets"
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
