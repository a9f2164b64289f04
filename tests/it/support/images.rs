//! Small images made on the spot, in every form that tools write: layouts, and archives as Docker
//! wrote them before 25, from 25 on, and from the containerd image store (29).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use gcr_push::oci::digest::Digest;
use serde_json::{Value, json};
use tar::{EntryType, Header};

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A tar file as it grows. Nothing is checked, so that hostile and broken ones can be made.
pub struct TarFile(Vec<u8>);

impl TarFile {
    pub fn new() -> Self {
        Self(Vec::new())
    }

    pub fn file(mut self, name: &str, bytes: &[u8]) -> Self {
        self.member(EntryType::Regular, name, "", bytes);
        self
    }

    pub fn directory(mut self, name: &str) -> Self {
        self.member(EntryType::Directory, name, "", b"");
        self
    }

    pub fn symlink(mut self, name: &str, target: &str) -> Self {
        self.member(EntryType::Symlink, name, target, b"");
        self
    }

    pub fn hard_link(mut self, name: &str, target: &str) -> Self {
        self.member(EntryType::Link, name, target, b"");
        self
    }

    pub fn member(&mut self, kind: EntryType, name: &str, target: &str, bytes: &[u8]) {
        for (kind, text, room) in [('L', name, 100), ('K', target, 100)] {
            if text.len() > room {
                let mut text = text.as_bytes().to_vec();
                text.push(0);
                self.header(
                    EntryType::new(kind as u8),
                    b"././@LongLink",
                    b"",
                    text.len() as u64,
                );
                self.bytes(&text);
            }
        }
        self.header(kind, name.as_bytes(), target.as_bytes(), bytes.len() as u64);
        self.bytes(bytes);
    }

    /// A header alone, names cut to what fits.
    pub fn header(&mut self, kind: EntryType, name: &[u8], target: &[u8], size: u64) {
        let mut header = Header::new_gnu();
        let old = header.as_old_mut();
        let name = &name[..name.len().min(100)];
        old.name[..name.len()].copy_from_slice(name);
        let target = &target[..target.len().min(100)];
        old.linkname[..target.len()].copy_from_slice(target);
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
    }

    /// Bytes, and zeros to the next block.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    /// The file with its end mark.
    pub fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }

    /// The file as it is when its writer is stopped between two members.
    pub fn unfinished(self) -> Vec<u8> {
        self.0
    }
}

/// What an image is made of: a config, and layers as uncompressed tar files.
#[derive(Clone)]
pub struct Picture {
    pub architecture: &'static str,
    pub config: Vec<u8>,
    pub layers: Vec<Vec<u8>>,
}

impl Picture {
    /// An image of `layers` layers, its content all its own.
    pub fn new(name: &str, layers: usize) -> Self {
        Self::on("amd64", name, layers)
    }

    /// The same for an architecture.
    pub fn on(architecture: &'static str, name: &str, layers: usize) -> Self {
        let layers = (0..layers)
            .map(|layer| {
                let content = format!("{name} {architecture} {layer}\n").repeat(100 * (layer + 1));
                TarFile::new()
                    .file(&format!("{name}-{layer}"), content.as_bytes())
                    .finish()
            })
            .collect();
        Self::of(architecture, layers)
    }

    /// An image of these layers.
    pub fn of(architecture: &'static str, layers: Vec<Vec<u8>>) -> Self {
        let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": {"Cmd": ["/bin/true"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        Self {
            architecture,
            config: config.to_string().into_bytes(),
            layers,
        }
    }

    pub fn diff_ids(&self) -> Vec<Digest> {
        self.layers.iter().map(|layer| Digest::of(layer)).collect()
    }

    /// What Docker calls the image ID: the digest of the config.
    pub fn id(&self) -> Digest {
        Digest::of(&self.config)
    }
}

