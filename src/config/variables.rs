//! The table of all variables. From it come the flags, `--help`, completions, the inputs of
//! `action.yml` and the tables of `docs/variables.md`.

use std::borrow::Cow;
use std::rc::Rc;

use serde::Deserialize;

use super::CommandName::{self, Doctor, List, Mirror, PullSecret, Push, Setup};
use super::environment::OURS;
use super::errors::Errors;
use super::input::Input;
use super::values::any_of;

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
    /// Concurrency, compression and other behaviour.
    Behaviour,
    /// Timeouts, limits and certificates of every connection.
    Network,
    /// Files with the results of the run.
    Results,
}

impl VariableGroup {
    /// Every group, in the order of `--help`.
    pub const ALL: [Self; 11] = [
        Self::Image,
        Self::Target,
        Self::Credentials,
        Self::Verify,
        Self::PullSecret,
        Self::Mirror,
        Self::List,
        Self::Setup,
        Self::Behaviour,
        Self::Network,
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
            Self::Network => "Network",
            Self::Results => "Results",
        }
    }
}

/// The form of a variable's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Items, separated by newlines or commas; the word for one item in help.
    List(&'static str),
    /// `true` or `false`.
    Switch,
    /// A duration such as `90s`, within bounds in seconds.
    Duration(u64, u64),
    /// A whole number within bounds.
    Count(u32, u32),
    /// The path of a file.
    Path,
    /// A text that is never shown and has no flag.
    Secret,
    /// An image.
    Reference,
    /// Any other text; the word for it in help.
    Text(&'static str),
    /// One of these words. The first one is the default.
    Words(&'static [&'static str]),
}

impl Form {
    /// What stands for the value in help. Empty for a switch.
    pub(super) fn placeholder(self) -> String {
        match self {
            Self::List(item) => format!("{item},..."),
            Self::Switch => String::new(),
            Self::Duration(..) => "DURATION".to_owned(),
            Self::Count(..) => "NUMBER".to_owned(),
            Self::Path => "FILE".to_owned(),
            Self::Secret => "SECRET".to_owned(),
            Self::Reference => "IMAGE".to_owned(),
            Self::Text(word) => word.to_owned(),
            Self::Words(words) => words.join("|"),
        }
    }

    /// A sentence with the allowed values. Empty if the description has them.
    fn sentence(self) -> String {
        match self {
            Self::List(_) => "Separate several with commas or newlines.".to_owned(),
            Self::Switch => "Values: `true` or `false`.".to_owned(),
            Self::Duration(from, to) => {
                let (from, to) = (duration_text(from), duration_text(to));
                format!("A duration such as `90s`, from `{from}` to `{to}`.")
            }
            Self::Count(from, to) => format!("A number from {from} to {to}."),
            Self::Words(words) => format!("Values: {}.", any_of(words)),
            Self::Path | Self::Secret | Self::Reference | Self::Text(_) => String::new(),
        }
    }
}

fn duration_text(seconds: u64) -> String {
    if seconds > 0 && seconds.is_multiple_of(HOUR) {
        format!("{}h", seconds / HOUR)
    } else {
        format!("{seconds}s")
    }
}

/// One variable: `INPUT_X` for a GitHub action, `GCR_PUSH_X` everywhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variable {
    /// The name in lower case, as the input of the action.
    pub name: &'static str,
    /// The group in `--help`.
    pub group: VariableGroup,
    /// The form of its value.
    pub form: Form,
    /// The commands that use it.
    pub commands: &'static [CommandName],
    /// The default, as Markdown. Empty if there is none, or if it follows from the form.
    pub default: &'static str,
    /// The variables without which it does nothing.
    pub needs: &'static [&'static str],
    /// The variables that exclude it.
    pub excludes: &'static [&'static str],
    /// The description. Its first sentence is short.
    pub description: &'static str,
}

impl Variable {
    /// True if the value is never shown.
    pub fn is_secret(&self) -> bool {
        self.form == Form::Secret
    }

    /// The flag. `None` for a secret, because everyone can list the arguments of processes.
    pub fn flag(&self) -> Option<String> {
        (!self.is_secret()).then(|| format!("--{}", self.name.replace('_', "-")))
    }

    /// The name of the environment variable.
    pub fn environment_name(&self) -> String {
        format!("{OURS}{}", self.name.to_ascii_uppercase())
    }

