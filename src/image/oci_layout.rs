//! Reads OCI image layouts from a directory or a tar file: the list of images, and their manifests.
//!
//! <https://github.com/opencontainers/image-spec/blob/main/image-layout.md>

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::{SourceError, list, quoted};
use super::files::{ByteRange, Documents, blob_name};
use super::tree::{Tree, label};
use super::{MAX_DEPTH, names};
use crate::diagnostics::sanitize::sanitize;
use crate::oci::digest::{Digest, other_algorithm};
use crate::oci::json;
use crate::oci::manifest::{AnyManifest, Descriptor, Index, ManifestError, media_type};
use crate::oci::referrers::subject;

/// The reference that selects `index.json` itself.
const WHOLE: &str = "index.json";

/// The annotations that name an image: containerd's, with the full name, and OCI's.
const NAMES: [&str; 2] = [
    "io.containerd.image.name",
    "org.opencontainers.image.ref.name",
];

/// The content of `index.json`.
#[derive(Debug)]
pub(super) struct Layout {
    bytes: Bytes,
    /// The images in the order of the file. Each digest occurs once.
    pub(super) images: Vec<IndexEntry>,
    /// The entries whose digests are of other algorithms than SHA-256.
    unsupported: Vec<UnsupportedEntry>,
}

/// An entry of `index.json` with a digest of another algorithm, whose content cannot be checked.
#[derive(Debug)]
struct UnsupportedEntry {
    digest: String,
    names: Vec<String>,
    position: usize,
}

/// An image of a layout.
#[derive(Clone, Debug)]
pub(super) struct IndexEntry {
    /// The descriptor of its manifest or index.
    pub(super) root: Descriptor,
    /// Its names: the full names that containerd writes, or else the values of
    /// `org.opencontainers.image.ref.name`.
    pub(super) names: Vec<String>,
    /// All references that select it.
    pub(super) aliases: Vec<String>,
    /// Its positions in `index.json`, counted from 0.
    positions: Vec<usize>,
}

/// Whether layers of an image may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layers {
    /// All layers must be in the source.
    Required,
    /// The destination registry may have them. Buildpacks omits the layers of the base image.
    /// <https://github.com/buildpacks/rfcs/blob/main/text/0119-export-to-oci.md>
    MayBeElsewhere,
}

/// A tree of manifests and the location of its blobs.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) tree: Tree,
    pub(super) blobs: HashMap<Digest, ByteRange>,
}

impl Layout {
    /// Reads `oci-layout` and `index.json`. `None` if `oci-layout` does not exist.
    pub(super) fn read(documents: &Documents<'_>) -> Result<Option<Self>, SourceError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Version {
            image_layout_version: String,
        }
        #[derive(Deserialize)]
        struct Listing {
            // Docker 25.0 wrote `null` for an image saved by its ID (moby/moby#47210).
            #[serde(default)]
            manifests: Vec<Value>,
        }

