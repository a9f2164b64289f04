//! Notes about unusual images: an index without manifests, and foreign layers.

use std::collections::BTreeSet;

use crate::diagnostics::sanitize::sanitize;
use crate::image::Tree;
use crate::oci::manifest::{AnyManifest, Manifest};

/// Returns the notes about the manifests of an image, and logs them.
pub(super) fn of_tree(tree: &Tree) -> Vec<String> {
    let notes: Vec<_> = empty_index(tree)
        .into_iter()
        .chain(foreign_layers(tree))
        .collect();
    for note in &notes {
        tracing::info!("{note}");
    }
    notes
}

/// Returns a note if the root is an index without manifests.
fn empty_index(tree: &Tree) -> Option<String> {
    match &tree.root {
        AnyManifest::Index(index) if index.manifests.is_empty() => Some(format!(
            "the index {} contains no image, so no client can pull from it",
            index.digest
        )),
        _ => None,
    }
}

/// Returns a note if the image has foreign (non-distributable) layers, which are not pushed.
fn foreign_layers(tree: &Tree) -> Option<String> {
    let layers: Vec<_> = tree
        .image_manifests()
        .flat_map(Manifest::foreign_layers)
        .collect();
    let digests: BTreeSet<_> = layers.iter().map(|layer| &layer.digest).collect();
    let hosts: BTreeSet<_> = layers
        .iter()
        .flat_map(|layer| &layer.urls)
        .filter_map(|url| {
            Some(format!(
                "`{}`",
                sanitize(url::Url::parse(url).ok()?.host_str()?)
            ))
        })
        .collect();
    let (what, they) = match digests.len() {
        0 => return None,
        1 => ("1 layer is".to_owned(), "it"),
        count => (format!("{count} layers are"), "them"),
    };
    let from = if hosts.is_empty() {
        "from the address in the manifest".to_owned()
    } else {
        format!("from {}", hosts.into_iter().collect::<Vec<_>>().join(", "))
    };
    Some(format!(
        "{what} not pushed, because of a type that does not allow redistribution: clients pull \
         {they} {from}"
    ))
}
