//! The errors of reading an image.

mod hints;

use std::fmt;
use std::io;
use std::path::Path;

use super::docker_engine::EngineError;
use super::file_kind::FileKind;
use crate::diagnostics::sanitize::sanitize;
use crate::diagnostics::userinfo::without_login;
use crate::oci::digest::Digest;
use crate::oci::manifest::ManifestError;
use crate::registry::RegistryError;

/// Why an image cannot be read from its source.
///
/// `what` is the source as messages show it: its path in backticks, or `standard input`. All text
/// from an archive is sanitized before it is stored here.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum SourceError {
    /// The path does not exist. `similar` lists files next to it that look like archives.
    #[error("there is no file or directory {what}")]
    Missing { what: String, similar: Vec<String> },
    /// The operating system refused to open or read it.
    #[error("cannot read {what}")]
    Read {
        what: String,
        #[source]
        cause: io::Error,
    },
    /// A file that is not an archive, or an archive that is not an image.
    #[error("{what} is not an image archive: it {kind}")]
    NotImage { what: String, kind: FileKind },
    /// A directory that is not an OCI layout.
    #[error("{what} is not an OCI layout: it has no `oci-layout`")]
    NotLayout { what: String, advice: String },
    /// The path is not of the kind that the transport in `image` reads.
    #[error("{what} is {found}, but `{transport}` requires {expected}")]
    WrongKind {
        what: String,
        transport: &'static str,
        found: &'static str,
        expected: &'static str,
        instead: String,
    },
    /// The end of the archive is missing.
    #[error("{what} is cut off: at least {missing} bytes are missing, of {at}")]
    Cut {
        what: String,
        missing: u64,
        at: String,
    },
    /// The structure of the archive is invalid.
    #[error("{what} is damaged at byte {position}: {why}")]
    Damaged {
        what: String,
        position: u64,
        why: &'static str,
    },
    /// A name or a link points outside of the archive, or a document that identifies the image
    /// occurs twice.
    #[error("{what} is refused: {why}")]
    Hostile { what: String, why: String },
    /// A link points outside of a layout directory.
    #[error("{what} is refused: its {name} is a link out of it, to {target}")]
    Outside {
        what: String,
        name: String,
        target: String,
    },
    /// A pipe, a device or a directory in place of a file.
    #[error("{name} of {what} is not a regular file")]
    NotRegular { what: String, name: String },
    /// A sparse member, which cannot be read in place.
    #[error("{what} has the sparse member {member}, which cannot be read in place")]
    Sparse { what: String, member: String },
    /// The archive has too many members to be an image.
    #[error("{what} has more than {limit}, which no image archive has")]
    TooManyMembers { what: String, limit: String },
    /// A document is larger than allowed.
    #[error("{document} of {what} has {size} bytes, more than the limit of {limit}")]
    TooLarge {
        what: String,
        document: String,
        size: u64,
        limit: u64,
    },
    /// A document is not the expected JSON.
    #[error("could not parse {document} of {what}")]
    Json {
        what: String,
        document: String,
        #[source]
        cause: serde_json::Error,
    },
    /// The version of the layout is not supported.
    #[error("{what} is an OCI layout of version {version}, and only 1.0.0 is supported")]
    LayoutVersion { what: String, version: String },
    /// A manifest that cannot be pushed.
    #[error("cannot push the manifest {digest} of {what}")]
    Manifest {
        what: String,
        digest: Digest,
        #[source]
        cause: ManifestError,
    },
    /// A file or blob that is named but does not exist.
    #[error("{what} does not contain {name}, which {needed_by}")]
    Absent {
        what: String,
        name: String,
        needed_by: String,
        is_directory: bool,
    },
    /// None of the platforms of an index is in the source.
    #[error("{what} contains none of the platforms of its index {digest}: {platforms}")]
    AllMissing {
        what: String,
        digest: Digest,
        platforms: String,
    },
    /// Indexes are nested too deep.
    #[error("{what} has indexes nested more than {limit} deep")]
    TooDeep { what: String, limit: usize },
    /// The size of a blob or the digest of a document differs from its descriptor.
    #[error("{blob} of {what} is damaged: {why}")]
    WrongContent {
        what: String,
        blob: String,
        why: String,
        is_directory: bool,
    },
    /// The config and the layers do not belong together.
    #[error(
        "{what} names {} for an image whose config has {}",
        count(*layers, "layer"),
        count(*diff_ids, "diff ID")
    )]
    LayerCount {
        what: String,
        layers: usize,
        diff_ids: usize,
    },
    /// The compression of a layer is not one that registries accept.
    #[error(
        "the layer {layer} of {what} is compressed with {format}, which is not allowed in an image"
    )]
    LayerCompression {
        what: String,
        layer: String,
        format: &'static str,
    },
    /// There are several images, and `image` does not select one.
    #[error("{what} contains {count} images{}, and `image` does not say which", under_reference(.reference.as_deref()))]
    Ambiguous {
        what: String,
        address: String,
        /// The reference in `image`, in backticks.
        reference: Option<String>,
        count: usize,
        /// How to refer to each of them, and other values that are possible.
        choices: Vec<String>,
    },
    /// The image is named by a digest of an algorithm that is not supported.
    #[error(
        "{what} uses {algorithm} for the digest of its image {image}, and only sha256 is supported"
    )]
    OtherAlgorithm {
        what: String,
        image: String,
        algorithm: String,
    },
    /// There is no image of that name.
    #[error("{what} does not contain the image {reference}")]
    NoSuchImage {
        what: String,
        reference: String,
        choices: Vec<String>,
    },
    /// There is no image at all.
    #[error("{what} does not list an image")]
    Empty { what: String },
    /// A copy could not be written. It stopped after `written` bytes.
    #[error("cannot copy {what} to {directory}, after {written} bytes")]
    Spool {
        what: String,
        directory: String,
        written: u64,
        #[source]
        cause: io::Error,
    },
    /// A compressed archive ends early, is damaged, or needs too much memory.
    #[error("cannot decompress {what}: its {format} stream {fault}")]
    Unpack {
        what: String,
        format: &'static str,
        fault: Fault,
        #[source]
        cause: io::Error,
    },
    /// The registry has no such image.
    #[error("there is no image {what}")]
    NoImage { what: String },
    /// More manifests refer to the image than is plausible.
    #[error("more than {limit} manifests refer to {what}")]
    TooManyReferrers { what: String, limit: usize },
    /// Referrers were requested of a source that cannot hold any.
    #[error("{what} contains nothing that refers to an image, because Docker does not save it")]
    ReferrersUnsupported { what: String },
    /// The registry did not return it.
    #[error("could not read {what}")]
    Registry {
        what: String,
        #[source]
        cause: Box<RegistryError>,
    },
    /// The Docker engine did not export it.
    #[error(transparent)]
    Engine(EngineError),
    /// The opened image has no such blob.
    #[error("{what} has no blob {digest}, or less than {offset} bytes of it")]
    NoBlob {
        what: String,
        digest: Digest,
        offset: u64,
    },
}