        let Some(bytes) = documents.read("oci-layout")? else {
            return Ok(None);
        };
        let version: Version = parse(documents, "oci-layout", &bytes)?;
        if !version.image_layout_version.starts_with("1.") {
            return Err(SourceError::LayoutVersion {
                what: documents.what(),
                version: quoted(&version.image_layout_version),
            });
        }
        let bytes = documents
            .read("index.json")?
            .ok_or_else(|| documents.absent("index.json", "every OCI layout has"))?;
        let listing: Listing = parse(documents, "index.json", &bytes)?;
        let mut images: Vec<IndexEntry> = Vec::new();
        let mut unsupported = Vec::new();
        let mut indexes: HashMap<Digest, usize> = HashMap::new();
        for (position, entry) in listing.manifests.into_iter().enumerate() {
            let root: Descriptor = match json::from_value(entry.clone()) {
                Ok(root) => root,
                Err(cause) => match UnsupportedEntry::of(entry, position) {
                    Some(unsupported_entry) => {
                        unsupported.push(unsupported_entry);
                        continue;
                    }
                    None => return Err(not_understood(documents, "index.json", cause)),
                },
            };
            let annotation = |key: &str| root.annotations.get(key).cloned();
            let [full, short] = NAMES.map(annotation);
            let aliases = full.iter().chain(&short).cloned();
            match indexes.get(&root.digest) {
                Some(index) => {
                    let listed = &mut images[*index];
                    listed.names.extend(full.clone().or(short.clone()));
                    listed.aliases.extend(aliases);
                    listed.positions.push(position);
                }
                None => {
                    indexes.insert(root.digest.clone(), images.len());
                    images.push(IndexEntry {
                        names: full.clone().or(short.clone()).into_iter().collect(),
                        aliases: aliases.collect(),
                        positions: vec![position],
                        root,
                    });
                }
            }
        }
        Ok(Some(Self {
            bytes,
            images,
            unsupported,
        }))
    }

    /// Selects the image that `reference` names, or the only one.
    ///
    /// Without a reference, images with a name take precedence: a layout lists signatures and other
    /// referrers without a name, or under a tag that only they have. Several manifests without
    /// names are several images, as in skopeo and crane, even if their platforms differ. The
    /// reference `index.json` selects all of them as one image.
    pub(super) fn select(
        &self,
        documents: &Documents<'_>,
        reference: Option<&str>,
    ) -> Result<IndexEntry, SourceError> {
        if let Some(unsupported_entry) = self.unsupported_entry(reference) {
            return Err(unsupported_entry.error(documents));
        }
        if self.images.is_empty() {
            return Err(SourceError::Empty {
                what: documents.what(),
            });
        }
        if reference == Some(WHOLE) {
            return Ok(self.whole());
        }
        let fits = |image: &&IndexEntry| match reference {
            Some(wanted) => image.is_named_by(wanted),
            None => true,
        };
        let mut matching: Vec<&IndexEntry> = self.images.iter().filter(fits).collect();
        // An entry of an unknown media type is not an image (`image-layout.md`, "index.json").
        if reference.is_none() && matching.iter().any(|image| image.root.may_be_manifest()) {
            matching.retain(|image| image.root.may_be_manifest());
        }
        if matching.iter().any(|image| !image.is_referrer()) {
            matching.retain(|image| !image.is_referrer());
        }
        if reference.is_none() && matching.iter().any(|image| !image.names.is_empty()) {
            matching.retain(|image| !image.names.is_empty());
        }
        if matching.len() > 1 && reference.is_none() {
            let refers = |image: &&IndexEntry| {
                let manifest = self.manifest(documents, image);
                manifest.as_ref().and_then(subject).is_some()
            };
            let images: Vec<_> = matching
                .iter()
                .copied()
                .filter(|one| !refers(one))
                .collect();
            if !images.is_empty() {
                matching = images;
            }
        }
        match (matching.as_slice(), reference) {
            ([one], _) => Ok((*one).clone()),
            ([], Some(reference)) => Err(SourceError::NoSuchImage {
                what: documents.what(),
                reference: quoted(reference),
                choices: self.images.iter().map(IndexEntry::choice).collect(),
            }),
            (several, _) => {
                let is_alone = |name: &String| {
                    let named = several.iter().filter(|image| image.is_named_by(name));
                    named.count() == 1
                };
                let choice = |image: &&IndexEntry| {
                    if !image.names.iter().any(is_alone) && !image.names.is_empty() {
                        image.choice_by_digest()
                    } else {
                        image.choice()
                    }
                };
                let mut choices: Vec<String> = several.iter().map(choice).collect();
                if several.iter().all(|image| image.names.is_empty()) {
                    choices.push(format!("`{WHOLE}` (all as one multi-platform image)"));
                }
                Err(SourceError::Ambiguous {
                    what: documents.what(),
                    address: documents.address.clone(),
                    reference: reference.map(quoted),
                    count: several.len(),
                    choices,
                })
            }
        }
    }

    /// Returns the entry of another algorithm that is selected. Without a reference, that is the
    /// first one if there are no other images.
    fn unsupported_entry(&self, reference: Option<&str>) -> Option<&UnsupportedEntry> {
        match reference {
            Some(wanted) => self
                .unsupported
                .iter()
                .find(|unsupported_entry| unsupported_entry.is_named_by(wanted)),
            None if self.images.is_empty() => self.unsupported.first(),
            None => None,
        }
    }

    /// Returns `index.json` itself as an image.
    fn whole(&self) -> IndexEntry {
        IndexEntry {
            root: Descriptor {
                media_type: media_type::OCI_INDEX.to_owned(),
                digest: Digest::of(&self.bytes),
                size: self.bytes.len() as u64,
                urls: Vec::new(),
                platform: None,
                annotations: Default::default(),
            },
            names: Vec::new(),
            aliases: Vec::new(),
            positions: Vec::new(),
        }
    }

    /// Reads only the top manifest of an image. `None` if that fails.
    pub(super) fn manifest(
        &self,
        documents: &Documents<'_>,
        listed: &IndexEntry,
    ) -> Option<AnyManifest> {
        let bytes = documents.blob(&listed.root).ok()??;
        parse_manifest(documents, &listed.root, bytes).ok()
    }

    /// Reads all manifests of an image and locates its blobs.
    pub(super) fn load(
        &self,
        documents: &Documents<'_>,
        listed: &IndexEntry,
        layers: Layers,
    ) -> Result<Loaded, SourceError> {
        let root = &listed.root;
        // `index.json` is not a blob, and no other root may lack its blob.
        let bytes = if root.digest == Digest::of(&self.bytes) {
            self.bytes.clone()
        } else {
            documents
                .blob(root)?
                .ok_or_else(|| documents.absent(&blob_name(&root.digest), "`index.json` names"))?
        };
        let mut loading = Loading {
            documents,
            layers,
            children: HashMap::new(),
            blobs: HashMap::new(),
            missing: Vec::new(),
            gone: HashSet::new(),
        };
        let manifest = parse_manifest(documents, root, bytes)?;
        match &manifest {
            AnyManifest::Manifest(one) => {
                if let Some(missing) = loading.blobs_of(&manifest, true)? {
                    let name = blob_name(&missing);
                    return Err(
                        documents.absent(&name, &format!("the manifest {} names", one.digest))
                    );
                }
            }
            AnyManifest::Index(index) => {
                if !loading.descend(index, 1)? && !loading.missing.is_empty() {
                    return Err(loading.all_missing(index));
                }
            }
        }
        Ok(Loaded {
            tree: Tree {
                root: manifest,
                children: loading.children,
                missing: loading.missing,
                skipped: HashSet::new(),
            },
            blobs: loading.blobs,
        })
    }
}