/// An archive as Docker wrote it before 25: a folder a layer, and again a link to a layer that
/// another image has too.
pub fn classic_archive(images: &[(&Picture, &[&str])]) -> Vec<u8> {
    let mut tar = TarFile::new();
    let mut entries = Vec::new();
    let mut folders: BTreeMap<Digest, String> = BTreeMap::new();
    for (number, (picture, tags)) in images.iter().enumerate() {
        let mut paths = Vec::new();
        for (position, layer) in picture.layers.iter().enumerate() {
            let folder = format!("{number} {position} {}", Digest::of(layer));
            let folder = Digest::of(folder.as_bytes());
            let path = format!("{}/layer.tar", folder.hex());
            tar = tar
                .directory(&format!("{}/", folder.hex()))
                .file(&format!("{}/VERSION", folder.hex()), b"1.0")
                .file(&format!("{}/json", folder.hex()), b"{}");
            tar = match folders.get(&Digest::of(layer)) {
                Some(known) => tar.symlink(&path, &format!("../{known}/layer.tar")),
                None => tar.file(&path, layer),
            };
            folders
                .entry(Digest::of(layer))
                .or_insert_with(|| folder.hex().to_owned());
            paths.push(path);
        }
        let config = format!("{}.json", picture.id().hex());
        tar = tar.file(&config, &picture.config);
        entries.push(json!({"Config": config, "RepoTags": tags, "Layers": paths}));
    }
    tar.file("manifest.json", Value::from(entries).to_string().as_bytes())
        .file("repositories", b"{}")
        .finish()
}

/// How a layer is written into a layout.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Packed {
    Tar,
    Gzip,
}

/// An OCI layout as it grows.
#[derive(Clone, Default)]
pub struct Layout {
    pub blobs: BTreeMap<Digest, Vec<u8>>,
    pub listed: Vec<Value>,
    /// `manifest.json`, as Docker writes it beside a layout.
    pub docker: Vec<Value>,
}

impl Layout {
    /// Puts a blob, and describes it.
    pub fn blob(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let digest = Digest::of(&bytes);
        let size = bytes.len();
        self.blobs.insert(digest.clone(), bytes);
        json!({"mediaType": media_type, "digest": digest, "size": size})
    }

