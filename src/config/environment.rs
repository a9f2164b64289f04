//! The values of all variables, from the command line and the environment. The other modules of
//! `config` parse them.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::rc::Rc;

use super::cli::CommandLine;
use super::document::{decoded, looks_like_a_path};
use super::errors::{Errors, TypedName};
use super::paths::{FileSystem, Paths};
use super::variables::{Inputs, VARIABLES};
use crate::diagnostics::nearest::nearest;
use crate::diagnostics::sanitize::looks_secret;

/// Variables of other tools that are read as well.
pub(super) const AMBIENT: &[&str] = &[
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_URL",
    "ALL_PROXY",
    "BUILDKITE_PARALLEL_JOB",
    "BUILDKITE_PARALLEL_JOB_COUNT",
    "BUILDER_OUTPUT",
    "CI",
    "CI_COMMIT_REF_PROTECTED",
    "CIRCLE_NODE_INDEX",
    "CIRCLE_NODE_TOTAL",
    "CI_NODE_INDEX",
    "CI_NODE_TOTAL",
    "CI_DEBUG_TRACE",
    "CI_PROJECT_ID",
    "CI_PROJECT_NAMESPACE_ID",
    "CI_PROJECT_URL",
    "CI_REGISTRY",
    "CI_REGISTRY_PASSWORD",
    "CI_REGISTRY_USER",
    "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE",
    "CLOUDSDK_CONFIG",
    "DOCKER_AUTH_CONFIG",
    "DOCKER_CONFIG",
    "DOCKER_HOST",
    "DOCKER_TLS_VERIFY",
    "GCE_METADATA_HOST",
    "GITHUB_ACTIONS",
    "GITHUB_ACTOR",
    "GITHUB_EVENT_NAME",
    "GITHUB_EVENT_PATH",
    "GITHUB_OUTPUT",
    "GITHUB_REPOSITORY",
    "GITHUB_REPOSITORY_ID",
    "GITHUB_REPOSITORY_OWNER_ID",
    "GITHUB_STEP_SUMMARY",
    "GITHUB_WORKSPACE",
    "GITLAB_CI",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_CLOUD_QUOTA_PROJECT",
    "GOOGLE_GHA_CREDS_PATH",
    "HOME",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "JOB_COMPLETION_INDEX",
    "KUBECONFIG",
    "KUBERNETES_SERVICE_HOST",
    "KUBERNETES_SERVICE_PORT",
    "NO_PROXY",
    "REGISTRY_AUTH_FILE",
    "REQUEST_METHOD",
    "RUNNER_DEBUG",
    "RUNNER_TEMP",
    "RUNNER_WORKSPACE",
    "TMPDIR",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// The variables that name a project if `project_id` is not set, in order of precedence: those that
/// Google's libraries and gcloud read, and the one of GitLab's Artifact Registry integration.
pub(super) const PROJECT: &[&str] = &[
    "GOOGLE_CLOUD_PROJECT",
    "GCP_PROJECT",
    "GCLOUD_PROJECT",
    "CLOUDSDK_PROJECT",
    "CLOUDSDK_CORE_PROJECT",
    "GOOGLE_ARTIFACT_REGISTRY_PROJECT_ID",
];

/// The prefix of our own variables.
pub(super) const OURS: &str = "GCR_PUSH_";
const GITHUBS: &str = "INPUT_";

/// The variables of other tools.
pub(super) struct Ambient(HashMap<&'static str, String>);

impl Ambient {
    /// The value of a variable of [`AMBIENT`] or [`PROJECT`].
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// The variables that gcr-push reads, and where their errors go. Values are trimmed, and empty ones
/// count as absent.
pub(super) struct Environment<'a> {
    /// The values of our own variables.
    pub(super) inputs: Inputs,
    /// The values of our secret variables, not yet checked.
    pub(super) secrets: Vec<String>,
    /// The names of our variables and of those that hold the same secrets. They are removed from
    /// the environment of every program that is started.
    pub(super) withheld: Vec<OsString>,
    /// True if no variable of ours has a value.
    pub(super) is_unset: bool,
    /// The paths that variables name.
    pub(super) paths: Paths<'a>,
    /// The errors so far.
    pub(super) errors: Rc<Errors>,
    ambient: Ambient,
}

impl Environment<'_> {
    /// The value of a variable of [`AMBIENT`] or [`PROJECT`].
    pub(super) fn ambient(&self, name: &str) -> Option<&str> {
        self.ambient.get(name)
    }
}

/// Reads our own variables, and those of other tools. A value of the command line takes precedence.
pub(super) fn read<'a>(
    line: &CommandLine,
    environment: impl Iterator<Item = (OsString, OsString)>,
    files: &'a dyn FileSystem,
) -> Environment<'a> {
    let errors = Rc::new(Errors::default());
    // The runner upper-cases an input's name (actions/runner, Handler.cs), so only that form is
    // read.
    let mut own: HashMap<String, OsString> = HashMap::new();
    let mut ambient = HashMap::new();
    let environment: Vec<_> = environment.collect();
    let withheld = withheld(&environment);
    for (name, value) in environment {
        let Ok(name) = name.into_string() else {
            continue;
        };
        if name.starts_with(OURS) || name.starts_with(GITHUBS) {
            own.insert(name, value);
        } else if let Some(name) = AMBIENT.iter().chain(PROJECT).find(|known| **known == name) {
            match value.into_string() {
                Ok(value) if value.trim().is_empty() => {}
                Ok(value) => {
                    ambient.insert(*name, value.trim().to_owned());
                }
                Err(_) => errors.invalid(name, "it is not UTF-8"),
            }
        }
    }

    // Errors name a missing variable as the user has to type it. A container action gets every
    // input that its action.yml declares, if only as an empty text, which shows that inputs are in
    // use.
    let in_action = VARIABLES
        .iter()
        .any(|variable| own.contains_key(&format!("{GITHUBS}{}", variable.name.to_uppercase())));
    let mut pairs = Vec::new();
    let mut secrets = Vec::new();
    for variable in VARIABLES {
        let upper = variable.name.to_ascii_uppercase();
        let (ours, githubs) = (format!("{OURS}{upper}"), format!("{GITHUBS}{upper}"));
        let (our_value, githubs_value) = (own.remove(&ours), own.remove(&githubs));
        let flag = line
            .value(variable.name)
            .filter(|(_, value)| !is_blank(value));
        let [has_ours, has_githubs] = [&our_value, &githubs_value]
            .map(|value| value.as_ref().is_some_and(|value| !is_blank(value)));
        let typed = match (flag, variable.flag()) {
            (Some((name, _)), _) => TypedName::Argument(name.to_owned()),
            (None, Some(name)) if line.has_values() && !has_ours && !has_githubs => {
                TypedName::Argument(name)
            }
            _ if has_ours => TypedName::Variable(ours.clone()),
            _ if has_githubs || in_action => TypedName::Variable(githubs.clone()),
            _ => TypedName::Variable(ours.clone()),
        };
        errors.typed(variable.name, typed);
        let given = match flag {
            Some((_, value)) => vec![value.to_owned()],
            None => [githubs_value, our_value].into_iter().flatten().collect(),
        };
        let mut values = Vec::new();
        for value in given {
            match value.into_string() {
                Ok(value) if value.trim().is_empty() => {}
                Ok(value) => values.push(value.trim().to_owned()),
                Err(_) => errors.invalid(variable.name, "it is not UTF-8"),
            }
        }
        if variable.is_secret() {
            secrets.extend(values.iter().cloned());
        }
        if let [first, second] = values.as_slice()
            && first != second
        {
            errors.invalid(
                variable.name,
                format!("{githubs} and {ours} are both set and differ: keep one of them"),
            );
        }
        match values.into_iter().next() {
            Some(value) if !variable.is_secret() && looks_secret(&value) => errors.invalid(
                variable.name,
                "it looks like a key or a token, which does not belong here; its value is not shown",
            ),
            Some(value) => pairs.push((variable.name.to_owned(), value)),
            None => {}
        }
    }
    let is_unset = pairs.is_empty() && own.is_empty();
    let (inputs, ours): (Vec<_>, Vec<_>) =
        own.into_keys().partition(|name| name.starts_with(GITHUBS));
    refuse_unknown(ours, &errors);
    if in_action {
        check_inputs(inputs, &errors);
    }
    let ambient = Ambient(ambient);
    Environment {
        // Every field is optional text, so envy cannot fail. If it did, every variable would count
        // as absent, and the required ones would be reported as missing.
        inputs: Inputs::new(envy::from_iter(pairs).unwrap_or_default(), &errors),
        secrets,
        withheld,
        is_unset,
        paths: Paths::new(&ambient, files),
        errors,
        ambient,
    }
}