impl IndexEntry {
    pub(super) fn is_named_by(&self, wanted: &str) -> bool {
        names::means_digest(wanted, &self.root.digest)
            || source_index(wanted).is_some_and(|index| self.positions.contains(&index))
            || self.aliases.iter().any(|alias| names::means(wanted, alias))
    }

    /// How the image is listed in a choice of several.
    pub(super) fn choice(&self) -> String {
        let names = match self.names.as_slice() {
            [] => format!("`{}`", self.root.digest),
            names => names
                .iter()
                .map(|name| quoted(name))
                .collect::<Vec<_>>()
                .join(" or "),
        };
        self.with_platform(names)
    }

    /// The same for an image whose names are ambiguous.
    fn choice_by_digest(&self) -> String {
        self.with_platform(format!("`@{}`", self.root.digest))
    }

    fn with_platform(&self, names: String) -> String {
        match &self.root.platform {
            Some(platform) => format!("{names} ({})", sanitize(&platform.to_string())),
            None => names,
        }
    }
}

impl UnsupportedEntry {
    /// Parses an entry whose digest is not SHA-256. `None` if it is invalid.
    fn of(entry: Value, position: usize) -> Option<Self> {
        #[derive(Deserialize)]
        struct Entry {
            digest: String,
            #[serde(default)]
            annotations: BTreeMap<String, String>,
        }
        let Entry {
            digest,
            annotations,
        } = json::from_value(entry).ok()?;
        other_algorithm(&digest)?;
        Some(Self {
            digest,
            names: NAMES
                .iter()
                .filter_map(|key| annotations.get(*key))
                .cloned()
                .collect(),
            position,
        })
    }

    fn is_named_by(&self, wanted: &str) -> bool {
        wanted.ends_with(&self.digest)
            || source_index(wanted) == Some(self.position)
            || self.names.iter().any(|name| names::means(wanted, name))
    }

    fn error(&self, documents: &Documents<'_>) -> SourceError {
        SourceError::OtherAlgorithm {
            what: documents.what(),
            image: quoted(self.names.first().unwrap_or(&self.digest)),
            algorithm: other_algorithm(&self.digest).unwrap_or_default().to_owned(),
        }
    }
}

/// Returns the number in `@NUMBER`, which selects an image by its position
/// (containers-transports(5), `docker-archive:` and `oci:`).
pub(super) fn source_index(reference: &str) -> Option<usize> {
    let digits = reference.strip_prefix('@')?;
    let is_number = digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

struct Loading<'a> {
    documents: &'a Documents<'a>,
    layers: Layers,
    children: HashMap<Digest, AnyManifest>,
    blobs: HashMap<Digest, ByteRange>,
    missing: Vec<Descriptor>,
    /// The digests in `missing`, and of indexes whose children are all missing.
    gone: HashSet<Digest>,
}

