//! Reads the archives that `docker save` and similar tools write: a tar file whose `manifest.json`
//! lists configs and layers. Since Docker 25 it contains an OCI layout as well.
//!
//! `manifest.json` was never specified. The reference is moby's `image/tarexport/save.go`, and
//! since Docker 29 containerd's `images/archive/exporter.go`.

use std::collections::HashMap;

use serde::Deserialize;

use super::error::{SourceError, quoted};
use super::file_kind::CompressionFormat;
use super::files::{ByteRange, Documents};
use super::names;
use super::oci_layout::{IndexEntry, Layers, Layout, Loaded, parse, source_index};
use super::{Content, Image, LayerFormat, Opened, UncompressedImage, UncompressedLayer};
use crate::oci::digest::Digest;
use crate::oci::manifest::{AnyManifest, Descriptor, Manifest};

/// An entry of `manifest.json`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    /// `null` if the image was saved by its ID.
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
    /// The descriptors of layers, by diff ID. moby writes those of foreign layers.
    layer_sources: Option<HashMap<Digest, Descriptor>>,
}

/// An image that may be selected, with its entries in `manifest.json` and in the layout.
struct Candidate {
    names: Vec<String>,
    /// Its positions in `manifest.json`, counted from 0.
    positions: Vec<usize>,
    entry: Option<Entry>,
    layout: Option<LayoutImage>,
}

/// An image of the layout and its manifests. An error in `loaded` matters only if this image is
/// selected.
struct LayoutImage {
    listed: IndexEntry,
    loaded: Result<Loaded, SourceError>,
}

/// Opens the image that `reference` selects, or the only one.
///
/// If the archive has an OCI manifest with compressed layers for the image, the image is that
/// manifest or its index, byte for byte. If the layers are uncompressed, as the classic image store
/// saves them, the image is [`Content::Uncompressed`], because its layers are to be compressed.
pub(super) fn open(
    documents: &Documents<'_>,
    reference: Option<&str>,
) -> Result<Opened, SourceError> {
    let entries = match documents.read("manifest.json")? {
        Some(bytes) => parse::<Option<Vec<Entry>>>(documents, "manifest.json", &bytes)?,
        None => None,
    };
    let candidates = candidates(documents, entries.unwrap_or_default())?;
    let selected = select(documents, candidates, reference)?;
    let Some(layout_image) = selected.layout else {
        let entry = selected.entry.ok_or_else(|| SourceError::Empty {
            what: documents.what(),
        })?;
        return open_uncompressed(documents, &entry, selected.names);
    };
    let loaded = layout_image.loaded?;
    if let (Some(entry), AnyManifest::Manifest(manifest)) = (&selected.entry, &loaded.tree.root)
        && manifest.layers.iter().all(is_uncompressed)
    {
        let mut opened = open_uncompressed(documents, entry, selected.names)?;
        // Docker 25.0.0 wrote manifests without layers (moby/moby#47065). Such a manifest is
        // ignored in favour of `manifest.json`.
        if let Content::Uncompressed(image) = &mut opened.image.content
            && describes(manifest, image)
        {
            image.manifest = Some(manifest.clone());
        }
        return Ok(opened);
    }
    Ok(Opened {
        image: Image {
            names: selected.names,
            notes: Vec::new(),
            content: Content::Manifests(loaded.tree),
        },
        blobs: loaded.blobs,
        layout: None,
    })
}

