//! OCI image layouts, in a directory or in a tar file: which images there are, and their manifests.
//!
//! <https://github.com/opencontainers/image-spec/blob/main/image-layout.md>

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::{SourceError, list, quoted};
use super::files::{ByteRange, Documents, blob_name};
use super::referrers::subject;
use super::tree::{Tree, attestation_subject, label};
use super::{MAX_DEPTH, names};
use crate::diagnostics::sanitize::sanitize;
use crate::oci::digest::{Digest, other_algorithm};
use crate::oci::json;
use crate::oci::manifest::{AnyManifest, Descriptor, Index, ManifestError, media_type};

/// The reference that stands for `index.json` itself.
const WHOLE: &str = "index.json";

/// The annotations that name an image: in full as containerd writes it, and OCI's.
const NAMES: [&str; 2] = [
    "io.containerd.image.name",
    "org.opencontainers.image.ref.name",
];

/// What `index.json` lists.
#[derive(Debug)]
pub(super) struct Layout {
    bytes: Bytes,
    /// The images, each once, in the order of the file.
    pub(super) images: Vec<IndexEntry>,
    /// The entries by digests of other algorithms than SHA-256.
    others: Vec<Other>,
}

/// An entry of `index.json` whose content cannot be checked.
#[derive(Debug)]
struct Other {
    digest: String,
    names: Vec<String>,
    position: usize,
}

/// An image of a layout.
#[derive(Clone, Debug)]
pub(super) struct IndexEntry {
    /// Its manifest or index.
    pub(super) root: Descriptor,
    /// Its names: full ones as containerd writes them, where there are, else what
    /// `org.opencontainers.image.ref.name` says.
    pub(super) names: Vec<String>,
    /// Everything that can be written to mean it.
    pub(super) aliases: Vec<String>,
    /// Where `index.json` lists it, counted from 0.
    positions: Vec<usize>,
}

/// Whether an image may lack layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layers {
    /// All of them must be there.
    Required,
    /// The registry that it goes to may have them: Buildpacks leaves those of the base image out.
    /// <https://github.com/buildpacks/rfcs/blob/main/text/0119-export-to-oci.md>
    MayBeElsewhere,
}

/// A tree, and where its blobs are.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) tree: Tree,
    pub(super) blobs: HashMap<Digest, ByteRange>,
}

