//! Descriptors, manifests and indexes, with the bytes that they were parsed from.
//!
//! Nothing is re-serialised: a manifest is pushed with the exact bytes that it was read with,
//! because its digest is the digest of those bytes (OCI image spec, `descriptor.md`).

use crate::oci::platform::Platform;
use bytes::Bytes;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::oci::digest::Digest;
use crate::oci::json;

/// Media types of the OCI image spec and of Docker's image manifest v2, schema 2.
pub mod media_type {
    /// The artifact manifest of a draft of OCI 1.1. The final version uses image manifests for
    /// artifacts.
    pub const OCI_ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";
    /// An OCI image config.
    pub use oci_distribution::manifest::IMAGE_CONFIG_MEDIA_TYPE as OCI_CONFIG;
    /// An OCI layer in gzip.
    pub use oci_distribution::manifest::IMAGE_LAYER_GZIP_MEDIA_TYPE as OCI_LAYER_GZIP;
    /// An uncompressed OCI layer.
    pub use oci_distribution::manifest::IMAGE_LAYER_MEDIA_TYPE as OCI_LAYER;
    /// An OCI image index.
    pub use oci_distribution::manifest::OCI_IMAGE_INDEX_MEDIA_TYPE as OCI_INDEX;
    /// An OCI image manifest.
    pub use oci_distribution::manifest::OCI_IMAGE_MEDIA_TYPE as OCI_MANIFEST;
    /// An OCI layer in zstd.
    pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// A Docker image config.
    pub use oci_distribution::manifest::IMAGE_DOCKER_CONFIG_MEDIA_TYPE as DOCKER_CONFIG;
    /// A Docker layer in gzip.
    pub use oci_distribution::manifest::IMAGE_DOCKER_LAYER_GZIP_MEDIA_TYPE as DOCKER_LAYER_GZIP;
    /// An uncompressed Docker layer.
    pub use oci_distribution::manifest::IMAGE_DOCKER_LAYER_TAR_MEDIA_TYPE as DOCKER_LAYER;
    /// A Docker manifest list.
    pub use oci_distribution::manifest::IMAGE_MANIFEST_LIST_MEDIA_TYPE as DOCKER_LIST;
    /// A Docker image manifest, schema 2.
    pub use oci_distribution::manifest::IMAGE_MANIFEST_MEDIA_TYPE as DOCKER_MANIFEST;
    /// The prefix of schema 1 manifests, which have no config blob and cannot be pushed.
    pub const DOCKER_SCHEMA1_PREFIX: &str = "application/vnd.docker.distribution.manifest.v1";
}

/// The maximum size of a manifest or an index.
///
/// The distribution spec (`Pushing Manifests`) asks registries to accept at least 4 MiB. Most
/// refuse larger ones, and a server that sends more does not send a manifest.
pub const MAX_MANIFEST_SIZE: u64 = 4 * 1024 * 1024;

/// The maximum size of a blob in a descriptor. It is far beyond what any registry accepts, and the
/// sizes of all blobs in a tree of manifests can be added without overflow.
pub const MAX_BLOB_SIZE: u64 = 4 << 40;

/// Deserializes the size of a blob and checks its limit.
fn blob_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    match u64::deserialize(deserializer)? {
        size if size > MAX_BLOB_SIZE => Err(D::Error::custom(format!(
            "a blob of {size} bytes is larger than any registry accepts"
        ))),
        size => Ok(size),
    }
}

/// Deserializes a platform. `None` for an empty one, which .NET writes.
fn platform<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Platform>, D::Error> {
    let platform = Option::<Platform>::deserialize(deserializer)?;
    Ok(platform.filter(|platform| !(platform.os.is_empty() && platform.architecture.is_empty())))
}

/// The media type, digest and size of content.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The media type of the content.
    #[serde(default)]
    pub media_type: String,
    /// The digest of the content.
    pub digest: Digest,
    /// The size of the content in bytes, at most [`MAX_BLOB_SIZE`].
    #[serde(deserialize_with = "blob_size")]
    pub size: u64,
    /// Other locations of the content. Only foreign layers have any.
    #[serde(default)]
    pub urls: Vec<String>,
    /// The platform of a child of an index.
    #[serde(default, deserialize_with = "platform")]
    pub platform: Option<Platform>,
    /// The annotations.
    #[serde(default)]
    pub annotations: std::collections::BTreeMap<String, String>,
}

impl Descriptor {
    /// True for a layer that must not be distributed. It stays at its `urls` (OCI image spec,
    /// `layer.md`, "Non-Distributable Layers"). A layer without `urls` is not available elsewhere,
    /// and is treated like any other.
    pub fn is_foreign(&self) -> bool {
        let kind = &self.media_type;
        !self.urls.is_empty() && (kind.contains(".nondistributable.") || kind.contains(".foreign."))
    }

