//! From text to a checked request: the only place that knows variables, and the last that parses.

use std::path::PathBuf;
use std::time::Duration;

use crate::auth::docker_config::DockerConfig;
use crate::auth::google::ServiceAccountKey;
use crate::network::Network;
use crate::reference::{Endpoint, Parts, Reference};
use crate::secret::Secret;

/// What the process was asked to do, complete and free of contradictions: nothing is left to
/// parse, and nothing below reads the environment.
#[derive(Debug)]
pub struct Request {
    /// The command word.
    pub command: Command,
    /// The source, where the command reads one.
    pub image: Option<ImageSource>,
    /// Where the image goes.
    pub destinations: Destinations,
    /// How to sign in to Google's hosts; none when nothing was given.
    pub google: Option<GoogleCredential>,
    /// Logins for registries that are not Google's.
    pub docker_config: Option<DockerConfig>,
    /// Proxies, trusted roots, plain-HTTP hosts and time-outs, for every connection.
    pub network: Network,
    /// How uncompressed layers are compressed.
    pub compression: Compression,
    /// How the result is checked.
    pub verify: Verify,
    /// The pull secret, when one is asked for.
    pub pull_secret: Option<PullSecretRequest>,
    /// Blobs in flight at once.
    pub concurrency: usize,
    /// The CI that runs us, as far as it changes what may be printed where.
    pub ci: Option<Ci>,
}

/// The one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Push one image.
    Push,
    /// List a project's images or an image's tags.
    List,
    /// Write the pull secret.
    PullSecret,
}

/// Where an image is read from, in the words of containers-transports(5).
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
}

/// The one way to sign in to Google that was chosen.
#[derive(Clone, Debug)]
pub enum GoogleCredential {
    /// A service-account key, which buys short-lived tokens.
    Key(ServiceAccountKey),
    /// A ready OAuth access token.
    AccessToken(Secret),
}

/// What is done to layers that the source holds uncompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// gzip, the default; the level is libdeflate's, 1 to 12.
    Gzip(u8),
    /// Left as they are.
    None,
}

/// How the result is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// By digest, by tag and by the registry's own listing.
    Listing,
    /// Not at all.
    Off,
}

/// The pull secret as it was asked for.
#[derive(Clone, Debug)]
pub struct PullSecretRequest {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`; several make several documents, none leaves it out.
    pub namespaces: Vec<String>,
    /// The key that goes into it: the reader's, or, where that was allowed, the pushing one.
    pub credential: ServiceAccountKey,
    /// True when `credential` is the pushing key, which is worth a warning.
    pub is_push_key: bool,
    /// The file to write; none is standard output, which a CI never gets.
    pub file: Option<PathBuf>,
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
    use super::Duration;

    /// Blobs in flight at once.
    pub const CONCURRENCY: usize = 8;
    /// How long a connection may take to be made.
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
    /// How long a body may stand still.
    pub const STALL_TIMEOUT: Duration = Duration::from_secs(60);
    /// libdeflate's level for gzip.
    pub const GZIP_LEVEL: u8 = 6;
}