/// The names of our own variables, and of those that one of our secrets was copied from, as in
/// `GCR_PUSH_CREDENTIALS_JSON: $GCR_KEY` of a pipeline.
fn withheld(environment: &[(OsString, OsString)]) -> Vec<OsString> {
    /// A shorter value may equal that of an unrelated variable.
    const SHORTEST: usize = 6;
    /// A value of at least this length is not part of another by chance.
    const UNIQUE: usize = 16;
    let is_ours = |name: &str| name.starts_with(OURS) || name.starts_with(GITHUBS);
    let is_secret = |name: &str| {
        let bare = name.strip_prefix(OURS).or(name.strip_prefix(GITHUBS));
        let bare = bare.unwrap_or_default().to_ascii_lowercase();
        VARIABLES
            .iter()
            .any(|variable| variable.is_secret() && variable.name == bare)
    };
    let texts = environment
        .iter()
        .filter_map(|(name, value)| Some((name.to_str()?, value.to_str()?.trim())));
    let plain = |value: &str| decoded(value.to_owned()).trim().to_owned();
    // Other programs may need the same path for their own credentials.
    let secrets: Vec<_> = texts
        .filter(|(name, value)| is_secret(name) && value.len() >= SHORTEST)
        .filter(|(_, value)| !looks_like_a_path(value))
        .map(|(_, value)| (value, plain(value)))
        .collect();
    let holds_secret = |value: &str| {
        let value = value.trim();
        secrets.iter().any(|(secret, text)| {
            value == *secret
                || secret.len() >= UNIQUE && (value.contains(secret) || plain(value) == *text)
        })
    };
    environment
        .iter()
        .filter(|(name, value)| {
            name.to_str().is_some_and(is_ours) || value.to_str().is_some_and(holds_secret)
        })
        .map(|(name, _)| name.clone())
        .collect()
}

