//! OCI layouts, as directories and as archives.

use gcr_push::config::ImageSource;
use gcr_push::manifest::AnyManifest;
use gcr_push::source::{Source, SourceError};
use insta::assert_snapshot;
use serde_json::json;

use super::{Archive, open, read, told, tree};
use crate::support::images::{Layout, Packed, Picture, digest};

fn open_layout(layout: &Layout, reference: Option<&str>) -> Result<Source, SourceError> {
    let folder = tempfile::tempdir().unwrap();
    layout.write(folder.path());
    let source = ImageSource::OciLayout(folder.path().to_owned(), reference.map(str::to_owned));
    // The blobs are opened when they are needed, so the folder has to stay.
    let opened = open(source);
    std::mem::forget(folder);
    opened
}

#[test]
fn the_one_image_of_a_layout_is_taken_byte_for_byte() {
    let picture = Picture::new("app", 2);
    let mut layout = Layout::default();
    let manifest = layout.image(&picture, Packed::Gzip);
    layout.list(&manifest, Some("v1"));
    for source in [
        open_layout(&layout, None).unwrap(),
        open_layout(&layout, Some("v1")).unwrap(),
        Archive::of(&layout.archive()).open().unwrap(),
        Archive::of(&layout.archive()).oci(None).unwrap(),
        Archive::of(&layout.archive()).docker(None).unwrap(),
    ] {
        assert_eq!(source.image().names, ["v1"]);
        let AnyManifest::Manifest(root) = &tree(&source).root else {
            panic!("a manifest");
        };
        assert_eq!(root.bytes, layout.get(&manifest));
        for blob in root.blobs() {
            assert_eq!(read(&source, &blob.digest, 0), layout.blobs[&blob.digest]);
            assert_eq!(
                read(&source, &blob.digest, 9),
                layout.blobs[&blob.digest][9..]
            );
        }
    }
}
