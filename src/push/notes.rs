//! What is said of an image that is pushed as it is, but may not be what its owner thinks.

use std::collections::BTreeSet;

use crate::diagnostics::sanitize::sanitize;
use crate::image::Tree;
use crate::oci::manifest::{AnyManifest, Manifest};

/// What the manifests of an image give reason to say.
pub(super) fn of_tree(tree: &Tree) -> Vec<String> {
    let notes: Vec<_> = empty_index(tree).into_iter().chain(foreign(tree)).collect();
    for note in &notes {
        tracing::info!("{note}");
    }
    notes
}

/// Nobody can pull an index of nothing.
fn empty_index(tree: &Tree) -> Option<String> {
    match &tree.root {
        AnyManifest::Index(index) if index.manifests.is_empty() => Some(format!(
            "the index {} names no image: nobody can pull anything by it",
            index.digest
        )),
        _ => None,
    }
}

fn foreign(tree: &Tree) -> Option<String> {
    let manifests = std::iter::once(&tree.root).chain(tree.children.values());
    let images = manifests.filter_map(|manifest| match manifest {
        AnyManifest::Manifest(image) => Some(image),
        AnyManifest::Index(_) => None,
    });
    let layers: Vec<_> = images.flat_map(Manifest::foreign_layers).collect();
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
    let from = match hosts.is_empty() {
        true => "from where its manifest says".to_owned(),
        false => format!("from {}", hosts.into_iter().collect::<Vec<_>>().join(", ")),
    };
    Some(format!(
        "{what} not pushed, because of a type that is not to be passed on: who pulls the image gets \
         {they} {from}"
    ))
}