impl Loading<'_> {
    /// Reads the children of an index. False if none of them is in the source.
    fn descend(&mut self, index: &Index, depth: usize) -> Result<bool, SourceError> {
        if depth > MAX_DEPTH {
            return Err(SourceError::TooDeep {
                what: self.documents.what(),
                limit: MAX_DEPTH,
            });
        }
        let mut any = index.manifests.is_empty();
        for child in &index.manifests {
            let is_present = self.child(child, depth)?;
            // An attestation alone is not an image.
            any |= is_present && !child.is_attestation();
        }
        Ok(any)
    }

    fn child(&mut self, child: &Descriptor, depth: usize) -> Result<bool, SourceError> {
        if self.children.contains_key(&child.digest) {
            return Ok(true);
        }
        if self.gone.contains(&child.digest) {
            return Ok(false);
        }
        let Some(bytes) = self.documents.blob(child)? else {
            self.lose(child);
            return Ok(false);
        };
        let manifest = parse_manifest(self.documents, child, bytes)?;
        let is_present = match &manifest {
            AnyManifest::Index(index) => self.descend(index, depth + 1)?,
            AnyManifest::Manifest(_) => self.blobs_of(&manifest, false)?.is_none(),
        };
        if is_present {
            self.children.insert(child.digest.clone(), manifest);
        } else if matches!(manifest, AnyManifest::Index(_)) {
            // Its missing children are already recorded.
            self.gone.insert(child.digest.clone());
        } else {
            self.lose(child);
        }
        Ok(is_present)
    }

    fn lose(&mut self, child: &Descriptor) {
        self.gone.insert(child.digest.clone());
        self.missing.push(child.clone());
    }

    /// Locates the blobs of a manifest. Returns the first missing one if the image is unusable
    /// without it.
    ///
    /// An image may lack layers, but not its config. Below an index it must have at least one
    /// layer: an image without any belongs to a platform that was not saved.
    fn blobs_of(
        &mut self,
        manifest: &AnyManifest,
        is_root: bool,
    ) -> Result<Option<Digest>, SourceError> {
        let AnyManifest::Manifest(manifest) = manifest else {
            return Ok(None);
        };
        let mut found = HashMap::new();
        let mut missing = None;
        for blob in manifest.blobs() {
            match self.documents.blob_range(blob)? {
                Some(range) => {
                    found.insert(blob.digest.clone(), range);
                }
                None => {
                    missing.get_or_insert_with(|| blob.digest.clone());
                }
            }
        }
        let has_config = found.contains_key(&manifest.config.digest);
        let has_layers = is_root || found.len() > 1;
        let may_lack = self.layers == Layers::MayBeElsewhere && has_config && has_layers;
        if missing.is_some() && !may_lack {
            return Ok(missing);
        }
        self.blobs.extend(found);
        Ok(None)
    }

    fn all_missing(&self, index: &Index) -> SourceError {
        let platforms: Vec<String> = self
            .missing
            .iter()
            .filter(|child| !child.is_attestation())
            .map(label)
            .collect();
        SourceError::AllMissing {
            what: self.documents.what(),
            digest: index.digest.clone(),
            platforms: list(&platforms),
        }
    }
}

fn parse_manifest(
    documents: &Documents<'_>,
    descriptor: &Descriptor,
    bytes: Bytes,
) -> Result<AnyManifest, SourceError> {
    AnyManifest::parse(bytes, Some(&descriptor.media_type)).map_err(|cause: ManifestError| {
        SourceError::Manifest {
            what: documents.what(),
            digest: descriptor.digest.clone(),
            cause,
        }
    })
}

/// Parses a JSON document.
pub(super) fn parse<T: DeserializeOwned>(
    documents: &Documents<'_>,
    name: &str,
    bytes: &[u8],
) -> Result<T, SourceError> {
    json::from_slice(bytes).map_err(|cause| not_understood(documents, name, cause))
}

fn not_understood(documents: &Documents<'_>, name: &str, cause: serde_json::Error) -> SourceError {
    SourceError::Json {
        what: documents.what(),
        document: quoted(name),
        cause,
    }
}