/// Returns every image that either list has, each once.
///
/// The lists differ: `index.json` lacks images that were saved by ID (moby/moby#47210, #51389), and
/// `manifest.json` has at most one platform of an index.
fn candidates(
    documents: &Documents<'_>,
    entries: Vec<Entry>,
) -> Result<Vec<Candidate>, SourceError> {
    let mut candidates: Vec<Candidate> = match Layout::read(documents)? {
        None => Vec::new(),
        Some(layout) => layout
            .images
            .iter()
            .filter(|listed| listed.root.may_be_manifest())
            .map(|listed| Candidate {
                names: Vec::new(),
                positions: Vec::new(),
                entry: None,
                layout: Some(LayoutImage {
                    listed: listed.clone(),
                    loaded: layout.load(documents, listed, Layers::Required),
                }),
            })
            .collect(),
    };
    let mut by_config: HashMap<Digest, usize> = HashMap::new();
    for (position, candidate) in candidates.iter().enumerate() {
        for config in candidate.configs() {
            by_config.entry(config).or_insert(position);
        }
    }
    let mut by_files: HashMap<(String, Option<Vec<String>>), usize> = HashMap::new();
    for (position, entry) in entries.into_iter().enumerate() {
        let names = entry.repo_tags.iter().flatten();
        let names: Vec<String> = names.filter(|n| *n != "<none>:<none>").cloned().collect();
        let files = (entry.config.clone(), entry.layers.clone());
        let known = stated_digest(&entry.config)
            .and_then(|config| by_config.get(&config))
            .or_else(|| by_files.get(&files));
        if let Some(index) = known {
            let known = &mut candidates[*index];
            known.names.extend(names);
            known.positions.push(position);
            known.entry.get_or_insert(entry);
        } else {
            by_files.insert(files, candidates.len());
            candidates.push(Candidate {
                names,
                positions: vec![position],
                entry: Some(entry),
                layout: None,
            });
        }
    }
    for candidate in &mut candidates {
        if let (true, Some(layout_image)) = (candidate.names.is_empty(), &candidate.layout) {
            let own = layout_image.listed.names.iter().cloned();
            candidate.names = own.map(names::of_layout).collect();
        }
    }
    Ok(candidates)
}

fn select(
    documents: &Documents<'_>,
    candidates: Vec<Candidate>,
    reference: Option<&str>,
) -> Result<Candidate, SourceError> {
    let what = documents.what();
    let choices: Vec<String> = candidates.iter().map(Candidate::choice).collect();
    // As in Docker, a name takes precedence over an ID that starts with the same text.
    let is_named = |candidate: &Candidate| reference.is_none_or(|name| candidate.is_named_by(name));
    let is_by_id = |candidate: &Candidate| reference.is_some_and(|id| candidate.has_id(id));
    let any_named = candidates.iter().any(is_named);
    let mut matching: Vec<Candidate> = candidates
        .into_iter()
        .filter(|candidate| is_named(candidate) || !any_named && is_by_id(candidate))
        .collect();
    // A manifest that cannot be read cannot be matched with an entry of `manifest.json`, so the
    // image is a candidate twice. The error that explains it is more useful than a choice between
    // the two.
    if let Some(broken) = matching.iter().position(Candidate::is_broken) {
        return Ok(matching.swap_remove(broken));
    }
    if matching.len() > 1 {
        return Err(SourceError::Ambiguous {
            what,
            address: documents.address.clone(),
            reference: reference.map(quoted),
            count: matching.len(),
            choices: distinct(&matching),
        });
    }
    match (matching.pop(), reference) {
        (Some(one), _) => Ok(one),
        (None, Some(reference)) if !choices.is_empty() => Err(SourceError::NoSuchImage {
            what,
            reference: quoted(reference),
            choices,
        }),
        (None, _) => Err(SourceError::Empty { what }),
    }
}

/// Returns how to refer to each of several images: by digest or position if its name is ambiguous.
fn distinct(candidates: &[Candidate]) -> Vec<String> {
    let is_alone = |name: &String| {
        let named = candidates.iter().filter(|one| one.is_named_by(name));
        named.count() == 1
    };
    let choice = |candidate: &Candidate| {
        if !candidate.names.iter().any(is_alone) && !candidate.names.is_empty() {
            candidate.choice_without_name()
        } else {
            candidate.choice()
        }
    };
    candidates.iter().map(choice).collect()
}

impl Candidate {
    fn is_broken(&self) -> bool {
        matches!(&self.layout, Some(layout_image) if layout_image.loaded.is_err())
    }

