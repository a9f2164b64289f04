//! The table of all variables: names, descriptions, which are secret, and their raw values.
//!
//! `--help`, `action.yml` and `docs/variables.md` are generated from this table or checked against
//! it. This module only collects the values; the other modules of `config` parse them.

use std::collections::HashMap;
use std::ffi::OsString;

use serde::Deserialize;

use super::document::{decoded, looks_like_a_path};
use super::fault::Faults;
use crate::diagnostics::nearest::nearest;
use crate::diagnostics::sanitize::looks_secret;

/// A group of variables, in the order of `--help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VariableGroup {
    /// The image to push.
    Image,
    /// The destinations.
    Target,
    /// Credentials for Google and for other registries.
    Credentials,
    /// The verification of a push.
    Verify,
    /// The pull secret of a cluster.
    PullSecret,
    /// The command `mirror`.
    Mirror,
    /// The command `list`.
    List,
    /// The command `setup`.
    Setup,
    /// Concurrency, timeouts, compression and other behaviour.
    Behaviour,
    /// Files with the results of the run.
    Results,
}

impl VariableGroup {
    /// Every group, in the order of `--help`.
    pub const ALL: [Self; 10] = [
        Self::Image,
        Self::Target,
        Self::Credentials,
        Self::Verify,
        Self::PullSecret,
        Self::Mirror,
        Self::List,
        Self::Setup,
        Self::Behaviour,
        Self::Results,
    ];

    /// The heading of the group in `--help`.
    pub fn title(self) -> &'static str {
        match self {
            Self::Image => "Image",
            Self::Target => "Target",
            Self::Credentials => "Credentials",
            Self::Verify => "Verification",
            Self::PullSecret => "Pull secret",
            Self::Mirror => "Mirror",
            Self::List => "List",
            Self::Setup => "Setup",
            Self::Behaviour => "Behaviour",
            Self::Results => "Results",
        }
    }
}

/// One variable: `INPUT_X` for a GitHub action, `GCR_PUSH_X` everywhere else.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// The name in lower case, as the input of the action.
    pub name: &'static str,
    /// The description: form, example, default, and which variables it excludes or needs.
    pub meaning: &'static str,
    /// The group in `--help`.
    pub group: VariableGroup,
    /// True if the value is never shown.
    pub secret: bool,
}

/// Generates the table and the struct with one field for each row, so that both have the same
/// names.
macro_rules! variables {
    ($($group:ident { $($name:ident $(($secret:ident))?: $meaning:literal;)* })*) => {
        /// Every variable of gcr-push, group by group.
        pub const VARIABLES: &[Variable] = &[$($(
            Variable {
                name: stringify!($name),
                meaning: $meaning,
                group: VariableGroup::$group,
                secret: variables!(@is_secret $($secret)?),
            },
        )*)*];

        /// The raw text of every variable. It has no `Debug`, because some values are secrets.
        #[derive(Default, Deserialize)]
        pub(super) struct RawInputs {
            $($(pub(super) $name: Option<String>,)*)*
        }
    };
    (@is_secret secret) => { true };
    (@is_secret) => { false };
}