    /// The first sentence of the description, without its full stop.
    pub fn summary(&self) -> &'static str {
        let first = self.description.split(". ").next();
        first.unwrap_or_default().trim_end_matches('.')
    }

    /// The default, as Markdown. Empty if there is none.
    pub fn default_text(&self) -> Cow<'static, str> {
        match self.form {
            _ if !self.default.is_empty() => self.default.into(),
            Form::Switch => "`false`".into(),
            Form::Words([first, ..]) => format!("`{first}`").into(),
            _ => "".into(),
        }
    }

    /// The description, the allowed values, and the variables that it needs or excludes.
    pub fn meaning(&self) -> String {
        let relation = |verb: &str, names: &[&str]| match names {
            [] => String::new(),
            names => format!("{verb} {}.", all_of(names)),
        };
        let mut sentences = vec![
            self.description.to_owned(),
            self.form.sentence(),
            relation("Needs", self.needs),
            relation("Excludes", self.excludes),
        ];
        sentences.retain(|sentence| !sentence.is_empty());
        sentences.join(" ")
    }
}

fn all_of(names: &[&str]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(" and ")
}

/// Generates the table and structs with one field for each row, so that all have the same names.
macro_rules! variables {
    ($($group:ident { $($name:ident: $form:expr, $commands:expr, {
        $($key:ident: $value:expr),* $(,)?
    })* })*) => {
        /// Every variable of gcr-push, group by group.
        pub const VARIABLES: &[Variable] = &[$($(
            Variable {
                name: stringify!($name),
                group: VariableGroup::$group,
                form: $form,
                commands: $commands,
                $($key: $value,)*
                ..BLANK
            },
        )*)*];

        /// The text of every variable, as envy reads it.
        #[derive(Default, Deserialize)]
        pub(super) struct Texts {
            $($($name: Option<String>,)*)*
        }

        /// The value of every variable.
        pub(super) struct Inputs {
            $($(pub(super) $name: Input,)*)*
        }

        impl Inputs {
            /// Takes the texts. The readers report their errors to `errors`.
            pub(super) fn new(texts: Texts, errors: &Rc<Errors>) -> Self {
                Self {
                    $($($name: Input::new(stringify!($name), $form, texts.$name, errors),)*)*
                }
            }
        }
    };
}

const BLANK: Variable = Variable {
    name: "",
    group: VariableGroup::Image,
    form: Form::Switch,
    commands: &[],
    default: "",
    needs: &[],
    excludes: &[],
    description: "",
};

const ALL: &[CommandName] = &CommandName::ALL;
/// The commands that sign in to registries.
const REGISTRIES: &[CommandName] = &[Push, Mirror, List, PullSecret, Doctor];
/// The commands whose registries are named by variables.
const TARGETS: &[CommandName] = &[Push, List, PullSecret, Setup, Doctor];
/// The commands that may make a pull secret.
const SECRET: &[CommandName] = &[Push, Mirror, PullSecret];

const HOUR: u64 = 3600;