    /// True for a tar layer in a supported compression, so that the digest of its content is the
    /// diff ID. False for encrypted layers.
    pub fn is_tar(&self) -> bool {
        const FORMS: [&str; 5] = [".tar", ".tar+gzip", ".tar.gzip", ".tar+zstd", ".tar.zstd"];
        FORMS.iter().any(|form| self.media_type.ends_with(form))
    }

    /// True for an encrypted layer (`+encrypted`, as ocicrypt writes it).
    pub fn is_encrypted(&self) -> bool {
        self.media_type.ends_with("+encrypted")
    }

    /// True if the media type may be that of a manifest or an index, including old types. An empty
    /// media type may be any.
    pub fn may_be_manifest(&self) -> bool {
        let kind = self.media_type.as_str();
        let known = [
            "",
            media_type::OCI_MANIFEST,
            media_type::OCI_ARTIFACT,
            media_type::DOCKER_MANIFEST,
        ];
        known.contains(&kind)
            || self.is_index()
            || kind.starts_with(media_type::DOCKER_SCHEMA1_PREFIX)
    }

    /// True for an index.
    pub fn is_index(&self) -> bool {
        is_index(&self.media_type)
    }

    /// The manifest that an attestation describes. `None` if this is no attestation that BuildKit
    /// added to an index (docs.docker.com/build/metadata/attestations/attestation-storage).
    pub fn attestation_subject(&self) -> Option<&str> {
        let annotation = |key: &str| self.annotations.get(key).map(String::as_str);
        annotation("vnd.docker.reference.type").filter(|kind| *kind == "attestation-manifest")?;
        annotation("vnd.docker.reference.digest")
    }

    /// True for an attestation of BuildKit.
    pub fn is_attestation(&self) -> bool {
        self.attestation_subject().is_some()
    }
}

fn is_index(media_type: &str) -> bool {
    matches!(media_type, media_type::OCI_INDEX | media_type::DOCKER_LIST)
}

/// An image manifest (of an image or an artifact), with the exact bytes that it was parsed from.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The exact bytes.
    pub bytes: Bytes,
    /// The digest of the bytes.
    pub digest: Digest,
    /// The media type for the registry.
    pub media_type: String,
    /// The config blob.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
}

impl Manifest {
    /// The layers that must not be distributed.
    pub fn foreign_layers(&self) -> impl Iterator<Item = &Descriptor> {
        self.layers.iter().filter(|layer| layer.is_foreign())
    }

    /// The blobs that a registry requires before it accepts this manifest, each once.
    pub fn blobs(&self) -> Vec<&Descriptor> {
        let mut seen = std::collections::HashSet::new();
        std::iter::once(&self.config)
            .chain(&self.layers)
            .filter(|blob| !blob.is_foreign() && seen.insert(&blob.digest))
            .collect()
    }
}

/// An image index, with the exact bytes that it was parsed from.
#[derive(Clone, Debug)]
pub struct Index {
    /// The exact bytes.
    pub bytes: Bytes,
    /// The digest of the bytes.
    pub digest: Digest,
    /// The media type for the registry.
    pub media_type: String,
    /// The descriptors of the children.
    pub manifests: Vec<Descriptor>,
}

/// A manifest or an index, which a tag can point at.
#[derive(Clone, Debug)]
pub enum AnyManifest {
    /// An image manifest.
    Manifest(Manifest),
    /// An image index.
    Index(Index),
}

/// Why a document is not a manifest that can be pushed.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is not the JSON of a manifest or an index.
    #[error("it is not a manifest")]
    Json(#[source] serde_json::Error),
    /// It has more than [`MAX_MANIFEST_SIZE`] bytes.
    #[error("it has {0} bytes, more than the {MAX_MANIFEST_SIZE} that registries accept")]
    TooLarge(u64),
    /// It is of Docker's schema 1, which has no config blob.
    #[error("it is a Docker schema 1 manifest, which Google's registries no longer accept")]
    Schema1,
    /// It is an artifact manifest of a draft of OCI 1.1.
    #[error("it is an OCI artifact manifest, which the final OCI 1.1 does not have")]
    Artifact,
    /// It is not a JSON object.
    #[error("it is not a manifest: it is not a JSON object")]
    NoObject,
    /// It is a JSON object, but neither a manifest nor an index.
    #[error("it is neither an image manifest nor an index: {0}")]
    Unknown(&'static str),
}

impl ManifestError {
    /// True for JSON that is not a manifest that can be pushed.
    pub(crate) fn is_another_document(&self) -> bool {
        match self {
            Self::Json(cause) => cause.is_data(),
            Self::Artifact | Self::Unknown(_) => true,
            Self::TooLarge(_) | Self::Schema1 | Self::NoObject => false,
        }
    }

    /// The hint, if it does not depend on where the document comes from.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Artifact => Some(
                "push the artifact again with a current version of its tool, which writes an image \
                 manifest",
            ),
            Self::Unknown(_) => Some(
                "if it is a build cache (`--cache-to`), export the image itself: `docker buildx \
                 build --output type=oci,dest=…`",
            ),
            Self::Json(_) | Self::Schema1 | Self::NoObject | Self::TooLarge(_) => None,
        }
    }
}