variables! {
    Image {
        image: "The image to push: `docker-archive:PATH[:REF]` (what `docker save` writes), `oci-archive:PATH[:REF]`, `oci:DIR[:REF]`, `docker://REF` (an image in a registry, as is a bare `HOST/NAME:TAG`), `docker-daemon:REF` (an image that a Docker engine holds), a bare path, told apart by its content, or `-` for an archive on standard input, which may stand for PATH too; REF picks one of several images, as in `docker-archive:out/image.tar:app:1.2`. With `list` the image, or the folder of images, of a registry that is shown.";
        platforms: "List of the platforms of a multi-platform image to push, such as `linux/amd64, linux/arm64/v8`, or with a version `windows/amd64:10.0.17763`; one makes it a plain image, several a smaller index; default `all`.";
        attestations: "What is done to the attestations that BuildKit adds to an index (provenance, SBOM): `keep` or `strip`; default `keep`, but for one platform that is asked for alone.";
        referrers: "`true` carries along what refers to the image and to each platform of it: signatures, SBOMs and attestations, by the referrers API, its fallback tag, or cosign's tags; from a registry, an OCI layout or an OCI archive; default `false`.";
    }
    Target {
        tags: "List of destinations: full references such as `gcr.io/acme/api:1.2`, as docker/metadata-action prints them, or with `@` in place of the tag, by digest alone; or tags without `/` such as `1.2`, which go to `name` at each `registry`; default the tags inside the image, else `latest`.";
        registry: "List of hosts for tags without `/`: `gcr.io`, `us.gcr.io`, `eu.gcr.io`, `asia.gcr.io`, `LOCATION-docker.pkg.dev`, or any other registry such as `registry.example.com:5000`; default `gcr.io`.";
        project_id: "Google Cloud project of the destination, such as `acme-prod`; default the project of `credentials_json`, then GOOGLE_CLOUD_PROJECT, GCP_PROJECT, GCLOUD_PROJECT, CLOUDSDK_PROJECT, CLOUDSDK_CORE_PROJECT, GOOGLE_ARTIFACT_REGISTRY_PROJECT_ID.";
        repository: "Artifact Registry repository, such as `containers`; needed on `pkg.dev` hosts, but for `list`, and only there.";
        name: "Name of the image below project and repository, such as `api` or `team/api`; default the name inside the image.";
        best_effort: "List of destinations whose failure is reported but fails nothing, and which the others do not wait for: hosts such as `mirror.example.com`, or references of `tags`; default none.";
        existing_tag: "What is done to a tag that is there with another digest: `overwrite` (default), `keep` (the tag stays) or `fail`; a tag that is there with the same digest is success, and is not put again.";
    }
    Credentials {
        credentials_json (secret): "Service-account key, or any other credential file of Google's: its JSON, base64 of it, or a path; it buys a short-lived token, and only that goes to the registry. Excludes `access_token` and `workload_identity_provider`; default what the environment has: GOOGLE_APPLICATION_CREDENTIALS, GOOGLE_GHA_CREDS_PATH, CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE, gcloud's application-default credentials, the machine's own account.";
        access_token (secret): "A ready OAuth access token for Google's registries, as `gcloud auth print-access-token` prints it. Excludes `credentials_json` and `workload_identity_provider`.";
        workload_identity_provider: "Keyless: the provider that takes the CI's OIDC token, `projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER`. Excludes `credentials_json` and `access_token`.";
        service_account: "Service account to act as, such as `ci@acme-prod.iam.gserviceaccount.com`; default none, the identity itself has the rights. Needs `workload_identity_provider`.";
        oidc_token (secret): "The CI's OIDC token, as text or as the path of a file, as GitLab's `id_tokens` give it; default GitHub's, which is asked for. Needs `workload_identity_provider`.";
        docker_config (secret): "Logins for registries that are not Google's: the text of a Docker `config.json`, base64 of it, or a path to it or to its directory; default DOCKER_AUTH_CONFIG, `$DOCKER_CONFIG/config.json` or else `~/.docker/config.json`, and REGISTRY_AUTH_FILE, then CI_REGISTRY_USER and CI_REGISTRY_PASSWORD on CI_REGISTRY.";
        username: "User name for the destination that is not Google's, and for no other registry; with several, `docker_config` holds their logins. Needs `password`.";
        password (secret): "Password or token for the destination that is not Google's, and for no other registry. Needs `username`.";
        source_username: "User name for the registry of `image`, and for no other. Needs `source_password`.";
        source_password (secret): "Password or token for the registry of `image`, and for no other. Needs `source_username`.";
        github_token (secret): "GitHub's token, for `ghcr.io` and no other registry, and for `setup` to ask GitHub for a repository's numbers; default none, and in the GitHub action the job's own.";
        missing_credentials: "What is done where there is no credential at all for a Google host, as in a pull request of a fork: `fail` (default), or `skip`: the image is checked, what would be pushed is printed, and the run succeeds.";
    }
    Verify {
        verify: "How the result is checked: `listing` (default: by digest, by tag, and by the registry's own listing), `blobs` (every blob is read back and hashed as well) or `off`.";
    }
    PullSecret {
        pull_secret: "Name of a Kubernetes Secret, such as `gcr-pull`, with which a cluster pulls what was pushed; it is written to `pull_secret_file`, applied by `pull_secret_apply`, or both, after it was shown to pull; default none.";
        pull_secret_namespaces: "List of namespaces, such as `staging, production`, that each get the Secret; default one Secret without a namespace, applied to the one that is current. Needs `pull_secret`.";
        pull_secret_labels: "List of labels for the Secret, such as `team=shop, app.kubernetes.io/part-of=shop`; default none. Needs `pull_secret`.";
        pull_secret_credentials_json (secret): "Service-account key that goes into the pull secret, of an account that may only read: its JSON, base64 of it, or a path; default, where this run signs in without a key, a token that works for an hour at most. Needs `pull_secret`.";
        pull_secret_allow_push_key: "`true` puts the pushing key of `credentials_json` into the pull secret when no other is given, and the logins of `docker_config` for registries that are not Google's, and so lets everyone who reads the Secret push; default `false`. Needs `pull_secret`.";
        pull_secret_file: "File for the pull secret, such as `pull-secret.yaml`, readable by its owner alone; or `-` for standard output, which is refused under a CI, because logs are kept; no default. Needs `pull_secret`.";
        pull_secret_format: "Form of what is written: `yaml` (default) or `json`, as kubectl prints a Secret, or `dockerconfigjson`, the login file in it alone. Needs `pull_secret_file`.";
        pull_secret_apply: "`true` applies the pull secret to a cluster, which needs no kubectl; default `false`. Needs `pull_secret`.";
        pull_secret_service_accounts: "List of service accounts in each namespace, such as `default`, whose pods are to pull with the Secret: it is added to their `imagePullSecrets`; default none. Needs `pull_secret_apply`.";
        pull_secret_create_namespace: "`true` creates a namespace that is missing; default `false`. Needs `pull_secret_apply`.";
        pull_secret_replace: "`true` takes over a Secret of that name that others wrote, and makes one of another type anew; default `false`. Needs `pull_secret_apply`.";
        kubeconfig (secret): "The cluster and the login to it: a kubeconfig's YAML, base64 of it, or a path; default the files of KUBECONFIG, then, in a pod, its own cluster. Needs `pull_secret_apply`.";
        kubeconfig_context: "Context of the kubeconfig, such as `production`; default its `current-context`. Needs `pull_secret_apply`.";
    }
    Mirror {
        config: "The file that says what `mirror` copies where, such as `mirror.yaml`; default `gcr-push.yaml`.";
        shard: "Which part of the work of `mirror` this runner does, such as `2/5` for the second of five, or `5` alone where the engine tells which: GitLab's `parallel`, CircleCI, Buildkite, an Indexed Job of Kubernetes; default what those tell (Kubernetes does not tell how many there are), else all of it.";
    }
    List {
        list_recursive: "`true` lists all images below the project, repository or image, with all that is in each; default `false`, the names one level below.";
        list_platforms: "`true` reads a manifest and a config for each image whose platforms Google's list does not tell, of the newest 1000; default `false`, the platforms that are known without that.";
        list_format: "What `list` prints: `table` (default) or `json`, an array with an object a line.";
    }
    Setup {
        setup_apply: "`true` carries out what `setup` shows as missing; default `false`. Excludes `setup_remove`.";
        setup_remove: "`true` takes away what `setup` made, and nothing else: keys, roles, accounts, pools, and repositories that hold nothing; default `false`. Excludes `setup_apply`.";
        setup_github: "List of GitHub repositories, `OWNER/REPO`, whose workflows may push without a key; a private one with its numbers, `OWNER/REPO#OWNER_ID/REPO_ID`; default none.";
        setup_gitlab: "List of GitLab projects, `https://HOST/GROUP/PROJECT`, whose jobs may push without a key; a private one with its numbers, `https://HOST/GROUP/PROJECT#NAMESPACE_ID/PROJECT_ID`; default none.";
        setup_key: "File for a key of the account that pulls, such as `puller.json`, readable by its owner alone; `pusher:FILE` for one of the account that pushes; default no key.";
        setup_backend: "What the images are kept in: `artifact-registry` (default), or `storage` for left-over buckets of the old Container Registry.";
        setup_pusher: "Id of the service account that pushes, from 6 to 30 letters, digits and `-`; default `gcr-pusher`.";
        setup_puller: "Id of the service account that pulls, likewise; default `gcr-puller`.";
    }
    Behaviour {
        command: "The command word (`push`, `mirror`, `list`, `pull-secret`, `setup`, `doctor`) where no argument can be given, as in a `uses:` step; an argument wins; default `push`.";
        dry_run: "`true` finds out what is there and tells what would be sent, mounted and tagged, and changes nothing; default `false`.";
        compression: "What is done to layers that the image holds uncompressed: `gzip` (default), `zstd` or `none`.";
        compression_level: "Level for `gzip`, from 1 (fast) to 12 (small), default 2; or for `zstd`, from 1 to 19, default 3. Excludes `compression: none`.";
        layer_reuse: "Whether layers that the destination's earlier images have, by their diff IDs, are neither compressed nor sent: `auto` (default) or `off`.";
        concurrency: "How many blobs are sent at once, from 1 to 64; default 8, and up to 24 together with those under 1 MiB.";
        retry_timeout: "How long a request or transfer that failed for now is tried again, such as `10m`, at most `1h`; `0s` never tries again; default `5m`.";
        stall_timeout: "How long a transfer may stand still before it counts as failed, such as `90s` or `10m`, at most `1h`; default `60s`.";
        finish_timeout: "How long a registry may take to answer after the last byte of a blob before the blob is sent again, such as `20m`, at most `1h`; default `10m`, or `stall_timeout` if that is longer.";
        requests_per_minute: "How many requests a registry may get from this run in any minute, to stay under a quota, such as `600`; several runners share a quota, so each is given its part; default no limit, and a 429 slows down what goes to that registry.";
        timeout: "How long the whole run may take before it stops and says what was tagged, such as `30m`, at most `24h`; default no limit.";
        ca_certificates: "More certificate authorities to trust, on every connection: PEM text, or a path to it; default the system's alone.";
        client_certificate: "Certificate for registries that ask for one, never shown to Google's: PEM text, or a path to it; default what Docker's and Podman's `certs.d/HOST[:PORT]` folders hold. Needs `client_key`, unless the key stands in the same file.";
        client_key (secret): "Private key of `client_certificate`, without a passphrase: PEM text, or a path to it. Needs `client_certificate`.";
        insecure_registries: "List of hosts that may be spoken to over plain HTTP, such as `registry.example.com:5000`; never Google's; this machine needs no mention.";
        log_format: "Form of the log: `plain`, `github` (annotations and groups), `gitlab` (sections) or `json` (an object a line); default `auto`, what suits the CI at hand.";
    }
    Results {
        report_file: "File for the whole report as JSON, such as `report.json`; default none.";
        digest_file: "File for the digest of the first destination, `sha256:…` without a line break, such as `digest.txt`; default none.";
        dotenv_file: "File for the results as `NAME=value` lines, such as `push.env`, for GitLab's `artifacts:reports:dotenv`: PUSHED_DIGEST, PUSHED_IMAGE, PUSHED_REFERENCE, PUSHED_REFERENCES, PUSHED_BYTES, SKIPPED_BYTES, and after a failure PUSH_FAILED; default none.";
    }
}

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

