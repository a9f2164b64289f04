//! Deletion, with the refusals that only Google has.

use serde_json::json;

use crate::images::{
    Image, OCI_INDEX, OCI_MANIFEST, descriptor, index, pusher, put_manifest, ready, sha256,
};

#[test]
fn referenced_manifest_cannot_be_deleted() {
    let standin = ready();
    let client = pusher(&standin);
    let image = Image::new("a");
    image.push(&client, "proj/a", "v1");
    let list = index(&[&image.manifest]);
    put_manifest(&client, "proj/a", &sha256(&list), OCI_INDEX, &list);
    let referrer = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", &image.config),
        "layers": [],
        "subject": descriptor(OCI_MANIFEST, &image.manifest),
    });
    let referrer = referrer.to_string().into_bytes();
    put_manifest(
        &client,
        "proj/a",
        &sha256(&referrer),
        OCI_MANIFEST,
        &referrer,
    );
    let delete = |reference: &str| {
        client.send(
            "DELETE",
            &format!("/v2/proj/a/manifests/{reference}"),
            &[],
            b"",
        )
    };
    let digest = image.digest();
    let refused = |code: &str, named: &str| {
        let answer = delete(&digest);
        assert_eq!(answer.refusal(), (400, code.to_owned()));
        assert!(answer.message().ends_with(named), "{}", answer.text());
    };
    refused(
        "GOOGLE_MANIFEST_DANGLING_TAG",
        "Manifest is still referenced by tag: v1",
    );
    assert_eq!(delete("v1").status, 202);
    assert!(standin.manifest("gcr.io", "proj/a", &digest).is_some());
    refused("GOOGLE_MANIFEST_DANGLING_PARENT_IMAGE", &sha256(&list));
    assert_eq!(delete(&sha256(&list)).status, 202);
    refused("GOOGLE_MANIFEST_REFERRING_MANIFEST", &sha256(&referrer));
    assert_eq!(delete(&sha256(&referrer)).status, 202);
    assert_eq!(delete(&digest).status, 202);
    assert_eq!(delete(&digest).status, 404);
}

#[test]
fn blobs_are_deleted_with_their_last_manifest() {
    for collect in [true, false] {
        let standin = ready();
        standin.change(|behaviour| behaviour.collect_blobs = collect);
        let client = pusher(&standin);
        let image = Image::new("a");
        image.push(&client, "proj/a", "v1");
        for reference in ["v1".to_owned(), image.digest()] {
            let path = format!("/v2/proj/a/manifests/{reference}");
            assert_eq!(client.send("DELETE", &path, &[], b"").status, 202);
        }
        let path = format!("/v2/proj/a/blobs/{}", sha256(&image.layer));
        assert_eq!(client.head(&path).status, if collect { 404 } else { 200 });
    }
}

#[test]
fn blob_can_be_deleted_by_itself() {
    let standin = ready();
    let client = pusher(&standin);
    crate::images::push_blob(&client, "proj/a", b"x");
    let path = format!("/v2/proj/a/blobs/{}", sha256(b"x"));
    assert_eq!(client.send("DELETE", &path, &[], b"").status, 202);
    assert_eq!(client.head(&path).status, 404);
}