impl AnyManifest {
    /// Parses a manifest or an index.
    ///
    /// `media_type` is the type stated by a descriptor or `Content-Type`. The document's own
    /// `mediaType` takes precedence. If neither is present (it is optional in OCI manifests), the
    /// fields decide: only an index has `manifests`.
    ///
    /// # Errors
    ///
    /// If the document is too large, not JSON, of Docker's schema 1, or neither a manifest nor an
    /// index.
    pub fn parse(bytes: Bytes, media_type: Option<&str>) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Fields {
            schema_version: Option<u64>,
            media_type: Option<String>,
            config: Option<Descriptor>,
            layers: Option<Vec<Descriptor>>,
            manifests: Option<Vec<Descriptor>>,
        }

        if bytes.len() as u64 > MAX_MANIFEST_SIZE {
            return Err(ManifestError::TooLarge(bytes.len() as u64));
        }
        if !bytes.trim_ascii_start().starts_with(b"{") {
            return Err(ManifestError::NoObject);
        }
        let fields: Fields = json::from_slice(&bytes).map_err(ManifestError::Json)?;
        let stated = fields
            .media_type
            .or_else(|| media_type.map(str::to_owned))
            .unwrap_or_default();
        if fields.schema_version == Some(1) || stated.starts_with(media_type::DOCKER_SCHEMA1_PREFIX)
        {
            return Err(ManifestError::Schema1);
        }
        if stated == media_type::OCI_ARTIFACT {
            return Err(ManifestError::Artifact);
        }
        let digest = Digest::of(&bytes);
        match (fields.manifests, fields.config) {
            // A registry and a client could interpret such a document differently (CVE-2021-41190),
            // so the distribution spec requires refusing it.
            (Some(_), Some(_)) => Err(ManifestError::Unknown(
                "it has both `manifests` and `config`",
            )),
            (Some(_), None) if fields.layers.is_some() => Err(ManifestError::Unknown(
                "it has both `manifests` and `layers`",
            )),
            (Some(manifests), None) => Ok(Self::Index(Index {
                media_type: or_default(stated, is_index, media_type::OCI_INDEX),
                bytes,
                digest,
                manifests,
            })),
            (None, Some(config)) => {
                if is_index(&stated) {
                    return Err(ManifestError::Unknown("an index without `manifests`"));
                }
                let default = if config.media_type == media_type::DOCKER_CONFIG {
                    media_type::DOCKER_MANIFEST
                } else {
                    media_type::OCI_MANIFEST
                };
                Ok(Self::Manifest(Manifest {
                    media_type: or_default(stated, |t| t.contains("manifest"), default),
                    bytes,
                    digest,
                    config,
                    layers: fields.layers.unwrap_or_default(),
                }))
            }
            // Go encodes an empty list as `null`.
            (None, None) if is_index(&stated) => Ok(Self::Index(Index {
                media_type: stated,
                bytes,
                digest,
                manifests: Vec::new(),
            })),
            (None, None) => Err(ManifestError::Unknown(
                "it has neither `config` nor `manifests`",
            )),
        }
    }

    /// The exact bytes.
    pub fn bytes(&self) -> &Bytes {
        match self {
            Self::Manifest(manifest) => &manifest.bytes,
            Self::Index(index) => &index.bytes,
        }
    }

    /// The digest of the bytes.
    pub fn digest(&self) -> &Digest {
        match self {
            Self::Manifest(manifest) => &manifest.digest,
            Self::Index(index) => &index.digest,
        }
    }

    /// The media type for the registry.
    pub fn media_type(&self) -> &str {
        match self {
            Self::Manifest(manifest) => &manifest.media_type,
            Self::Index(index) => &index.media_type,
        }
    }
}

