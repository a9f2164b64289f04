//! Finds the base images of an image. A registry may have layers in those repositories that the
//! image was saved without.

use std::collections::BTreeMap;

use futures_util::TryStreamExt as _;
use serde::Deserialize;

use super::{Source, Tree};
use crate::oci::json;
use crate::oci::manifest::{AnyManifest, MAX_MANIFEST_SIZE, Manifest};
use crate::oci::reference::Reference;

/// The annotation that names the base image.
/// <https://specs.opencontainers.org/image-spec/annotations/>
const BASE_NAME: &str = "org.opencontainers.image.base.name";

/// The label in which Buildpacks describes the build.
/// <https://github.com/buildpacks/spec/blob/main/platform.md#iobuildpackslifecyclemetadata-json>
const BUILDPACKS: &str = "io.buildpacks.lifecycle.metadata";

impl Source {
    /// Returns the base images that the annotations of the image and the labels of its config name.
    pub(crate) async fn base_images(&self, tree: &Tree) -> Vec<Reference> {
        let mut names = Vec::new();
        for manifest in tree.manifests() {
            names.extend(base_names_in_annotations(manifest));
            if let AnyManifest::Manifest(manifest) = manifest {
                names.extend(self.base_names_in_labels(manifest).await);
            }
        }
        let references = names
            .iter()
            .filter_map(|name| Reference::familiar(name).ok());
        references.collect()
    }

    async fn base_names_in_labels(&self, manifest: &Manifest) -> Vec<String> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Document {
            config: Config,
        }
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "PascalCase")]
        struct Config {
            labels: BTreeMap<String, String>,
        }
        let config = &manifest.config;
        if config.size > MAX_MANIFEST_SIZE {
            return Vec::new();
        }
        let Ok(bytes) = self.open_blob(&config.digest, 0).await else {
            return Vec::new();
        };
        let chunks: Vec<bytes::Bytes> = bytes.try_collect().await.unwrap_or_default();
        let document: Document = json::from_slice(&chunks.concat()).unwrap_or_default();
        let labels = document.config.labels;
        let buildpacks = labels.get(BUILDPACKS).map(|text| run_images(text));
        let mut names = buildpacks.unwrap_or_default();
        names.extend(labels.get(BASE_NAME).cloned());
        names
    }
}

fn base_names_in_annotations(manifest: &AnyManifest) -> Vec<String> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Document {
        annotations: BTreeMap<String, String>,
    }
    let document: Document = json::from_slice(manifest.bytes()).unwrap_or_default();
    let own = document.annotations.get(BASE_NAME).cloned();
    let children = match manifest {
        AnyManifest::Index(index) => index.manifests.as_slice(),
        AnyManifest::Manifest(_) => &[],
    };
    let children = children
        .iter()
        .filter_map(|child| child.annotations.get(BASE_NAME).cloned());
    own.into_iter().chain(children).collect()
}

/// Returns the names of the run image in the label of Buildpacks. A run image is the base image of
/// an application.
fn run_images(metadata: &str) -> Vec<String> {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Metadata {
        run_image: RunImage,
        stack: Stack,
    }
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Stack {
        run_image: RunImage,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct RunImage {
        reference: String,
        image: String,
        mirrors: Vec<String>,
    }
    let metadata: Metadata = json::from_str(metadata).unwrap_or_default();
    [metadata.run_image, metadata.stack.run_image]
        .into_iter()
        .flat_map(|image| {
            [image.reference, image.image]
                .into_iter()
                .chain(image.mirrors)
        })
        .filter(|name| !name.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buildpacks_run_image_is_read_from_every_label_form() {
        let text = r#"{"runImage":{"topLayer":"sha256:1","reference":"gcr.io/p/run@sha256:2",
            "mirrors":["r.example/run"]},"stack":{"runImage":{"image":"buildpacks/run:1"}}}"#;
        assert_eq!(
            run_images(text),
            ["gcr.io/p/run@sha256:2", "r.example/run", "buildpacks/run:1"]
        );
        assert!(run_images("no json").is_empty());
    }
}