impl Layout {
    /// Reads `oci-layout` and `index.json`; none when the first is not there.
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
        let mut others = Vec::new();
        let mut places: HashMap<Digest, usize> = HashMap::new();
        for (position, entry) in listing.manifests.into_iter().enumerate() {
            let root: Descriptor = match json::from_value(entry.clone()) {
                Ok(root) => root,
                Err(cause) => match Other::of(entry, position) {
                    Some(other) => {
                        others.push(other);
                        continue;
                    }
                    None => return Err(not_understood(documents, "index.json", cause)),
                },
            };
            let annotation = |key: &str| root.annotations.get(key).cloned();
            let [full, short] = NAMES.map(annotation);
            let aliases = full.iter().chain(&short).cloned();
            match places.get(&root.digest) {
                Some(place) => {
                    let listed = &mut images[*place];
                    listed.names.extend(full.clone().or(short.clone()));
                    listed.aliases.extend(aliases);
                    listed.positions.push(position);
                }
                None => {
                    places.insert(root.digest.clone(), images.len());
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
            others,
        }))
    }

    /// The image that `reference` means, or the one that there is.
    ///
    /// Without a reference, images that are named win over those that are not: a layout lists
    /// signatures and other referrers without a name, or under one of theirs. Several manifests without names are several
    /// images, as they are for skopeo and crane, even if their platforms differ; the reference
    /// `index.json` makes one image of them.
    pub(super) fn choose(
        &self,
        documents: &Documents<'_>,
        reference: Option<&str>,
    ) -> Result<IndexEntry, SourceError> {
        if let Some(other) = self.other(reference) {
            return Err(other.error(documents));
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
            Some(wanted) => image.is_meant_by(wanted),
            None => true,
        };
        let mut fitting: Vec<&IndexEntry> = self.images.iter().filter(fits).collect();
        // What is of a type that nobody knows here is no image (`image-layout.md`, "index.json").
        if reference.is_none() && fitting.iter().any(|image| image.root.may_be_manifest()) {
            fitting.retain(|image| image.root.may_be_manifest());
        }
        if fitting.iter().any(|image| !image.is_companion()) {
            fitting.retain(|image| !image.is_companion());
        }
        if reference.is_none() && fitting.iter().any(|image| !image.names.is_empty()) {
            fitting.retain(|image| !image.names.is_empty());
        }
        if fitting.len() > 1 && reference.is_none() {
            let refers = |image: &&IndexEntry| {
                let manifest = self.manifest(documents, image);
                manifest.as_ref().and_then(subject).is_some()
            };
            let images: Vec<_> = fitting.iter().copied().filter(|one| !refers(one)).collect();
            if !images.is_empty() {
                fitting = images;
            }
        }
        match (fitting.as_slice(), reference) {
            ([one], _) => Ok((*one).clone()),
            ([], Some(reference)) => Err(SourceError::NoSuchImage {
                what: documents.what(),
                reference: quoted(reference),
                choices: self.images.iter().map(IndexEntry::choice).collect(),
            }),
            (several, _) => {
                let is_alone = |name: &String| {
                    let meant = several.iter().filter(|image| image.is_meant_by(name));
                    meant.count() == 1
                };
                let choice = |image: &&IndexEntry| match image.names.iter().any(is_alone) {
                    false if !image.names.is_empty() => image.choice_by_digest(),
                    _ => image.choice(),
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

    /// The entry by another algorithm that is meant; that is the first where there is nothing else.
    fn other(&self, reference: Option<&str>) -> Option<&Other> {
        match reference {
            Some(wanted) => self.others.iter().find(|other| other.is_meant_by(wanted)),
            None if self.images.is_empty() => self.others.first(),
            None => None,
        }
    }

    /// `index.json` as an image.
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

    /// The manifest of an image alone; none when it cannot be read.
    pub(super) fn manifest(
        &self,
        documents: &Documents<'_>,
        listed: &IndexEntry,
    ) -> Option<AnyManifest> {
        let bytes = documents.blob(&listed.root).ok()??;
        parse_manifest(documents, &listed.root, bytes).ok()
    }

    /// Reads every manifest of an image, and finds its blobs.
    pub(super) fn load(
        &self,
        documents: &Documents<'_>,
        listed: &IndexEntry,
        layers: Layers,
    ) -> Result<Loaded, SourceError> {
        let root = &listed.root;
        // `index.json` is no blob, and it is the only root that need not be one.
        let bytes = match root.digest == Digest::of(&self.bytes) {
            true => self.bytes.clone(),
            false => documents
                .blob(root)?
                .ok_or_else(|| documents.absent(&blob_name(&root.digest), "`index.json` names"))?,
        };
        let mut loading = Loading {
            documents,
            layers,
            children: HashMap::new(),
            blobs: HashMap::new(),
            absent: Vec::new(),
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
                if !loading.descend(index, 1)? && !loading.absent.is_empty() {
                    return Err(loading.all_absent(index));
                }
            }
        }
        Ok(Loaded {
            tree: Tree {
                root: manifest,
                children: loading.children,
                absent: loading.absent,
                skipped: HashSet::new(),
            },
            blobs: loading.blobs,
        })
    }
}

impl IndexEntry {
    pub(super) fn is_meant_by(&self, wanted: &str) -> bool {
        names::means_digest(wanted, &self.root.digest)
            || source_index(wanted).is_some_and(|index| self.positions.contains(&index))
            || self.aliases.iter().any(|alias| names::means(wanted, alias))
    }

    /// How the image is offered when one has to be chosen.
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

    /// The same where its names do not tell it from another.
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

impl Other {
    /// Reads an entry that is none by SHA-256; `None` where it is none at all.
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

    fn is_meant_by(&self, wanted: &str) -> bool {
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

/// The number in `@NUMBER`, which means an image by its place in the list of all
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
    absent: Vec<Descriptor>,
    /// The digests of `absent`, and of indexes that have nothing but those.
    gone: HashSet<Digest>,
}

impl Loading<'_> {
    /// Reads the children of an index; false when none of them is there.
    fn descend(&mut self, index: &Index, depth: usize) -> Result<bool, SourceError> {
        if depth > MAX_DEPTH {
            return Err(SourceError::TooDeep {
                what: self.documents.what(),
                limit: MAX_DEPTH,
            });
        }
        let mut any = index.manifests.is_empty();
        for child in &index.manifests {
            let there = self.child(child, depth)?;
            // An attestation is nothing without what it is about.
            any |= there && attestation_subject(child).is_none();
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
        let there = match &manifest {
            AnyManifest::Index(index) => self.descend(index, depth + 1)?,
            AnyManifest::Manifest(_) => self.blobs_of(&manifest, false)?.is_none(),
        };
        match (there, &manifest) {
            (true, _) => {
                self.children.insert(child.digest.clone(), manifest);
            }
            // What is absent of it was noted below it.
            (false, AnyManifest::Index(_)) => {
                self.gone.insert(child.digest.clone());
            }
            (false, AnyManifest::Manifest(_)) => self.lose(child),
        }
        Ok(there)
    }

    fn lose(&mut self, child: &Descriptor) {
        self.gone.insert(child.digest.clone());
        self.absent.push(child.clone());
    }

    /// Finds the blobs of a manifest; the first that is missing, if the image is none without it.
    ///
    /// An image that lacks layers has its config all the same. Below an index it has some of its
    /// layers too: one without any is of a platform that was not saved.
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
            match self.documents.place(blob)? {
                Some(place) => drop(found.insert(blob.digest.clone(), place)),
                None => drop(missing.get_or_insert_with(|| blob.digest.clone())),
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

    fn all_absent(&self, index: &Index) -> SourceError {
        let platforms: Vec<String> = self
            .absent
            .iter()
            .filter(|child| attestation_subject(child).is_none())
            .map(label)
            .collect();
        SourceError::AllAbsent {
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

/// Reads a document's JSON.
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
