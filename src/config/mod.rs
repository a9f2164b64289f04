//! From text to a checked request: the only place that knows variables, and the last that parses.

mod ambient;
mod console;
mod credentials;
mod daemon;
mod document;
mod event;
pub(crate) mod fault;
mod forges;
mod image;
mod inputs;
mod keyless;
mod kubernetes;
mod logins;
mod mirror;
pub(crate) mod nearest;
mod network;
mod parse;
mod paths;
mod pull_secret;
mod setup;
mod targets;
#[cfg(test)]
mod tests;
pub(crate) mod values;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::auth::SignIn;
use crate::auth::google::ServiceAccountKey;
use crate::compress::Method;
use crate::kubernetes::Access;
use crate::manifest::Platform;
use crate::mirror::MirrorRequest;
use crate::network::Network;
use crate::reference::{Endpoint, Parts, Reference, ReferenceError};

pub use console::{Console, console};
pub use daemon::{DaemonImage, EngineAddress};
pub use fault::ConfigError;
pub use forges::{Forge, ForgeIds, ForgeKind};
pub use inputs::{Group, VARIABLES, Variable};
pub use parse::request;
pub use paths::{Disk, Files};
pub(crate) use setup::account_host;
pub use setup::{Backend, Role, SetupAction, SetupRegistry, SetupRequest};

/// What the process was asked to do, complete and free of contradictions: nothing is left to
/// parse, and nothing below reads the environment.
#[derive(Debug)]
pub struct Request {
    /// The command word.
    pub command: Command,
    /// The source, where the command reads one.
    pub image: Option<ImageOrigin>,
    /// Where the image goes.
    pub destinations: Destinations,
    /// What `mirror` brings; none for the other commands.
    pub mirror: Option<MirrorRequest>,
    /// All that may be signed in with.
    pub sign_in: SignIn,
    /// What is done where a Google host has no credential at all.
    pub missing_credentials: MissingCredentials,
    /// Proxies, trusted roots, plain-HTTP hosts and time-outs, for every connection.
    pub network: Network,
    /// How long the whole run may take; none is as long as it needs.
    pub timeout: Option<Duration>,
    /// Which platforms of an index are pushed.
    pub platforms: Platforms,
    /// What is done to BuildKit's attestations, where it is said.
    pub attestations: Option<Attestations>,
    /// Whether what refers to the image goes along with it.
    pub referrers: bool,
    /// Whether it is only told what would be done.
    pub dry_run: bool,
    /// What is done to a tag that is there with another digest.
    pub existing_tag: ExistingTag,
    /// How uncompressed layers are compressed.
    pub compression: Compression,
    /// Whether layers are taken over by their diff IDs from the destination's earlier images.
    pub layer_reuse: bool,
    /// How the result is checked.
    pub verify: Verify,
    /// What `list` shows; empty for the other commands.
    pub listings: Vec<Listing>,
    /// Whether `list` shows all that is below as well.
    pub list_recursive: bool,
    /// What `list` prints.
    pub list_format: ListFormat,
    /// The pull secret, when one is asked for.
    pub pull_secret: Option<PullSecretRequest>,
    /// The Google side, where the command is `setup`.
    pub setup: Option<SetupRequest>,
    /// Blobs in flight at once.
    pub concurrency: Concurrency,
    /// Where the report goes as JSON.
    pub report_file: Option<PathBuf>,
    /// Where the digest of the first destination goes.
    pub digest_file: Option<PathBuf>,
    /// Where the results go as `NAME=value` lines, for GitLab's dotenv reports.
    pub dotenv_file: Option<PathBuf>,
    /// GitHub's file for the step's outputs.
    pub github_output: Option<PathBuf>,
    /// Cloud Build's file for the step's results.
    pub builder_output: Option<PathBuf>,
    /// In the container of a GitHub action, what its runner calls the temporary directory that it
    /// shares with us.
    pub temporary_directory_on_host: Option<PathBuf>,
    /// Where what has to be spooled is spooled.
    pub temporary_directory: PathBuf,
    /// How the process talks, and to whom.
    pub console: Console,
    /// The CI that runs us, as far as it changes what may be printed where.
    pub ci: Option<Ci>,
}

