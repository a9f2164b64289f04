//! What `docker save` and its likes write: a tar file whose `manifest.json` lists configs and
//! layers, and in which, since Docker 25, an OCI layout lies as well.
//!
//! `manifest.json` was never specified; the one writer that counts is moby's
//! `image/tarexport/save.go`, and since Docker 29 containerd's `images/archive/exporter.go`.

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

/// An image as `manifest.json` lists it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    /// `null` where the image was saved by its ID.
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
    /// The descriptors that layers came with, by diff ID; moby writes those of foreign layers.
    layer_sources: Option<HashMap<Digest, Descriptor>>,
}

/// An image as it may be chosen: what the two lists say about it.
struct Candidate {
    names: Vec<String>,
    /// Where `manifest.json` lists it, counted from 0.
    positions: Vec<usize>,
    entry: Option<Entry>,
    layout: Option<Saved>,
}

/// An image of the layout, and its manifests; or why they cannot be read, which matters only if
/// this is the image that is chosen.
struct Saved {
    listed: IndexEntry,
    loaded: Result<Loaded, SourceError>,
}

/// Opens the image that `reference` means, or the only one.
///
/// Where the archive has an OCI manifest for the image, with compressed layers, the image is that
/// manifest or its index, byte for byte. Where the layers are uncompressed, as the classic image
/// store saves them, it is [`Content::Unpacked`], because they are to be compressed.
pub(super) fn open(
    documents: &Documents<'_>,
    reference: Option<&str>,
) -> Result<Opened, SourceError> {
    let entries = match documents.read("manifest.json")? {
        Some(bytes) => parse::<Option<Vec<Entry>>>(documents, "manifest.json", &bytes)?,
        None => None,
    };
    let candidates = candidates(documents, entries.unwrap_or_default())?;
    let chosen = choose(documents, candidates, reference)?;
    let Some(saved) = chosen.layout else {
        let entry = chosen.entry.ok_or_else(|| SourceError::Empty {
            what: documents.what(),
        })?;
        return unpacked(documents, &entry, chosen.names);
    };
    let loaded = saved.loaded?;
    if let (Some(entry), AnyManifest::Manifest(manifest)) = (&chosen.entry, &loaded.tree.root)
        && manifest.layers.iter().all(is_uncompressed)
    {
        let mut opened = unpacked(documents, entry, chosen.names)?;
        // Docker 25.0.0 wrote manifests without layers (moby/moby#47065): such a one is worth
        // nothing beside `manifest.json`, and is not handed on.
        if let Content::Unpacked(image) = &mut opened.image.content
            && is_of(manifest, image)
        {
            image.manifest = Some(manifest.clone());
        }
        return Ok(opened);
    }
    Ok(Opened {
        image: Image {
            names: chosen.names,
            notes: Vec::new(),
            content: Content::Manifests(loaded.tree),
        },
        blobs: loaded.blobs,
        layout: None,
    })
}

