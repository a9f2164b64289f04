//! Writes the manifest of an image that had none.

use serde::Serialize;

use crate::oci::digest::Digest;
use crate::oci::manifest::{AnyManifest, Descriptor, ManifestError, media_type};

/// A layer as the manifest will name it.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) form: LayerEncoding,
    pub(super) digest: Digest,
    pub(super) size: u64,
}

/// What the bytes of a layer are, in either family of media types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LayerEncoding {
    Tar,
    Gzip,
    Zstd,
    /// Not to be passed on: named by its own media type and by where it can be had.
    Foreign {
        media_type: String,
        urls: Vec<String>,
    },
}

impl LayerEncoding {
    /// The form that a descriptor's media type tells; none for what is no layer of an image.
    pub(super) fn of(descriptor: &Descriptor) -> Option<Self> {
        match descriptor.media_type.as_str() {
            media_type::OCI_LAYER | media_type::DOCKER_LAYER => Some(Self::Tar),
            media_type::OCI_LAYER_GZIP | media_type::DOCKER_LAYER_GZIP => Some(Self::Gzip),
            media_type::OCI_LAYER_ZSTD => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// The two families of media types that a manifest may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Docker's schema 2, which `docker push` makes of the same archive.
    Docker,
    /// OCI's.
    Oci,
}

impl Family {
    /// Docker's, unless a layer is in zstd, which it has no media type for.
    pub(super) fn of(layers: &[Layer]) -> Self {
        match layers.iter().any(|layer| layer.form == LayerEncoding::Zstd) {
            true => Self::Oci,
            false => Self::Docker,
        }
    }
}

/// Writes the manifest of an image.
///
/// # Errors
///
/// When the layers are so many that no registry takes the manifest.
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
    let family = |oci: &'static str, docker: &'static str| match family {
        Family::Oci => oci,
        Family::Docker => docker,
    };
    let layers = layers.iter().map(|layer| {
        let (media_type, urls): (&str, &[String]) = match &layer.form {
            LayerEncoding::Tar => (family(media_type::OCI_LAYER, media_type::DOCKER_LAYER), &[]),
            LayerEncoding::Gzip => (
                family(media_type::OCI_LAYER_GZIP, media_type::DOCKER_LAYER_GZIP),
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
        media_type: family(media_type::OCI_MANIFEST, media_type::DOCKER_MANIFEST),
        config: Entry {
            media_type: family(media_type::OCI_CONFIG, media_type::DOCKER_CONFIG),
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

    fn layer(form: LayerEncoding) -> Layer {
        Layer {
            form,
            digest: Digest::of(b"layer"),
            size: 5,
        }
    }

    #[test]
    fn gzip_gives_docker_manifest_and_zstd_an_oci_one() {
        let config = Digest::of(b"{}");
        let written =
            |layers: &[Layer]| build_manifest(&config, 2, layers, Family::of(layers)).unwrap();
        let docker = written(&[layer(LayerEncoding::Gzip), layer(LayerEncoding::Tar)]);
        assert_eq!(docker.media_type(), media_type::DOCKER_MANIFEST);
        let oci = written(&[layer(LayerEncoding::Gzip), layer(LayerEncoding::Zstd)]);
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