const OURS: &str = "GCR_PUSH_";
const GITHUBS: &str = "INPUT_";

/// The variables that gcr-push reads. Values are trimmed, and empty ones count as absent.
pub(super) struct Environment {
    /// The values of our own variables.
    pub(super) inputs: RawInputs,
    /// The values of our secret variables, not yet checked.
    pub(super) secrets: Vec<String>,
    /// The names of our variables and of those that hold the same secrets. They are removed from
    /// the environment of every program that is started.
    pub(super) withheld: Vec<OsString>,
    ambient: HashMap<&'static str, String>,
}

impl Environment {
    /// The value of a variable of [`AMBIENT`] or [`PROJECT`].
    pub(super) fn ambient(&self, name: &str) -> Option<&str> {
        self.ambient.get(name).map(String::as_str)
    }
}

/// Reads our own variables, and those of other tools, from the environment.
pub(super) fn read(
    environment: impl Iterator<Item = (OsString, OsString)>,
    faults: &mut Faults,
) -> Environment {
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
                Err(_) => faults.unusable(name, "it is not UTF-8"),
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
        let typed = match (is_blank(&our_value), is_blank(&githubs_value)) {
            (false, _) => &ours,
            (true, false) => &githubs,
            (true, true) if in_action => &githubs,
            (true, true) => &ours,
        };
        faults.typed(variable.name, typed.clone());
        let mut values = Vec::new();
        for value in [githubs_value, our_value].into_iter().flatten() {
            match value.into_string() {
                Ok(value) if value.trim().is_empty() => {}
                Ok(value) => values.push(value.trim().to_owned()),
                Err(_) => faults.unusable(variable.name, "it is not UTF-8"),
            }
        }
        if variable.secret {
            secrets.extend(values.iter().cloned());
        }
        if let [first, second] = values.as_slice()
            && first != second
        {
            faults.unusable(
                variable.name,
                format!("{githubs} and {ours} are both set and differ: keep one of them"),
            );
        }
        match values.into_iter().next() {
            Some(value) if !variable.secret && looks_secret(&value) => faults.unusable(
                variable.name,
                "it looks like a key or a token, which does not belong here; its value is not shown",
            ),
            Some(value) => pairs.push((variable.name.to_owned(), value)),
            None => {}
        }
    }
    let (inputs, ours): (Vec<_>, Vec<_>) =
        own.into_keys().partition(|name| name.starts_with(GITHUBS));
    refuse_unknown(ours, faults);
    if in_action {
        check_inputs(inputs, faults);
    }
    Environment {
        // Every field is optional text, so envy cannot fail. If it did, every variable would count
        // as absent, and the required ones would be reported as missing.
        inputs: envy::from_iter(pairs).unwrap_or_default(),
        secrets,
        withheld,
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
            .any(|variable| variable.secret && variable.name == bare)
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

fn is_blank(value: &Option<OsString>) -> bool {
    value
        .as_ref()
        .is_none_or(|value| value.to_str().is_some_and(|text| text.trim().is_empty()))
}

/// Reports every variable with the prefix `GCR_PUSH_` that is not in the table.
fn refuse_unknown(mut unknown: Vec<String>, faults: &mut Faults) {
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
        faults.unusable(&name.escape_debug().to_string(), text);
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
fn check_inputs(mut unknown: Vec<String>, faults: &mut Faults) {
    unknown.sort_unstable();
    for name in unknown {
        let typed = name.trim_start_matches(GITHUBS).to_ascii_lowercase();
        if OF_RUNNER.contains(&typed.as_str()) {
            continue;
        }
        let escaped = typed.escape_debug().to_string();
        match meant(&typed) {
            Some(near) => faults.unusable(
                &escaped,
                format!("there is no such input; did you mean `{near}`?"),
            ),
            None => tracing::warn!("there is no input `{escaped}`: it changes nothing"),
        }
    }
}

/// The variable that a mistyped name most likely means. `None` if no name is close.
fn meant(typed: &str) -> Option<&'static str> {
    let typed = typed.replace('-', "_");
    let other = OTHER_WORDS.iter().find(|(word, _)| *word == typed);
    let exact = VARIABLES.iter().find(|variable| variable.name == typed);
    let other = other.map(|(_, name)| *name);
    other
        .or(exact.map(|variable| variable.name))
        .or_else(|| nearest(&typed, VARIABLES.iter().map(|variable| variable.name)))
}