fn or_default(stated: String, fits: impl Fn(&str) -> bool, default: &str) -> String {
    if fits(&stated) {
        stated
    } else {
        default.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::oci::json::variants;

    const FIELDS: variants::Fields = variants::Fields {
        all: &[
            "schemaVersion",
            "mediaType",
            "config",
            "layers",
            "manifests",
            "digest",
            "size",
            "urls",
            "annotations",
            "platform",
            "os",
            "architecture",
            "variant",
        ],
        optional: &[
            "manifests",
            "urls",
            "annotations",
            "platform",
            "variant",
            "os",
        ],
    };

    proptest! {
        #[test]
        fn manifest_and_index_are_read_with_any_spelling(
            manifest in variants::of(a_manifest(), FIELDS),
            index in variants::of(an_index(), FIELDS),
        ) {
            let parse = |text: String| AnyManifest::parse(text.into(), None).unwrap();
            match (parse(manifest), parse(a_manifest().to_string())) {
                (AnyManifest::Manifest(read), AnyManifest::Manifest(plain)) => {
                    prop_assert_eq!(read.media_type, plain.media_type);
                    prop_assert_eq!(read.config, plain.config);
                    prop_assert_eq!(read.layers, plain.layers);
                }
                other => prop_assert!(false, "{other:?}"),
            }
            match (parse(index), parse(an_index().to_string())) {
                (AnyManifest::Index(read), AnyManifest::Index(plain)) => {
                    prop_assert_eq!(read.manifests, plain.manifests);
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }

    fn a_manifest() -> Value {
        let [config, layer] = [media_type::OCI_CONFIG, media_type::OCI_LAYER_GZIP]
            .map(|kind| serde_json::from_str::<Value>(&descriptor(kind)).unwrap());
        json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config,
            "layers": [layer, layer], "annotations": {"Made-By": "me"}})
    }

    fn an_index() -> Value {
        let text = descriptor(media_type::OCI_MANIFEST);
        let mut child: Value = serde_json::from_str(&text).unwrap();
        child["platform"] = json!({"os": "linux", "architecture": "arm"});
        child["annotations"] = json!({"MediaType": "kept", "a": "b"});
        json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [child]})
    }

    fn descriptor(media_type: &str) -> String {
        format!(
            r#"{{"mediaType":"{media_type}","digest":"{}","size":3}}"#,
            Digest::of(b"abc")
        )
    }

    #[test]
    fn manifest_without_media_type_is_known_by_its_fields() {
        let text = format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#,
            descriptor(media_type::OCI_CONFIG),
            descriptor(media_type::OCI_LAYER_GZIP)
        );
        let manifest = AnyManifest::parse(Bytes::from(text.clone()), None).unwrap();
        assert_eq!(manifest.media_type(), media_type::OCI_MANIFEST);
        assert_eq!(manifest.bytes(), text.as_bytes());
        assert_eq!(manifest.digest(), &Digest::of(text.as_bytes()));
    }

    #[test]
    fn docker_config_without_media_type_means_docker_manifest() {
        let text = format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[]}}"#,
            descriptor(media_type::DOCKER_CONFIG)
        );
        let manifest = AnyManifest::parse(Bytes::from(text), None).unwrap();
        assert_eq!(manifest.media_type(), media_type::DOCKER_MANIFEST);
    }

    #[test]
    fn manifest_and_index_in_one_document_is_refused() {
        let text = format!(
            r#"{{"schemaVersion":2,"config":{},"manifests":[]}}"#,
            descriptor(media_type::OCI_CONFIG)
        );
        assert!(matches!(
            AnyManifest::parse(Bytes::from(text), None),
            Err(ManifestError::Unknown(_))
        ));
    }

    #[test]
    fn json_array_is_no_manifest() {
        let text = Bytes::from_static(b" [2,null,null,null,[]]");
        assert!(matches!(
            AnyManifest::parse(text, None),
            Err(ManifestError::NoObject)
        ));
    }

    #[test]
    fn schema_1_is_refused_by_version_and_media_type() {
        for text in [
            r#"{"schemaVersion":1,"name":"x","fsLayers":[]}"#,
            r#"{"mediaType":"application/vnd.docker.distribution.manifest.v1+prettyjws"}"#,
        ] {
            assert!(matches!(
                AnyManifest::parse(Bytes::from(text), None),
                Err(ManifestError::Schema1)
            ));
        }
    }

    #[test]
    fn blobs_are_named_once_and_foreign_layers_not_at_all() {
        let layer = descriptor(media_type::OCI_LAYER_GZIP);
        let foreign = |content: &[u8], urls: &str| {
            let digest = Digest::of(content);
            let kind = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
            format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":1,"urls":[{urls}]}}"#)
        };
        let elsewhere = foreign(b"elsewhere", r#""https://r.example/1""#);
        let nowhere = foreign(b"nowhere", "");
        let text = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"x","digest":"{}","size":1}},"layers":[{layer},{layer},{elsewhere},{nowhere}]}}"#,
            Digest::of(b"config"),
        );
        let AnyManifest::Manifest(manifest) = AnyManifest::parse(Bytes::from(text), None).unwrap()
        else {
            panic!("an image manifest");
        };
        let digests: Vec<_> = manifest.blobs().iter().map(|b| b.digest.clone()).collect();
        // A layer without `urls` is not available elsewhere.
        assert_eq!(
            digests,
            [&b"config"[..], b"abc", b"nowhere"].map(Digest::of)
        );
    }
}