    /// Returns the config digests of all manifests that the layout has for this image.
    fn configs(&self) -> Vec<Digest> {
        let Some(LayoutImage {
            loaded: Ok(loaded), ..
        }) = &self.layout
        else {
            return Vec::new();
        };
        let manifests = loaded.tree.image_manifests();
        manifests
            .map(|manifest| manifest.config.digest.clone())
            .collect()
    }

    fn is_named_by(&self, wanted: &str) -> bool {
        if let Some(index) = source_index(wanted) {
            return self.positions.contains(&index);
        }
        self.names.iter().any(|name| names::means(wanted, name))
            || self.id().is_some_and(|id| names::means_digest(wanted, &id))
            || self
                .layout
                .as_ref()
                .is_some_and(|layout_image| layout_image.listed.is_named_by(wanted))
    }

    /// True if `start` is the start of an image ID as `docker images` prints it. That is the digest
    /// of the config, or with the containerd image store the digest of the root.
    fn has_id(&self, start: &str) -> bool {
        const SHORTEST: usize = 4;
        let hex = start.strip_prefix("sha256:").unwrap_or(start);
        let root = self
            .layout
            .as_ref()
            .map(|layout_image| &layout_image.listed.root.digest);
        let mut ids = self.id().into_iter().chain(root.cloned());
        hex.len() >= SHORTEST && ids.any(|id| id.hex().starts_with(hex))
    }

    /// The image ID, which is the digest of the config, as stated in the config's file name.
    fn id(&self) -> Option<Digest> {
        stated_digest(&self.entry.as_ref()?.config)
    }

    fn choice(&self) -> String {
        if !self.names.is_empty() {
            let names: Vec<String> = self.names.iter().map(|name| quoted(name)).collect();
            return names.join(" or ");
        }
        match (&self.layout, self.id()) {
            (Some(layout_image), _) => layout_image.listed.choice(),
            (None, Some(id)) => format!("`{id}`"),
            (None, None) => self.choice_without_name(),
        }
    }

    fn choice_without_name(&self) -> String {
        let root = self
            .layout
            .as_ref()
            .map(|layout_image| &layout_image.listed.root.digest);
        match (root, self.id(), self.positions.first()) {
            (Some(digest), _, _) => format!("`@{digest}`"),
            (None, Some(id), _) => format!("`@{id}`"),
            (None, None, position) => format!("`@{}`", position.unwrap_or(&0)),
        }
    }
}

/// Opens an image by its config and its layer files.
fn open_uncompressed(
    documents: &Documents<'_>,
    entry: &Entry,
    names: Vec<String>,
) -> Result<Opened, SourceError> {
    #[derive(Deserialize)]
    struct Config {
        rootfs: RootFs,
    }
    #[derive(Deserialize)]
    struct RootFs {
        diff_ids: Option<Vec<Digest>>,
    }

    let require = |name: &str| -> Result<ByteRange, SourceError> {
        let range = documents.files.find(name)?;
        range.ok_or_else(|| documents.absent(name, "`manifest.json` names"))
    };
    let config_range = require(&entry.config)?;
    let bytes = documents
        .read(&entry.config)?
        .ok_or_else(|| documents.absent(&entry.config, "`manifest.json` names"))?;
    let actual = Digest::of(&bytes);
    // Tools that change a config may keep its file name, and Docker never compares the two.
    let is_misnamed = stated_digest(&entry.config).is_some_and(|stated| stated != actual);
    let notes = is_misnamed.then(|| {
        format!(
            "the config {} of {} has a different digest than its name; pushing the image {actual}",
            quoted(&entry.config),
            documents.what()
        )
    });
    let config: Config = parse(documents, &entry.config, &bytes)?;
    let diff_ids = config.rootfs.diff_ids.unwrap_or_default();
    let paths = entry.layers.as_deref().unwrap_or_default();
    if paths.len() != diff_ids.len() {
        return Err(SourceError::LayerCount {
            what: documents.what(),
            layers: paths.len(),
            diff_ids: diff_ids.len(),
        });
    }
    let mut blobs = HashMap::from([(actual, config_range)]);
    let mut layers = Vec::with_capacity(paths.len());
    for (path, diff_id) in paths.iter().zip(diff_ids) {
        let foreign = entry
            .layer_sources
            .as_ref()
            .and_then(|sources| sources.get(&diff_id))
            .filter(|source| source.is_foreign());
        let (format, size) = match foreign {
            Some(source) => (LayerFormat::Foreign(source.clone()), source.size),
            None => {
                let range = require(path)?;
                let format = layer_format(documents, path, &range)?;
                let size = range.size;
                blobs.insert(diff_id.clone(), range);
                (format, size)
            }
        };
        layers.push(UncompressedLayer {
            diff_id,
            size,
            format,
        });
    }
    Ok(Opened {
        image: Image {
            names,
            notes: notes.into_iter().collect(),
            content: Content::Uncompressed(UncompressedImage {
                config: bytes,
                layers,
                manifest: None,
            }),
        },
        blobs,
        layout: None,
    })
}

