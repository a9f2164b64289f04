//! Builds the manifest of an image whose source has none, in Docker's or OCI's media types.

use serde::Serialize;

use crate::oci::digest::Digest;
use crate::oci::manifest::{AnyManifest, Descriptor, ManifestError, media_type};

/// A layer for the manifest.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) encoding: LayerEncoding,
    pub(super) digest: Digest,
    pub(super) size: u64,
}

/// The encoding of a layer, independent of the family of media types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LayerEncoding {
    Tar,
    Gzip,
    Zstd,
    /// A foreign (non-distributable) layer, with its own media type and URLs.
    Foreign {
        media_type: String,
        urls: Vec<String>,
    },
}

impl LayerEncoding {
    /// Returns the encoding for a descriptor's media type. `None` for other media types than
    /// layers.
    pub(super) fn of(descriptor: &Descriptor) -> Option<Self> {
        match descriptor.media_type.as_str() {
            media_type::OCI_LAYER | media_type::DOCKER_LAYER => Some(Self::Tar),
            media_type::OCI_LAYER_GZIP | media_type::DOCKER_LAYER_GZIP => Some(Self::Gzip),
            media_type::OCI_LAYER_ZSTD => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// The family of media types of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Docker's schema 2, which `docker push` would use for the same archive.
    Docker,
    /// The OCI image specification.
    Oci,
}

impl Family {
    /// Returns Docker's family, unless a layer is compressed with zstd: Docker has no media type
    /// for it.
    pub(super) fn of(layers: &[Layer]) -> Self {
        if layers
            .iter()
            .any(|layer| layer.encoding == LayerEncoding::Zstd)
        {
            Self::Oci
        } else {
            Self::Docker
        }
    }
}

/// Builds the manifest of an image from its config and layers.
///
/// # Errors
///
/// If there are so many layers that the manifest exceeds the size limit of registries.
pub(super) fn build_manifest(
    config: &Digest,
    config_size: u64,
    layers: &[Layer],
    family: Family,
) -> Result<AnyManifest, ManifestError> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Document<'a> {
        schema_version: u8,
        media_type: &'a str,
        config: Entry<'a>,
        layers: Vec<Entry<'a>>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Entry<'a> {
        media_type: &'a str,
        size: u64,
        digest: &'a Digest,
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        urls: &'a [String],
    }
    let media_type_of = |oci: &'static str, docker: &'static str| match family {
        Family::Oci => oci,
        Family::Docker => docker,
    };
    let layers = layers.iter().map(|layer| {
        let (media_type, urls): (&str, &[String]) = match &layer.encoding {
            LayerEncoding::Tar => (
                media_type_of(media_type::OCI_LAYER, media_type::DOCKER_LAYER),
                &[],
            ),
            LayerEncoding::Gzip => (
                media_type_of(media_type::OCI_LAYER_GZIP, media_type::DOCKER_LAYER_GZIP),
                &[],
            ),
            LayerEncoding::Zstd => (media_type::OCI_LAYER_ZSTD, &[]),
            LayerEncoding::Foreign { media_type, urls } => (media_type, urls),
        };
        Entry {
            media_type,
            size: layer.size,
            digest: &layer.digest,
            urls,
        }
    });
    let document = Document {
        schema_version: 2,
        media_type: media_type_of(media_type::OCI_MANIFEST, media_type::DOCKER_MANIFEST),
        config: Entry {
            media_type: media_type_of(media_type::OCI_CONFIG, media_type::DOCKER_CONFIG),
            size: config_size,
            digest: config,
            urls: &[],
        },
        layers: layers.collect(),
    };
    #[expect(
        clippy::expect_used,
        reason = "strings, numbers and lists always make JSON"
    )]
    let bytes = serde_json::to_vec(&document).expect("a manifest is JSON");
    AnyManifest::parse(bytes.into(), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(encoding: LayerEncoding) -> Layer {
        Layer {
            encoding,
            digest: Digest::of(b"layer"),
            size: 5,
        }
    }

    #[test]
    fn gzip_gives_docker_manifest_and_zstd_an_oci_one() {
        let config = Digest::of(b"{}");
        let built =
            |layers: &[Layer]| build_manifest(&config, 2, layers, Family::of(layers)).unwrap();
        let docker = built(&[layer(LayerEncoding::Gzip), layer(LayerEncoding::Tar)]);
        assert_eq!(docker.media_type(), media_type::DOCKER_MANIFEST);
        let oci = built(&[layer(LayerEncoding::Gzip), layer(LayerEncoding::Zstd)]);
        assert_eq!(oci.media_type(), media_type::OCI_MANIFEST);
        let AnyManifest::Manifest(oci) = oci else {
            panic!("an image manifest")
        };
        assert_eq!(oci.config.media_type, media_type::OCI_CONFIG);
        let types: Vec<_> = oci
            .layers
            .iter()
            .map(|layer| layer.media_type.as_str())
            .collect();
        assert_eq!(
            types,
            [media_type::OCI_LAYER_GZIP, media_type::OCI_LAYER_ZSTD]
        );
    }

    #[test]
    fn foreign_layer_keeps_its_type_and_urls() {
        let foreign = LayerEncoding::Foreign {
            media_type: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip".to_owned(),
            urls: vec!["https://example.com/layer".to_owned()],
        };
        let layers = [layer(foreign)];
        let config = Digest::of(b"{}");
        let manifest = build_manifest(&config, 2, &layers, Family::Docker).unwrap();
        let text = String::from_utf8(manifest.bytes().to_vec()).unwrap();
        assert!(
            text.contains(r#""urls":["https://example.com/layer"]"#),
            "{text}"
        );
    }
}