/// The one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Push one image.
    Push,
    /// Push many images, by a file.
    Mirror,
    /// List a project's images or an image's tags.
    List,
    /// Write the pull secret.
    PullSecret,
    /// Set up the Google side.
    Setup,
    /// Check all that can be checked before a push.
    Doctor,
}

impl Command {
    /// Every command, in the order of `--help`.
    pub const ALL: [Self; 6] = [
        Self::Push,
        Self::Mirror,
        Self::List,
        Self::PullSecret,
        Self::Setup,
        Self::Doctor,
    ];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Mirror => "mirror",
            Self::List => "list",
            Self::PullSecret => "pull-secret",
            Self::Setup => "setup",
            Self::Doctor => "doctor",
        }
    }

    /// What it does, for `--help`.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Push => {
                "push one image to one or many destinations, check it, and write the pull secret \
                 if asked (the default)"
            }
            Self::Mirror => {
                "bring many images from other registries, by the file `gcr-push.yaml`; what is there \
                 already costs a question or two"
            }
            Self::List => {
                "list the images of a project, or with `name` the tags of an image, newest first, \
                 with size, time and platforms"
            }
            Self::PullSecret => {
                "write or apply the Kubernetes Secret that lets a cluster pull, and push nothing"
            }
            Self::Setup => {
                "show what the Google side lacks: APIs, repository, accounts, roles; with `setup_apply` \
                 make it, with `setup_remove` take it away"
            }
            Self::Doctor => {
                "check all that can be checked before a push, and tell how to mend what is wrong"
            }
        }
    }
}

/// A word that is no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownCommand;

impl FromStr for Command {
    type Err = UnknownCommand;

    fn from_str(word: &str) -> Result<Self, UnknownCommand> {
        Self::ALL
            .into_iter()
            .find(|command| command.word() == word)
            .ok_or(UnknownCommand)
    }
}

/// Where an image is read from, in the words of containers-transports(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageOrigin {
    /// This machine.
    Local(ImageSource),
    /// `docker://REF`, or a bare reference: what a registry holds.
    Registry(Reference),
}

/// What this machine holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageSource {
    /// `docker-archive:PATH[:REF]`: what `docker save` writes.
    DockerArchive(PathBuf, Option<String>),
    /// `oci-archive:PATH[:REF]`: an OCI layout in a tar file.
    OciArchive(PathBuf, Option<String>),
    /// `oci:DIR[:REF]`: an OCI image layout.
    OciLayout(PathBuf, Option<String>),
    /// A bare path, told apart by content.
    Path(PathBuf),
    /// `-`, `docker-archive:-[:REF]` or `oci-archive:-[:REF]`: an archive on standard input. A file
    /// of that name is `./-`.
    StandardInput(ArchiveKind, Option<String>),
    /// `docker-daemon:REF`: what a Docker engine holds.
    DockerDaemon(DaemonImage),
}

/// What `image` says that an archive is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveKind {
    /// What `docker save` writes.
    Docker,
    /// An OCI layout in a tar file.
    Oci,
    /// Nothing; its content tells.
    Any,
}

/// Where an image goes: full references, and short tags under each endpoint's repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destinations {
    /// Items of `tags` that are full references.
    pub references: Vec<Reference>,
    /// Items of `tags` without `/`; empty means the source's own tags, else `latest`.
    pub tags: Vec<String>,
    /// The hosts that short tags go to.
    pub endpoints: Vec<Endpoint>,
    /// `project_id`, `repository` and `name`, with the defaults that `config` can know; a missing
    /// `name` is the source's.
    pub parts: Parts,
    /// Those whose failure fails nothing.
    pub best_effort: BestEffort,
    /// True when `parts.project` was not given but found: in the key, or in a variable of Google's.
    pub project_is_default: bool,
}