variables! {
    Image {
        image: Form::Reference, &[Push, List, Doctor], {
            description: "Image to push, or for `list` the one to show. In a file or folder: `docker-archive:PATH[:REF]` (the output of `docker save`), `oci-archive:PATH[:REF]`, `oci:DIR[:REF]`, or a bare path, whose content decides. In a registry: `HOST/NAME:TAG` or `docker://REF`. In a Docker engine: `docker-daemon:REF`. On standard input: `-`, also in place of PATH. REF selects one of several images, as in `docker-archive:out/image.tar:app:1.2`. `list` takes an image, or a folder of images, in a registry. Required by `push`.",
        }
        platforms: Form::List("PLATFORM"), &[Push, Doctor], {
            default: "`all`",
            description: "Platforms of a multi-platform image to push. Examples are `linux/amd64, linux/arm64/v8`, or with a version `windows/amd64:10.0.17763`. One platform makes a plain image, several make a smaller index.",
        }
        attestations: Form::Words(&["keep", "strip"]), &[Push, Mirror], {
            default: "`keep`; `strip` if you ask for one platform",
            description: "Whether to push BuildKit's attestations. BuildKit adds them (provenance, SBOM) to an index.",
        }
        referrers: Form::Switch, &[Push], {
            description: "Also copy signatures, SBOMs and attestations. gcr-push copies all that refers to the image or to one of its platforms, found by the referrers API, its fallback tag, or cosign's tags. The image has to be in a registry, an OCI layout or an OCI archive.",
        }
    }
    Target {
        tags: Form::List("DESTINATION"), &[Push, List, PullSecret, Doctor], {
            default: "the tags inside the image, else `latest`",
            description: "Destinations, as full references or tags. A full reference is `gcr.io/acme/api:1.2`, as docker/metadata-action prints it; with `@` in place of the tag, gcr-push pushes by digest only. A tag without `/`, such as `1.2`, goes to `name` at each `registry`.",
        }
        registry: Form::List("HOST"), TARGETS, {
            default: "`gcr.io`",
            description: "Registries for tags without a host. `gcr.io`, `us.gcr.io`, `eu.gcr.io`, `asia.gcr.io`, `LOCATION-docker.pkg.dev`, or any other such as `registry.example.com:5000`. Not allowed if every item of `tags` is a full reference.",
        }
        project_id: Form::Text("PROJECT"), TARGETS, {
            default: "the project of `credentials_json`, then the first that is set of GOOGLE_CLOUD_PROJECT, GCP_PROJECT, GCLOUD_PROJECT, CLOUDSDK_PROJECT, CLOUDSDK_CORE_PROJECT, GOOGLE_ARTIFACT_REGISTRY_PROJECT_ID",
            description: "Google Cloud project of the destination. An example is `acme-prod`.",
        }
        repository: Form::Text("NAME"), TARGETS, {
            description: "Artifact Registry repository. An example is `containers`. Required for `pkg.dev` hosts of `registry`, except by `list`. Not allowed for other hosts.",
        }
        name: Form::Text("NAME"), &[Push, List, PullSecret, Doctor], {
            default: "the name inside the image",
            description: "Name of the image in the project. On `pkg.dev` hosts, its name in the repository. Examples are `api` and `team/api`.",
        }
        best_effort: Form::List("DESTINATION"), &[Push], {
            default: "none",
            description: "Destinations that may fail. gcr-push reports the failure, but the run succeeds, and the other destinations do not wait. Hosts such as `mirror.example.com`, or references of `tags`.",
        }
        existing_tag: Form::Words(&["overwrite", "keep", "fail"]), &[Push, Mirror], {
            description: "What to do with a tag of another image. `overwrite` moves the tag, `keep` leaves it, `fail` fails the run. If the tag has the same digest already, that is success, and gcr-push does not write it again.",
        }
    }
    Credentials {
        credentials_json: Form::Secret, ALL, {
            default: "what the environment has: GOOGLE_APPLICATION_CREDENTIALS, GOOGLE_GHA_CREDS_PATH, CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE, gcloud's application-default credentials, then the account of the machine",
            excludes: &["access_token", "workload_identity_provider"],
            description: "Service-account key, or another credential file. Every credential file of Google's works: its JSON, base64 of it, or a path to it. gcr-push gets a short-lived token with it, and the registry sees only the token.",
        }
        access_token: Form::Secret, ALL, {
            excludes: &["credentials_json", "workload_identity_provider"],
            description: "OAuth access token for Google's registries. `gcloud auth print-access-token` prints one.",
        }
        workload_identity_provider: Form::Text("PROVIDER"), ALL, {
            excludes: &["credentials_json", "access_token"],
            description: "Provider for a sign-in without a key. It accepts the CI's OIDC token: `projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER`. On GitHub, the job needs `permissions: id-token: write`.",
        }
        service_account: Form::Text("EMAIL"), ALL, {
            default: "none: the identity itself has the rights",
            needs: &["workload_identity_provider"],
            description: "Service account to act as. An example is `ci@acme-prod.iam.gserviceaccount.com`.",
        }
        oidc_token: Form::Secret, ALL, {
            default: "GitHub's own, which gcr-push requests",
            needs: &["workload_identity_provider"],
            description: "OIDC token of the CI, as text or as a file. GitLab makes it with `id_tokens`. The value is the token, or a path to it.",
        }
        docker_config: Form::Secret, REGISTRIES, {
            default: "DOCKER_AUTH_CONFIG, `config.json` in the directory DOCKER_CONFIG or else in `~/.docker`, and REGISTRY_AUTH_FILE; then CI_REGISTRY_USER and CI_REGISTRY_PASSWORD for CI_REGISTRY",
            description: "Logins for registries that are not Google's. The text of a Docker `config.json`, base64 of it, or a path to it or to its directory. gcr-push runs credential helpers that are on PATH.",
        }
        username: Form::Text("NAME"), REGISTRIES, {
            needs: &["password"],
            description: "User at the destination that is not Google's. No other registry gets it. For several such destinations, use `docker_config`.",
        }
        password: Form::Secret, REGISTRIES, {
            needs: &["username"],
            description: "Password or token of `username`. No other registry gets it.",
        }
        source_username: Form::Text("NAME"), &[Push, Doctor], {
            needs: &["source_password"],
            description: "User at the registry of `image`. No other registry gets it.",
        }
        source_password: Form::Secret, &[Push, Doctor], {
            needs: &["source_username"],
            description: "Password or token of `source_username`. No other registry gets it.",
        }
        github_token: Form::Secret, ALL, {
            default: "none; in the GitHub action, the job's own",
            description: "GitHub's token, for `ghcr.io` and for `setup`. No other registry gets it. `setup` asks GitHub with it for the numbers of a repository.",
        }
        missing_credentials: Form::Words(&["fail", "skip"]), &[Push, Mirror], {
            description: "What to do without a credential for Google. A pull request of a fork has none. `skip` checks the image, prints what it would push, and succeeds. An incomplete credential always fails.",
        }
    }
    Verify {
        verify: Form::Words(&["listing", "blobs", "off"]), &[Push, Mirror], {
            description: "How to check the result. `listing` checks by digest, by tag, and by the registry's own list. `blobs` also reads back and hashes every blob.",
        }
    }
    PullSecret {
        pull_secret: Form::Text("NAME"), SECRET, {
            default: "none",
            description: "Name of a Kubernetes Secret to make. An example is `gcr-pull`. A cluster pulls the image with it. gcr-push proves that it pulls, then writes it to `pull_secret_file`, applies it with `pull_secret_apply`, or both. Required by the command `pull-secret`.",
        }
        pull_secret_namespaces: Form::List("NAMESPACE"), SECRET, {
            default: "one Secret without a namespace, applied to the current one",
            needs: &["pull_secret"],
            description: "Namespaces that each get the Secret. An example is `staging, production`.",
        }
        pull_secret_labels: Form::List("KEY=VALUE"), SECRET, {
            default: "none",
            needs: &["pull_secret"],
            description: "Labels for the Secret. An example is `team=shop, app.kubernetes.io/part-of=shop`.",
        }
        pull_secret_credentials_json: Form::Secret, SECRET, {
            default: "a token that works for an hour at most",
            needs: &["pull_secret"],
            description: "Key that goes into the Secret. It belongs to an account that may only read: its JSON, base64 of it, or a path to it. Required if the run signs in with a key.",
        }
        pull_secret_allow_push_key: Form::Switch, SECRET, {
            needs: &["pull_secret"],
            description: "Let the key that pushes go into the Secret. If there is no other key, the key of `credentials_json` goes into it, and so do the logins of `docker_config` for other registries. Everyone who reads the Secret can then push.",
        }
        pull_secret_file: Form::Path, SECRET, {
            needs: &["pull_secret"],
            description: "File for the Secret. Only its owner can read it; an example is `pull-secret.yaml`. `-` is standard output, but never in CI, which keeps logs. Required without `pull_secret_apply`.",
        }
        pull_secret_format: Form::Words(&["yaml", "json", "dockerconfigjson"]), SECRET, {
            needs: &["pull_secret_file"],
            description: "Format of the file. `yaml` and `json` are a Secret as kubectl prints it; `dockerconfigjson` is only the login file in it.",
        }
        pull_secret_apply: Form::Switch, SECRET, {
            needs: &["pull_secret"],
            description: "Apply the Secret to a cluster. This needs no kubectl.",
        }
        pull_secret_service_accounts: Form::List("NAME"), SECRET, {
            default: "none",
            needs: &["pull_secret_apply"],
            description: "Service accounts whose Pods use the Secret. gcr-push adds it to the `imagePullSecrets` of these accounts in each namespace. An example is `default`.",
        }
        pull_secret_create_namespace: Form::Switch, SECRET, {
            needs: &["pull_secret_apply"],
            description: "Create a missing namespace.",
        }
        pull_secret_replace: Form::Switch, SECRET, {
            needs: &["pull_secret_apply"],
            description: "Take over a Secret that others wrote. gcr-push recreates a Secret of another type.",
        }
        kubeconfig: Form::Secret, SECRET, {
            default: "the files of KUBECONFIG, then in a Pod its own cluster",
            description: "The cluster and its login. For `pull_secret_apply`, and for `from: kubernetes` in the file of `mirror`. A kubeconfig's YAML, base64 of it, or a path to it.",
        }
        kubeconfig_context: Form::Text("NAME"), SECRET, {
            default: "its `current-context`",
            description: "Context of the kubeconfig. An example is `production`.",
        }
    }
    Mirror {
        config: Form::Path, &[Mirror], {
            default: "`gcr-push.yaml`",
            description: "File that says what to copy where. An example is `mirror.yaml`.",
        }
        shard: Form::Text("N/TOTAL"), &[Mirror], {
            default: "what GitLab's `parallel`, CircleCI or Buildkite set, else all of it",
            description: "Part of the work for this runner. `2/5` is the second of five. `5` is one of five if the CI, or an Indexed Job of Kubernetes, sets which.",
        }
        require_complete: Form::Switch, &[Mirror], {
            needs: &["dry_run"],
            description: "Fail a dry run that finds something missing. The exit code is 1 if a required destination lacks an image, or if its tag is another image.",
        }
        failover_dir: Form::Path, &[Mirror], {
            default: "none",
            description: "Folder for the configuration of nodes. It makes them pull from the destinations when a source is down: for containerd, CRI-O and Podman, k3s, and kustomize.",
        }
    }
    List {
        list_recursive: Form::Switch, &[List], {
            description: "List all images below, not one level only. gcr-push lists the content of each image too.",
        }
        list_platforms: Form::Switch, &[List], {
            description: "Look up platforms that Google's list lacks. gcr-push reads a manifest and a config for each such image, for the newest 1000.",
        }
        list_format: Form::Words(&["table", "json"]), &[List], {
            description: "Format of the output. `json` is an array with one object a line.",
        }
    }
    Setup {
        setup_apply: Form::Switch, &[Setup], {
            excludes: &["setup_remove"],
            description: "Create what is missing. Without it, `setup` only shows what is missing.",
        }
        setup_remove: Form::Switch, &[Setup], {
            excludes: &["setup_apply"],
            description: "Remove what `setup` made, and nothing else. That is keys, roles, accounts, pools, and empty repositories.",
        }
        setup_github: Form::List("OWNER/REPO"), &[Setup], {
            default: "none",
            description: "GitHub repositories that may push without a key. `OWNER/REPO`, or for a private one `OWNER/REPO#OWNER_ID/REPO_ID`.",
        }
        setup_gitlab: Form::List("URL"), &[Setup], {
            default: "none",
            description: "GitLab projects that may push without a key. `https://HOST/GROUP/PROJECT`, or for a private one `https://HOST/GROUP/PROJECT#NAMESPACE_ID/PROJECT_ID`.",
        }
        setup_key: Form::List("FILE"), &[Setup], {
            default: "no key",
            description: "File for a key of the account that pulls. Only its owner can read it; an example is `puller.json`. `pusher:FILE` is for a key of the account that pushes.",
        }
        setup_backend: Form::Words(&["artifact-registry", "storage"]), &[Setup], {
            description: "Where the images are. `storage` means left-over buckets of the old Container Registry.",
        }
        setup_pusher: Form::Text("ID"), &[Setup], {
            default: "`gcr-pusher`",
            description: "Id of the service account that pushes. It has 6 to 30 letters, digits and `-`.",
        }
        setup_puller: Form::Text("ID"), &[Setup], {
            default: "`gcr-puller`",
            description: "Id of the service account that pulls. It has 6 to 30 letters, digits and `-`.",
        }
    }
    Behaviour {
        command: Form::Words(&["push", "mirror", "list", "pull-secret", "setup", "doctor"]), &[], {
            description: "The command, if you cannot give an argument. An argument takes precedence.",
        }
        dry_run: Form::Switch, &[Push, Mirror, PullSecret, Setup], {
            description: "Show what would happen, and change nothing. gcr-push checks what is there, and prints what it would send, mount and tag.",
        }
        compression: Form::Words(&["gzip", "zstd", "none"]), &[Push], {
            description: "Compression of uncompressed layers. `docker save` leaves its layers uncompressed.",
        }
        compression_level: Form::Count(1, 19), &[Push], {
            default: "`2`; for `zstd` `3`",
            description: "Level of the compression. `1` is fast; `12` is the smallest for `gzip`, `19` for `zstd`. Not allowed with `compression: none`.",
        }
        layer_reuse: Form::Words(&["auto", "off"]), &[Push], {
            description: "Whether to use layers of earlier images. `auto` neither compresses nor sends layers that earlier images at the destination have, by their diff IDs. `off` compresses and sends all.",
        }
        concurrency: Form::Count(1, 64), &[Push, Mirror], {
            default: "`8`, and up to `24` together with blobs under 1 MiB",
            description: "How many blobs to send at once.",
        }
        log_format: Form::Words(&["auto", "plain", "github", "gitlab", "json"]), ALL, {
            default: "`auto`, which fits the CI",
            description: "Format of the log. `github` has annotations and groups, `gitlab` has sections, `json` is one object a line.",
        }
    }
    Network {
        retry_timeout: Form::Duration(0, HOUR), ALL, {
            default: "`5m`",
            description: "How long to retry after a temporary failure. It counts for each request or transfer. `0s` never retries.",
        }
        stall_timeout: Form::Duration(1, HOUR), ALL, {
            default: "`60s`",
            description: "How long a transfer may stall before it fails. Less than 1 KiB a second counts as stalled.",
        }
        finish_timeout: Form::Duration(1, HOUR), &[Push, Mirror], {
            default: "`10m`, or `stall_timeout` if that is longer",
            description: "How long a registry may take to store a blob. It counts from the last byte. Then gcr-push asks for the blob, and sends it again.",
        }
        requests_per_minute: Form::Count(1, 1_000_000), ALL, {
            default: "no limit; after a 429, fewer requests go to that registry",
            description: "Limit of requests to each registry. It keeps the run below a quota. If several runners share a quota, give each its part.",
        }
        timeout: Form::Duration(1, 24 * HOUR), ALL, {
            default: "no limit",
            description: "How long the whole run may take. Then it stops and reports what it tagged.",
        }
        ca_certificates: Form::Path, ALL, {
            default: "only those of the system",
            description: "More certificate authorities to trust. The value is PEM text, or a path to it.",
        }
        client_certificate: Form::Path, REGISTRIES, {
            default: "what the `certs.d/HOST[:PORT]` directories of Docker and Podman hold",
            description: "Certificate for registries that ask for one. gcr-push never presents it to Google. The value is PEM text, or a path to it. Needs `client_key`, unless the key is in the same file.",
        }
        client_key: Form::Secret, REGISTRIES, {
            needs: &["client_certificate"],
            description: "Private key of `client_certificate`. It has no passphrase. The value is PEM text, or a path to it.",
        }
        insecure_registries: Form::List("HOST"), REGISTRIES, {
            default: "none; this machine is always allowed",
            description: "Registries that may be used over plain HTTP. An example is `registry.example.com:5000`. Never Google's.",
        }
    }
    Results {
        report_file: Form::Path, &[Push, Mirror, List, Setup, Doctor], {
            default: "none",
            description: "File for the whole report as JSON. An example is `report.json`.",
        }
        digest_file: Form::Path, &[Push], {
            default: "none",
            description: "File for the digest of the pushed image. It holds `sha256:…` without a line break, from the first destination that got the image. An example is `digest.txt`.",
        }
        dotenv_file: Form::Path, &[Push, Mirror], {
            default: "none",
            description: "File for the results as `NAME=value` lines. GitLab reads it by `artifacts:reports:dotenv`: PUSHED_DIGEST, PUSHED_IMAGE, PUSHED_REFERENCE, PUSHED_REFERENCES, PUSHED_BYTES, SKIPPED_BYTES, and after a failure PUSH_FAILED. An example is `push.env`.",
        }
    }
}