/// What is wrong with a compressed stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The stream ends early.
    Cut,
    /// The stream is invalid.
    Damaged,
    /// Decompressing needs more memory than is allowed.
    Memory,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Cut => "is cut off",
            Self::Damaged => "is damaged",
            Self::Memory => "needs more than 128 MiB of memory",
        })
    }
}

fn under_reference(reference: Option<&str>) -> String {
    reference.map_or(String::new(), |name| format!(" under {name}"))
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

impl SourceError {
    pub(crate) fn read(what: &str, cause: io::Error) -> Self {
        Self::Read {
            what: what.to_owned(),
            cause,
        }
    }
}

/// The maximum number of entries in a list. An archive with hundreds of images would fill the log.
const MAX_LISTED: usize = 20;

/// Joins the first entries of a list, and adds how many more there are.
pub(super) fn list(choices: &[String]) -> String {
    let mut text = choices
        .iter()
        .take(MAX_LISTED)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    if choices.len() > MAX_LISTED {
        text.push_str(&format!(" and {} more", choices.len() - MAX_LISTED));
    }
    text
}

/// Quotes text from an archive in backticks, sanitized and shortened.
pub(super) fn quoted(text: &str) -> String {
    const MAX_LENGTH: usize = 200;
    let safe = sanitize(&without_login(text));
    match safe.char_indices().nth(MAX_LENGTH) {
        Some((end, _)) => format!("`{}…`", &safe[..end]),
        None => format!("`{safe}`"),
    }
}

/// Formats a path for messages.
pub(super) fn display_path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}