impl Destinations {
    /// Where an image named `name` lives at `endpoint`; without a `name`, the one that was given.
    ///
    /// A project that was only found, not given, is Google's business: elsewhere it is no part of
    /// the path.
    ///
    /// # Errors
    ///
    /// Names the part that is missing, or the name that no registry takes.
    pub fn at(&self, endpoint: &Endpoint, name: Option<&str>) -> Result<Reference, ReferenceError> {
        let mut parts = self.parts.clone();
        if self.project_is_default && !endpoint.is_google() {
            parts.project = None;
        }
        if parts.name.is_none() {
            parts.name = name.map(str::to_owned);
        }
        parts.at(endpoint)
    }

    /// The registries that have to be reached: all but those whose failure fails nothing, unless
    /// there are no others.
    pub fn required(&self) -> Vec<Endpoint> {
        let BestEffort { hosts, references } = &self.best_effort;
        let is_extra = |host: &Endpoint| {
            hosts.contains(host) || references.iter().any(|one| one.endpoint == *host)
        };
        let all = self.hosts();
        if all.iter().all(is_extra) {
            return all;
        }
        all.into_iter().filter(|host| !is_extra(host)).collect()
    }

    /// Every registry that is a destination, once, in the order in which they were given.
    pub fn hosts(&self) -> Vec<Endpoint> {
        let mut hosts: Vec<Endpoint> = Vec::new();
        let references = self.references.iter().map(|reference| &reference.endpoint);
        for host in references.chain(&self.endpoints) {
            if !hosts.contains(host) {
                hosts.push(host.clone());
            }
        }
        hosts
    }
}

/// The destinations that nobody waits for, and whose failure fails nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BestEffort {
    /// Every destination on these hosts.
    pub hosts: Vec<Endpoint>,
    /// These repositories; with a tag, those that get no other.
    pub references: Vec<Reference>,
}

/// What is done to the attestations that BuildKit adds to an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attestations {
    /// They go with their images.
    Keep,
    /// They are left out, which makes another index, or of an index of one image that image.
    Strip,
}

/// What is done to a tag that is there with another digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExistingTag {
    /// It is moved to the image.
    #[default]
    Overwrite,
    /// It stays where it is.
    Keep,
    /// The push to that destination fails before anything is sent.
    Fail,
}

/// One thing that `list` shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listing {
    /// The images below `path`: a project on `gcr.io`, project and repository on `pkg.dev` or the
    /// project alone, and elsewhere any path or none.
    Images {
        /// The registry.
        endpoint: Endpoint,
        /// The path.
        path: String,
    },
    /// The tags of one image.
    Tags(Reference),
}

impl Listing {
    /// The registry that is asked.
    pub fn endpoint(&self) -> &Endpoint {
        match self {
            Self::Images { endpoint, .. } => endpoint,
            Self::Tags(reference) => &reference.endpoint,
        }
    }

    /// What is listed there.
    pub fn path(&self) -> &str {
        match self {
            Self::Images { path, .. } => path,
            Self::Tags(reference) => &reference.repository,
        }
    }
}

/// What `list` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListFormat {
    /// A table for people.
    #[default]
    Table,
    /// A JSON array.
    Json,
}

/// What is done where a Google host has no credential at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissingCredentials {
    /// The run fails.
    #[default]
    Fail,
    /// The image is checked, nothing is pushed, and the run succeeds.
    Skip,
}

/// What is done to layers that the source holds uncompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// They are compressed.
    With(Method),
    /// They are left as they are.
    None,
}

/// Which platforms of an index are pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Platforms {
    /// All that are there.
    All,
    /// Those that are named.
    Only(Vec<Platform>),
}

/// How many blobs are in flight at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// Of those that take as long as their bytes take.
    pub large: usize,
    /// Of all together. A small blob takes as long as the registry needs to answer, whatever else
    /// is under way.
    pub all: usize,
}