fn is_blank(value: &OsStr) -> bool {
    value.to_str().is_some_and(|text| text.trim().is_empty())
}

/// Reports every variable with the prefix `GCR_PUSH_` that is not in the table.
fn refuse_unknown(mut unknown: Vec<String>, errors: &Errors) {
    unknown.sort_unstable();
    for name in unknown {
        let typed = name.trim_start_matches(OURS).to_ascii_lowercase();
        let text = match meant(&typed) {
            Some(near) => format!(
                "there is no such variable; did you mean `{OURS}{}`?",
                near.to_ascii_uppercase()
            ),
            None => "there is no such variable".to_owned(),
        };
        errors.invalid(&name.escape_debug().to_string(), text);
    }
}

/// Inputs that the runner itself defines for every container action.
const OF_RUNNER: [&str; 2] = ["args", "entrypoint"];

/// Other common names of our variables.
const OTHER_WORDS: [(&str, &str); 5] = [
    ("credentials", "credentials_json"),
    ("json_key", "credentials_json"),
    ("project", "project_id"),
    ("service_account_key", "credentials_json"),
    ("token", "access_token"),
];

/// Checks inputs that are not in the table. The runner passes on everything in `with`, whether or
/// not `action.yml` declares it. A name close to one of ours is an error; any other name may be a
/// habit from another action and gets a warning.
fn check_inputs(mut unknown: Vec<String>, errors: &Errors) {
    unknown.sort_unstable();
    for name in unknown {
        let typed = name.trim_start_matches(GITHUBS).to_ascii_lowercase();
        if OF_RUNNER.contains(&typed.as_str()) {
            continue;
        }
        let escaped = typed.escape_debug().to_string();
        match meant(&typed) {
            Some(near) => errors.invalid(
                &escaped,
                format!("there is no such input; did you mean `{near}`?"),
            ),
            None => tracing::warn!("there is no input `{escaped}`: it has no effect"),
        }
    }
}

/// The variable that a mistyped name most likely means. `None` if no name is close.
pub(super) fn meant(typed: &str) -> Option<&'static str> {
    let typed = typed.replace('-', "_");
    let other = OTHER_WORDS.iter().find(|(word, _)| *word == typed);
    let exact = VARIABLES.iter().find(|variable| variable.name == typed);
    let other = other.map(|(_, name)| *name);
    other
        .or(exact.map(|variable| variable.name))
        .or_else(|| nearest(&typed, VARIABLES.iter().map(|variable| variable.name)))
}
