//! Why an image cannot be read.

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
/// `what` is the source as messages call it: its path in backticks, or `standard input`. All text
/// that came out of an archive is made harmless before it gets here.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum SourceError {
    /// The path does not exist; `similar` are files near it that look like archives.
    #[error("there is no file or directory {what}")]
    Missing { what: String, similar: Vec<String> },
    /// The operating system would not let us read.
    #[error("cannot read {what}")]
    Read {
        what: String,
        #[source]
        cause: io::Error,
    },
    /// A file that is no archive, or an archive that is no image.
    #[error("{what} is no image archive: it {looks}")]
    NotImage { what: String, looks: FileKind },
    /// A directory that is no layout.
    #[error("{what} is no OCI layout: it has no `{lacks}`")]
    NotLayout {
        what: String,
        lacks: &'static str,
        advice: Option<String>,
    },
    /// Something of another kind than `image` says.
    #[error("{what} is {found}, but `{transport}` takes {expected}")]
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
    /// The archive's structure cannot be followed.
    #[error("{what} is damaged at byte {position}: {why}")]
    Damaged {
        what: String,
        position: u64,
        why: &'static str,
    },
    /// A member's name leads elsewhere.
    #[error("{what} is refused, it holds the member {member}: {why}")]
    Hostile {
        what: String,
        member: String,
        why: &'static str,
    },
    /// A link leads elsewhere.
    #[error("{what} is refused: its {member} is a link to {target}")]
    HostileLink {
        what: String,
        member: String,
        target: String,
    },
    /// A link out of a layout directory.
    #[error("{what} is refused: its {name} is a link out of it, to {target}")]
    Outside {
        what: String,
        name: String,
        target: String,
    },
    /// A pipe, a device or a directory where a file should be.
    #[error("{name} of {what} is no regular file")]
    NotRegular { what: String, name: String },
    /// A document that says which image this is is there twice.
    #[error("{what} is refused: it holds `{member}` twice, and readers disagree on which counts")]
    Repeated { what: String, member: String },
    /// Sparse members cannot be read in place.
    #[error("{what} has the sparse member {member}, which cannot be read in place")]
    Sparse { what: String, member: String },
    /// Not an image, and not worth the memory.
    #[error("{what} has more than {limit}, which no image archive has")]
    TooManyMembers { what: String, limit: String },
    /// A document past the bounds.
    #[error("{document} of {what} has {size} bytes, more than the {limit} that are read")]
    TooLarge {
        what: String,
        document: String,
        size: u64,
        limit: u64,
    },
    /// A document that is not the JSON it should be.
    #[error("cannot understand {document} of {what}")]
    Json {
        what: String,
        document: String,
        #[source]
        cause: serde_json::Error,
    },
    /// A layout of a version that does not exist yet.
    #[error("{what} is an OCI layout of version {version}, and only 1.0.0 is known")]
    LayoutVersion { what: String, version: String },
    /// A manifest that cannot be pushed.
    #[error("cannot push the manifest {digest} of {what}")]
    Manifest {
        what: String,
        digest: Digest,
        #[source]
        cause: ManifestError,
    },
    /// Something that is named and is not there.
    #[error("{what} does not hold {name}, which {needed_by}")]
    Absent {
        what: String,
        name: String,
        needed_by: String,
        is_directory: bool,
    },
    /// An index of platforms none of which is there.
    #[error("{what} holds none of the platforms of its index {digest}: {platforms}")]
    AllAbsent {
        what: String,
        digest: Digest,
        platforms: String,
    },
    /// Indexes that name indexes without end.
    #[error("{what} has indexes nested more than {limit} deep")]
    TooDeep { what: String, limit: usize },
    /// A blob that is longer or shorter than was promised.
    #[error("{blob} of {what} is damaged: it has {actual} bytes and should have {promised}")]
    WrongSize {
        what: String,
        blob: String,
        promised: u64,
        actual: u64,
        is_directory: bool,
    },
    /// A document that is not what its digest says.
    #[error("{blob} of {what} is damaged: its digest is {actual} and should be {promised}")]
    WrongDigest {
        what: String,
        blob: String,
        promised: Digest,
        actual: Digest,
        is_directory: bool,
    },
    /// A config and layers that do not belong together.
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
    /// A layer in a form that no registry takes.
    #[error("the layer {layer} of {what} is compressed with {form}, which images cannot have")]
    LayerForm {
        what: String,
        layer: String,
        form: &'static str,
    },
    /// Several images, and nothing says which.
    #[error("{what} holds {count} images{}, and `image` does not say which", under(.reference.as_deref()))]
    Ambiguous {
        what: String,
        address: String,
        /// What `image` does say, in backticks.
        reference: Option<String>,
        count: usize,
        /// How each of them is written, and what else may be.
        choices: Vec<String>,
    },
    /// An image that is named by a digest that cannot be checked here.
    #[error("{what} names its image {image} by {algorithm}, and only sha256 is understood")]
    OtherAlgorithm {
        what: String,
        image: String,
        algorithm: String,
    },
    /// No image of that name.
    #[error("{what} holds no image {reference}")]
    NoSuchImage {
        what: String,
        reference: String,
        choices: Vec<String>,
    },
    /// No image at all.
    #[error("{what} lists no image")]
    Empty { what: String },
    /// A copy that could not be written, after so many bytes.
    #[error("cannot copy {what} to {directory}, after {written} bytes")]
    Spool {
        what: String,
        directory: String,
        written: u64,
        #[source]
        cause: io::Error,
    },
    /// A compressed archive that ends early, is damaged, or asks for too much.
    #[error("cannot decompress {what}: its {form} stream {fault}")]
    Unpack {
        what: String,
        form: &'static str,
        fault: Fault,
        #[source]
        cause: io::Error,
    },
    /// A registry has no such image.
    #[error("there is no image {what}")]
    NoImage { what: String },
    /// More things refer to it than anybody attaches to an image.
    #[error("more than {limit} manifests refer to {what}")]
    TooManyCompanions { what: String, limit: usize },
    /// What refers to an image is asked of what keeps no such thing.
    #[error("{what} holds nothing that refers to an image, as nothing that Docker saves does")]
    NoCompanions { what: String },
    /// A registry does not hand it out.
    #[error("could not read {what}")]
    Registry {
        what: String,
        #[source]
        cause: Box<RegistryError>,
    },
    /// A Docker engine does not hand it out.
    #[error(transparent)]
    Engine(EngineError),
    /// A blob that the opened image does not have.
    #[error("{what} has no blob {digest}, or not {offset} bytes of it")]
    NoBlob {
        what: String,
        digest: Digest,
        offset: u64,
    },
}

/// What is wrong with a compressed stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It ends early.
    Cut,
    /// It cannot be followed.
    Damaged,
    /// It was made to be decompressed with more memory than it gets.
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

fn under(reference: Option<&str>) -> String {
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

/// How many of a kind are listed; an archive with hundreds of images would fill the log.
const MAX_LISTED: usize = 20;

/// Some of many, with how many more there are.
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

/// Text from an archive in backticks, made harmless and of bounded length.
pub(super) fn quoted(text: &str) -> String {
    const MOST: usize = 200;
    let safe = sanitize(&without_login(text));
    match safe.char_indices().nth(MOST) {
        Some((end, _)) => format!("`{}…`", &safe[..end]),
        None => format!("`{safe}`"),
    }
}

/// A path as messages show it.
pub(super) fn shown(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}