/// How the result is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// By digest, by tag and by the registry's own listing.
    Listing,
    /// Likewise, and every blob is read back.
    Blobs,
    /// Not at all.
    Off,
}

/// The pull secret as it was asked for.
#[derive(Clone, Debug)]
pub struct PullSecretRequest {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`; several make several Secrets, none leaves it out.
    pub namespaces: Vec<String>,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// What signs in to Google's hosts; none when no destination is Google's.
    pub credential: Option<PullCredential>,
    /// Whether a login that can push may go into it.
    pub allow_push_key: bool,
    /// Where it is written; none when it is only applied.
    pub output: Option<PullSecretOutput>,
    /// How it is written.
    pub form: PullSecretForm,
    /// The cluster that it goes to, and how.
    pub apply: Option<ApplyRequest>,
}

impl PullSecretRequest {
    /// The file that it is written to.
    pub fn file(&self) -> Option<&PathBuf> {
        match &self.output {
            Some(PullSecretOutput::File(file)) => Some(file),
            Some(PullSecretOutput::Stdout) | None => None,
        }
    }
}

/// What a pull secret signs in to Google's registries with.
#[derive(Clone, Debug)]
pub enum PullCredential {
    /// A key, which works until it is deleted.
    Key {
        /// The key.
        key: ServiceAccountKey,
        /// True when it is a key of the account that pushes, which is worth a warning.
        pushes: bool,
    },
    /// A token of the run's own sign-in, which has no key: it works for an hour at most.
    Token,
}

/// Where a pull secret is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PullSecretOutput {
    /// A file, for its owner alone.
    File(PathBuf),
    /// Standard output, which is asked for by `-` and which no CI gets.
    Stdout,
}

/// How a pull secret is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullSecretForm {
    /// A Secret as YAML.
    Yaml,
    /// A Secret as JSON.
    Json,
    /// The login file in the Secret alone.
    DockerConfigJson,
}

/// How a pull secret goes into a cluster.
#[derive(Clone, Debug)]
pub struct ApplyRequest {
    /// Which cluster, and how to sign in to it.
    pub access: Access,
    /// The service accounts whose pods are to pull with it.
    pub service_accounts: Vec<String>,
    /// Whether a namespace that is missing is made.
    pub create_namespace: bool,
    /// Whether what others wrote into a Secret of that name is taken over.
    pub replace: bool,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Plain,
    /// Lines for people, and what GitHub's runner makes annotations and groups of.
    GitHub,
    /// Lines for people, and what GitLab makes sections of.
    GitLab,
    /// A JSON object a line.
    Json,
}

/// A CI whose log keeps what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ci {
    /// GitHub Actions, in a container action or a job.
    GitHub,
    /// GitLab CI.
    GitLab,
    /// Any other that sets `CI`.
    Other,
}

/// The bounds that hold when nothing is said.
pub mod defaults {
    use super::{Concurrency, Duration};

    /// Blobs in flight at once.
    pub const CONCURRENCY: Concurrency = Concurrency { large: 8, all: 24 };
    /// The registry that short tags go to.
    pub const REGISTRY: &str = "gcr.io";
    /// How long a connection may take to be made.
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
    /// How long a body may stand still.
    pub const STALL_TIMEOUT: Duration = Duration::from_secs(60);
    /// How long what failed for now is tried again: some times the minute that Google counts a
    /// quota over.
    pub const RETRY_TIMEOUT: Duration = Duration::from_secs(5 * 60);
    /// libdeflate's level for gzip: the fastest that sends no more than skopeo does (measured with
    /// `benches/peers`: level 1 sends 103 %, level 2 98.5 %, level 6 94 % at twice the time).
    pub const GZIP_LEVEL: u8 = 2;
    /// zstd's own default.
    pub const ZSTD_LEVEL: u8 = 3;
}