/// Every image that either list has, each once.
///
/// The lists differ: `index.json` lacks images that were saved by ID (moby/moby#47210, #51389), and
/// `manifest.json` has one platform of an index at most.
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
                layout: Some(Saved {
                    listed: listed.clone(),
                    loaded: layout.load(documents, listed, Layers::Required),
                }),
            })
            .collect(),
    };
    let mut by_config: HashMap<Digest, usize> = HashMap::new();
    for (place, candidate) in candidates.iter().enumerate() {
        for config in candidate.configs() {
            by_config.entry(config).or_insert(place);
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
        if let Some(place) = known {
            let known = &mut candidates[*place];
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
        if let (true, Some(saved)) = (candidate.names.is_empty(), &candidate.layout) {
            let own = saved.listed.names.iter().cloned();
            candidate.names = own.map(names::of_layout).collect();
        }
    }
    Ok(candidates)
}

fn choose(
    documents: &Documents<'_>,
    candidates: Vec<Candidate>,
    reference: Option<&str>,
) -> Result<Candidate, SourceError> {
    let what = documents.what();
    let choices: Vec<String> = candidates.iter().map(Candidate::choice).collect();
    // As for Docker, a name wins over an ID that begins like it.
    let is_named = |candidate: &Candidate| reference.is_none_or(|name| candidate.is_meant_by(name));
    let is_by_id = |candidate: &Candidate| reference.is_some_and(|id| candidate.has_id(id));
    let any_named = candidates.iter().any(is_named);
    let mut fitting: Vec<Candidate> = candidates
        .into_iter()
        .filter(|candidate| is_named(candidate) || !any_named && is_by_id(candidate))
        .collect();
    // A manifest that cannot be read cannot be told to belong to an entry of `manifest.json`, so
    // both are there; the reason is worth more than a choice between them.
    if let Some(broken) = fitting.iter().position(Candidate::is_broken) {
        return Ok(fitting.swap_remove(broken));
    }
    if fitting.len() > 1 {
        return Err(SourceError::Ambiguous {
            what,
            address: documents.address.clone(),
            reference: reference.map(quoted),
            count: fitting.len(),
            choices: distinct(&fitting),
        });
    }
    match (fitting.pop(), reference) {
        (Some(one), _) => Ok(one),
        (None, Some(reference)) if !choices.is_empty() => Err(SourceError::NoSuchImage {
            what,
            reference: quoted(reference),
            choices,
        }),
        (None, _) => Err(SourceError::Empty { what }),
    }
}

/// How each of several images is written: by its digest or its place where a name means several.
fn distinct(candidates: &[Candidate]) -> Vec<String> {
    let is_alone = |name: &String| {
        let meant = candidates.iter().filter(|one| one.is_meant_by(name));
        meant.count() == 1
    };
    let choice = |candidate: &Candidate| match candidate.names.iter().any(is_alone) {
        false if !candidate.names.is_empty() => candidate.choice_without_name(),
        _ => candidate.choice(),
    };
    candidates.iter().map(choice).collect()
}

impl Candidate {
    fn is_broken(&self) -> bool {
        matches!(&self.layout, Some(saved) if saved.loaded.is_err())
    }

    /// The configs of every manifest that the layout has for this image.
    fn configs(&self) -> Vec<Digest> {
        let Some(Saved {
            loaded: Ok(loaded), ..
        }) = &self.layout
        else {
            return Vec::new();
        };
        std::iter::once(&loaded.tree.root)
            .chain(loaded.tree.children.values())
            .filter_map(|manifest| match manifest {
                AnyManifest::Manifest(manifest) => Some(manifest.config.digest.clone()),
                AnyManifest::Index(_) => None,
            })
            .collect()
    }

    fn is_meant_by(&self, wanted: &str) -> bool {
        if let Some(index) = source_index(wanted) {
            return self.positions.contains(&index);
        }
        self.names.iter().any(|name| names::means(wanted, name))
            || self.id().is_some_and(|id| names::means_digest(wanted, &id))
            || self
                .layout
                .as_ref()
                .is_some_and(|saved| saved.listed.is_meant_by(wanted))
    }

    /// True when `start` is the start of an image ID, as `docker images` prints it: of the config's
    /// digest, or with the containerd image store of the root's.
    fn has_id(&self, start: &str) -> bool {
        const SHORTEST: usize = 4;
        let hex = start.strip_prefix("sha256:").unwrap_or(start);
        let root = self.layout.as_ref().map(|saved| &saved.listed.root.digest);
        let mut ids = self.id().into_iter().chain(root.cloned());
        hex.len() >= SHORTEST && ids.any(|id| id.hex().starts_with(hex))
    }

    /// The image ID, the digest of the config, as the config's name states it.
    fn id(&self) -> Option<Digest> {
        stated_digest(&self.entry.as_ref()?.config)
    }

    fn choice(&self) -> String {
        if !self.names.is_empty() {
            let names: Vec<String> = self.names.iter().map(|name| quoted(name)).collect();
            return names.join(" or ");
        }
        match (&self.layout, self.id()) {
            (Some(saved), _) => saved.listed.choice(),
            (None, Some(id)) => format!("`{id}`"),
            (None, None) => self.choice_without_name(),
        }
    }

    fn choice_without_name(&self) -> String {
        let root = self.layout.as_ref().map(|saved| &saved.listed.root.digest);
        match (root, self.id(), self.positions.first()) {
            (Some(digest), _, _) => format!("`@{digest}`"),
            (None, Some(id), _) => format!("`@{id}`"),
            (None, None, position) => format!("`@{}`", position.unwrap_or(&0)),
        }
    }
}

/// Opens an image by its config and its layer files.
fn unpacked(
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

    let needed = |name: &str| -> Result<ByteRange, SourceError> {
        let found = documents.files.find(name)?;
        found.ok_or_else(|| documents.absent(name, "`manifest.json` names"))
    };
    let config_place = needed(&entry.config)?;
    let bytes = documents
        .read(&entry.config)?
        .ok_or_else(|| documents.absent(&entry.config, "`manifest.json` names"))?;
    let actual = Digest::of(&bytes);
    // Tools that change a config leave its name as it was, and Docker never compares the two.
    let is_misnamed = stated_digest(&entry.config).is_some_and(|stated| stated != actual);
    let notes = is_misnamed.then(|| {
        format!(
            "the config {} of {} has another digest than its name says, {actual}: that is the \
             image that is pushed",
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
    let mut blobs = HashMap::from([(actual, config_place)]);
    let mut layers = Vec::with_capacity(paths.len());
    for (path, diff_id) in paths.iter().zip(diff_ids) {
        let foreign = entry
            .layer_sources
            .as_ref()
            .and_then(|sources| sources.get(&diff_id))
            .filter(|source| source.is_foreign());
        let (form, size) = match foreign {
            Some(source) => (LayerFormat::Foreign(source.clone()), source.size),
            None => {
                let place = needed(path)?;
                let form = form(documents, path, &place)?;
                let size = place.size;
                blobs.insert(diff_id.clone(), place);
                (form, size)
            }
        };
        layers.push(UncompressedLayer {
            diff_id,
            size,
            form,
        });
    }
    Ok(Opened {
        image: Image {
            names,
            notes: notes.into_iter().collect(),
            content: Content::Unpacked(UncompressedImage {
                config: bytes,
                layers,
                manifest: None,
            }),
        },
        blobs,
        layout: None,
    })
}

/// How a layer is stored, by its first bytes: `manifest.json` does not say. Docker, podman and
/// skopeo store plain tar files; kaniko, jib and Bazel compressed ones.
fn form(
    documents: &Documents<'_>,
    path: &str,
    place: &ByteRange,
) -> Result<LayerFormat, SourceError> {
    let start = place.start(16).map_err(|cause| {
        SourceError::read(&format!("{} of {}", quoted(path), documents.what()), cause)
    })?;
    match CompressionFormat::of(&start) {
        None => Ok(LayerFormat::Tar),
        Some(CompressionFormat::Gzip) => Ok(LayerFormat::Gzip),
        Some(CompressionFormat::Zstd) => Ok(LayerFormat::Zstd),
        Some(other) => Err(SourceError::LayerForm {
            what: documents.what(),
            layer: quoted(path),
            form: other.name(),
        }),
    }
}

/// The digest that a config's name states: `HEX.json`, `sha256:HEX`, or `blobs/sha256/HEX`.
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

/// True when the manifest names this very config and these very layers.
fn is_of(manifest: &Manifest, image: &UncompressedImage) -> bool {
    manifest.config.digest == Digest::of(&image.config)
        && manifest.layers.len() == image.layers.len()
        && manifest
            .layers
            .iter()
            .zip(&image.layers)
            .all(|(named, layer)| match &layer.form {
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