/// Detects the format of a layer by its first bytes, because `manifest.json` does not state it.
/// Docker, podman and skopeo store plain tar files; kaniko, jib and Bazel store compressed ones.
fn layer_format(
    documents: &Documents<'_>,
    path: &str,
    range: &ByteRange,
) -> Result<LayerFormat, SourceError> {
    let start = range.start(16).map_err(|cause| {
        SourceError::read(&format!("{} of {}", quoted(path), documents.what()), cause)
    })?;
    match CompressionFormat::of(&start) {
        None => Ok(LayerFormat::Tar),
        Some(CompressionFormat::Gzip) => Ok(LayerFormat::Gzip),
        Some(CompressionFormat::Zstd) => Ok(LayerFormat::Zstd),
        Some(other) => Err(SourceError::LayerCompression {
            what: documents.what(),
            layer: quoted(path),
            format: other.name(),
        }),
    }
}

/// Returns the digest in the file name of a config: `HEX.json`, `sha256:HEX`, or
/// `blobs/sha256/HEX`.
fn stated_digest(name: &str) -> Option<Digest> {
    let name = name.strip_prefix("./").unwrap_or(name);
    let hex = name
        .strip_prefix("blobs/sha256/")
        .or_else(|| name.strip_prefix("sha256:"))
        .or_else(|| name.strip_suffix(".json"))
        .unwrap_or(name);
    format!("sha256:{hex}").parse().ok()
}

fn is_uncompressed(layer: &Descriptor) -> bool {
    layer.media_type.ends_with(".tar") || layer.is_foreign()
}

/// True if the manifest names exactly this config and these layers.
fn describes(manifest: &Manifest, image: &UncompressedImage) -> bool {
    manifest.config.digest == Digest::of(&image.config)
        && manifest.layers.len() == image.layers.len()
        && manifest
            .layers
            .iter()
            .zip(&image.layers)
            .all(|(named, layer)| match &layer.format {
                LayerFormat::Tar => named.digest == layer.diff_id && named.size == layer.size,
                LayerFormat::Foreign(source) => named.digest == source.digest,
                LayerFormat::Gzip | LayerFormat::Zstd => false,
            })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::oci::json::{self, variants};

    proptest! {
        #[test]
        fn entry_is_read_with_any_spelling_of_fields(
            text in variants::of(
                json!([{"Config": "c", "Layers": ["l"]}]),
                variants::Fields {
                    all: &["Config", "RepoTags", "Layers"],
                    optional: &["RepoTags", "LayerSources", "Parent"],
                },
            )
        ) {
            let entries: Option<Vec<Entry>> = json::from_str(&text).unwrap();
            let [entry] = &entries.unwrap()[..] else {
                panic!("one entry");
            };
            prop_assert_eq!(&entry.config, "c");
            prop_assert_eq!(entry.layers.as_deref(), Some(&["l".to_owned()][..]));
            prop_assert!(entry.repo_tags.is_none());
        }
    }
}