    /// Puts an image whole, and describes its manifest.
    pub fn image(&mut self, picture: &Picture, packed: Packed) -> Value {
        let config = self.blob(OCI_CONFIG, picture.config.clone());
        let layers: Vec<Value> = picture
            .layers
            .iter()
            .map(|layer| match packed {
                Packed::Tar => self.blob(OCI_LAYER, layer.clone()),
                Packed::Gzip => self.blob(&format!("{OCI_LAYER}+gzip"), gzip(layer)),
            })
            .collect();
        let mut manifest = self.manifest(json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers,
        }));
        manifest["platform"] = json!({"architecture": picture.architecture, "os": "linux"});
        manifest
    }

    /// Puts a manifest as it is written here.
    pub fn manifest(&mut self, manifest: Value) -> Value {
        self.blob(OCI_MANIFEST, manifest.to_string().into_bytes())
    }

    /// Puts an index of these descriptors.
    pub fn index(&mut self, children: &[Value]) -> Value {
        let index = json!({
            "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children,
            "annotations": {"kept": "as it is"},
        });
        self.blob(OCI_INDEX, index.to_string().into_bytes())
    }

    /// Puts an attestation about a manifest, as BuildKit does.
    pub fn attestation(&mut self, about: &Value) -> Value {
        let config = self.blob(
            OCI_CONFIG,
            format!(r#"{{"architecture":"unknown","os":"unknown","rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#, about["digest"]).into_bytes(),
        );
        let statement = self.blob(
            "application/vnd.in-toto+json",
            format!("{{\"about\":{}}}", about["digest"]).into_bytes(),
        );
        let mut manifest = self.manifest(json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [statement],
        }));
        manifest["platform"] = json!({"architecture": "unknown", "os": "unknown"});
        manifest["annotations"] = json!({
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": about["digest"],
        });
        manifest
    }

    /// Lists an image in `index.json` under a name, as `org.opencontainers.image.ref.name`.
    pub fn list(&mut self, descriptor: &Value, name: Option<&str>) {
        let mut descriptor = descriptor.clone();
        if let Some(name) = name {
            descriptor["annotations"]["org.opencontainers.image.ref.name"] = name.into();
        }
        self.listed.push(descriptor);
    }

    /// Lists an image as Docker does, under `docker.io/library/NAME:TAG`.
    pub fn list_for_docker(&mut self, descriptor: &Value, name: &str, tag: &str) {
        let mut descriptor = descriptor.clone();
        descriptor["annotations"]["io.containerd.image.name"] =
            format!("docker.io/library/{name}:{tag}").into();
        descriptor["annotations"]["org.opencontainers.image.ref.name"] = tag.into();
        self.listed.push(descriptor);
    }

    /// Adds the entry that Docker's `manifest.json` has for a manifest.
    pub fn docker_entry(&mut self, manifest: &Value, tags: &[&str]) {
        let path = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap();
            format!("blobs/sha256/{}", digest.strip_prefix("sha256:").unwrap())
        };
        let manifest: Value = serde_json::from_slice(self.get(manifest)).unwrap();
        let layers: Vec<String> = manifest["layers"]
            .as_array()
            .unwrap()
            .iter()
            .map(path)
            .collect();
        self.docker.push(json!({
            "Config": path(&manifest["config"]), "RepoTags": tags, "Layers": layers,
        }));
    }

    pub fn get(&self, descriptor: &Value) -> &[u8] {
        &self.blobs[&digest(descriptor)]
    }

    /// Takes a blob out again.
    pub fn forget(&mut self, descriptor: &Value) {
        self.blobs.remove(&digest(descriptor));
    }

    /// Every file of the layout by its name.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": self.listed});
        let mut files = BTreeMap::from([
            (
                "oci-layout".to_owned(),
                br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
            ),
            ("index.json".to_owned(), index.to_string().into_bytes()),
        ]);
        if !self.docker.is_empty() {
            let entries = Value::from(self.docker.clone()).to_string();
            files.insert("manifest.json".to_owned(), entries.into_bytes());
        }
        for (digest, bytes) in &self.blobs {
            files.insert(format!("blobs/sha256/{}", digest.hex()), bytes.clone());
        }
        files
    }

    /// Writes the layout into a directory.
    pub fn write(&self, directory: &Path) {
        for (name, bytes) in self.files() {
            let path = directory.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    /// The layout as a tar file: an OCI archive, and with `docker` entries what Docker writes.
    pub fn archive(&self) -> Vec<u8> {
        let mut tar = TarFile::new()
            .directory("blobs/")
            .directory("blobs/sha256/");
        for (name, bytes) in self.files() {
            tar = tar.file(&name, &bytes);
        }
        tar.finish()
    }
}

/// What Docker 25 to 28 saves: a layout with uncompressed layers, and `manifest.json`.
pub fn docker25_archive(images: &[(&Picture, &[&str])]) -> Vec<u8> {
    let mut layout = Layout::default();
    for (picture, tags) in images {
        let manifest = layout.image(picture, Packed::Tar);
        for tag in *tags {
            let (name, tag) = tag.rsplit_once(':').unwrap();
            layout.list_for_docker(&manifest, name, tag);
        }
        if tags.is_empty() {
            layout.list(&manifest, None);
        }
        layout.docker_entry(&manifest, tags);
    }
    layout.archive()
}

/// What Docker 29 saves of an image that was pulled or built for one of two platforms: its whole
/// index, compressed layers, one platform with its attestation, the other one absent.
///
/// Returns the layout, the descriptor of the index, and that of the manifest that is there.
pub fn docker29_layout(picture: &Picture, name: &str, tag: &str) -> (Layout, Value, Value) {
    let mut layout = Layout::default();
    let there = layout.image(picture, Packed::Gzip);
    let proof = layout.attestation(&there);
    let mut elsewhere = Layout::default();
    let absent = elsewhere.image(&Picture::on("arm64", name, 1), Packed::Gzip);
    let index = layout.index(&[there.clone(), absent, proof]);
    layout.list_for_docker(&index, name, tag);
    layout.docker_entry(&there, &[&format!("{name}:{tag}")]);
    (layout, index, there)
}

/// The digest in a descriptor.
pub fn digest(descriptor: &Value) -> Digest {
    descriptor["digest"].as_str().unwrap().parse().unwrap()
}

/// `bytes` in gzip.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::default());
    let mut packed = vec![0; compressor.gzip_compress_bound(bytes.len())];
    let length = compressor.gzip_compress(bytes, &mut packed).unwrap();
    packed.truncate(length);
    packed
}
